"""Ids that follow from who an attempt is: the same everywhere, for ever."""

from telemetry.identity import (
    TraceContext,
    attempt_uid,
    parse_traceparent,
    span_id,
    submission_uid,
    trace_id,
    traceparent,
)

WMS = "6e8bc430-9c3a-11d9-9669-0800200c9a66"


def test_ids_never_change() -> None:
    """The ids of an attempt are part of the format: records and spans written today must be found tomorrow."""
    uid = attempt_uid(WMS, 7, 1)
    assert uid == "26537a77-c5ab-5ce3-8198-a1e00d313c24"
    assert trace_id(uid) == "857f5f121d36acacf9cbf78283a8ed90"
    assert span_id(uid, "job") == "2cb14d05e4d579ed"


def test_attempts_and_systems_do_not_collide() -> None:
    """Another attempt, job or WMS has another UID, and a submission has its own."""
    other = "6e8bc430-9c3a-11d9-9669-0800200c9a67"
    uids = [attempt_uid(wms, job, attempt) for wms in (WMS, other) for job in (1, 11) for attempt in (1, 11)]
    uids += [submission_uid(WMS, 1), submission_uid(other, 1)]
    assert len(set(uids)) == len(uids) == len({trace_id(uid) for uid in uids})


def test_spans_of_an_attempt_differ() -> None:
    """Path and sequence make a span's id; both count."""
    uid = attempt_uid(WMS, 1, 1)
    ids = {span_id(uid, path, sequence) for path in ("job", "job/execute") for sequence in (0, 1)}
    assert len(ids) == 4


def test_trace_context() -> None:
    """The payload gets W3C trace context of version 00, sampled."""
    assert traceparent("a" * 32, "b" * 16) == f"00-{'a' * 32}-{'b' * 16}-01"


def test_a_traceparent_is_read_as_it_is_written() -> None:
    """Ours comes back, a caller's flag is honoured, and what is none by the W3C's rules is None."""
    assert parse_traceparent(traceparent("a" * 32, "b" * 16)) == TraceContext("a" * 32, "b" * 16, True)
    unsampled = parse_traceparent(f"00-{'a' * 32}-{'b' * 16}-02")
    assert unsampled is not None
    assert not unsampled.is_sampled
    for text in (
        "",
        "00-0-0-01",
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'A' * 32}-{'b' * 16}-01",
        f"ff-{'a' * 32}-{'b' * 16}-01",
    ):
        assert parse_traceparent(text) is None
