"""The end of an attempt whose wrapper died without one: written by the agent, with what is known."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from runner.job.status import JobStatus, MinorStatus
from runner.locks import FileLock, LockHeld
from runner.process.remnants import end_remnants
from telemetry.clock import Clock
from telemetry.facts import (
    AttemptEnded,
    Entry,
    Fact,
    Fenced,
    KillRequested,
    PayloadPlanned,
    PayloadStarted,
    StageFinished,
    StageName,
    StageStarted,
    StatusChanged,
    WrapperReaped,
)
from telemetry.journal import Journal, is_written, read_journal

WRITER = "recovery"
SOURCE = "JobAgent"
FENCED = "fenced"


@dataclass(frozen=True)
class Trouble:
    """Why there is no wrapper that could end the attempt."""

    error_type: str
    message: str


WRAPPER_DIED = Trouble("wrapper_died", "the wrapper process died")
PREEMPTED = Trouble("preempted", "the agent was told to stop")
NOT_SUBMITTED = Trouble("submission_failed", "the computing element did not take the wrapper")


#: How the WMS keeps an end that is about to be written.
Ask: TypeAlias = Callable[[AttemptEnded], AttemptEnded]


def has_ended(entries: list[Entry]) -> bool:
    """Whether the attempt has its end."""
    return any(isinstance(entry.fact, AttemptEnded) for entry in entries)


def wrapper_lives(control: Path) -> bool:
    """Whether a wrapper (or its starter, which still ends the payload) writes this journal."""
    if is_written(control, "wrapper") or is_written(control, "starter"):
        return True
    planned = [entry.fact for entry in read_journal(control) if isinstance(entry.fact, PayloadPlanned)]
    return any(_is_our_child(fact.starter_pid) for fact in planned)


def recover(control: Path, clock: Clock, trouble: Trouble, ask: Ask = lambda end: end) -> bool:
    """Write the end of the attempt in *control*, unless it has one; False when a wrapper lives after all.

    What the payload left behind is killed first: nothing is reported as ended and then goes on. *ask* is
    given the end before it is written: the WMS may know of another one, as a user may have killed the job.
    The wrapper's lock is held meanwhile, so that one that is still starting finds the end or us.
    """
    try:
        guard = FileLock.take(control / "wrapper.lock")
    except LockHeld:
        return False
    with guard:
        entries = read_journal(control)
        if has_ended(entries):
            return True
        _end_payload([entry.fact for entry in entries if entry.boot_id == clock.boot_id])
        with Journal(control, WRITER, clock) as journal:
            journal.append(ask(_close(journal, entries, clock, trouble)))
    return True


def _end_payload(facts: list[Fact]) -> None:
    """Kill what is left of the payload that was started in this boot; another boot has ended it."""
    sessions = [fact.pid for fact in facts if isinstance(fact, PayloadStarted)]
    for fact in facts:
        if isinstance(fact, PayloadPlanned):
            end_remnants(fact.cgroup_paths, fact.environment_mark, sessions[-1] if sessions else None)


def _close(journal: Journal, entries: list[Entry], clock: Clock, trouble: Trouble) -> AttemptEnded:
    """Close what is open, say how it ends, unless that was said; the end."""
    stage = _open_stage(entries)
    if stage is not None:
        journal.append(
            StageFinished(
                stage=stage,
                at_boottime_ns=_end_ns(entries, clock),
                result="error",
                error_type=trouble.error_type,
                message=trouble.message,
            )
        )
    ended = _ending(entries, trouble)
    if ended.status != JobStatus.KILLED and ended.error_type != FENCED and not _is_said(entries, ended):
        journal.append(StatusChanged(status=ended.status, minor_status=ended.minor_status, source=SOURCE))
    return ended


def _is_said(entries: list[Entry], ended: AttemptEnded) -> bool:
    """Whether an earlier recovery has come as far as this status."""
    ours = [entry.fact for entry in entries if entry.writer == WRITER and isinstance(entry.fact, StatusChanged)]
    return any((fact.status, fact.minor_status) == (ended.status, ended.minor_status) for fact in ours)


def killed() -> AttemptEnded:
    """The end of a job that its user has killed."""
    return _ended(JobStatus.KILLED, MinorStatus.RECEIVED_KILL_SIGNAL, "killed")


def fenced() -> AttemptEnded:
    """The end of an attempt without which the WMS has gone on; as the wrapper itself says it."""
    return _ended(JobStatus.RESCHEDULED, MinorStatus.JOB_RESCHEDULED, FENCED)


def _ending(entries: list[Entry], trouble: Trouble) -> AttemptEnded:
    """The policy. A cause that was known stands: it is never overwritten. An attempt without a payload may be
    repeated; one whose payload has run may have had effects, and has failed unless it was we who ended it."""
    facts = [entry.fact for entry in entries]
    cause = next((fact for fact in facts if isinstance(fact, KillRequested)), None)
    if cause is not None and cause.origin == "user":
        return killed()
    if any(isinstance(fact, Fenced) for fact in facts):
        return fenced()
    statuses = [fact for fact in facts if isinstance(fact, StatusChanged) and fact.status]
    last = statuses[-1].status if statuses else JobStatus.MATCHED
    if last in (JobStatus.DONE, JobStatus.FAILED, JobStatus.RESCHEDULED):
        return _said_already(facts, trouble)
    if cause is not None and cause.origin == "watchdog":
        return _ended(JobStatus.FAILED, cause.reason, trouble.error_type)
    planned = any(isinstance(fact, PayloadPlanned) for fact in facts)
    preempted = trouble is PREEMPTED or (cause is not None and cause.origin == "signal")
    if last in (JobStatus.MATCHED, JobStatus.RUNNING) and (preempted or not planned):
        minor = MinorStatus.JOB_WRAPPER_EXECUTION if planned else MinorStatus.JOB_WRAPPER_INITIALIZATION
        return _ended(JobStatus.RESCHEDULED, minor, PREEMPTED.error_type if preempted else trouble.error_type)
    return _ended(JobStatus.FAILED, MinorStatus.JOB_WRAPPER_EXECUTION, trouble.error_type)


def _said_already(facts: list[Fact], trouble: Trouble) -> AttemptEnded:
    """The wrapper had named its final status before it died; one final status for a claim, so that stands."""
    last = [fact for fact in facts if isinstance(fact, StatusChanged) and fact.status][-1]
    minors = [fact.minor_status for fact in facts if isinstance(fact, StatusChanged) and fact.minor_status]
    minor = last.minor_status or (minors[-1] if minors else "")
    return _ended(last.status or "", minor, "" if last.status == JobStatus.DONE else trouble.error_type)


def _ended(status: str, minor_status: str, error_type: str) -> AttemptEnded:
    return AttemptEnded(status=status, minor_status=minor_status, error_type=error_type, recorded_by="agent")


def _open_stage(entries: list[Entry]) -> StageName | None:
    stage: StageName | None = None
    for entry in entries:
        if isinstance(entry.fact, StageStarted):
            stage = entry.fact.stage
        elif isinstance(entry.fact, StageFinished) and entry.fact.stage == stage:
            stage = None
    return stage


def _end_ns(entries: list[Entry], clock: Clock) -> int:
    """When the wrapper ended, if it was our child in this boot; else the last sign of life of this boot, else now."""
    here = [entry for entry in entries if entry.boot_id == clock.boot_id]
    reaped = [entry.fact.end_boottime_ns for entry in here if isinstance(entry.fact, WrapperReaped)]
    started = [entry for entry in entries if isinstance(entry.fact, StageStarted)]
    if started and started[-1].boot_id != clock.boot_id:  # another boot's clock: the last sign of life there
        return max(entry.boottime_ns for entry in entries if entry.boot_id == started[-1].boot_id)
    return reaped[-1] if reaped else clock.boottime_ns()


def _is_our_child(pid: int) -> bool:
    """Whether *pid* still runs and came to us when its wrapper died."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(rest[1]) == os.getpid() and rest[0] not in (b"Z", b"X")
