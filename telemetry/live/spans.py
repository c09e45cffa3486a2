"""The story of an attempt as the SDK's ReadableSpan and ReadableLogRecord, with explicit ids and times. Pure.

All ids follow from the UID, so that two renderings of a journal, by whomever, are copies of each
other, and a reader that folds by id counts nothing twice. Status is Unset on success and Error
with `error.type` on failure (OpenTelemetry: libraries do not set Ok).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from telemetry import catalogue as names
from telemetry import identity
from telemetry.clock import parse_utc
from telemetry.entries import Entry
from telemetry.facts import JobMatched
from telemetry.live.moments import Attributes, Moment
from telemetry.live.sdk import (
    Event,
    InstrumentationScope,
    LogRecord,
    ReadableLogRecord,
    ReadableSpan,
    Resource,
    SeverityNumber,
)
from telemetry.live.story import Part, Story, Unidentified, tell

__all__ = ["Rendered", "Unidentified", "render"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Rendered:
    """An attempt as telemetry: its spans with those of the WMS, and its accounting event if there is a record."""

    uid: str
    spans: tuple[ReadableSpan, ...]
    logs: tuple[ReadableLogRecord, ...]


def render(
    entries: Iterable[Entry],
    record: Mapping[str, object] | None = None,
    *,
    service_name: str = names.SERVICE_NAME,
    resource: Mapping[str, str] = _NOTHING,
    user_name: identity.UserName = str,
) -> Rendered:
    """Render the journal of one attempt, and its accounting *record* (the design's field names).

    *resource* is what the site says of the node besides; what we know ourselves wins. *user_name* is how the job's
    owner is called.

    Raises:
        Unidentified: the journal has no JobMatched.
        KeyError, ValueError: the record lacks UID or EndTime, or EndTime is not UTC.
    """
    story = tell(_with_name(entry, user_name) for entry in entries)
    if record is not None and record.get("User"):
        record = {**record, "User": user_name(str(record["User"]))}
    described = _wrapper_resource(story, service_name, resource)
    scope = InstrumentationScope(names.SCOPE, story.version or None)
    own = [_own_span(story, part, described, scope) for part in story.parts]
    logs = (_accounting_event(story.match, record, described, scope),) if record is not None else ()
    return Rendered(story.match.uid, (*own, *_wms_spans(story.match)), logs)


def _with_name(entry: Entry, user_name: identity.UserName) -> Entry:
    if not isinstance(entry.fact, JobMatched) or not entry.fact.owner:
        return entry
    return replace(entry, fact=replace(entry.fact, owner=user_name(entry.fact.owner)))


def _own_span(story: Story, part: Part, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    uid, is_root = story.match.uid, not part.parent
    return ReadableSpan(
        name=part.name,
        context=_context(uid, part.path, part.sequence),
        parent=None if is_root else _context(uid, part.parent),
        resource=resource,
        attributes={**part.attributes, **({names.ERROR_TYPE: part.error_type} if part.error_type else {})},
        events=[_event(moment) for moment in story.moments] if is_root else (),
        links=_root_links(story.match) if is_root else (),
        kind=SpanKind.CLIENT if part.client else SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, part.message or None) if part.error_type else Status(StatusCode.UNSET),
        start_time=part.start_ns,
        end_time=part.end_ns,
        instrumentation_scope=scope,
    )


def _event(moment: Moment) -> Event:
    return Event(moment.name, attributes=moment.attributes, timestamp=moment.at_ns)


def _context(uid: str, path: str, sequence: int = 0, *, remote: bool = False) -> SpanContext:
    return SpanContext(
        trace_id=int(identity.trace_id(uid), 16),
        span_id=int(identity.span_id(uid, path, sequence), 16),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


# --- links, and what the WMS did ------------------------------------------------------------------


def _root_links(match: JobMatched) -> tuple[Link, ...]:
    links = []
    if match.submit_start_utc_ns:
        uid = identity.submission_uid(match.wms_id, match.job_id)
        links.append(Link(_context(uid, names.SUBMIT_PATH, remote=True), {names.LINK_TYPE: "submit"}))
    if match.previous_uid:
        context = _context(match.previous_uid, names.ROOT_PATH, remote=True)
        links.append(Link(context, {names.LINK_TYPE: "previous_attempt"}))
    return tuple(links)


def _wms_spans(match: JobMatched) -> Iterable[ReadableSpan]:
    """Submission, queue and match, by the WMS's clock; a time that nobody knows is 0 and gives no span."""
    resource = Resource({names.SERVICE: names.WMS_SERVICE_NAME, names.SERVICE_INSTANCE: match.wms_id})
    submission = identity.submission_uid(match.wms_id, match.job_id)
    root = _context(match.uid, names.ROOT_PATH)
    plans = (
        (names.SUBMIT_SPAN, _context(submission, names.SUBMIT_PATH), None, match.submit_start_utc_ns,
         match.submit_end_utc_ns),
        (names.QUEUE_SPAN, _context(match.uid, names.QUEUE_PATH), root, match.waiting_utc_ns,
         match.match_start_utc_ns),
        (names.MATCH_SPAN, _context(match.uid, names.MATCH_PATH), root, match.match_start_utc_ns,
         match.match_end_utc_ns),
    )  # fmt: skip
    for name, context, parent, start_ns, end_ns in plans:
        if start_ns and end_ns:
            yield ReadableSpan(
                name=name,
                context=context,
                parent=parent,
                resource=resource,
                attributes={names.JOB_ID: match.job_id, names.WMS_ID: match.wms_id},
                links=_caller(match.submit_traceparent) if name == names.SUBMIT_SPAN else (),
                start_time=start_ns,
                end_time=max(start_ns, end_ns),
                instrumentation_scope=InstrumentationScope(names.SCOPE),
            )


def _caller(traceparent: str) -> tuple[Link, ...]:
    """What the submitting user was in: only ever a link, because the trace is not ours to extend."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if not found:
        return ()
    context = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True)
    return (Link(context, {names.LINK_TYPE: "caller"}),) if context.is_valid else ()


def _wrapper_resource(story: Story, service_name: str, besides: Mapping[str, str]) -> Resource:
    match = story.match
    attributes = {
        names.SERVICE: service_name,
        names.SERVICE_VERSION: story.version,
        names.SERVICE_INSTANCE: match.uid,
        names.WMS_ID: match.wms_id,
        names.HOST_NAME: match.host_name,
        names.SITE_NAME: match.site,
        names.CE_NAME: match.computing_element,
        names.QUEUE_NAME: match.queue,
    }
    return Resource({**besides, **{name: value for name, value in attributes.items() if value}})


# --- the accounting event -------------------------------------------------------------------------


def _accounting_event(
    match: JobMatched, record: Mapping[str, object], resource: Resource, scope: InstrumentationScope
) -> ReadableLogRecord:
    end_ns = parse_utc(str(record["EndTime"]))
    uid = str(record["UID"])
    root = NonRecordingSpan(_context(uid, names.ROOT_PATH))
    event = LogRecord(
        timestamp=end_ns,
        observed_timestamp=parse_utc(str(record["RecordTime"])) if record.get("RecordTime") else end_ns,
        context=set_span_in_context(root, Context()),
        severity_number=SeverityNumber.INFO,
        body=f"job {match.job_id} attempt {match.attempt}: {record.get('FinalMajorStatus', '')}",
        attributes={names.RECORD_UID: record_item(uid, record), **_record_attributes(record)},
        event_name=names.ACCOUNTING_EVENT,
    )
    return ReadableLogRecord(event, resource, scope)


def record_item(uid: str, record: Mapping[str, object] | None) -> str:
    """`<UID>/<RecordedBy>/<Revision>`: the name of a record, as acknowledgements have it; without a record the UID."""
    return uid if record is None else f"{uid}/{record.get('RecordedBy', 'wrapper')}/{record.get('Revision', 1)}"


def _record_attributes(record: Mapping[str, object]) -> Attributes:
    """The record's fields as flat attributes; what is not known (None) is left out."""
    attributes: dict[str, str | int | float | bool] = {}
    for field, value in record.items():
        if isinstance(
            value, (str, int, float)
        ):  # not a union, which takes three times as long; bool is an int, and stays a bool
            attributes[names.accounting_attribute(field)] = value
        elif value is not None:
            raise ValueError(f"the record's field {field} is a {type(value).__name__}; records are flat")
    return attributes
