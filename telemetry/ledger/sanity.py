"""Whether a record makes sense by itself: what adds up must add up, and nothing may be impossible. Pure."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from telemetry.clock import NANOSECONDS
from telemetry.identity import attempt_uid, trace_id
from telemetry.ledger.record import Record
from telemetry.ledger.schema import SCHEMA, STAGE_FIELDS

#: What a field tells about; a difference between two witnesses is of one of these kinds.
About: TypeAlias = Literal["cpu", "wall", "cores", "benchmark", "status", "value"]

_FIELDS_ABOUT: dict[About, tuple[str, ...]] = {
    "cpu": (
        *("CPUTime", "NormCPUTime", "CPUUserTime", "CPUSystemTime", "CPUMethod", "CPUUncertainty"),
        *("OrphanCPUTime", "WrapperCPUTime"),
    ),
    "wall": ("WallClockTime", "ExecTime", "StartTime", "EndTime", "PayloadWallClockTime", *STAGE_FIELDS),
    "cores": ("Processors", "ProcessorsRequested"),
    "benchmark": ("CPUNormalizationFactor", "BenchmarkName", "BenchmarkValue", "BenchmarkSource"),
    "status": ("FinalMajorStatus", "FinalMinorStatus", "ErrorType", "ExitCode", "Signal", "PayloadStarted"),
}
ABOUT: dict[str, About] = {name: about for about, names in _FIELDS_ABOUT.items() for name in names}

#: A core cannot do more than this times its wall clock (the clocks of both are not the same), plus a second.
CPU_PER_CORE_SECOND = 1.02
CPU_SLACK_SECONDS = 1.0
#: Times are rounded to the microsecond where they are made; anything above a millisecond is no rounding.
_ROUNDING_US = 1000
_MAY_BE_NEGATIVE = frozenset({"ClockOffset", "ExitCode"})
#: A record from before this moment has lost its times (start of 2000 UTC).
_OLDEST_NS = 946_684_800 * NANOSECONDS


@dataclass(frozen=True)
class Inconsistency:
    """Something that cannot be. `about` are the kinds of a difference that would explain it."""

    about: tuple[About, ...]
    fields: tuple[str, ...]
    message: str


def inconsistencies(record: Record) -> tuple[Inconsistency, ...]:
    """What in *record* cannot be true; empty for every record that `builder.build` makes of real facts.

    The bound of CPU by wall clock and processors is that of accounting practice; a payload that is
    not confined to its processors can break it, and an accountant wants to know.
    """
    return (*_negative(record), *_identity(record), *_wall(record), *_cpu(record))


def _negative(record: Record) -> Iterator[Inconsistency]:
    for spec in SCHEMA:
        if spec.type in ("number", "integer") and spec.name not in _MAY_BE_NEGATIVE and record.number(spec.name) < 0:
            about = ABOUT.get(spec.name, "value")
            yield Inconsistency((about,), (spec.name,), f"{spec.name} is negative: {record[spec.name]}")
    if record.integer("Processors") < 1:
        yield Inconsistency(("cores",), ("Processors",), "Processors is less than one")
    for name in ("SubmissionTime", "MatchTime", "StartTime", "EndTime", "RecordTime"):
        if record.utc_ns(name) < _OLDEST_NS:
            yield Inconsistency((ABOUT.get(name, "value"),), (name,), f"{name} is {record.text(name)}")


def _identity(record: Record) -> Iterator[Inconsistency]:
    uid = record.text("UID")
    try:
        expected = attempt_uid(str(uuid.UUID(record.text("WMSID"))), record.integer("JobID"), record.integer("Attempt"))
    except ValueError:
        expected = ""
    if uid != expected:
        fields = ("UID", "WMSID", "JobID", "Attempt")
        yield Inconsistency(("value",), fields, "UID does not follow from WMSID, JobID and Attempt")
    if record.text("TraceID") != trace_id(uid):
        yield Inconsistency(("value",), ("TraceID", "UID"), "TraceID does not follow from UID")


def _wall(record: Record) -> Iterator[Inconsistency]:
    wall = record.micros("WallClockTime")
    shares = sum(record.micros(name) for name in STAGE_FIELDS)
    if shares != wall:
        message = f"the stages sum to {shares / 1e6:.6f} s, WallClockTime is {wall / 1e6:.6f} s"
        yield Inconsistency(("wall",), ("WallClockTime", *STAGE_FIELDS), message)
    span = _between(record, "StartTime", "EndTime")
    if abs(span - wall) > _ROUNDING_US:
        message = f"from StartTime to EndTime are {span / 1e6:.6f} s, WallClockTime is {wall / 1e6:.6f} s"
        yield Inconsistency(("wall",), ("StartTime", "EndTime", "WallClockTime"), message)
    if record.micros("PayloadWallClockTime") > wall + _ROUNDING_US:
        fields: tuple[str, ...] = ("PayloadWallClockTime", "WallClockTime")
        yield Inconsistency(("wall",), fields, "the payload ran longer than the wrapper")
    if abs(record.micros("ExecTime") - wall * record.integer("Processors")) > _ROUNDING_US:
        fields = ("ExecTime", "WallClockTime", "Processors")
        yield Inconsistency(("wall", "cores"), fields, "ExecTime is not WallClockTime x Processors")
    waited = _between(record, "SubmissionTime", "MatchTime")
    if abs(waited - record.micros("QueueWaitTime")) > _ROUNDING_US:
        fields = ("QueueWaitTime", "MatchTime", "SubmissionTime")
        yield Inconsistency(("value",), fields, "QueueWaitTime is not MatchTime - SubmissionTime")


def _between(record: Record, earlier: str, later: str) -> int:
    """Microseconds from one time field to another."""
    return (record.utc_ns(later) - record.utc_ns(earlier)) // 1000


def _cpu(record: Record) -> Iterator[Inconsistency]:
    cpu = record.micros("CPUTime")
    if cpu != record.micros("CPUUserTime") + record.micros("CPUSystemTime"):
        fields: tuple[str, ...] = ("CPUTime", "CPUUserTime", "CPUSystemTime")
        yield Inconsistency(("cpu",), fields, "CPUTime is not CPUUserTime + CPUSystemTime")
    if record.micros("OrphanCPUTime") > cpu:
        yield Inconsistency(("cpu",), ("OrphanCPUTime", "CPUTime"), "OrphanCPUTime is larger than CPUTime")
    factor = record.number("CPUNormalizationFactor")
    # The factor itself is rounded to 1e-6 in a record.
    if abs(record.micros("NormCPUTime") - cpu * factor) > _ROUNDING_US + cpu * 1e-6:
        fields = ("NormCPUTime", "CPUTime", "CPUNormalizationFactor")
        yield Inconsistency(("cpu", "benchmark"), fields, "NormCPUTime is not CPUTime x CPUNormalizationFactor")
    wall, processors = record.number("WallClockTime"), record.integer("Processors")
    most = wall * processors * CPU_PER_CORE_SECOND + CPU_SLACK_SECONDS
    if cpu / 1e6 > most:
        message = f"{cpu / 1e6:.3f} s of CPU in {wall:.3f} s on {processors} processor(s)"
        yield Inconsistency(("cpu", "wall", "cores"), ("CPUTime", "WallClockTime", "Processors"), message)
