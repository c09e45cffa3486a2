"""The traces of a job, read back from OTLP files: its submission and all its attempts, each span once."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry import catalogue as names
from telemetry import identity
from telemetry.live.otlp import SpanValue
from telemetry.live.otlp_files import read_spans

_KINDS = {1: "internal", 3: "client"}


@dataclass(frozen=True, kw_only=True)
class AttemptTrace:
    """One attempt: its root and every span of its trace, by start."""

    uid: str
    attempt: int
    root: SpanValue
    spans: tuple[SpanValue, ...]


@dataclass(frozen=True, kw_only=True)
class JobTrace:
    """All that the files know of a job."""

    job_id: int
    submit: tuple[SpanValue, ...]
    attempts: tuple[AttemptTrace, ...]
    #: Lines of the file that were not OTLP.
    damaged: int = 0


def job_trace(traces: Path, job_id: int, *, wms_id: str = "") -> JobTrace:
    """The attempts of *job_id* in the file *traces*; of one WMS if *wms_id* is given, else of all in the file."""
    read = read_spans(traces, containing=(f'"intValue":"{job_id}"',))
    spans = fold(read.spans)
    roots = [
        span
        for span in spans
        if span.name == names.ROOT_SPAN
        and span.attributes.get(names.JOB_ID) == job_id
        and (not wms_id or span.resource.get(names.WMS_ID) == wms_id)
    ]
    submissions = {
        identity.trace_id(identity.submission_uid(str(root.resource[names.WMS_ID]), job_id))
        for root in roots
        if names.WMS_ID in root.resource
    }
    attempts = [
        AttemptTrace(
            uid=str(root.attributes.get(names.JOB_UID, "")),
            attempt=int(root.attributes.get(names.JOB_ATTEMPT, 0)),
            root=root,
            spans=tuple(span for span in spans if span.trace_id == root.trace_id),
        )
        for root in roots
    ]
    return JobTrace(
        job_id=job_id,
        submit=tuple(span for span in spans if span.trace_id in submissions),
        attempts=tuple(sorted(attempts, key=lambda each: (each.attempt, each.root.start_ns))),
        damaged=read.damaged,
    )


def fold(spans: Iterable[SpanValue]) -> list[SpanValue]:
    """Each span once, the last copy of it, ordered by start; at one start the skipped first, then the longest."""
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    # Skipped stages have no length: they come before the stage that begins where they stand.
    return sorted(
        by_id.values(), key=lambda span: (span.start_ns, span.end_ns > span.start_ns, -span.end_ns, span.span_id)
    )


def depth_first(attempt: AttemptTrace) -> list[tuple[int, SpanValue]]:
    """The spans of *attempt* with their depth below the root, children by start; orphans stand below the root."""
    ids = {span.span_id for span in attempt.spans}
    children: dict[str, list[SpanValue]] = {}
    for span in attempt.spans:
        if span.span_id != attempt.root.span_id:
            parent = span.parent_span_id if span.parent_span_id in ids else _stand_in(span, attempt, ids)
            children.setdefault(parent, []).append(span)
    ordered: list[tuple[int, SpanValue]] = []
    stack = [(0, attempt.root)]
    while stack:
        depth, span = stack.pop()
        ordered.append((depth, span))
        stack.extend((depth + 1, child) for child in reversed(children.pop(span.span_id, [])))
    return ordered


def _stand_in(span: SpanValue, attempt: AttemptTrace, ids: set[str]) -> str:
    """Where an orphan stands: one that the payload has sent below the payload's span, every other below the root."""
    payload = identity.span_id(attempt.uid, names.PAYLOAD_PATH)
    return payload if names.JOB_UID in span.resource and payload in ids else attempt.root.span_id


def trace_values(trace: JobTrace) -> dict[str, Any]:
    """*trace* as plain values for JSON: ids, times in nanoseconds, attributes."""
    return {
        "job_id": trace.job_id,
        "submit": [_span_values(span) for span in trace.submit],
        "attempts": [
            {
                "attempt": attempt.attempt,
                "uid": attempt.uid,
                "trace_id": attempt.root.trace_id,
                "spans": [_span_values(span) for _, span in depth_first(attempt)],
            }
            for attempt in trace.attempts
        ],
        "damaged_lines": trace.damaged,
    }


def _span_values(span: SpanValue) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "kind": _KINDS.get(span.kind, str(span.kind)),
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "seconds": (span.end_ns - span.start_ns) / 1e9,
        "error": span.is_error,
        "message": span.message,
        "attributes": dict(span.attributes),
        "events": [{"name": each.name, "at_ns": each.at_ns, **dict(each.attributes)} for each in span.events],
        "links": [{"trace_id": each.trace_id, "span_id": each.span_id, **dict(each.attributes)} for each in span.links],
        "service": span.resource.get(names.SERVICE, ""),
    }
