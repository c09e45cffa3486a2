"""One whole record held against what others saw of its attempt. Pure.

Each check yields what is wrong as an `Objection`; which of them become differences, and of which
ledger's record, is decided in `attempts`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from telemetry.ledger.record import Record
from telemetry.ledger.sanity import inconsistencies
from telemetry.reconcile.result import Kind
from telemetry.reconcile.settings import WitnessTolerances
from telemetry.reconcile.witnesses import AttemptWitness, Bystanders, Contribution

#: Statuses that may follow upon an attempt's end without a word about it being wrong: requests are
#: done later, and users delete their jobs.
_LATER = {("Completed", "Done"), ("Completed", "Failed")}

#: What the WMS makes of a job of which nothing is heard any more.
_STALLED = ("Failed", "Job stalled: pilot not running")

#: How an attempt ends for the WMS that another follows.
_REPLACED = "Rescheduled"


@dataclass(frozen=True)
class Objection:
    """Something that a witness holds against a record. `explained_by` are kinds that make it superfluous."""

    kind: Kind
    fields: tuple[str, ...]
    message: str
    core_seconds: float
    explained_by: tuple[Kind, ...] = ()


def objections(record: Record, others: Bystanders, tolerances: WitnessTolerances) -> list[Objection]:
    """What is wrong with *record*: by itself, and in the eyes of *others*."""
    found: list[Objection] = []
    if others.contribution is not None:
        found.extend(_counters(record, others.contribution, tolerances))
    if others.witness is not None:
        found.extend(_heartbeat(record, others.witness, tolerances))
        found.extend(_status(record, others.witness))
        found.extend(_wms_clock(record, others.witness, tolerances))
    stake = record.number("ExecTime")
    found.extend(
        Objection("impossible", each.fields, each.message, abs(stake), each.about) for each in inconsistencies(record)
    )
    return found


def is_late(record: Record, witness: AttemptWitness, tolerances: WitnessTolerances) -> bool:
    """Whether the final status reached the WMS much later than the attempt ended: an outage, or a long queue."""
    if witness.end_utc_ns is None:
        return False
    return (witness.end_utc_ns - _by_wms_clock(record, "EndTime")) / 1e9 > tolerances.late_seconds


def _counters(record: Record, seen: Contribution, tolerances: WitnessTolerances) -> Iterator[Objection]:
    wall, processors = record.number("WallClockTime"), max(record.integer("Processors"), 1)
    cpu = record.number("CPUTime")
    if seen.cpu_seconds is not None and abs(cpu - seen.cpu_seconds) > tolerances.counter(cpu):
        message = f"the agent's counters have {seen.cpu_seconds:.3f} s of CPU, the record {cpu:.3f} s"
        yield Objection("cpu", ("CPUTime",), message, abs(cpu - seen.cpu_seconds))
    if seen.wall_seconds is not None and abs(wall - seen.wall_seconds) > tolerances.counter(wall):
        message = f"the agent's counters have {seen.wall_seconds:.3f} s of wall clock, the record {wall:.3f} s"
        yield Objection("wall", ("WallClockTime",), message, abs(wall - seen.wall_seconds) * processors)
        return
    core = record.number("ExecTime")
    if seen.core_seconds is not None and abs(core - seen.core_seconds) > tolerances.counter(core):
        message = f"the agent's counters have {seen.core_seconds:.3f} core seconds, the record {core:.3f}"
        yield Objection("cores", ("ExecTime", "Processors"), message, abs(core - seen.core_seconds), ("wall",))


def _heartbeat(record: Record, witness: AttemptWitness, tolerances: WitnessTolerances) -> Iterator[Objection]:
    """What was used can only grow, so the last heartbeat is a lower bound of the record."""
    beat = witness.last_heartbeat
    if beat is None:
        return
    most = record.number("CPUTime") + record.number("CPUUncertainty")
    if beat.cpu_seconds > most + tolerances.cpu(most):
        message = f"the last heartbeat told of {beat.cpu_seconds:.3f} s of CPU, the record has {most:.3f} s"
        yield Objection("cpu", ("CPUTime",), message, beat.cpu_seconds - most)
    core, processors = record.number("ExecTime"), max(record.integer("Processors"), 1)
    seen = beat.wall_core_seconds
    if seen is not None and seen > core + tolerances.wall(core / processors) * processors:
        message = f"the last heartbeat told of {seen:.3f} core seconds, the record has {core:.3f}"
        yield Objection("wall", ("WallClockTime",), message, seen - core)


def _status(record: Record, witness: AttemptWitness) -> Iterator[Objection]:
    mine = (record.text("FinalMajorStatus"), record.text("FinalMinorStatus"))
    theirs = (witness.status, witness.minor_status)
    if record.text("ErrorType") == "fenced" and (theirs == _STALLED or theirs[0] == _REPLACED):
        # Who is fenced learns that the WMS has gone on, and nothing else: neither that it had given the attempt up
        # before, nor the words with which the attempt itself had asked for the next one, if nobody noted that they
        # arrived (as on a full disk).
        return
    if mine == theirs or witness.status == "Deleted" or (mine[0], theirs[0]) in _LATER:
        return
    fields = tuple(
        name for name, a, b in zip(("FinalMajorStatus", "FinalMinorStatus"), mine, theirs, strict=True) if a != b
    )
    message = f"the record ends as {' / '.join(mine)}, the WMS has {' / '.join(theirs)}"
    yield Objection("status", fields, message, abs(record.number("ExecTime")))


def _wms_clock(record: Record, witness: AttemptWitness, tolerances: WitnessTolerances) -> Iterator[Objection]:
    """Start and end of the record against the arrival of Running and of the final status.

    Running arrives after the start, during `initialize`; the final status arrives after the end,
    and much later if the WMS was away. So a record may be longer than the WMS's span by no more
    than `initialize`, must start before Running arrived, and must end before the final status did.
    A Running that arrived behind the final status was delivered late: such a span says nothing.
    """
    if witness.running_utc_ns is None or witness.end_utc_ns is None:
        return
    wall, processors = record.number("WallClockTime"), max(record.integer("Processors"), 1)
    span = (witness.end_utc_ns - witness.running_utc_ns) / 1e9
    allowed = tolerances.wall(wall)
    starts_late = (_by_wms_clock(record, "StartTime") - witness.running_utc_ns) / 1e9
    ends_late = (_by_wms_clock(record, "EndTime") - witness.end_utc_ns) / 1e9
    surplus = wall - record.number("StageWallClockTime.initialize") - span
    if span >= 0 and surplus > allowed:
        message = f"the record claims {wall:.3f} s, by the WMS's clock the attempt ran {span:.3f} s"
        yield Objection("wall", ("WallClockTime",), message, surplus * processors)
    elif starts_late > allowed and abs(span - wall) > allowed:
        message = f"the record starts {starts_late:.3f} s after the WMS was told Running"
        yield Objection("wall", ("WallClockTime", "StartTime"), message, starts_late * processors)
    elif max(starts_late, ends_late) > allowed:
        message = f"the record lies {max(starts_late, ends_late):.3f} s behind the WMS's clock, offset included"
        yield Objection("skew", ("StartTime", "EndTime", "ClockOffset"), message, 0.0, ("wall",))
    elif (early := -_after_match(record)) > allowed:
        message = f"the record starts {early:.3f} s before the match, by the WMS's clock"
        yield Objection("skew", ("StartTime", "MatchTime", "ClockOffset"), message, 0.0, ("wall",))


def _after_match(record: Record) -> float:
    return (_by_wms_clock(record, "StartTime") - record.utc_ns("MatchTime")) / 1e9


def _by_wms_clock(record: Record, name: str) -> int:
    return record.utc_ns(name) + record.micros("ClockOffset") * 1000
