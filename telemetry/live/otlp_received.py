"""OTLP that a payload has sent -> a line of its spool: judged, brought home, masked. Pure.

What a payload says is its own word, and everybody must be able to see that: nothing of it may use our names
(`jobspan.*`), stand for a part of the job that we tell of, or belong to another job. So all of it gets the job's
identity from us, and all its spans and logs come into the trace of the attempt, below the span of the payload. A span
that was begun in a trace of its own, because the payload knows nothing of TRACEPARENT, carries a link to where it was.
"""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS
from telemetry.facts import STAGES
from telemetry.identity import span_id, trace_id
from telemetry.live.otlp import NotOtlp, line_of
from telemetry.live.payload_spool import PayloadKey, SignalName

PROTOBUF, JSON = "application/x-protobuf", "application/json"
#: A span may have begun so long before its payload, and end so far ahead of our clock.
_TOLERANCE_NS = 3600 * NANOSECONDS
LONGEST_REASON = 300
_LONGEST_NAME = 60
#: How our own events are told apart (`RECORD_UID`): a UID, and what follows it.
_RECORD = re.compile(r"\s*[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\s*/", re.IGNORECASE)
_IDS = ("traceId", "spanId", "parentSpanId")


@dataclass(frozen=True)
class Signal:
    """One kind of telemetry, and what its messages call their parts."""

    name: SignalName
    request: type[Message]
    response: type[Message]
    item: str
    resources: str
    scopes: str
    items: str
    rejected: str


TRACES: Final = Signal(
    "traces", ExportTraceServiceRequest, ExportTraceServiceResponse, "span",
    "resource_spans", "scope_spans", "spans", "rejected_spans",
)  # fmt: skip
LOGS: Final = Signal(
    "logs", ExportLogsServiceRequest, ExportLogsServiceResponse, "log record",
    "resource_logs", "scope_logs", "log_records", "rejected_log_records",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On which something is taken: whose it is, how many more items it may have, and what must be hidden."""

    key: PayloadKey
    now_utc_ns: int
    room: int
    mask: Callable[[str], str]
    #: Of the site's own telemetry.
    service_name: str = names.SERVICE_NAME


@dataclass(frozen=True, kw_only=True)
class Received:
    """What became of a request: the line for the spool (empty: nothing is left of it), and what was refused and why."""

    line: bytes
    items: int
    rejected: int = 0
    reason: str = ""


def receive(signal: Signal, body: bytes, content_type: str, terms: Terms) -> Received:
    """Judge the request *body*.

    Raises:
        NotOtlp: it is not one.
    """
    request = _parse(signal, body, content_type)
    _hide(request, terms.mask)
    judge = _Judge(terms, hashlib.sha256(body).hexdigest()[:16])
    judge.sift(request, signal)
    return Received(
        line=line_of(request) if judge.kept else b"",
        items=judge.kept,
        rejected=judge.refused.total(),
        reason=judge.reason(signal),
    )


def answer(signal: Signal, received: Received, content_type: str) -> bytes:
    """The answer to a request that was taken, in full or in part."""
    response: Any = signal.response()
    if received.rejected:
        setattr(response.partial_success, signal.rejected, received.rejected)
        response.partial_success.error_message = received.reason
    if content_type == JSON:
        return json.dumps(MessageToDict(response)).encode()
    return bytes(response.SerializeToString())


def message_of(signal: Signal, line: bytes) -> Message:
    """The request that a line of OTLP/JSON holds.

    Raises:
        NotOtlp: it is none.
    """
    try:
        document = json.loads(line)
        for item in _with_ids(document):
            for name in _IDS:
                if name in item:
                    item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()
        return ParseDict(document, signal.request(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NotOtlp(f"not OTLP/JSON: {type(error).__name__}") from error


def items_in(signal: Signal, line: bytes) -> int:
    """How many spans, or log records, a line of the spool holds; none if it is damaged."""
    try:
        request = message_of(signal, line)
    except NotOtlp:
        return 0
    scopes = (scope for resource in getattr(request, signal.resources) for scope in getattr(resource, signal.scopes))
    return sum(len(getattr(scope, signal.items)) for scope in scopes)


def _with_ids(document: Any) -> Iterable[dict[str, Any]]:
    """The objects of a document that have ids in hex."""
    for resource in document.get("resourceSpans") or ():
        for scope in resource.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                yield span
                yield from span.get("links") or ()
    for resource in document.get("resourceLogs") or ():
        for scope in resource.get("scopeLogs") or ():
            yield from scope.get("logRecords") or ()


def _parse(signal: Signal, body: bytes, content_type: str) -> Message:
    if content_type == JSON:
        return message_of(signal, body)
    try:
        request = signal.request()
        request.ParseFromString(body)
    except DecodeError as error:
        raise NotOtlp("not OTLP in protobuf") from error
    return request


# --- judging --------------------------------------------------------------------------------------


class _Judge:
    """Goes through one request, and leaves in it what may stay."""

    def __init__(self, terms: Terms, digest: str) -> None:
        uid = terms.key.uid
        self._terms = terms
        self._digest = digest
        self._trace = bytes.fromhex(trace_id(uid))
        self._payload = bytes.fromhex(span_id(uid, names.PAYLOAD_PATH))
        paths = (names.ROOT_PATH, names.QUEUE_PATH, names.MATCH_PATH, *(names.stage_path(each) for each in STAGES))
        self._reserved = {self._payload, *(bytes.fromhex(span_id(uid, path)) for path in paths)}
        self._given = _given(terms.key)
        self.kept = 0
        self.refused: Counter[str] = Counter()

    def reason(self, signal: Signal) -> str:
        """Why something was refused, in words."""
        said = [f"{count} {signal.item}(s): {why}" for why, count in self.refused.most_common(3)]
        return "; ".join(said)[:LONGEST_REASON]

    def sift(self, request: Any, signal: Signal) -> None:
        """Take out what is refused, and mark what stays as this job's."""
        resources = getattr(request, signal.resources)
        for resource in resources:
            why = self._resource(resource.resource)
            scopes = getattr(resource, signal.scopes)
            for scope in scopes:
                self._scope(scope, why, signal)
            _remove(scopes, [not getattr(each, signal.items) for each in scopes])
        _remove(resources, [not getattr(each, signal.scopes) for each in resources])

    def _scope(self, scope: Any, why: str, signal: Signal) -> None:
        why = why or _name_problem("scope", scope.scope.name) or _attributes_problem(scope.scope.attributes)
        judge = self._span if signal is TRACES else self._log
        items = getattr(scope, signal.items)
        problems = []
        for item in items:
            full = "the job has used up how many it may send" if self.kept >= self._terms.room else ""
            problem = why or full or judge(item)
            problems.append(bool(problem))
            if problem:
                self.refused[problem] += 1
            else:
                self.kept += 1
        _remove(items, problems)

    def _resource(self, resource: Any) -> str:
        """What is wrong with it; otherwise it says now whose it is, in our words."""
        copies = []
        has_name = False
        for each in resource.attributes:
            value = each.value.string_value if each.value.HasField("string_value") else str(each.value.int_value)
            if each.key == names.SERVICE:
                has_name = True
                if names.is_ours(value) or value == self._terms.service_name:
                    return f"service.name {value[:_LONGEST_NAME]!r} is ours"
            copies.append(value == self._given.get(each.key))
        _remove(resource.attributes, copies)
        if problem := _attributes_problem(resource.attributes):
            return problem
        key = self._terms.key
        if not has_name:
            resource.attributes.append(_text(names.SERVICE, key.service_name))
        resource.attributes.extend(
            [
                KeyValue(key=names.JOB_ID, value=AnyValue(int_value=key.job_id)),
                KeyValue(key=names.JOB_ATTEMPT, value=AnyValue(int_value=key.attempt)),
                _text(names.JOB_UID, key.uid),
            ]
        )
        return ""

    def _span(self, span: Any) -> str:
        problem = (
            _id_problem(span.trace_id, span.span_id)
            or ("its id is that of a span of ours" if span.span_id in self._reserved else "")
            or self._time_problem(span.start_time_unix_nano, span.end_time_unix_nano)
            or _name_problem("span", span.name)
            or _attributes_problem(span.attributes)
        )
        for event in span.events:
            problem = problem or _name_problem("event", event.name) or _attributes_problem(event.attributes)
        for link in span.links:
            problem = problem or _attributes_problem(link.attributes)
        if not problem:
            self._bring_home(span)
        return problem

    def _bring_home(self, span: Any) -> None:
        is_root = len(span.parent_span_id) != 8 or not any(span.parent_span_id)
        if span.trace_id != self._trace:
            if is_root:
                link = span.links.add(trace_id=span.trace_id, span_id=span.span_id)
                link.attributes.append(_text(names.LINK_TYPE, "original"))
            span.trace_id = self._trace
        if is_root or span.parent_span_id in self._reserved:
            span.parent_span_id = self._payload

    def _time_problem(self, start_ns: int, end_ns: int) -> str:
        earliest, latest = self._terms.key.since_utc_ns - _TOLERANCE_NS, self._terms.now_utc_ns + _TOLERANCE_NS
        if earliest <= start_ns <= end_ns <= latest:
            return ""
        return "its times are not within the life of the job"

    def _log(self, record: Any) -> str:
        problem = _name_problem("event", record.event_name) or _attributes_problem(record.attributes)
        uids = [each.value.string_value for each in record.attributes if each.key == names.RECORD_UID]
        if problem or any(_RECORD.match(uid) for uid in uids):
            return problem or f"{names.RECORD_UID} is that of a record of ours"
        if not uids:  # so that a reader who gets it twice counts it once
            number = self.kept + self.refused.total()
            uid = f"{self._terms.key.uid}/payload/{self._digest}/{number}"
            record.attributes.append(_text(names.RECORD_UID, uid))
        record.trace_id = self._trace
        if len(record.span_id) != 8 or not any(record.span_id):
            record.span_id = self._payload
        record.observed_time_unix_nano = record.observed_time_unix_nano or self._terms.now_utc_ns
        return ""


def _given(key: PayloadKey) -> dict[str, str]:
    """What the payload was told about itself (OTEL_RESOURCE_ATTRIBUTES): it may say that again."""
    return {names.JOB_ID: str(key.job_id), names.JOB_ATTEMPT: str(key.attempt), names.JOB_UID: key.uid}


def _name_problem(what: str, name: str) -> str:
    return f"the {what} {name[:_LONGEST_NAME]!r} is in our namespace" if names.is_ours(name) else ""


def _attributes_problem(attributes: Iterable[Any]) -> str:
    for each in attributes:
        if problem := _name_problem("attribute", each.key):
            return problem
        if each.key == "event.name" and (problem := _name_problem("event", each.value.string_value)):
            return problem
    return ""


def _id_problem(trace: bytes, span: bytes) -> str:
    if len(trace) != 16 or len(span) != 8 or not any(trace) or not any(span):
        return "its ids are not valid"
    return ""


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _remove(items: Any, marked: list[bool]) -> None:
    for index in reversed([index for index, is_marked in enumerate(marked) if is_marked]):
        del items[index]


# --- hiding ---------------------------------------------------------------------------------------


def _hide(request: Message, mask: Callable[[str], str]) -> None:
    """*mask* every text in *request*, if there is anything to be masked at all."""
    text = request.SerializeToString().decode(errors="replace")
    if mask(text) != text:
        _hide_in(request, mask)


def _hide_in(message: Message, mask: Callable[[str], str]) -> None:
    for field, value in message.ListFields():
        if isinstance(value, str):
            setattr(message, field.name, mask(value))
        elif field.name == "bytes_value":
            message.bytes_value = mask(value.decode("latin-1")).encode("latin-1")  # type: ignore[attr-defined]
        elif isinstance(value, Message):
            _hide_in(value, mask)
        elif field.message_type is not None:
            for each in value:
                _hide_in(each, mask)
