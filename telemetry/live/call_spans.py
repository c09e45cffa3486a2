"""A call to the WMS as a span of the WMS's own, with the ids that it had while it ran. Pure.

A call belongs to the trace that its `traceparent` header names. One without that is a trace of its
own, but for a match: that belongs to the trace of the attempt which it gave out, below the span
`match`, so that one trace leads from the queue over the match to the payload. Submissions are
traces of their own (their ids follow from their UID), and the call that made them links to them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from telemetry import catalogue as names
from telemetry import identity
from telemetry.live.sdk import InstrumentationScope, ReadableSpan, Resource


@dataclass(frozen=True, kw_only=True)
class CallSpan:
    """What a span tells of a call. `status_code` is 0 when the caller had gone."""

    trace_id: str
    span_id: str
    parent_span_id: str = ""
    method: str
    route: str
    status_code: int
    start_ns: int
    end_ns: int
    call_id: str
    #: UID of the attempt that a match gave out, and UIDs of the submissions that the call made.
    matched_uid: str = ""
    submissions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WmsIdentity:
    """Who renders: the WMS, as every span names it."""

    wms_id: str
    version: str
    host_name: str
    service_name: str = names.WMS_SERVICE_NAME
    #: What the site says of the server besides; what we know ourselves wins.
    resource: Mapping[str, str] = field(default_factory=dict)


def render_calls(calls: Sequence[CallSpan], wms: WmsIdentity) -> list[ReadableSpan]:
    """The spans of *calls*, in their order."""
    resource = Resource(
        {
            **wms.resource,
            names.SERVICE: wms.service_name,
            names.SERVICE_VERSION: wms.version,
            names.SERVICE_INSTANCE: wms.wms_id,
            names.WMS_ID: wms.wms_id,
            names.HOST_NAME: wms.host_name,
        }
    )
    scope = InstrumentationScope(names.SCOPE, wms.version)
    return [_span(call, resource, scope) for call in calls]


def _span(call: CallSpan, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    trace_id, parent = call.trace_id, call.parent_span_id
    links = [_link(uid, names.SUBMIT_PATH, "submit") for uid in call.submissions]
    if call.matched_uid and parent:
        links.append(_link(call.matched_uid, names.MATCH_PATH, "match"))
    elif call.matched_uid:
        trace_id = identity.trace_id(call.matched_uid)
        parent = identity.span_id(call.matched_uid, names.MATCH_PATH)
    error = f"{call.status_code}" if call.status_code >= 500 else ""
    return ReadableSpan(
        name=f"{call.method} {call.route}",
        context=_context(trace_id, call.span_id),
        parent=_context(trace_id, parent, is_remote=True) if parent else None,
        resource=resource,
        attributes=_attributes(call, error),
        links=links,
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR) if error else Status(StatusCode.UNSET),
        start_time=call.start_ns,
        end_time=call.end_ns,
        instrumentation_scope=scope,
    )


def _attributes(call: CallSpan, error: str) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        names.HTTP_METHOD: call.method,
        names.HTTP_ROUTE: call.route,
        names.CALL_ID: call.call_id,
    }
    if call.status_code:
        attributes[names.HTTP_CODE] = call.status_code
    if error:
        attributes[names.ERROR_TYPE] = error
    return attributes


def _link(uid: str, path: str, kind: str) -> Link:
    return Link(_context(identity.trace_id(uid), identity.span_id(uid, path), is_remote=True), {names.LINK_TYPE: kind})


def _context(trace_id: str, span_id: str, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=is_remote, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
