"""What the events of a job's root span say, in a sentence each, and which of them tell of its kill. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from telemetry import catalogue as names
from telemetry.live.kills import signal_name
from telemetry.live.otlp import EventValue, SpanValue

#: From the limit that was reached to the last process's end.
KILL_EVENTS = frozenset({names.LIMIT_EVENT, names.KILL_REQUESTED_EVENT, names.SIGNAL_EVENT, names.KILL_FINISHED_EVENT})
_MOST_NAMES = 5


def in_words(event: EventValue) -> str:
    """What *event* says; of an event that this version does not know, its values."""
    sentence = _SENTENCES.get(event.name)
    if sentence is None:
        return ", ".join(str(value) for value in event.attributes.values())
    return sentence(event.attributes)


def kill_timeline(root: SpanValue) -> tuple[EventValue, ...]:
    """The events of *root* that tell how its payload was ended, in the order of time; none when nobody wanted it."""
    return tuple(event for event in by_time(root) if event.name in KILL_EVENTS)


def by_time(root: SpanValue) -> list[EventValue]:
    """All events of *root* in the order of time."""
    return sorted(root.events, key=lambda event: event.at_ns)


def _limit(said: Mapping[str, Any]) -> str:
    unit = f" {said[names.LIMIT_UNIT]}" if said.get(names.LIMIT_UNIT) else ""
    measured, allowed = (_figure(said.get(name)) for name in (names.LIMIT_MEASURED, names.LIMIT_ALLOWED))
    follows = "so it is ended" if said.get(names.LIMIT_ACTION) == "kill" else "a warning only"
    return f"{said.get(names.LIMIT_NAME, '?')}: {measured}{unit}, and {allowed}{unit} are allowed; {follows}"


def _kill_requested(said: Mapping[str, Any]) -> str:
    return f"by {said.get(names.KILL_ORIGIN, '?')}" + _because(said)


def _signal(said: Mapping[str, Any]) -> str:
    pids, known = _listed(said.get(names.SIGNAL_PIDS)), _listed(said.get(names.SIGNAL_NAMES))
    shown = ", ".join(known[:_MOST_NAMES]) + (", …" if len(known) > _MOST_NAMES else "")
    purpose = {"stop": " as the graceful stop", "wake": " to its starter"}.get(str(said.get(names.SIGNAL_PURPOSE)), "")
    target = f"{len(pids)} process{'es' if len(pids) != 1 else ''}" + (f" ({shown})" if shown else "")
    return f"{signal_name(int(said.get(names.SIGNAL_NUMBER, 0)))}{purpose} to {target}" + _because(said)


def _kill_finished(said: Mapping[str, Any]) -> str:
    survivors = _listed(said.get(names.KILL_SURVIVORS))
    left = f"survived by {', '.join(survivors)}" if survivors else "nothing of it is left"
    return f"over after {_figure(said.get(names.KILL_DURATION))} s; {left}"


def _status(said: Mapping[str, Any]) -> str:
    parts = (names.JOB_STATUS, names.JOB_MINOR_STATUS, names.JOB_APPLICATION_STATUS)
    source = said.get(names.STATUS_SOURCE)
    return " / ".join(str(said[part]) for part in parts if said.get(part)) + (f" ({source})" if source else "")


def _late(said: Mapping[str, Any]) -> str:
    slept = said.get(names.SUSPENDED_SECONDS)
    rest = f", of which the machine slept {_figure(slept)} s" if slept else ""
    return f"nobody watched for {_figure(said.get(names.LATE_SECONDS))} s{rest}"


def _clock(said: Mapping[str, Any]) -> str:
    return f"the wall clock was set by {_figure(said.get(names.CLOCK_STEP))} s"


def _request(said: Mapping[str, Any]) -> str:
    return f"{said.get(names.REQUEST_NAME, '?')} with {said.get(names.REQUEST_OPERATIONS, '?')} operations"


def _submitted(said: Mapping[str, Any]) -> str:
    return f"as {said.get(names.CE_TASK, '?')} to {said.get(names.CE_NAME, '?')}"


def _reason(said: Mapping[str, Any]) -> str:
    return str(said.get(names.REASON, ""))


def _because(said: Mapping[str, Any]) -> str:
    return f": {said[names.REASON]}" if said.get(names.REASON) else ""


def _listed(value: Any) -> Sequence[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _figure(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.2f}"
    return "?" if value is None else str(value)


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    names.SUBMITTED_EVENT: _submitted,
    names.STATUS_EVENT: _status,
    names.PAYLOAD_REFUSED_EVENT: _reason,
    names.LIMIT_EVENT: _limit,
    names.KILL_REQUESTED_EVENT: _kill_requested,
    names.SIGNAL_EVENT: _signal,
    names.KILL_FINISHED_EVENT: _kill_finished,
    names.FENCED_EVENT: _reason,
    names.REQUEST_EVENT: _request,
    names.LATE_EVENT: _late,
    names.CLOCK_EVENT: _clock,
}
