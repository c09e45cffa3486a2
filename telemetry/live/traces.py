"""The traces of a job, read back from OTLP files: its submission and all its attempts, each span once.

The spans of one trace may lie in several files: those of the node, of the WMS, of a collector.
"""

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from telemetry import catalogue as names
from telemetry import identity
from telemetry.live.otlp import SpanValue
from telemetry.live.otlp_files import read_spans

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_SERVER, _CLIENT = 2, 3
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, kw_only=True)
class AttemptTrace:
    """One attempt: its root and every span of its trace, by start."""

    uid: str
    attempt: int
    root: SpanValue
    spans: tuple[SpanValue, ...]


@dataclass(frozen=True, kw_only=True)
class JobTrace:
    """All that the files know of a job. `submit` is its submission, after the call that made it."""

    job_id: int
    submit: tuple[SpanValue, ...]
    attempts: tuple[AttemptTrace, ...]
    #: Lines of the file that were not OTLP.
    damaged: int = 0


def job_trace(traces: Path, job_id: int, *, wms_id: str = "", beside: Sequence[Path] = ()) -> JobTrace:
    """The attempts of *job_id* in the file *traces*, and in those *beside* it: of a WMS, of a collector.

    Of one WMS if *wms_id* is given, else of all in the files.
    """
    files = (traces, *beside)
    # As everybody writes OTLP/JSON lines: a look for this text costs far less than to parse all of them.
    own, damaged = _read(files, f'"{names.JOB_ID}","value":{{"intValue":"{job_id}"}}')
    roots = [
        span
        for span in fold(own)
        if span.name == names.ROOT_SPAN
        and span.attributes.get(names.JOB_ID) == job_id
        and (not wms_id or span.resource.get(names.WMS_ID) == wms_id)
    ]
    submissions = {
        identity.trace_id(identity.submission_uid(str(root.resource[names.WMS_ID]), job_id))
        for root in roots
        if names.WMS_ID in root.resource
    }
    if wms_id:  # known also before an attempt has ended
        submissions.add(identity.trace_id(identity.submission_uid(wms_id, job_id)))
    # Others know the job by its traces only: the WMS's calls, spans of the payload.
    known = (*submissions, *(root.trace_id for root in roots))
    others, _ = _read(files, *known) if known else ([], 0)
    spans = fold([*own, *others])
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
        submit=tuple(span for span in spans if _submits(span, submissions)),
        attempts=tuple(sorted(attempts, key=lambda each: (each.attempt, each.root.start_ns))),
        damaged=damaged,
    )


def _read(files: Sequence[Path], *containing: str) -> tuple[list[SpanValue], int]:
    read = [read_spans(path, containing=containing) for path in files]
    return [span for each in read for span in each.spans], sum(each.damaged for each in read)


def _submits(span: SpanValue, submissions: set[str]) -> bool:
    """Whether *span* is of a submission, or of the call that made it."""
    calls = span.kind == _SERVER and any(link.trace_id in submissions for link in span.links)
    return calls or span.trace_id in submissions


def fold(spans: Iterable[SpanValue]) -> list[SpanValue]:
    """Each span once, the last copy of it, ordered by start; at one start the skipped first, then the longest."""
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    # Skipped stages have no length: they come before the stage that begins where they stand.
    return sorted(
        by_id.values(), key=lambda span: (span.start_ns, span.end_ns > span.start_ns, -span.end_ns, span.span_id)
    )


def depth_first(attempt: AttemptTrace) -> list[tuple[int, SpanValue]]:
    """The spans of *attempt* with their depth below the root, children by start; orphans have a place, too.

    The WMS's calls know the attempt only: each stands below the wrapper's span of the same call, if there is one.
    """
    root_id, ids = attempt.root.span_id, {span.span_id for span in attempt.spans}
    made = [span for span in attempt.spans if span.kind == _CLIENT]
    children: dict[str, list[SpanValue]] = {}
    for span in attempt.spans:
        if span.span_id != root_id:
            parent = span.parent_span_id if span.parent_span_id in ids else _stand_in(span, attempt, ids)
            if parent == root_id and span.kind == _SERVER:
                parent = _caller(span, made) or root_id
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


def _caller(answered: SpanValue, made: Iterable[SpanValue]) -> str:
    """Id of the call among *made* that *answered* lies within; empty when there is none, or the clocks differ."""
    name = _PLACEHOLDER.sub("{}", answered.name)
    around = [
        span
        for span in made
        if span.start_ns <= answered.start_ns
        and answered.end_ns <= span.end_ns
        and _PLACEHOLDER.sub("{}", span.name) == name
    ]
    return max(around, key=lambda span: span.start_ns).span_id if around else ""


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


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* as JSON can say them: payloads may have sent bytes, and numbers that are none."""
    return {name: _json_value(value) for name, value in values.items()}


def _json_value(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return str(value)
        case list() | tuple():
            return [_json_value(each) for each in value]
        case dict():
            return json_values(value)
        case _:
            return value


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
        "attributes": json_values(span.attributes),
        "events": [{"name": each.name, "at_ns": each.at_ns, **json_values(each.attributes)} for each in span.events],
        "links": [
            {"trace_id": each.trace_id, "span_id": each.span_id, **json_values(each.attributes)} for each in span.links
        ],
        "service": span.resource.get(names.SERVICE, ""),
    }
