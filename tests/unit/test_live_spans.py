"""Rendering: an attempt's facts as spans and its accounting event."""

import itertools
import random
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from telemetry import identity
from telemetry.clock import NANOSECONDS
from telemetry.facts import (
    STAGES,
    AttemptEnded,
    ClockStepped,
    Fact,
    KillFinished,
    KillRequested,
    LimitHit,
    PayloadRefused,
    RequestMade,
    SamplerLate,
    SignalSent,
    StageFinished,
)
from telemetry.live.spans import Rendered, Unidentified, render
from tests.support.attempts import WMS_ID, Attempt, play, uid_of

RECORD: dict[str, Any] = {
    "UID": uid_of(),
    "JobID": 7,
    "CPUTime": 3.5,
    "PayloadStarted": True,
    "FinalMajorStatus": "Done",
    "PeakPSS": None,
    "StageWallClockTime.execute": 2.0,
    "EndTime": "2026-01-15T12:00:09.500000Z",
    "RecordTime": "2026-01-15T12:00:10.000000Z",
}


def named(rendered: Rendered, name: str) -> ReadableSpan:
    """The one span called *name*."""
    (span,) = [span for span in rendered.spans if span.name == name]
    return span


def ids(rendered: Rendered) -> list[tuple[str, int, int]]:
    """Name, trace id and span id of each span."""
    return [(span.name, span.context.trace_id, span.context.span_id) for span in rendered.spans]


def test_root_and_six_stages_share_their_boundaries() -> None:
    """Each stage begins where the one before ended, the first with the root and the last at its end."""
    rendered = render(play().entries)
    root = named(rendered, "jobspan.job")
    stages = [named(rendered, f"jobspan.stage.{stage}") for stage in STAGES]
    assert root.start_time == stages[0].start_time
    assert root.end_time == stages[-1].end_time
    assert all(before.end_time == after.start_time for before, after in itertools.pairwise(stages))
    assert all(span.parent and span.parent.span_id == root.context.span_id for span in stages)


def test_ids_follow_from_the_uid() -> None:
    """Trace and span ids are those of telemetry.identity, so that anybody can compute them."""
    rendered = render(play().entries)
    payload = named(rendered, "simulate")
    assert rendered.uid == uid_of()
    assert f"{payload.context.trace_id:032x}" == identity.trace_id(uid_of())
    assert f"{payload.context.span_id:016x}" == identity.span_id(uid_of(), "job/execute/payload")
    assert f"{named(rendered, 'jobspan.job').context.span_id:016x}" == identity.span_id(uid_of(), "job")


def test_equal_operations_of_a_stage_have_different_ids() -> None:
    """Two HTTP calls of one stage are two spans, told apart by their sequence."""
    calls = [span for span in render(play().entries).spans if span.name == "http"]
    assert [f"{span.context.span_id:016x}" for span in calls] == [
        identity.span_id(uid_of(), "job/initialize/http", sequence) for sequence in (0, 1)
    ]


def test_all_span_ids_differ() -> None:
    """No two spans of an attempt share an id."""
    found = [span[1:] for span in ids(render(play().entries))]
    assert len(set(found)) == len(found)


def test_rendering_twice_and_in_any_order_gives_the_same() -> None:
    """Whoever renders, and in whatever order the writers' files are read, ids, times and names are equal."""
    entries = play().entries
    shuffled = list(entries)
    random.Random(1).shuffle(shuffled)
    first, again, other = (render(each, RECORD) for each in (entries, entries, shuffled))
    assert [span.to_json() for span in first.spans] == [span.to_json() for span in again.spans]
    assert [span.to_json() for span in first.spans] == [span.to_json() for span in other.spans]
    assert first.logs[0].to_json() == other.logs[0].to_json()


def test_a_step_of_the_wall_clock_changes_nothing() -> None:
    """UTC stepping by an hour while the payload runs moves no span and stretches none."""
    stepped = play(during=lambda attempt: attempt.clock.step_utc(3600.0))
    assert [(s.start_time, s.end_time) for s in render(stepped.entries).spans] == [
        (s.start_time, s.end_time) for s in render(play().entries).spans
    ]


def test_root_starts_with_the_process() -> None:
    """The root starts when the process did, not when it could first write."""
    attempt = play()
    root = named(render(attempt.entries), "jobspan.job")
    started = next(e for e in attempt.entries if type(e.fact).__name__ == "WrapperStarted")
    assert started.utc_ns - root.start_time == round(0.3 * NANOSECONDS)


def test_payload_follows_the_cli_convention() -> None:
    """The payload's span is a CLIENT below execute, with executable, pid and exit code, and no error for 0."""
    rendered = render(play().entries)
    payload = named(rendered, "simulate")
    assert payload.kind == SpanKind.CLIENT
    assert payload.parent
    assert payload.parent.span_id == named(rendered, "jobspan.stage.execute").context.span_id
    attributes = dict(payload.attributes or {})
    assert attributes["process.executable.name"] == "simulate"
    assert attributes["process.pid"] == 200
    assert attributes["process.exit.code"] == 0
    assert "error.type" not in attributes
    assert payload.status.status_code == StatusCode.UNSET


def test_payload_tells_its_peaks() -> None:
    """A peak that somebody has told stands there with its method, also when it is 0; others do not."""
    attributes = dict(named(render(play().entries), "simulate").attributes or {})
    assert (attributes["jobspan.payload.swap.peak"], attributes["jobspan.payload.swap.method"]) == (0, "cgroup2")
    assert (attributes["jobspan.payload.threads.peak"], attributes["jobspan.payload.threads.method"]) == (5, "sampled")
    assert "jobspan.payload.memory_swap.peak" not in attributes


@pytest.mark.parametrize(
    ("exit_code", "signal", "code", "error_type"),
    [(3, None, 3, "3"), (None, 9, 137, "SIGKILL"), (None, 40, 168, "SIG40")],
)
def test_failed_payload_has_error_type(exit_code: int | None, signal: int | None, code: int, error_type: str) -> None:
    """error.type stands on the payload's span if and only if the exit code is not 0."""
    attempt = Attempt()
    attempt.begin()
    attempt.start_payload()
    attempt.end_payload(exit_code=exit_code, signal=signal)
    payload = named(render(attempt.entries), "simulate")
    attributes = dict(payload.attributes or {})
    assert (attributes["process.exit.code"], attributes["error.type"]) == (code, error_type)
    assert payload.status.status_code == StatusCode.ERROR


def test_success_leaves_the_status_unset() -> None:
    """No span of a good attempt has a status, as OpenTelemetry asks of libraries."""
    assert {span.status.status_code for span in render(play().entries).spans} == {StatusCode.UNSET}


def test_a_failed_stage_says_why() -> None:
    """A failed stage has Error, error.type and the cause; the root has the attempt's."""
    attempt = Attempt()
    attempt.begin()
    attempt.finish_stage("initialize")
    attempt.finish_stage(
        "transfer_input_sandbox", result="failure", error_type="hostile_archive", message="../x leaves the folder"
    )
    attempt.end("Failed", "Failed Downloading InputSandbox", "hostile_archive")
    rendered = render(attempt.entries)
    stage, root = named(rendered, "jobspan.stage.transfer_input_sandbox"), named(rendered, "jobspan.job")
    assert (stage.status.status_code, stage.status.description) == (StatusCode.ERROR, "../x leaves the folder")
    assert dict(stage.attributes or {})["error.type"] == "hostile_archive"
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, "Failed Downloading InputSandbox")


def test_a_skipped_stage_is_no_error() -> None:
    """A stage that was not executed is there with its result, without length and without error."""
    attempt = Attempt()
    attempt.begin()
    attempt.finish_stage("initialize", 0.0, result="skip")
    stage = named(render(attempt.entries), "jobspan.stage.initialize")
    assert dict(stage.attributes or {})["jobspan.stage.result"] == "skip"
    assert stage.status.status_code == StatusCode.UNSET


def test_acceptance_and_kill_are_events_of_the_root() -> None:
    """What happened at a moment stands on the root span, under the names of the catalogue, in time order."""

    def kill(attempt: Attempt) -> None:
        attempt.write(LimitHit(limit="cpu", minor_status="m", measured=2.0, allowed=1.0, unit="seconds"))
        attempt.write(KillRequested(origin="watchdog", reason="m"))
        attempt.clock.advance(0.01)
        attempt.write(SignalSent(signal=15, pids=(200, 201), reason="m"), "starter")
        attempt.write(KillFinished(duration_seconds=0.1), "starter")

    root = named(render(play(during=kill).entries), "jobspan.job")
    assert [event.name for event in root.events] == [
        "submitted", "status", "limit hit", "kill requested", "signal sent", "kill finished",
    ]  # fmt: skip
    submitted = root.events[0]
    assert dict(submitted.attributes or {})["jobspan.ce.task"] == "task-1"
    assert dict(root.events[4].attributes or {})["jobspan.signal.pids"] == (200, 201)


def event_attributes(*facts: Fact) -> list[tuple[str, dict[str, Any]]]:
    """Names and attributes of the events that *facts* are on the root span."""
    attempt = Attempt()
    attempt.begin()
    before = len(named(render(attempt.entries), "jobspan.job").events)
    for fact in facts:
        attempt.clock.advance(0.01)
        attempt.write(fact)
    events = named(render(attempt.entries), "jobspan.job").events[before:]
    return [(event.name, dict(event.attributes or {})) for event in events]


def test_a_kill_is_told_in_full() -> None:
    """Who asked and why, which signal to whom and what for, how long it took, and who survived."""
    assert event_attributes(
        KillRequested(origin="user", reason="Received Kill signal"),
        SignalSent(
            signal=15, pids=(200, 201), names=("simulate", "helper"), reason="Received Kill signal", purpose="end"
        ),
        SignalSent(signal=2, pids=(200,), names=("simulate",), reason="graceful stop: 9 s are left", purpose="stop"),
        KillFinished(duration_seconds=5.25, survivors=(201,)),
    ) == [
        ("kill requested", {"jobspan.kill.origin": "user", "jobspan.reason": "Received Kill signal"}),
        (
            "signal sent",
            {
                "jobspan.signal.number": 15, "jobspan.signal.pids": (200, 201),
                "jobspan.signal.names": ("simulate", "helper"), "jobspan.signal.purpose": "end",
                "jobspan.reason": "Received Kill signal",
            },
        ),
        (
            "signal sent",
            {
                "jobspan.signal.number": 2, "jobspan.signal.pids": (200,), "jobspan.signal.names": ("simulate",),
                "jobspan.signal.purpose": "stop", "jobspan.reason": "graceful stop: 9 s are left",
            },
        ),
        ("kill finished", {"jobspan.kill.duration": 5.25, "jobspan.kill.survivors": (201,)}),
    ]  # fmt: skip


def test_what_the_watchdog_did_not_see_is_told() -> None:
    """That it looked late, and how much of that the machine slept; that the wall clock was set."""
    assert event_attributes(
        SamplerLate(late_seconds=12.5, suspended_seconds=10.0), ClockStepped(step_seconds=-3600.0)
    ) == [
        ("sampler late", {"jobspan.sampler.late": 12.5, "jobspan.sampler.suspended": 10.0}),
        ("clock stepped", {"jobspan.clock.step": -3600.0}),
    ]


def test_a_request_is_an_event() -> None:
    """What is left to be done is an event with the request's name and its number of operations."""
    attempt = Attempt()
    attempt.begin()
    attempt.write(RequestMade(name="fit_job_1", request={"Operations": [{}, {}]}))
    event = named(render(attempt.entries), "jobspan.job").events[-1]
    assert (event.name, dict(event.attributes or {})) == (
        "request made", {"jobspan.request.name": "fit_job_1", "jobspan.request.operations": 2},
    )  # fmt: skip


def test_a_refused_exec_is_an_event_and_no_span() -> None:
    """A payload that never started has no span; the reason is an event."""
    attempt = Attempt()
    attempt.begin()
    attempt.write(PayloadRefused(errno=2, cause="not found"))
    rendered = render(attempt.entries)
    assert not [span for span in rendered.spans if span.kind == SpanKind.CLIENT]
    assert named(rendered, "jobspan.job").events[-1].name == "payload refused"


# --- the WMS, links -------------------------------------------------------------------------------


def test_wms_spans_have_their_true_times_and_a_resource_of_their_own() -> None:
    """queue and match are children of the root by the WMS's clock; submit is a trace of its own."""
    attempt = play()
    rendered = render(attempt.entries)
    root, submit, queue, match = (named(rendered, name) for name in ("jobspan.job", "submit", "queue", "match"))
    assert (queue.start_time, queue.end_time) == (attempt.match.waiting_utc_ns, attempt.match.match_start_utc_ns)
    assert (match.start_time, match.end_time) == (attempt.match.match_start_utc_ns, attempt.match.match_end_utc_ns)
    assert queue.parent
    assert queue.parent.span_id == root.context.span_id
    assert submit.parent is None
    assert f"{submit.context.trace_id:032x}" == identity.trace_id(identity.submission_uid(WMS_ID, 7))
    assert {span.resource.attributes["service.name"] for span in (submit, queue, match)} == {"jobspan-wms"}
    assert root.resource.attributes["service.name"] == "jobspan"


def test_root_links_to_submission_and_previous_attempt() -> None:
    """An attempt's trace is its own, and links lead to the submission and to the attempt before."""
    rendered = render(play(attempt=2, previous_uid=uid_of(attempt=1)).entries)
    root = named(rendered, "jobspan.job")
    links = {dict(link.attributes or {})["jobspan.link.type"]: link.context for link in root.links}
    assert links["submit"].span_id == named(rendered, "submit").context.span_id
    assert f"{links['previous_attempt'].trace_id:032x}" == identity.trace_id(uid_of(attempt=1))
    assert f"{links['previous_attempt'].span_id:016x}" == identity.span_id(uid_of(attempt=1), "job")


@pytest.mark.parametrize("bad", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_callers_context_is_only_a_link(bad: str) -> None:
    """The user's traceparent is a link of the submit span; one that is no context is ignored."""
    good = f"00-{'a' * 32}-{'b' * 16}-01"
    submit = named(render(play(submit_traceparent=good).entries), "submit")
    assert submit.parent is None
    assert [f"{link.context.trace_id:032x}" for link in submit.links] == ["a" * 32]
    assert not named(render(play(submit_traceparent=bad).entries), "submit").links


def test_unknown_times_of_the_wms_give_no_span() -> None:
    """Where a WMS tells no times there are no spans of it, and no link to them."""
    nothing = {"submit_start_utc_ns": 0, "submit_end_utc_ns": 0, "waiting_utc_ns": 0, "match_start_utc_ns": 0}
    rendered = render(play(**nothing, match_end_utc_ns=0).entries)
    assert not {"submit", "queue", "match"} & {span.name for span in rendered.spans}
    assert not named(rendered, "jobspan.job").links


# --- a wrapper that died --------------------------------------------------------------------------


def test_a_dead_wrapper_s_spans_end_with_its_last_sign_of_life() -> None:
    """Open spans end at the last sign of life, as wrapper_died, with the ids that the wrapper would have given."""
    attempt = Attempt()
    attempt.begin()
    for stage in STAGES[:3]:
        attempt.finish_stage(stage)
    attempt.start_payload()
    attempt.clock.advance(5.0)
    last = attempt.write(KillFinished(duration_seconds=0.0), "starter")
    attempt.clock.advance(3600.0)
    attempt.write(attempt.match, "agent")
    rendered = render(attempt.entries)
    anchor = next(e for e in attempt.entries if type(e.fact).__name__ == "WrapperStarted")
    died_ns = anchor.utc_ns + last.boottime_ns - anchor.boottime_ns
    for name in ("jobspan.job", "jobspan.stage.execute", "simulate"):
        span = named(rendered, name)
        assert (span.end_time, dict(span.attributes or {})["error.type"]) == (died_ns, "wrapper_died")
    whole = {name: span for name, *span in ids(render(play().entries))}
    assert all(whole[name] == span for name, *span in ids(rendered))


def test_an_end_written_by_recovery_does_not_stretch_the_spans() -> None:
    """A recovery hours later says how the attempt ended, not when."""
    attempt = Attempt()
    attempt.begin()
    attempt.clock.advance(1.0)
    last = attempt.write(KillRequested(origin="user", reason="x"))
    attempt.clock.advance(3600.0)
    attempt.write(
        AttemptEnded(
            status="Failed", minor_status="JobWrapper execution", error_type="wrapper_died", recorded_by="agent"
        ),
        "recovery",
    )
    root = named(render(attempt.entries), "jobspan.job")
    assert root.end_time == last.utc_ns
    assert root.status.description == "JobWrapper execution"


def test_no_duration_reaches_across_a_boot() -> None:
    """What recovery closes after a reboot ends with the last sign of life before it."""
    attempt = Attempt()
    attempt.begin()
    attempt.clock.advance(1.0)
    last = attempt.write(KillRequested(origin="user", reason="x"))
    attempt.clock.reboot(down_seconds=600.0)
    attempt.write(
        StageFinished(stage="initialize", at_boottime_ns=attempt.clock.boottime_ns(), result="error"), "recovery"
    )
    stage = named(render(attempt.entries), "jobspan.stage.initialize")
    assert stage.end_time == last.utc_ns


def test_a_damaged_line_of_a_boundary_is_mended_by_its_neighbour() -> None:
    """Boundaries are shared, so the next stage's start tells this one's end, and the other way round."""
    whole = play().entries
    expected = {span.name: (span.start_time, span.end_time) for span in render(whole).spans}
    for kind in ("StageFinished", "StageStarted"):
        damaged = [
            entry
            for entry in whole
            if not (type(entry.fact).__name__ == kind and getattr(entry.fact, "stage", "") == "resolve_input_data")
        ]
        assert {span.name: (span.start_time, span.end_time) for span in render(damaged).spans} == expected


def test_a_journal_without_identity_is_refused() -> None:
    """Without JobMatched nobody knows whose facts these are."""
    entries = [entry for entry in play().entries if entry.writer != "agent"]
    with pytest.raises(Unidentified):
        render(entries)


# --- the accounting event -------------------------------------------------------------------------


def test_the_record_is_one_log_event() -> None:
    """The event has the record's fields as flat attributes, its UID, its end as time, and the root's ids."""
    rendered = render(play().entries, RECORD)
    (log,) = rendered.logs
    event, attributes = log.log_record, dict(log.log_record.attributes or {})
    assert event.event_name == "jobspan.job.accounting"
    assert attributes["log.record.uid"] == f"{uid_of()}/wrapper/1"
    assert attributes["jobspan.accounting.cpu_time"] == 3.5
    assert attributes["jobspan.accounting.payload_started"] is True
    assert attributes["jobspan.accounting.stage_wall_clock_time.execute"] == 2.0
    assert "jobspan.accounting.peak_pss" not in attributes
    root = named(rendered, "jobspan.job")
    assert (event.trace_id, event.span_id) == (root.context.trace_id, root.context.span_id)
    assert event.timestamp == 1_768_478_409_500_000_000


def test_without_a_record_there_is_no_event() -> None:
    """An attempt without record is rendered as spans only."""
    assert render(play().entries).logs == ()


def test_a_record_that_is_not_flat_is_refused() -> None:
    """A nested field is a fault of the ledger, and is told at once."""
    with pytest.raises(ValueError, match="records are flat"):
        render(play().entries, {**RECORD, "CPUTime": [1, 2]})
