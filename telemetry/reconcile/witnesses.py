"""What others saw of an attempt: the WMS itself, and the agent's counters. Pure values.

A witness says what it says as a JSON object for each attempt; here that becomes a value.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from telemetry.clock import parse_utc, utc_text
from telemetry.facts import Scalar

#: Kinds of sources that are witnesses: what the WMS saw, what an agent has counted.
SEEN, COUNTERS = "seen", "counters"

Testimony: TypeAlias = Mapping[str, Mapping[str, Scalar | None]]

_FINAL = frozenset({"Done", "Completed", "Failed", "Killed", "Rescheduled", "Deleted"})


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of an attempt that the WMS holds.

    `wall_core_seconds` is the value on the wire: DIRAC multiplies the wall clock by processors.
    """

    cpu_seconds: float
    wall_core_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptWitness:
    """What the WMS saw of an attempt itself; times are arrivals by its own clock, nanoseconds since 1970."""

    uid: str
    job_id: int
    attempt: int
    status: str
    minor_status: str
    running_utc_ns: int | None = None
    end_utc_ns: int | None = None
    last_heartbeat: Heartbeat | None = None
    pilot_stamp: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether a record is due: the attempt reached a node, and is over.

        A kill that was only ordered is not over: Killed has an end when the wrapper confirms it.
        """
        reached_node = bool(self.running_utc_ns or self.pilot_stamp)
        return reached_node and self.status in _FINAL and (self.status != "Killed" or self.end_utc_ns is not None)

    @property
    def is_open(self) -> bool:
        """Whether it has reached a node and is not over: its record is not due yet."""
        return bool(self.running_utc_ns or self.pilot_stamp) and not self.has_ended

    @property
    def wall_seconds(self) -> float | None:
        """From Running to the end, by the WMS's clock; None when it did not see both."""
        if self.running_utc_ns is None or self.end_utc_ns is None:
            return None
        return (self.end_utc_ns - self.running_utc_ns) / 1e9


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What an agent's counters hold of one ended attempt; None: they have no such counter."""

    cpu_seconds: float | None = None
    #: The accounted stages only: without finalize.
    wall_seconds: float | None = None
    core_seconds: float | None = None


@dataclass(frozen=True)
class Bystanders:
    """What others saw of one attempt; None: they saw nothing."""

    witness: AttemptWitness | None = None
    contribution: Contribution | None = None

    def testimony(self) -> Testimony:
        """All of it, by witness, for the reader of a difference."""
        said: dict[str, dict[str, Scalar | None]] = {}
        if self.contribution is not None:
            each = self.contribution
            said["counters"] = {
                "CPUTime": each.cpu_seconds,
                "WallClockTime": each.wall_seconds,
                "ExecTime": each.core_seconds,
            }
        if self.witness is not None:
            seen = self.witness
            said["wms_status"] = {"FinalMajorStatus": seen.status, "FinalMinorStatus": seen.minor_status}
            said["wms_clock"] = {
                "StartTime": _time(seen.running_utc_ns),
                "EndTime": _time(seen.end_utc_ns),
                "WallClockTime": seen.wall_seconds,
            }
            if seen.last_heartbeat is not None:
                beat = seen.last_heartbeat
                said["heartbeat"] = {"CPUTime": beat.cpu_seconds, "ExecTime": beat.wall_core_seconds}
        return said


def bystanders(said: Mapping[str, str | None]) -> Bystanders:
    """What the witnesses of each kind have *said* of one attempt, as JSON; None: nothing."""
    seen, counted = said.get(SEEN), said.get(COUNTERS)
    return Bystanders(
        witness=None if seen is None else _witness(json.loads(seen)),
        contribution=None if counted is None else _contribution(json.loads(counted)),
    )


def counted(uid: str, values: Mapping[tuple[str, tuple[str, ...]], float]) -> Mapping[str, Any]:
    """What the counters (metric name and label values -> value) of one attempt say, in the ledger's terms."""

    def total(metric: str, *, but: str = "") -> float | None:
        found = [value for (name, labels), value in values.items() if name == metric and but not in labels]
        return sum(found) if found else None

    return {
        "UID": uid,
        "CPUTime": total("jobspan_payload_cpu_seconds_total"),
        "WallClockTime": total("jobspan_wall_seconds_total", but="finalize"),
        "ExecTime": total("jobspan_wall_core_seconds_total"),
    }


def _contribution(said: Mapping[str, Any]) -> Contribution:
    return Contribution(cpu_seconds=said["CPUTime"], wall_seconds=said["WallClockTime"], core_seconds=said["ExecTime"])


def _witness(said: Mapping[str, Any]) -> AttemptWitness:
    beat = said.get("LastHeartbeat")
    heartbeat = None
    if isinstance(beat, Mapping) and beat.get("CPUConsumed") is not None:
        wall = beat.get("WallClockTime")
        heartbeat = Heartbeat(
            cpu_seconds=float(beat["CPUConsumed"]), wall_core_seconds=None if wall is None else float(wall)
        )
    return AttemptWitness(
        uid=str(said["UID"]),
        job_id=int(said["JobID"]),
        attempt=int(said["Attempt"]),
        status=str(said["Status"]),
        minor_status=str(said["MinorStatus"]),
        running_utc_ns=_moment(said.get("RunningTime")),
        end_utc_ns=_moment(said.get("EndTime")),
        last_heartbeat=heartbeat,
        pilot_stamp=str(said.get("PilotStamp") or ""),
    )


def _moment(value: object) -> int | None:
    return parse_utc(value) if isinstance(value, str) else None


def _time(utc_ns: int | None) -> str | None:
    return None if utc_ns is None else utc_text(utc_ns)
