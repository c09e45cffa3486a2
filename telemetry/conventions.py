"""What we say about batch jobs and how, as a page for whoever reads our telemetry or wants to say the same.

`python -m telemetry.conventions` renews `CONVENTIONS.md` beside this module from the catalogue and the record's schema;
a test holds the page against both, and what is said here of spans and events against what is really rendered.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from telemetry import catalogue as names
from telemetry.facts import STAGES
from telemetry.ledger.schema import SCHEMA

PAGE = Path(__file__).with_name("CONVENTIONS.md")
Type: TypeAlias = Literal["string", "int", "double", "int[]", "string[]"]

# --- attributes: types and units ------------------------------------------------------------------

_TYPES: Mapping[Type, tuple[str, ...]] = {
    "int": (
        *(names.EXIT_CODE, names.PROCESS_PID, names.HTTP_CODE, names.JOB_ID, names.JOB_ATTEMPT, names.JOB_PROCESSORS),
        *(names.PAYLOAD_SIGNAL, names.PAYLOAD_PEAK_RSS, names.PAYLOAD_PEAK_SWAP, names.PAYLOAD_PEAK_MEMORY_SWAP),
        *(names.PAYLOAD_PEAK_THREADS, names.PAYLOAD_READ, names.PAYLOAD_WRITTEN, names.PAYLOAD_MAJOR_FAULTS),
        *(names.PAYLOAD_MINOR_FAULTS, names.PAYLOAD_SWITCHES, names.PAYLOAD_PREEMPTIONS, names.STAGE_READ),
        *(names.STAGE_WRITTEN, names.PAYLOAD_ERRNO, names.SIGNAL_NUMBER, names.MOVED_BYTES, names.MOVED_FILES),
        names.REQUEST_OPERATIONS,
    ),
    "double": (
        *(names.CLOCK_OFFSET, names.PAYLOAD_CPU_USER, names.PAYLOAD_CPU_SYSTEM, names.PAYLOAD_CPU_UNCERTAINTY),
        *(names.PAYLOAD_ORPHAN_CPU, names.STAGE_PAYLOAD_CPU, names.STAGE_WRAPPER_CPU, names.LATE_SECONDS),
        *(names.SUSPENDED_SECONDS, names.CLOCK_STEP, names.LIMIT_MEASURED, names.LIMIT_ALLOWED, names.KILL_DURATION),
    ),
    "int[]": (names.SIGNAL_PIDS, names.KILL_SURVIVORS),
    "string[]": (names.SIGNAL_NAMES,),
}
_TYPE_OF: Mapping[str, Type] = {name: kind for kind, members in _TYPES.items() for name in members}
#: UCUM, as OpenTelemetry writes units.
_UNITS: Mapping[str, tuple[str, ...]] = {
    "s": tuple(name for name in _TYPES["double"] if name not in (names.LIMIT_MEASURED, names.LIMIT_ALLOWED)),
    "By": (
        *(names.PAYLOAD_PEAK_RSS, names.PAYLOAD_PEAK_SWAP, names.PAYLOAD_PEAK_MEMORY_SWAP, names.PAYLOAD_READ),
        *(names.PAYLOAD_WRITTEN, names.STAGE_READ, names.STAGE_WRITTEN, names.MOVED_BYTES),
    ),
}
_UNIT_OF = {name: unit for unit, members in _UNITS.items() for name in members}
_UCUM = {"seconds": "s", "bytes": "By", "": "1"}


def type_of(attribute: str) -> Type:
    """Type of the values of *attribute*."""
    return _TYPE_OF.get(attribute, "string")


# --- spans and events: what stands on them --------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SpanConvention:
    """A kind of span. `name` is what it is called, or how its name is made."""

    name: str
    kind: Literal["INTERNAL", "CLIENT", "SERVER"]
    brief: str
    parent: str
    attributes: tuple[str, ...]


RESOURCE = (
    *(names.SERVICE, names.SERVICE_VERSION, names.SERVICE_INSTANCE, names.HOST_NAME),
    *(names.WMS_ID, names.SITE_NAME, names.CE_NAME, names.QUEUE_NAME),
)
WMS_RESOURCE = (names.SERVICE, names.SERVICE_INSTANCE)
#: What a payload says of itself may have any attribute but ours; these are put there for it.
PAYLOAD_RESOURCE = (names.JOB_ID, names.JOB_ATTEMPT, names.JOB_UID)
_IDENTITY = (
    *(names.JOB_ID, names.JOB_ATTEMPT, names.JOB_UID, names.JOB_NAME, names.JOB_GROUP, names.JOB_TYPE),
    *(names.JOB_OWNER, names.JOB_OWNER_GROUP, names.JOB_PROCESSORS, names.VO_NAME, names.PILOT_STAMP),
    *(names.BATCH_SYSTEM, names.BATCH_JOB_ID, names.CLOCK_OFFSET),
)
_USAGE = (
    *(names.PAYLOAD_CPU_USER, names.PAYLOAD_CPU_SYSTEM, names.PAYLOAD_CPU_METHOD, names.PAYLOAD_CPU_UNCERTAINTY),
    *(names.PAYLOAD_ORPHAN_CPU, names.PAYLOAD_PEAK_RSS, names.PAYLOAD_MEMORY_METHOD, names.PAYLOAD_PEAK_SWAP),
    *(names.PAYLOAD_SWAP_METHOD, names.PAYLOAD_PEAK_MEMORY_SWAP, names.PAYLOAD_PEAK_THREADS),
    *(names.PAYLOAD_THREADS_METHOD, names.PAYLOAD_READ, names.PAYLOAD_WRITTEN, names.PAYLOAD_IO_METHOD),
    *(names.PAYLOAD_MAJOR_FAULTS, names.PAYLOAD_MINOR_FAULTS, names.PAYLOAD_SWITCHES, names.PAYLOAD_PREEMPTIONS),
    names.PAYLOAD_METHODS,
)

ROOT = SpanConvention(
    name=names.ROOT_SPAN,
    kind="INTERNAL",
    brief=names.SPANS[names.ROOT_SPAN],
    parent="none; links to the submission and to the attempt before",
    attributes=(*_IDENTITY, names.JOB_STATUS, names.JOB_MINOR_STATUS, names.RECORDED_BY, names.ERROR_TYPE),
)
STAGE = SpanConvention(
    name=names.stage_span("<stage>"),
    kind="INTERNAL",
    brief=f"a stage of the attempt: {', '.join(STAGES)}; each begins where the one before has ended",
    parent=names.ROOT_SPAN,
    attributes=(
        *(names.STAGE_NAME, names.STAGE_RESULT, names.STAGE_PAYLOAD_CPU, names.STAGE_WRAPPER_CPU),
        *(names.STAGE_READ, names.STAGE_WRITTEN, names.ERROR_TYPE),
    ),
)
PAYLOAD = SpanConvention(
    name="<process.executable.name>",
    kind="CLIENT",
    brief="the payload, from its exec to its end, as in OpenTelemetry's spans of command line programs",
    parent=names.stage_span("execute"),
    attributes=(
        *(names.EXECUTABLE_NAME, names.EXECUTABLE_PATH, names.PROCESS_PID, names.EXIT_CODE, names.PAYLOAD_SIGNAL),
        *(*_USAGE, names.ERROR_TYPE),
    ),
)
OPERATION = SpanConvention(
    name="<operation>",
    kind="INTERNAL",
    brief="a part of a stage: pack, unpack, download_input_sandbox, upload_output_sandbox, transfer and others",
    parent=names.stage_span("<stage>"),
    attributes=(names.MOVED_NAME, names.MOVED_BYTES, names.MOVED_FILES, names.STORAGE_ELEMENT, names.ERROR_TYPE),
)
CALL = SpanConvention(
    name="<http.request.method> <http.route>",
    kind="CLIENT",
    brief="a call of the wrapper to the WMS",
    parent=names.stage_span("<stage>"),
    attributes=(names.HTTP_METHOD, names.HTTP_ROUTE, names.HTTP_CODE, names.CALL_ID, names.ERROR_TYPE),
)
SERVED = SpanConvention(
    name="<http.request.method> <http.route>",
    kind="SERVER",
    brief="the same as the WMS saw it, and every other call to it",
    parent="what the caller's traceparent names",
    attributes=CALL.attributes,
)
BY_WMS = tuple(
    SpanConvention(
        name=name, kind="INTERNAL", brief=names.SPANS[name], parent=parent, attributes=(names.JOB_ID, names.WMS_ID)
    )
    for name, parent in (
        (names.SUBMIT_SPAN, "none; may link to the span of whoever submitted"),
        (names.QUEUE_SPAN, names.ROOT_SPAN),
        (names.MATCH_SPAN, names.ROOT_SPAN),
    )
)
SPANS = (ROOT, STAGE, PAYLOAD, OPERATION, CALL, *BY_WMS, SERVED)

#: Of the events of the root span.
EVENTS: Mapping[str, tuple[str, ...]] = {
    names.SUBMITTED_EVENT: (names.CE_TASK, names.CE_NAME),
    names.STATUS_EVENT: (
        *(names.JOB_STATUS, names.JOB_MINOR_STATUS, names.JOB_APPLICATION_STATUS, names.STATUS_SOURCE),
    ),
    names.PAYLOAD_REFUSED_EVENT: (names.PAYLOAD_ERRNO, names.REASON),
    names.LIMIT_EVENT: (
        *(names.LIMIT_NAME, names.LIMIT_MEASURED, names.LIMIT_ALLOWED, names.LIMIT_UNIT, names.LIMIT_ACTION),
        names.JOB_MINOR_STATUS,
    ),
    names.KILL_REQUESTED_EVENT: (names.KILL_ORIGIN, names.REASON),
    names.SIGNAL_EVENT: (
        *(names.SIGNAL_NUMBER, names.SIGNAL_PIDS, names.SIGNAL_NAMES, names.SIGNAL_PURPOSE, names.REASON),
    ),
    names.KILL_FINISHED_EVENT: (names.KILL_DURATION, names.KILL_SURVIVORS),
    names.LATE_EVENT: (names.LATE_SECONDS, names.SUSPENDED_SECONDS),
    names.CLOCK_EVENT: (names.CLOCK_STEP,),
    names.FENCED_EVENT: (names.REASON,),
    names.REQUEST_EVENT: (names.REQUEST_NAME, names.REQUEST_OPERATIONS),
}

# --- the page -------------------------------------------------------------------------------------

_HEAD = """# Telemetry of batch jobs: the conventions

Written by `python -m telemetry.conventions`, from `telemetry/catalogue.py` and `telemetry/ledger/schema.py`.

OpenTelemetry has conventions for processes, command line programs and pipelines of continuous integration, and
none for jobs of a batch or workload management system. These are ours, for anybody to adopt. They lean on
OpenTelemetry's (semantic conventions 1.44) wherever one fits: `process.*`, `error.type`, `service.*`, `host.*`,
`http.*`, `log.record.uid`; what is new stands below `jobspan.`. Names of spans, events and labels of metrics are of
low cardinality; values of attributes need not be.

* **An attempt is a trace.** A job that is run again is another attempt, another trace, and a link.
* **Ids follow from the identity.** UID = uuid5(WMSID, "JobID/Attempt"), trace id = sha256(UID)[:16], span id =
  sha256(UID, path of the span, number among those of its path)[:8]. So whoever renders an attempt again, after a
  crash or on another machine, makes copies and no contradictions; a reader that folds by id counts nothing twice.
* **Failure** is the status Error and `error.type`; success is Unset.
* **Durations** come from a clock that does not jump; start and end are that, laid on UTC once.
* **Units** are UCUM (`s`, `By`); `1` is a number without one.
* **The payload** finds the trace in `TRACEPARENT`, and where to send spans and logs of its own in `OTEL_*`. They
  stand below the payload's span, in the trace of the attempt; one that was begun in another trace links to that.
  None of the names below `jobspan.` is theirs to use.

Resource attributes of a site (`OTEL_RESOURCE_ATTRIBUTES`) stand beside those named here, which win.
"""


def page() -> str:
    """The whole page."""
    return "\n".join((_HEAD, *_resource(), *_spans(), *_events(), *_accounting(), *_attributes(), *_metrics()))


def _resource() -> Iterator[str]:
    yield "## Resource\n"
    yield from _attribute_table(RESOURCE)
    yield f"\nOf the WMS's spans (`{names.SERVICE}` is `{names.WMS_SERVICE_NAME}`): {_quoted(WMS_RESOURCE)}.\n"
    yield f"Of what payloads send, beside what they say themselves: {_quoted(PAYLOAD_RESOURCE)}.\n"


def _spans() -> Iterator[str]:
    yield "## Spans\n"
    for each in SPANS:
        yield f"### `{each.name}` ({each.kind})\n"
        yield f"{_sentence(each.brief)} Parent: {_code_names(each.parent)}.\n"
        yield f"Attributes: {_quoted(each.attributes)}.\n"
    targets = names.ATTRIBUTES[names.LINK_TYPE].partition(": ")[2]
    yield f"Links say what they point to: `{names.LINK_TYPE}`, {targets}.\n"


def _events() -> Iterator[str]:
    yield f"## Events of `{names.ROOT_SPAN}`\n"
    rows = ((f"`{name}`", names.EVENTS[name].partition(": ")[2], _quoted(held)) for name, held in EVENTS.items())
    yield from _table(("event", "meaning", "attributes"), rows)
    yield ""


def _accounting() -> Iterator[str]:
    yield f"## The log event `{names.ACCOUNTING_EVENT}`\n"
    yield (
        "One for each record of an attempt, in the trace of the attempt. Its time is the end of the attempt; "
        f"`{names.RECORD_UID}`\nis {names.ATTRIBUTES[names.RECORD_UID]}. What is not known is left out.\n"
    )
    rows = (
        (f"`{names.accounting_attribute(each.name)}`", _FIELD_TYPES[each.type], each.unit or "", each.help)
        for each in SCHEMA
    )
    yield from _table(("attribute", "type", "unit", "meaning"), rows)
    yield ""


_FIELD_TYPES = {"text": "string", "integer": "int", "number": "double", "boolean": "boolean", "time": "string"}


def _attributes() -> Iterator[str]:
    yield "## Attributes\n"
    yield from _attribute_table(sorted(names.ATTRIBUTES))
    yield ""


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield "In Prometheus's words. Histograms carry exemplars with `trace_id` and `span_id` where there is a trace.\n"
    metrics = {**names.METRICS, **names.WMS_METRICS, **names.RECONCILIATION_METRICS}
    rows = (
        (f"`{each.name}`", each.kind, _UCUM.get(each.unit, f"{{{each.unit}}}"), _quoted(each.labels), each.help)
        for each in (metrics[name] for name in sorted(metrics))
    )
    yield from _table(("metric", "kind", "unit", "labels", "meaning"), rows)
    yield ""


def _attribute_table(attributes: Iterable[str]) -> Iterator[str]:
    rows = ((f"`{each}`", type_of(each), _UNIT_OF.get(each, ""), names.ATTRIBUTES[each]) for each in attributes)
    yield from _table(("attribute", "type", "unit", "meaning"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"


def _quoted(held: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in held)


def _code_names(text: str) -> str:
    """A parent as it is: the name of a span in code, words as words."""
    return f"`{text}`" if text.startswith("jobspan.") else text


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    PAGE.write_text(page())
