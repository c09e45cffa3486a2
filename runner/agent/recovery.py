"""The end of an attempt whose wrapper died without one: written by the agent, with what is known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from runner.agent.death import NOT_SUBMITTED, PREEMPTED, WRAPPER_DIED, Trouble, diagnosed
from runner.agent.remainders import end_payload
from runner.job.status import FINAL_STATUSES, GIVEN_UP, JobStatus, MinorStatus
from runner.locks import FileLock, LockHeld, lock_holder
from runner.process.keeper import LIFE_LOCK
from runner.process.noted import read_notes
from runner.process.remnants import Orphans, Traces
from runner.wms.answers import Refusal
from runner.wms.delivery import GONE
from runner.wms.standing import KILLED, Standing
from telemetry.bus import Emit
from telemetry.clock import Clock
from telemetry.entries import Entry
from telemetry.facts import (
    AttemptEnded,
    EndKept,
    Fact,
    Fenced,
    KillFinished,
    KillRequested,
    PayloadEnded,
    PayloadPlanned,
    StageFinished,
    StageName,
    StageStarted,
    StatusChanged,
    WrapperReaped,
)
from telemetry.journal import Journal, JournalBusy, inherit_reserve, is_written, read_journal

__all__ = [
    "NOT_SUBMITTED", "PREEMPTED", "WRAPPER_DIED", "WRITER", "Hooks", "Trouble", "fenced", "has_ended",
    "keep_words_of_wms", "killed", "recover", "words_of_wms", "wrapper_lives",
]  # fmt: skip

WRITER = "recovery"
SOURCE = "JobAgent"
FENCED = "fenced"
_ENDS = FINAL_STATUSES | {JobStatus.RESCHEDULED}
_REPLACED = (str(JobStatus.RESCHEDULED), str(MinorStatus.JOB_RESCHEDULED))
_NO_MORE = (str(JobStatus.FAILED), str(MinorStatus.MAXIMUM_OF_RESCHEDULINGS))


#: How the WMS keeps an end that is about to be written.
Ask: TypeAlias = Callable[[AttemptEnded], AttemptEnded]
#: Saves what outputs there are, before the end is written.
Save: TypeAlias = Callable[[Sequence[Entry], Emit], None]


@dataclass(frozen=True)
class Hooks:
    """What a recovery does outside of the journal, in this order."""

    save: Save = lambda _entries, _emit: None
    ask: Ask = lambda end: end
    #: Before both: processes that may be of a payload whose parents have died.
    orphans: Orphans = tuple


_NO_HOOKS = Hooks()


def has_ended(entries: list[Entry]) -> bool:
    """Whether the attempt has its end."""
    return any(isinstance(entry.fact, AttemptEnded) for entry in entries)


def wrapper_lives(control: Path) -> bool:
    """Whether a wrapper (or its starter, which still ends the payload) lives, whoever started it."""
    return is_written(control, "wrapper") or lock_holder(control / LIFE_LOCK) is not None


def recover(control: Path, clock: Clock, trouble: Trouble, hooks: Hooks = _NO_HOOKS) -> bool:
    """Write the end of the attempt in *control*, unless it has one; False when a wrapper or another recovery lives.

    What the payload left behind is killed first: nothing is reported as ended and then goes on. Of the *hooks* one
    saves outputs; the other is given the end before it is written: the WMS may know of another one, as a user may
    have killed the job. The wrapper's lock is held meanwhile, so that one that is still starting finds the end or us.
    """
    try:
        guard = FileLock.take(control / "wrapper.lock")
    except LockHeld:
        return False
    with guard:
        if lock_holder(control / LIFE_LOCK) is not None:  # its starter ends the payload, and knows best what it used
            return False
        try:
            # The lock of this journal keeps two recoverers apart. That of the wrapper would not be enough: it is
            # dropped when anybody in this process asks whether the wrapper lives.
            journal = Journal(control, WRITER, clock)
        except JournalBusy:
            return False
        with journal:
            entries = read_journal(control)
            if has_ended(entries):
                return True
            inherit_reserve(control, "wrapper", WRITER)  # it was made for this
            _end(control, journal, clock, diagnosed(trouble, entries, clock.boot_id), hooks)
    return True


def keep_words_of_wms(control: Path, clock: Clock, standing: Standing, refusal: Refusal | None) -> bool:
    """Note how the WMS has ended the attempt, if its answers to our last reports say otherwise than our end.

    A job that was Failed for being silent stays so, whatever its node can tell later; the record
    then says what the WMS says. True when something was noted.
    """
    facts = [entry.fact for entry in read_journal(control)]
    ends = [fact for fact in facts if isinstance(fact, AttemptEnded)]
    noted = [(fact.status, fact.minor_status) for fact in facts if isinstance(fact, EndKept)]
    if not ends or ends[-1].error_type == FENCED:
        return False
    kept = words_of_wms(ends[-1], standing, refusal)
    if kept is None or kept == (noted or [(ends[-1].status, ends[-1].minor_status)])[-1]:
        return False
    status, minor_status = kept
    error_type = FENCED if standing.fenced else ends[-1].error_type or "kept_by_wms"
    with Journal(control, WRITER, clock) as journal:
        journal.append(EndKept(status=status, minor_status=minor_status, error_type=error_type))
    return True


def words_of_wms(ended: AttemptEnded, standing: Standing, refusal: Refusal | None) -> tuple[str, str] | None:
    """The end in the WMS's words; None when it has not said one."""
    if standing.fenced:
        return _REPLACED
    if refusal is not None:  # DiracX refuses beyond the maximum only, and does not say what it keeps
        return (refusal.status, refusal.minor_status) if refusal.status else _NO_MORE
    kept = standing.kept
    if kept is None or not kept.status:
        return None
    if kept.status in GONE:
        return KILLED
    if kept.status in _ENDS:
        return kept.status, kept.minor_status or ended.minor_status
    # Refused, as from Completing it is; yet it has given us the next attempt.
    return _REPLACED if ended.status == JobStatus.RESCHEDULED else None


def _end(control: Path, journal: Journal, clock: Clock, trouble: Trouble, hooks: Hooks) -> None:
    traces = Traces(hooks.orphans, notes=read_notes(control, clock.boot_id), folder=control.parent / "work")
    oom_kills = end_payload(read_journal(control), clock, journal.append, traces)
    if oom_kills:
        trouble = replace(trouble, message=f"{trouble.message}; {oom_kills} of its payload killed for want of memory")
    entries = read_journal(control)
    ended = _close(journal, entries, clock, trouble)
    hooks.save(entries, journal.append)
    journal.append(hooks.ask(ended))


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


def killed(reason: str) -> AttemptEnded:
    """The end of a job that its user has killed; or, for that *reason*, the WMS has given up."""
    if reason in GIVEN_UP:
        return _ended(JobStatus.FAILED, reason, "killed")
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
        return killed(cause.reason)
    if any(isinstance(fact, Fenced) for fact in facts):
        return fenced()
    statuses = [fact for fact in facts if isinstance(fact, StatusChanged) and fact.status]
    last = statuses[-1].status if statuses else JobStatus.MATCHED
    if last in (JobStatus.DONE, JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.RESCHEDULED):
        return _said_already(facts, trouble)
    if cause is not None and cause.origin == "watchdog":
        return _ended(JobStatus.FAILED, cause.reason, trouble.error_type)
    planned = any(isinstance(fact, PayloadPlanned) for fact in facts)
    preempted = trouble.error_type == PREEMPTED.error_type or (cause is not None and cause.origin == "signal")
    if last in (JobStatus.MATCHED, JobStatus.RUNNING) and (preempted or not planned):
        minor = MinorStatus.JOB_WRAPPER_EXECUTION if planned else MinorStatus.JOB_WRAPPER_INITIALIZATION
        return _ended(JobStatus.RESCHEDULED, minor, PREEMPTED.error_type if preempted else trouble.error_type)
    return _ended(JobStatus.FAILED, MinorStatus.JOB_WRAPPER_EXECUTION, trouble.error_type)


def _said_already(facts: list[Fact], trouble: Trouble) -> AttemptEnded:
    """The wrapper had named its final status before it died; one final status for a claim, so that stands."""
    last = [fact for fact in facts if isinstance(fact, StatusChanged) and fact.status][-1]
    minors = [fact.minor_status for fact in facts if isinstance(fact, StatusChanged) and fact.minor_status]
    minor = last.minor_status or (minors[-1] if minors else "")
    return _ended(
        last.status or "", minor, "" if last.status in (JobStatus.DONE, JobStatus.COMPLETED) else trouble.error_type
    )


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
    """When the last of wrapper and payload ended, as far as that was seen in this boot; else now. Of another boot: its
    last sign of life."""
    here = [entry for entry in entries if entry.boot_id == clock.boot_id]
    ends = [at_ns for entry in here for at_ns in _ends_ns(entry)]
    started = [entry for entry in entries if isinstance(entry.fact, StageStarted)]
    if started and started[-1].boot_id != clock.boot_id:  # another boot's clock: the last sign of life there
        return max(entry.boottime_ns for entry in entries if entry.boot_id == started[-1].boot_id)
    return max(ends, default=clock.boottime_ns())


def _ends_ns(entry: Entry) -> Iterator[int]:
    """When wrapper or payload ended, as *entry* tells."""
    if isinstance(entry.fact, WrapperReaped | PayloadEnded):
        yield entry.fact.end_boottime_ns
    elif isinstance(entry.fact, KillFinished):
        yield entry.boottime_ns
