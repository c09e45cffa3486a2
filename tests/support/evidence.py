"""What reconciliation of whole records looks at: two ledgers, and what others saw; as the engine reads it."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from telemetry.clock import NANOSECONDS, utc_text
from telemetry.ledger.record import Record
from telemetry.reconcile import engine
from telemetry.reconcile.result import Outcome
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sources.reading import load
from telemetry.reconcile.sources.wanted import Wanted, parse
from telemetry.reconcile.witnesses import AttemptWitness, Contribution, Heartbeat
from tests.support.clock import NOON_UTC_NS
from tests.support.sides import workbench

MICROSECOND = 1000


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is compared. `one_ledger`: the WMS keeps no accounting. Contributions are by UID."""

    now_utc_ns: int
    wms: Sequence[Mapping[str, Any]] = ()
    otlp: Sequence[Mapping[str, Any]] = ()
    witnesses: Sequence[AttemptWitness] = ()
    contributions: Mapping[str, Contribution] = field(default_factory=dict)
    one_ledger: bool = False


def witness_of(record: Record, **changes: Any) -> AttemptWitness:
    """What an honest WMS has seen of the attempt of *record*."""
    offset_ns = record.micros("ClockOffset") * MICROSECOND
    cores = record.integer("Processors")
    values: dict[str, Any] = {
        "uid": record.text("UID"),
        "job_id": record.integer("JobID"),
        "attempt": record.integer("Attempt"),
        "status": record.text("FinalMajorStatus"),
        "minor_status": record.text("FinalMinorStatus"),
        "running_utc_ns": record.utc_ns("StartTime") + offset_ns + 60 * 1_000_000,
        "end_utc_ns": record.utc_ns("EndTime") + offset_ns + 20 * 1_000_000,
        "last_heartbeat": Heartbeat(
            cpu_seconds=record.number("CPUTime") / 2, wall_core_seconds=record.number("WallClockTime") / 2 * cores
        ),
        "pilot_stamp": "stamp",
    }
    return AttemptWitness(**{**values, **changes})


def contribution_of(record: Record) -> Contribution:
    """What an honest agent has counted for *record*."""
    return Contribution(
        cpu_seconds=record.number("CPUTime"),
        wall_seconds=record.number("WallClockTime"),
        core_seconds=record.number("ExecTime"),
    )


def honest(records: Iterable[Record], **changes: Any) -> Evidence:
    """Evidence in which everybody agrees about *records*."""
    held = tuple(records)
    values: dict[str, Any] = {
        "now_utc_ns": NOON_UTC_NS + 3600 * NANOSECONDS,
        "wms": held,
        "otlp": held,
        "witnesses": tuple(witness_of(each) for each in held),
        "contributions": {each.text("UID"): contribution_of(each) for each in held},
    }
    return Evidence(**{**values, **changes})


def reconcile(evidence: Evidence, *, grace_seconds: float = 0.0, window: Window | None = None) -> Outcome:
    """What the engine says of it, read as sources are read."""
    ledger = () if evidence.one_ledger else (f"wms=ledger,grace={grace_seconds}",)
    wanted = [parse(each) for each in (*ledger, "otlp=events", "seen=seen", "counters=counters")]

    def fetch(each: Wanted) -> Iterable[Mapping[str, Any]]:
        match each.kind:
            case "ledger":
                return evidence.wms
            case "events":
                return evidence.otlp
            case "seen":
                return (_seen(witness) for witness in evidence.witnesses)
        return _counted(evidence.contributions)

    with tempfile.TemporaryDirectory() as folder, workbench(Path(folder)) as bench:
        sides = tuple(load(bench, each, Window(), fetch) for each in wanted)
        outcome = engine.reconcile(bench, sides, now_utc_ns=evidence.now_utc_ns, window=window)
    return replace(outcome, file=None)


def kinds(outcome: Outcome) -> list[tuple[int | None, str]]:
    """Job and class of every difference."""
    assert outcome.different == len(outcome.differences)
    return sorted(((each.job_id, each.name) for each in outcome.differences), key=lambda each: (each[0] or 0, each[1]))


def witnessed(outcome: Outcome) -> dict[str, int]:
    """How many records were held against each witness."""
    return {each.right: each.pairs for each in outcome.totals if each.kind == "witnessed"}


def _seen(witness: AttemptWitness) -> dict[str, Any]:
    """As the WMS tells it."""
    beat = witness.last_heartbeat
    return {
        "UID": witness.uid,
        "JobID": witness.job_id,
        "Attempt": witness.attempt,
        "Status": witness.status,
        "MinorStatus": witness.minor_status,
        "RunningTime": _text(witness.running_utc_ns),
        "EndTime": _text(witness.end_utc_ns),
        "LastHeartbeat": beat and {"CPUConsumed": beat.cpu_seconds, "WallClockTime": beat.wall_core_seconds},
        "PilotStamp": witness.pilot_stamp,
    }


def _counted(contributions: Mapping[str, Contribution]) -> Iterator[dict[str, Any]]:
    names = {"cpu_seconds": "CPUTime", "wall_seconds": "WallClockTime", "core_seconds": "ExecTime"}
    for uid, each in contributions.items():
        yield {"UID": uid, **{names[name]: value for name, value in asdict(each).items()}}


def _text(utc_ns: int | None) -> str | None:
    return None if utc_ns is None else utc_text(utc_ns)
