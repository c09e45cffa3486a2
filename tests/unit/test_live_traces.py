"""A job's traces: what the WMS and the payload add to them, what they say of a kill, how they are drawn."""

import json
from pathlib import Path

import pytest

from telemetry import catalogue as names
from telemetry.live.otlp import EventValue
from telemetry.live.traces import AttemptTrace, JobTrace, depth_first, job_trace, trace_values
from telemetry.live.traces_in_words import in_words, kill_timeline
from telemetry.live.waterfall import MOST_ROWS, axis, rows, size, waterfall
from tests.support.traces import killed_and_tried_again, span


@pytest.fixture
def trace(tmp_path: Path) -> JobTrace:
    (node, *beside), _ = killed_and_tried_again(tmp_path)
    return job_trace(node, 7, beside=beside)


def test_the_trace_runs_from_the_submission_to_the_payload(trace: JobTrace) -> None:
    """The call that submitted, the submission below it, queue, match and payload stand in one drawing, in order."""
    drawn = rows(trace, trace.attempts[0])
    assert [(depth, each.name) for depth, each in drawn[:2]] == [(0, "POST /api/jobs/jdl"), (1, names.SUBMIT_SPAN)]
    told = [each.name for _, each in drawn]
    order = [told.index(name) for name in (names.SUBMIT_SPAN, names.QUEUE_SPAN, names.MATCH_SPAN, "simulate")]
    assert order == sorted(order)
    assert rows(trace, trace.attempts[1])[0][1].name == names.ROOT_SPAN


def test_the_submission_is_shown_before_any_attempt_has_ended(tmp_path: Path, trace: JobTrace) -> None:
    """A job that waits has no attempt yet: who knows its WMS sees the call that submitted it."""
    wms_id = trace.attempts[0].root.resource[names.WMS_ID]
    (_, wms), _ = killed_and_tried_again(tmp_path)
    waiting = job_trace(tmp_path / "none.jsonl", 7, wms_id=wms_id, beside=[wms])
    assert "POST /api/jobs/jdl" in waterfall(waiting)
    assert "no attempt of job 7 has ended here yet" in waterfall(waiting)


def test_calls_stand_below_the_call_that_made_them() -> None:
    """What the WMS did for a call is drawn below the wrapper's span of that call, when the clocks agree."""
    root = span(names.ROOT_SPAN, 0, 10)
    asked = span("PATCH /api/jobs/{id}/x", 2, 1, kind=3, parent_span_id=root.span_id)
    answered = span("PATCH /api/jobs/{job_id}/x", 2.2, 0.5, kind=2, parent_span_id=root.span_id)
    skewed = span("PATCH /api/jobs/{job_id}/x", 5, 0.5, kind=2, parent_span_id=root.span_id)
    attempt = AttemptTrace(uid="u", attempt=1, root=root, spans=(root, asked, answered, skewed))
    assert depth_first(attempt) == [(0, root), (1, asked), (2, answered), (1, skewed)]


def test_orphans_of_the_payload_stand_below_it(trace: JobTrace) -> None:
    """A span of the payload whose own parent was never sent is shown below the payload, another's below the job."""
    whole = trace.attempts[0]
    lost = span("own", parent_span_id="f" * 16, resource={names.JOB_UID: whole.uid}, trace_id=whole.root.trace_id)
    other = span("other", parent_span_id="f" * 16, trace_id=whole.root.trace_id)
    attempt = AttemptTrace(uid=whole.uid, attempt=1, root=whole.root, spans=(*whole.spans, lost, other))
    drawn = depth_first(attempt)
    place = [each.name for _, each in drawn].index("simulate")
    assert drawn[place + 1] == (3, lost)
    assert (1, other) in drawn


def test_the_attempt_takes_a_third_of_the_drawing_at_least() -> None:
    """A wait of days, a record delivered days later and a span of a wrong clock do not make the job invisible."""
    root = span(names.ROOT_SPAN, 1000, 10)
    others = [span("queue", 0, 1000), span("accounting", 90000, 1), span("own", -5e8, 1e9)]
    shown = axis([*others, root], root)
    assert shown.share(root.end_ns) - shown.share(root.start_ns) == pytest.approx(1 / 3)
    assert (shown.share(others[0].start_ns), shown.share(others[1].end_ns)) == (0.0, 1.0)
    assert [shown.holds(each) for each in (root, *others)] == [True, False, False, False]


def test_the_kill_is_told_in_order(trace: JobTrace) -> None:
    """From the limit that was reached to the last process's end, each in a sentence."""
    told = [(each.name, in_words(each)) for each in kill_timeline(trace.attempts[0].root)]
    assert [name for name, _ in told] == ["limit hit", "kill requested", "signal sent", "signal sent", "kill finished"]
    assert told[0][1] == "cpu: 4.70 s, and 4 s are allowed; so it is ended"
    assert told[1][1].startswith("by watchdog: Job has exceeded")
    assert told[2][1].startswith("SIGTERM to 2 processes (simulate, ")
    assert told[3][1] == "SIGKILL to 1 process (simulate)"
    assert told[4][1] == "over after 1.01 s; nothing of it is left"
    assert kill_timeline(trace.attempts[1].root) == ()


def test_the_text_has_usage_and_kill(trace: JobTrace) -> None:
    """The waterfall in the terminal names what each stage has used and how the payload was ended, within its width."""
    text = waterfall(trace, width=90)
    assert "used by stage" in text
    assert "SIGKILL to 1 process" in text
    assert "\033" not in text
    assert max(map(len, text.splitlines())) <= 90


def test_thousands_of_spans_are_not_all_drawn() -> None:
    """A payload that sent more spans than anybody reads does not flood the terminal, and the rest is counted."""
    root = span(names.ROOT_SPAN, 0, 10)
    many = tuple(span(f"own {number}", 1, 1, parent_span_id=root.span_id) for number in range(MOST_ROWS + 50))
    attempt = AttemptTrace(uid="u", attempt=1, root=root, spans=(root, *many))
    text = waterfall(JobTrace(job_id=7, submit=(), attempts=(attempt,)))
    assert len(text.splitlines()) == MOST_ROWS + 2
    assert "and 51 more spans" in text


def test_whatever_a_payload_sends_is_json() -> None:
    """Bytes and numbers that are none do not break `--json`."""
    root = span(names.ROOT_SPAN, attributes={"a": b"\xff", "b": float("nan"), "c": [float("inf"), {"d": b""}]})
    attempt = AttemptTrace(uid="u", attempt=1, root=root, spans=(root,))
    values = trace_values(JobTrace(job_id=7, submit=(), attempts=(attempt,)))
    assert "NaN" not in json.dumps(values, allow_nan=False)


def test_an_unknown_event_says_its_values() -> None:
    """Events of a later version are shown as they are; values that are missing do not break the others."""
    assert in_words(EventValue(name="new", at_ns=0, attributes={"x": 1, "y": "z"})) == "1, z"
    for name in names.EVENTS:
        assert isinstance(in_words(EventValue(name=name, at_ns=0, attributes={})), str)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KiB"), (5 << 20, "5.0 MiB"), (1 << 50, "1024.0 TiB")]
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    """A size has the unit that fits."""
    assert size(count) == text
