"""The record of an attempt of which nobody brings one, made from what the WMS saw itself. Pure.

From the arrival of Running to the last sign of life, with the CPU of the last heartbeat. Any
record of the node's own supersedes it, however late (`telemetry.ledger.record`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.job.description import from_mapping
from runner.server.db.job_db import Row
from telemetry.clock import parse_utc, utc_text
from telemetry.identity import trace_id
from telemetry.ledger.record import Record, Value
from telemetry.ledger.schema import SCHEMA, SCHEMA_VERSION, STAGE_FIELDS

METHOD = "heartbeat"
#: Seconds, normalised or not, and factors: who says more has told nothing. A record holds somewhat more.
MOST = 1e14


@dataclass(frozen=True)
class End:
    """How an attempt has ended for the WMS; *error_type* says why nobody else could tell."""

    status: str
    minor: str
    error_type: str


@dataclass(frozen=True)
class _Seen:
    """What the WMS saw, in microseconds."""

    end_us: int
    wall_us: int
    cpu_us: int
    uncertain_us: int
    beaten: bool


def last_sign_ns(attempt: Row) -> int:
    """When the WMS last heard of the attempt, by its own clock; the match is the first sign."""
    return int(attempt["LastSignTime"] or attempt["RunningTime"] or attempt["MatchTime"])


def estimate(wms_id: str, job: Row, attempt: Row, description: Mapping[str, Any], end: End, *, now_ns: int) -> Record:
    """The record of *attempt* as `wms`."""
    processors = from_mapping(dict(description)).number_of_processors or 1
    slot = json.loads(attempt["Slot"]) if attempt["Slot"] else {}
    factor = _told(slot, "CPUNormalizationFactor", MOST) or 1.0
    seen = _seen(attempt, processors, MOST / max(1.0, factor))
    empty: dict[str, Value] = {spec.name: _nothing(spec.type) for spec in SCHEMA if not spec.nullable}
    return Record(
        {
            **empty,
            **_identity(wms_id, job, attempt, slot),
            **_times(job, attempt, seen),
            **{stage: 0.0 for stage in STAGE_FIELDS},
            "StageWallClockTime.execute": seen.wall_us / 1e6,
            "PayloadWallClockTime": seen.wall_us / 1e6,
            "ExecTime": seen.wall_us * processors / 1e6,
            "CPUTime": seen.cpu_us / 1e6,
            "CPUUserTime": seen.cpu_us / 1e6,
            "NormCPUTime": seen.cpu_us * factor / 1e6,
            "CPUUncertainty": seen.uncertain_us * processors / 1e6,
            "CPUMethod": METHOD if seen.beaten else None,
            "CPUNormalizationFactor": factor,
            "Processors": processors,
            "ProcessorsRequested": processors,
            "ProcessingType": str(description.get("ProcessingType") or "unknown"),
            "FinalMajorStatus": end.status,
            "FinalMinorStatus": end.minor,
            "ErrorType": end.error_type,
            "Revision": 1,
            "RecordTime": utc_text(now_ns),
        }
    )


def _identity(wms_id: str, job: Row, attempt: Row, slot: Mapping[str, Any]) -> dict[str, Value]:
    uid = str(attempt["UID"])
    return {
        "UID": uid,
        "WMSID": wms_id,
        "JobID": job["JobID"],
        "Attempt": attempt["Attempt"],
        "SchemaVersion": SCHEMA_VERSION,
        "TraceID": trace_id(uid),
        "VO": job["VO"],
        "CE": str(slot.get("GridCE", "")),
        "Queue": str(slot.get("CEQueue", "")),
        "PilotStamp": attempt["PilotStamp"],
        "PilotReference": attempt["PilotStamp"],
        "User": job["Owner"],
        "UserGroup": job["OwnerGroup"],
        "JobGroup": job["JobGroup"],
        "JobType": job["JobType"],
        "JobClass": "unknown",
        "Site": job["Site"],
        "RecordedBy": "wms",
    }


def _times(job: Row, attempt: Row, seen: _Seen) -> dict[str, Value]:
    submitted_ns, matched_ns = int(job["SubmitEnd"]), int(attempt["MatchTime"])
    return {
        "SubmissionTime": utc_text(submitted_ns),
        "MatchTime": utc_text(matched_ns),
        "QueueWaitTime": max(0, matched_ns - submitted_ns) // 1000 / 1e6,
        "StartTime": utc_text((seen.end_us - seen.wall_us) * 1000),
        "EndTime": utc_text(seen.end_us * 1000),
        "WallClockTime": seen.wall_us / 1e6,
    }


def _seen(attempt: Row, processors: int, most_cpu_seconds: float) -> _Seen:
    end_us = last_sign_ns(attempt) // 1000
    start_us = int(attempt["RunningTime"] or end_us * 1000) // 1000
    wall_us = max(0, end_us - start_us)
    beat = json.loads(attempt["LastHeartbeat"]) if attempt["LastHeartbeat"] else {}
    told_us = round((_told(beat, "WallClockTime", end_us * processors / 1e6) or 0.0) * 1e6 / processors)
    cpu_seconds = _told(beat, "CPUConsumed", most_cpu_seconds)
    beaten_us = parse_utc(str(beat["Time"])) // 1000 if beat else start_us
    return _Seen(
        end_us=end_us,
        wall_us=max(wall_us, told_us),
        cpu_us=round((cpu_seconds or 0.0) * 1e6),
        uncertain_us=max(0, end_us - beaten_us),
        beaten=cpu_seconds is not None,
    )


def _told(said: Mapping[str, Any], name: str, most: float) -> float | None:
    """The number *name*, which is not below 0; None if it was not said, or cannot be."""
    value = said.get(name)
    return max(0.0, float(value)) if value is not None and value <= most else None


def _nothing(kind: str) -> Value:
    """The value of a field of which the WMS knows nothing."""
    values: dict[str, Value] = {"text": "", "integer": 0, "number": 0.0, "boolean": False, "time": ""}
    return values[kind]
