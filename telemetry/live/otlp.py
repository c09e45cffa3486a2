"""Spans and log records as OTLP: protobuf for the wire, JSON lines for files, plain values for readers.

The file format is the "OTLP File Exporter" of the OpenTelemetry specification: a line is one
TracesData or LogsData in OTLP/JSON, that is proto3 JSON with ids in hex and enums as integers.
(`TracesData` and the export request have the same fields.)
"""

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from telemetry import catalogue as names
from telemetry.live.sdk import ReadableLogRecord, ReadableSpan, encode_logs, encode_spans

Values: TypeAlias = Mapping[str, Any]
_IDS = ("traceId", "spanId", "parentSpanId")
_STATUS_ERROR = 2


def span_bytes(spans: Sequence[ReadableSpan]) -> bytes:
    """ExportTraceServiceRequest in protobuf."""
    return encode_spans(spans).SerializeToString()


def log_bytes(logs: Sequence[ReadableLogRecord]) -> bytes:
    """ExportLogsServiceRequest in protobuf."""
    return encode_logs(logs).SerializeToString()


def span_line(spans: Sequence[ReadableSpan]) -> bytes:
    """One line of traces.jsonl, newline included."""
    return line_of(encode_spans(spans))


def log_line(logs: Sequence[ReadableLogRecord]) -> bytes:
    """One line of logs.jsonl, newline included."""
    return line_of(encode_logs(logs))


def line_of(message: Message) -> bytes:
    """*message* (TracesData, LogsData, or a request to export them) as one line, newline included."""
    document = MessageToDict(message, use_integers_for_enums=True)
    for item in _records(document, "Spans", "spans"):
        _hex_ids(item)
        for link in item.get("links", ()):
            _hex_ids(link)
    for item in _records(document, "Logs", "logRecords"):
        _hex_ids(item)
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _records(document: Values, kind: str, items: str) -> Iterator[dict[str, Any]]:
    for resource in document.get(f"resource{kind}", ()):
        for scope in resource.get(f"scope{kind}", ()):
            yield from scope.get(items, ())


def _hex_ids(item: dict[str, Any]) -> None:
    """Proto3 JSON writes bytes as base64; OTLP/JSON wants these three in hex, and no others."""
    for name in _IDS:
        if name in item:
            item[name] = base64.b64decode(item[name]).hex()


# --- reading --------------------------------------------------------------------------------------


class NotOtlp(ValueError):
    """A line is not OTLP/JSON."""


@dataclass(frozen=True, kw_only=True)
class EventValue:
    """A span event."""

    name: str
    at_ns: int
    attributes: Values


@dataclass(frozen=True, kw_only=True)
class LinkValue:
    """A link to a span of another trace."""

    trace_id: str
    span_id: str
    attributes: Values


@dataclass(frozen=True, kw_only=True)
class SpanValue:
    """A span as plain values: ids in hex, times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Values
    events: tuple[EventValue, ...]
    links: tuple[LinkValue, ...]
    is_error: bool
    message: str
    resource: Values


@dataclass(frozen=True, kw_only=True)
class AccountingEvent:
    """An accounting record as the telemetry holds it. `record` has the design's field names; `line` counts from 1."""

    uid: str
    item: str  # <UID>/<RecordedBy>/<Revision>: two events with one of these are two copies
    timestamp_ns: int
    trace_id: str
    span_id: str
    record: Values
    line: int


def spans_of(line: bytes) -> Iterator[SpanValue]:
    """The spans in a line of traces.jsonl.

    Raises:
        NotOtlp: it is not one.
    """
    document = _parse(line, "resourceSpans")
    try:
        for resource in document["resourceSpans"]:
            shared = _attributes(resource.get("resource", {}))
            for scope in resource.get("scopeSpans", ()):
                for span in scope.get("spans", ()):
                    yield _span(span, shared)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise NotOtlp(f"not OTLP: {error!r}") from error


def accounting_of(line: bytes, number: int, uids: Collection[str] | None = None) -> Iterator[AccountingEvent]:
    """The accounting events in a line of logs.jsonl, those of *uids* only if given; *number* is the line's.

    Raises:
        NotOtlp: it is not one.
    """
    document = _parse(line, "resourceLogs")
    try:
        for item in _records(document, "Logs", "logRecords"):
            if item.get("eventName") != names.ACCOUNTING_EVENT:
                continue
            attributes = _attributes(item)
            item_name = str(attributes[names.RECORD_UID])
            uid = item_name.partition("/")[0]
            if uids is None or uid in uids:
                yield AccountingEvent(
                    uid=uid,
                    item=item_name,
                    timestamp_ns=int(item.get("timeUnixNano", 0)),
                    trace_id=str(item.get("traceId", "")),
                    span_id=str(item.get("spanId", "")),
                    record=_record(attributes),
                    line=number,
                )
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise NotOtlp(f"not OTLP: {error!r}") from error


def _record(attributes: Values) -> Values:
    prefix = names.ACCOUNTING_PREFIX
    return {names.record_field(name): value for name, value in attributes.items() if name.startswith(prefix)}


def _parse(line: bytes, member: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise NotOtlp(f"not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get(member), list):
        raise NotOtlp(f"no {member}")
    return document


def _span(span: Values, resource: Values) -> SpanValue:
    """Of a span ids and times are required; proto3 JSON leaves out all else that is empty."""
    status = span.get("status", {})
    return SpanValue(
        trace_id=str(span["traceId"]),
        span_id=str(span["spanId"]),
        parent_span_id=str(span.get("parentSpanId", "")),
        name=str(span.get("name", "")),
        kind=int(span.get("kind", 0)),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes=_attributes(span),
        events=tuple(
            EventValue(
                name=str(each.get("name", "")),
                at_ns=int(each.get("timeUnixNano", 0)),
                attributes=_attributes(each),
            )
            for each in span.get("events", ())
        ),
        links=tuple(
            LinkValue(
                trace_id=str(each.get("traceId", "")),
                span_id=str(each.get("spanId", "")),
                attributes=_attributes(each),
            )
            for each in span.get("links", ())
        ),
        is_error=status.get("code") == _STATUS_ERROR,
        message=str(status.get("message", "")),
        resource=resource,
    )


def _attributes(holder: Values) -> dict[str, Any]:
    return _by_key(holder.get("attributes", ()))


def _by_key(pairs: Iterable[Values]) -> dict[str, Any]:
    return {each.get("key", ""): _plain(each.get("value", {})) for each in pairs}


def _plain(value: Values) -> Any:
    """An AnyValue as a Python value; an empty one is None."""
    for kind, content in value.items():
        match kind:
            case "intValue":
                return int(content)
            case "doubleValue":
                return float(content)  # also "NaN" and "Infinity"
            case "arrayValue":
                return [_plain(each) for each in content.get("values", ())]
            case "kvlistValue":
                return _by_key(content.get("values", ()))
            case "bytesValue":
                return base64.b64decode(content)
            case _:
                return content
    return None
