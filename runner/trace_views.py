"""What is known of a job, its spans and the course of its attempts, as the values of its page. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.text import bytes_text, clean, one_line, seconds_text
from dashboards.trace_page import AttemptView, Excerpt, Happening, JobView, Row, RowKind, Sample, StageUse
from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS
from telemetry.live.otlp import EventValue, SpanValue
from telemetry.live.traces import AttemptTrace, JobTrace
from telemetry.live.traces_course import Course
from telemetry.live.traces_in_words import KILL_EVENTS, by_time, in_words
from telemetry.live.waterfall import Axis, axis, rows

#: A page is for people: so many spans, excerpts and samples of an attempt are shown.
MOST_ROWS, MOST_EXCERPTS, MOST_SAMPLES = 1000, 8, 400
_SERVER = 2
_OF_WMS = frozenset({names.SUBMIT_SPAN, names.QUEUE_SPAN, names.MATCH_SPAN})
#: What stands first on the page of an attempt: a word for people, the attribute, of the root span or its resource.
_FACTS = (
    ("Owner", names.JOB_OWNER),
    ("Group", names.JOB_OWNER_GROUP),
    ("Type", names.JOB_TYPE),
    ("Site", names.SITE_NAME),
    ("Computing element", names.CE_NAME),
    ("Worker node", names.HOST_NAME),
    ("Processors", names.JOB_PROCESSORS),
)


def job_view(
    trace: JobTrace, courses: Mapping[str, Course], *, last_output: str = "", notes: Sequence[str] = ()
) -> JobView:
    """The page's values of *trace*; *courses* are of those attempts whose journals are at hand, by UID.

    *last_output* is shown for the last attempt when its course is not known.
    """
    attempts = [_attempt_view(trace, attempt, courses.get(attempt.uid, Course())) for attempt in trace.attempts]
    if attempts and last_output.strip() and not attempts[-1].excerpts:
        last = attempts[-1]
        shown = (Excerpt(offset_seconds=last.seconds, text=clean(last_output)),)
        attempts[-1] = AttemptView(**{**vars(last), "excerpts": shown})
    damaged = [f"{trace.damaged} lines of the files were damaged and are left out."] if trace.damaged else []
    root = trace.attempts[-1].root if trace.attempts else None
    return JobView(
        job_id=trace.job_id,
        name=one_line(root.attributes.get(names.JOB_NAME)) if root else "",
        submitted_ns=trace.submit[-1].start_ns if trace.submit else 0,
        attempts=tuple(attempts),
        notes=(*notes, *damaged),
    )


def _attempt_view(trace: JobTrace, attempt: AttemptTrace, told: Course) -> AttemptView:
    root, drawn = attempt.root, rows(trace, attempt)
    shown = axis([span for _, span in drawn], root)
    stages = [span for span in attempt.spans if names.STAGE_RESULT in span.attributes]
    return AttemptView(
        number=attempt.attempt,
        status=one_line(root.attributes.get(names.JOB_STATUS)),
        minor_status=one_line(root.attributes.get(names.JOB_MINOR_STATUS)),
        error=_error(next((span for span in stages if span.is_error), root)),
        trace_id=root.trace_id,
        started_ns=root.start_ns,
        seconds=_seconds(root),
        facts=(*_facts(root), *_payload_facts(attempt)),
        axis_start_seconds=(shown.start_ns - root.start_ns) / NANOSECONDS,
        axis_seconds=(shown.end_ns - shown.start_ns) / NANOSECONDS,
        rows=tuple(_row(depth, span, shown, root) for depth, span in drawn[:MOST_ROWS]),
        rows_left_out=max(0, len(drawn) - MOST_ROWS),
        usage=tuple(_stage_use(span) for span in stages),
        happenings=_happenings(root, root.start_ns),
        excerpts=_excerpts(told, root.start_ns),
        samples=_samples(told, root.start_ns),
        previous=_previous(attempt),
    )


def _row(depth: int, span: SpanValue, shown: Axis, root: SpanValue) -> Row:
    # What happened to the attempt has its own place on the page.
    happenings = () if span is root else _happenings(span, root.start_ns)
    return Row(
        depth=depth,
        name=one_line(span.name.removeprefix("jobspan.")),
        kind=_kind(span, root),
        start=shown.share(span.start_ns),
        end=shown.share(span.end_ns),
        is_whole=shown.holds(span),
        offset_seconds=(span.start_ns - root.start_ns) / NANOSECONDS,
        seconds=_seconds(span),
        error=(one_line(span.attributes.get(names.ERROR_TYPE)) or "error") if span.is_error else "",
        details=_details(span),
        happenings=happenings,
    )


def _kind(span: SpanValue, root: SpanValue) -> RowKind:
    if span.span_id == root.span_id and span.trace_id == root.trace_id:
        return "job"
    is_ours = names.WMS_ID in span.resource or names.SERVICE_INSTANCE in span.resource
    if names.JOB_UID in span.resource or not is_ours:  # what a payload sends carries its job in the resource
        return "own"
    if span.kind == _SERVER or span.name in _OF_WMS:
        return "wms"
    if names.STAGE_RESULT in span.attributes:
        return "stage"
    return "payload" if names.EXECUTABLE_NAME in span.attributes else "operation"


def _details(span: SpanValue) -> tuple[tuple[str, str], ...]:
    message = [("message", one_line(span.message))] if span.message else []
    said = ((one_line(name), one_line(_plain(value))) for name, value in sorted(span.attributes.items()))
    return (*message, *said)


def _error(span: SpanValue) -> str:
    if not span.is_error:
        return ""
    return ": ".join(filter(None, (one_line(span.attributes.get(names.ERROR_TYPE)), one_line(span.message)))) or "error"


def _happenings(span: SpanValue, start_ns: int) -> tuple[Happening, ...]:
    return tuple(_happening(event, start_ns) for event in by_time(span))


def _happening(event: EventValue, start_ns: int) -> Happening:
    return Happening(
        offset_seconds=(event.at_ns - start_ns) / NANOSECONDS,
        name=one_line(event.name),
        said=one_line(in_words(event)),
        is_of_kill=event.name in KILL_EVENTS,
    )


def _stage_use(span: SpanValue) -> StageUse:
    said = span.attributes
    return StageUse(
        stage=one_line(said.get(names.STAGE_NAME)),
        result=one_line(said.get(names.STAGE_RESULT)),
        seconds=_seconds(span),
        payload_cpu_seconds=_number(said.get(names.STAGE_PAYLOAD_CPU)),
        wrapper_cpu_seconds=_number(said.get(names.STAGE_WRAPPER_CPU)),
        read_bytes=_whole(said.get(names.STAGE_READ)),
        written_bytes=_whole(said.get(names.STAGE_WRITTEN)),
    )


def _facts(root: SpanValue) -> list[tuple[str, str]]:
    said = {**root.resource, **root.attributes}
    return [(word, one_line(said[name])) for word, name in _FACTS if said.get(name) not in (None, "")]


def _payload_facts(attempt: AttemptTrace) -> list[tuple[str, str]]:
    payload = next((span for span in attempt.spans if names.EXECUTABLE_NAME in span.attributes), None)
    said = payload.attributes if payload else {}
    cpu = [_number(said.get(name)) for name in (names.PAYLOAD_CPU_USER, names.PAYLOAD_CPU_SYSTEM)]
    known = {
        "Took": seconds_text(_seconds(attempt.root)),
        "CPU of the payload": seconds_text(sum(each or 0.0 for each in cpu)) if any(x is not None for x in cpu) else "",
        "Most memory": bytes_text(_number(said.get(names.PAYLOAD_PEAK_RSS))),
        "Exit code": one_line(said.get(names.EXIT_CODE)),
    }
    return [(word, text) for word, text in known.items() if text]


def _previous(attempt: AttemptTrace) -> int:
    """The number of the attempt before, which the root is linked to."""
    links = (link.attributes.get(names.LINK_TYPE) for link in attempt.root.links)
    return attempt.attempt - 1 if "previous_attempt" in links else 0


def _seconds(span: SpanValue) -> float:
    return (span.end_ns - span.start_ns) / NANOSECONDS


def _plain(value: Any) -> object:
    return ", ".join(str(each) for each in value) if isinstance(value, list | tuple) else value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int) else None


def _excerpts(told: Course, start_ns: int) -> tuple[Excerpt, ...]:
    shown = told.output[-MOST_EXCERPTS:]
    return tuple(Excerpt(offset_seconds=(each.at_ns - start_ns) / NANOSECONDS, text=clean(each.text)) for each in shown)


def _samples(told: Course, start_ns: int) -> tuple[Sample, ...]:
    """The looks at the payload, evenly thinned out when there are many."""
    step = max(1, -(-len(told.use) // MOST_SAMPLES))
    return tuple(
        Sample(
            offset_seconds=(each.at_ns - start_ns) / NANOSECONDS,
            cpu_seconds=each.cpu_seconds,
            memory_bytes=each.memory_bytes,
        )
        for each in told.use[::step]
    )
