"""Writing a job's status: the job, its attempt and its history change together, here only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.db.schema import MICROSECOND
from runner.server.services.state_machine import Record

#: In these a job is with a wrapper.
WITH_WRAPPER = frozenset({JobStatus.MATCHED, JobStatus.RUNNING, JobStatus.STALLED, JobStatus.COMPLETING})
_ATTEMPT_ENDS = (FINAL_STATUSES - {JobStatus.KILLED, JobStatus.DELETED}) | {JobStatus.RESCHEDULED}


def current_attempt(row: Row) -> int:
    """Number of the attempt that the job is in."""
    return int(row["RescheduleCounter"]) + 1


def log(transaction: Transaction, job_id: int, records: tuple[Record, ...], arrival_ns: int) -> None:
    """Add to the job's history."""
    transaction.logging.add(
        {
            "JobID": job_id,
            "Status": record.status,
            "MinorStatus": record.minor,
            "ApplicationStatus": record.application,
            "StatusTime": record.time_ns,
            "ArrivalTime": arrival_ns,
            "Source": record.source,
        }
        for record in records
    )


@dataclass(frozen=True)
class Move:
    """A new status that the WMS itself gives to a job, now."""

    status: JobStatus
    minor: str
    source: str
    now_ns: int


def move(transaction: Transaction, row: Row, step: Move, changes: Mapping[str, Any] | None = None) -> int:
    """Give the job its new status, and *changes* beside it; the time of the record, which is the newest of the job."""
    return walk(transaction, row, (step,), changes)


def walk(transaction: Transaction, row: Row, steps: Sequence[Move], changes: Mapping[str, Any] | None = None) -> int:
    """The same for several statuses, one after the other: the job has the last one, and its history all of them."""
    time_ns = int(row["LastStatusTime"])
    application = (changes or {}).get("ApplicationStatus", row["ApplicationStatus"])
    records = []
    for step in steps:
        time_ns = max(step.now_ns, time_ns + MICROSECOND)
        records.append(Record(step.status, step.minor, application, time_ns, step.source))
    last = steps[-1]
    transaction.jobs.change(int(row["JobID"]), {**_values(last, time_ns), **(changes or {})})
    log(transaction, int(row["JobID"]), tuple(records), last.now_ns)
    return time_ns


def claim(transaction: Transaction, row: Row, step: Move, changes: Mapping[str, Any]) -> bool:
    """The same, if the job still has the status of *row*; whether it had. Of many callers one succeeds."""
    job_id = int(row["JobID"])
    time_ns: int = max(step.now_ns, row["LastStatusTime"] + MICROSECOND)
    if not transaction.jobs.change_from(job_id, row["Status"], {**_values(step, time_ns), **changes}):
        return False
    record = Record(step.status, step.minor, row["ApplicationStatus"], time_ns, step.source)
    log(transaction, job_id, (record,), step.now_ns)
    return True


def _values(step: Move, time_ns: int) -> dict[str, Any]:
    return {
        "Status": step.status,
        "MinorStatus": step.minor,
        "LastStatusTime": time_ns,
        "LastUpdateTime": step.now_ns,
    }


def kill_reason(row: Row) -> str:
    """Why the job's wrapper is to stop, if not because somebody has killed the job; empty if so.

    It stands where the dialect has the arguments of a command, so that the record of a wrapper that
    comes back can name the end that the WMS has given to the attempt.
    """
    return str(row["MinorStatus"]) if row["Status"] == JobStatus.FAILED else ""


def take_from_wrapper(transaction: Transaction, row: Row, status: JobStatus, minor: str) -> None:
    """Give the present attempt a status while its wrapper may still run: it has ended when its record arrives."""
    changes = {"Status": status, "MinorStatus": minor}
    transaction.attempts.change(row["JobID"], current_attempt(row), changes)


def follow_attempt(
    transaction: Transaction, row: Row, status: JobStatus, minor: str, *, now_ns: int, claim: str | None
) -> None:
    """Let the present attempt of the job, if it was handed out, have the job's new status."""
    attempt = transaction.attempts.get(row["JobID"], current_attempt(row), state_only=True)
    if attempt is not None:
        move_attempt(transaction, attempt, status, minor, now_ns=now_ns, claim=claim)


def move_attempt(
    transaction: Transaction, attempt: Row, status: JobStatus, minor: str, *, now_ns: int, claim: str | None
) -> None:
    """Give *attempt*, as it was read, a new status. *claim* is that of the wrapper that reports; the first Running is
    its."""
    changes: dict[str, Any] = {"Status": status, "MinorStatus": minor}
    if status is JobStatus.RUNNING and attempt["RunningTime"] is None:
        changes["RunningTime"] = now_ns
    if status is JobStatus.RUNNING and claim is not None and attempt["RunningClaim"] is None:
        changes["RunningClaim"] = claim
    if status in _ATTEMPT_ENDS and attempt["EndTime"] is None:
        changes["EndTime"] = now_ns
    transaction.attempts.change(attempt["JobID"], attempt["Attempt"], changes)


def confirm_kill(transaction: Transaction, row: Row, *, now_ns: int, source: str) -> None:
    """The wrapper of a killed job knows, or has ended: "Marked for termination" becomes "Received Kill signal"."""
    if row["Status"] != JobStatus.KILLED or row["MinorStatus"] != MinorStatus.MARKED_FOR_TERMINATION:
        return
    minor = MinorStatus.RECEIVED_KILL_SIGNAL
    move(transaction, row, Move(JobStatus.KILLED, minor, source, now_ns))
    follow_attempt(transaction, row, JobStatus.KILLED, minor, now_ns=now_ns, claim=None)
