"""The trace of an attempt whose spans nobody has shipped yet, from its journal: of a job that runs, so far. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from telemetry import catalogue as names
from telemetry.entries import Entry
from telemetry.facts import AttemptEnded
from telemetry.live.otlp import SpanValue, span_line, spans_of
from telemetry.live.spans import render
from telemetry.live.story import WRAPPER_DIED
from telemetry.live.traces import AttemptTrace, JobTrace, fold


def with_open(trace: JobTrace, journals: Sequence[Sequence[Entry]], now_ns: int) -> JobTrace:
    """*trace* and the attempts of *journals* (each with its JobMatched) that it lacks; what is open lasts until now."""
    known = {attempt.uid for attempt in trace.attempts}
    told = [_told(entries, now_ns) for entries in journals]
    missing = [(attempt, submit) for attempt, submit in told if attempt.uid not in known]
    submissions = [span for _, submit in missing for span in submit]
    return replace(
        trace,
        submit=tuple(fold([*trace.submit, *submissions])),
        attempts=tuple(
            sorted(
                [*trace.attempts, *(attempt for attempt, _ in missing)],
                key=lambda each: (each.attempt, each.root.start_ns),
            )
        ),
    )


def _told(entries: Sequence[Entry], now_ns: int) -> tuple[AttemptTrace, list[SpanValue]]:
    """The attempt of a journal, and its submission."""
    rendered = render(entries)
    is_over = any(isinstance(entry.fact, AttemptEnded) for entry in entries)
    spans = fold(spans_of(span_line(rendered.spans)))
    if not is_over:
        spans = [_lasting(span, now_ns) for span in spans]
    root = next(span for span in spans if span.name == names.ROOT_SPAN)
    attempt = AttemptTrace(
        uid=rendered.uid,
        attempt=int(root.attributes[names.JOB_ATTEMPT]),
        root=root,
        spans=tuple(span for span in spans if span.trace_id == root.trace_id),
        is_over=is_over,
    )
    return attempt, [span for span in spans if span.trace_id != root.trace_id]


def _lasting(span: SpanValue, now_ns: int) -> SpanValue:
    """What has no end in the journal would be closed as that of a dead wrapper; this one may go on."""
    if span.attributes.get(names.ERROR_TYPE) != WRAPPER_DIED:
        return span
    attributes = {name: value for name, value in span.attributes.items() if name != names.ERROR_TYPE}
    if attributes.get(names.STAGE_RESULT) == "error":
        attributes[names.STAGE_RESULT] = ""
    return replace(span, end_ns=max(span.end_ns, now_ns), is_error=False, message="", attributes=attributes)
