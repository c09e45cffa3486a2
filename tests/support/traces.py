"""Traces made by hand: a job with a kill and another attempt, calls of the WMS, spans of the payload, hostile texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from telemetry import catalogue as names
from telemetry import identity
from telemetry.clock import NANOSECONDS
from telemetry.facts import HeartbeatMade, KillFinished, KillRequested, LimitHit, SignalSent
from telemetry.live.call_spans import CallSpan, WmsIdentity, render_calls
from telemetry.live.otlp import SpanValue, span_line
from telemetry.live.spans import render
from tests.support.attempts import WMS_ID, Attempt, play, uid_of

#: What a payload, a user or a site may have written anywhere.
HOSTILE = "</pre><script>alert('x')</script><img src=http://x.invalid/a onerror=alert(1)>\x1b]0;t\x07\x1b[31m\u202e\x00"


def killed(attempt: Attempt) -> None:
    """While its payload runs: it writes, reaches a limit, and is ended with a grace of a second."""
    attempt.write(HeartbeatMade(values={"StandardOutput": "event 1\n"}))
    for second in range(1, 5):
        attempt.clock.advance(1.0)
        attempt.sample(user=1.0 + second * 0.8, rss_bytes=second << 20)
    attempt.write(HeartbeatMade(values={"StandardOutput": f"event 2\n{HOSTILE}\n"}))
    attempt.write(LimitHit(limit="cpu", minor_status="CPU", measured=4.7, allowed=4.0, unit="s"))
    attempt.write(KillRequested(origin="watchdog", reason=f"Job has exceeded maximum CPU time limit {HOSTILE}"))
    attempt.write(SignalSent(signal=15, pids=(200, 201), reason="", names=("simulate", HOSTILE)))
    attempt.clock.advance(1.0)
    attempt.write(SignalSent(signal=9, pids=(201,), reason="", names=("simulate",)))
    attempt.write(KillFinished(duration_seconds=1.01, survivors=()))


def calls(*made: tuple[str, str, int, int], uid: str = "", submissions: Sequence[str] = ()) -> bytes:
    """A line of the WMS's file: calls of (method, route, start, end), below the root of the attempt *uid* if given."""
    trace_id = identity.trace_id(uid) if uid else "1" * 32
    parent = identity.span_id(uid, names.ROOT_PATH) if uid else ""
    spans = [
        CallSpan(
            trace_id=trace_id,
            span_id=f"{number:016x}",
            parent_span_id=parent,
            method=method,
            route=route,
            status_code=200,
            start_ns=start_ns,
            end_ns=end_ns,
            call_id=f"call-{number}",
            submissions=tuple(submissions),
        )
        for number, (method, route, start_ns, end_ns) in enumerate(made, 1 if uid else 100)
    ]
    return span_line(render_calls(spans, WmsIdentity(wms_id=WMS_ID, version="1", host_name="wms")))


def killed_and_tried_again(folder: Path) -> tuple[list[Path], dict[str, Attempt]]:
    """Job 7: a first attempt that is killed and rescheduled, a second one that is Done; the node's file, the WMS's."""
    first = play(during=killed, status="Rescheduled", minor_status=f"Going to reschedule job {HOSTILE}",
                 error_type="cpu_limit", job_name=HOSTILE)  # fmt: skip
    second = play(attempt=2, previous_uid=uid_of())
    node, wms = folder / "traces.jsonl", folder / "wms-traces.jsonl"
    node.write_bytes(b"".join(span_line(render(each.entries).spans) for each in (first, second)))
    match = first.match
    made = ("POST", "/api/jobs/jdl", match.submit_start_utc_ns - 10, match.submit_end_utc_ns + 10)
    submission = identity.submission_uid(WMS_ID, 7)
    answered = ("POST", "/api/jobspan/accounting", match.match_end_utc_ns, match.match_end_utc_ns + 1000)
    wms.write_bytes(calls(made, submissions=[submission]) + calls(answered, uid=first.uid))
    return [node, wms], {each.uid: each for each in (first, second)}


def span(name: str = "step", start: float = 0.0, seconds: float = 1.0, **changes: Any) -> SpanValue:
    """A span by hand; times in seconds."""
    values: dict[str, Any] = {
        "trace_id": "a" * 32,
        "span_id": f"{abs(hash((name, start, seconds))) % (1 << 64):016x}",
        "parent_span_id": "",
        "name": name,
        "kind": 1,
        "start_ns": round(start * NANOSECONDS),
        "end_ns": round((start + seconds) * NANOSECONDS),
        "attributes": {},
        "events": (),
        "links": (),
        "is_error": False,
        "message": "",
        "resource": {},
    }
    return SpanValue(**{**values, **changes})
