"""The page of our conventions says what is really rendered."""

from collections.abc import Mapping

from opentelemetry.sdk.trace import ReadableSpan

from telemetry import catalogue as names
from telemetry import conventions
from telemetry.conventions import CALL, EVENTS, OPERATION, PAGE, PAYLOAD, ROOT, SERVED, STAGE, SpanConvention
from telemetry.facts import (
    ClockStepped,
    Fenced,
    KillFinished,
    KillRequested,
    LimitHit,
    RequestMade,
    SamplerLate,
    SignalSent,
)
from telemetry.live.call_spans import CallSpan, WmsIdentity, render_calls
from telemetry.live.spans import render
from tests.support.attempts import Attempt, play

_TYPES = {str: "string", bool: "boolean", int: "int", float: "double"}


def everything(attempt: Attempt) -> None:
    """All that may happen to a payload at once."""
    attempt.operation("execute", "transfer", attributes={names.MOVED_BYTES: 3, names.MOVED_NAME: "/lhcb/a"})
    attempt.operation(
        "execute",
        "GET /api/jobs",
        kind="client",
        error_type="503",
        attributes={names.HTTP_METHOD: "GET", names.HTTP_ROUTE: "/api/jobs", names.HTTP_CODE: 503, names.CALL_ID: "a"},
    )
    attempt.write(LimitHit(limit="MaxWallClockTime", minor_status="too long", measured=2.0, allowed=1.0, unit="s"))
    attempt.write(KillRequested(origin="watchdog", reason="too long"))
    attempt.write(SignalSent(signal=15, pids=(1, 2), names=("sh", "sleep"), reason="too long"))
    attempt.write(KillFinished(duration_seconds=1.0, survivors=()))
    attempt.write(SamplerLate(late_seconds=1.0, suspended_seconds=0.5))
    attempt.write(ClockStepped(step_seconds=-3.0))
    attempt.write(Fenced(reason="rescheduled"))
    attempt.write(RequestMade(name="1", request={"Operations": [{}]}))


def convention(span: ReadableSpan) -> SpanConvention:
    """What is said of spans like that."""
    by_name = {each.name: each for each in (ROOT, *conventions.BY_WMS)}
    if span.name in by_name:
        return by_name[span.name]
    if span.name.startswith(names.stage_span("")):
        return STAGE
    if names.PROCESS_PID in (span.attributes or {}):
        return PAYLOAD
    return CALL if span.kind.name == "CLIENT" else OPERATION


def check(found: Mapping[str, object], declared: tuple[str, ...], where: str) -> None:
    assert found.keys() <= {*declared}, where
    for name, value in found.items():
        kind = f"{_TYPES[type(value[0])]}[]" if isinstance(value, tuple) and value else _TYPES.get(type(value), "")
        assert kind in (conventions.type_of(name), ""), f"{name} on {where}"


def test_the_page_is_up_to_date() -> None:
    """`python -m telemetry.conventions` would change nothing."""
    assert PAGE.read_text() == conventions.page()


def test_spans_carry_what_is_said_of_them() -> None:
    """Kind, attributes and their types of every span and event of an attempt to which everything happens."""
    rendered = render(play(during=everything, status="Killed", error_type="killed", batch_system="slurm").entries)
    for span in rendered.spans:
        said = convention(span)
        assert span.kind.name == said.kind, span.name
        check(span.attributes or {}, said.attributes, span.name)
        for event in span.events:
            check(event.attributes or {}, EVENTS[event.name], event.name)
    assert {event.name for event in rendered.spans[0].events} >= EVENTS.keys() - {names.PAYLOAD_REFUSED_EVENT}
    assert rendered.spans[0].resource.attributes.keys() <= {*conventions.RESOURCE}


def test_spans_of_the_wms_carry_what_is_said_of_them() -> None:
    """The same of the calls that it serves."""
    call = CallSpan(
        trace_id="1" * 32,
        span_id="2" * 16,
        method="GET",
        route="/x",
        status_code=500,
        start_ns=1,
        end_ns=2,
        call_id="a",
    )
    (span,) = render_calls([call], WmsIdentity(wms_id="w", version="1", host_name="h"))
    assert span.kind.name == SERVED.kind
    check(span.attributes or {}, SERVED.attributes, span.name)


def test_what_is_said_stands_in_the_catalogue() -> None:
    """Every attribute of the page has a meaning, and every name of the catalogue stands on the page."""
    for each in conventions.SPANS:
        assert {*each.attributes} <= names.ATTRIBUTES.keys()
    text = conventions.page()
    known = {
        *names.ATTRIBUTES,
        *names.METRICS,
        *names.WMS_METRICS,
        *map(names.accounting_attribute, names.RECORD_FIELDS),
    }
    assert [name for name in sorted(known) if f"`{name}`" not in text] == []
