"""Facts that are moments: the events of the root span. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from telemetry import catalogue as names
from telemetry.facts import (
    ClockStepped,
    Fact,
    Fenced,
    JobAccepted,
    KillFinished,
    KillRequested,
    LimitHit,
    PayloadRefused,
    SamplerLate,
    SignalSent,
    StatusChanged,
)

Value: TypeAlias = str | int | float | bool | tuple[int, ...] | tuple[str, ...]
Attributes: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened: an event of the root span."""

    name: str
    at_ns: int
    attributes: Attributes


def known(attributes: dict[str, Value]) -> dict[str, Value]:
    """Without what nobody knows: empty texts."""
    return {name: value for name, value in attributes.items() if value != ""}


def moment(fact: Fact, at_ns: int) -> Moment | None:
    """The event that *fact* is on the root span; None for facts that are no event."""
    told = _telling(fact)
    return Moment(name=told[0], at_ns=at_ns, attributes=known(told[1])) if told else None


def _telling(fact: Fact) -> tuple[str, dict[str, Value]] | None:
    match fact:
        case JobAccepted():
            return names.SUBMITTED_EVENT, {names.CE_TASK: fact.task, names.CE_NAME: fact.computing_element}
        case StatusChanged():
            return names.STATUS_EVENT, {
                names.JOB_STATUS: fact.status or "",
                names.JOB_MINOR_STATUS: fact.minor_status or "",
                names.JOB_APPLICATION_STATUS: fact.application_status or "",
                names.STATUS_SOURCE: fact.source,
            }
        case PayloadRefused():
            return names.PAYLOAD_REFUSED_EVENT, {names.PAYLOAD_ERRNO: fact.errno, names.REASON: fact.cause}
        case Fenced():
            return names.FENCED_EVENT, {names.REASON: fact.reason}
        case SamplerLate():
            return names.LATE_EVENT, {
                names.LATE_SECONDS: fact.late_seconds,
                names.SUSPENDED_SECONDS: fact.suspended_seconds,
            }
        case ClockStepped():
            return names.CLOCK_EVENT, {names.CLOCK_STEP: fact.step_seconds}
        case _:
            return _telling_of_kill(fact)


def _telling_of_kill(fact: Fact) -> tuple[str, dict[str, Value]] | None:
    match fact:
        case LimitHit():
            return names.LIMIT_EVENT, {
                names.LIMIT_NAME: fact.limit,
                names.JOB_MINOR_STATUS: fact.minor_status,
                names.LIMIT_MEASURED: fact.measured,
                names.LIMIT_ALLOWED: fact.allowed,
                names.LIMIT_UNIT: fact.unit,
                names.LIMIT_ACTION: fact.action,
            }
        case KillRequested():
            return names.KILL_REQUESTED_EVENT, {names.KILL_ORIGIN: fact.origin, names.REASON: fact.reason}
        case SignalSent():
            return names.SIGNAL_EVENT, {
                names.SIGNAL_NUMBER: fact.signal,
                names.SIGNAL_PIDS: tuple(fact.pids),
                names.SIGNAL_NAMES: tuple(fact.names),
                names.SIGNAL_PURPOSE: fact.purpose,
                names.REASON: fact.reason,
            }
        case KillFinished():
            return names.KILL_FINISHED_EVENT, {
                names.KILL_DURATION: fact.duration_seconds,
                names.KILL_SURVIVORS: tuple(fact.survivors),
            }
        case _:
            return None
