"""The end of an attempt whose wrapper died: what is known decides."""

from pathlib import Path

import pytest

from runner.agent.recovery import NOT_SUBMITTED, PREEMPTED, WRAPPER_DIED, Trouble, has_ended, recover, wrapper_lives
from telemetry.facts import (
    AttemptEnded,
    Fact,
    Fenced,
    KillRequested,
    PayloadPlanned,
    StageFinished,
    StageStarted,
    StatusChanged,
    WrapperReaped,
)
from telemetry.journal import Journal, read_journal
from tests.support.clock import JumpClock
from tests.support.journals import facts_of

RUNNING = StatusChanged(status="Running", minor_status="Job Initialization")
COMPLETING = StatusChanged(status="Completing", minor_status="Application Finished Successfully")
PLANNED = PayloadPlanned(starter_pid=0)
LIMIT = "Job has exceeded maximum CPU time limit"
FAILED = ("Failed", "JobWrapper execution")


def recovered(folder: Path, trouble: Trouble, *facts: Fact, clock: JumpClock | None = None) -> list[Fact]:
    """Write *facts* as the wrapper, recover, and return what the recovery has written."""
    clock = clock or JumpClock()
    with Journal(folder, "wrapper", clock) as journal:
        for fact in facts:
            clock.advance(1)
            journal.append(fact)
    clock.advance(5)
    assert recover(folder, clock, trouble)
    return [entry.fact for entry in read_journal(folder) if entry.writer == "recovery"]


@pytest.mark.parametrize(
    ("trouble", "facts", "status", "error_type"),
    [
        (WRAPPER_DIED, (), ("Rescheduled", "Job Wrapper Initialization"), "wrapper_died"),
        (NOT_SUBMITTED, (), ("Rescheduled", "Job Wrapper Initialization"), "submission_failed"),
        (PREEMPTED, (), ("Rescheduled", "Job Wrapper Initialization"), "preempted"),
        (WRAPPER_DIED, (RUNNING,), ("Rescheduled", "Job Wrapper Initialization"), "wrapper_died"),
        (WRAPPER_DIED, (RUNNING, PLANNED), FAILED, "wrapper_died"),
        (PREEMPTED, (RUNNING, PLANNED), ("Rescheduled", "JobWrapper execution"), "preempted"),
        (WRAPPER_DIED, (RUNNING, PLANNED, COMPLETING), FAILED, "wrapper_died"),
        (PREEMPTED, (RUNNING, PLANNED, COMPLETING), FAILED, "preempted"),
        (
            WRAPPER_DIED,
            (RUNNING, PLANNED, KillRequested(origin="watchdog", reason=LIMIT)),
            ("Failed", LIMIT),
            "wrapper_died",
        ),
        (
            WRAPPER_DIED,
            (RUNNING, PLANNED, KillRequested(origin="signal", reason="preempted by SIGTERM")),
            ("Rescheduled", "JobWrapper execution"),
            "preempted",
        ),
        (
            WRAPPER_DIED,
            (RUNNING, PLANNED, COMPLETING, StatusChanged(status="Done", minor_status="Execution Complete")),
            ("Done", "Execution Complete"),
            "",
        ),
        (
            WRAPPER_DIED,
            (RUNNING, PLANNED, COMPLETING, StatusChanged(status="Completed", minor_status="Pending Requests")),
            ("Completed", "Pending Requests"),
            "",
        ),
        (
            PREEMPTED,
            (RUNNING, StatusChanged(status="Failed", minor_status="Application not found")),
            ("Failed", "Application not found"),
            "preempted",
        ),
    ],
)
def test_the_policy(
    tmp_path: Path, trouble: Trouble, facts: tuple[Fact, ...], status: tuple[str, str], error_type: str
) -> None:
    """Without a payload the job may be repeated; a cause that was known stands; a payload that ran has failed, unless
    it was we who ended it; a final status that was named stands."""
    written = recovered(tmp_path, trouble, *facts)
    (end,) = facts_of(read_journal(tmp_path), AttemptEnded)
    assert ((end.status, end.minor_status), end.error_type, end.recorded_by) == (status, error_type, "agent")
    assert StatusChanged(status=status[0], minor_status=status[1], source="JobAgent") in written


@pytest.mark.parametrize(
    ("fact", "status"),
    [(KillRequested(origin="user", reason="Received Kill signal"), "Killed"), (Fenced(reason="x"), "Rescheduled")],
)
def test_no_status_for_a_killed_or_fenced_attempt(tmp_path: Path, fact: Fact, status: str) -> None:
    """The WMS has spoken already: the record is made, and no status is sent."""
    written = recovered(tmp_path, WRAPPER_DIED, RUNNING, PLANNED, fact)
    assert [type(each) for each in written] == [AttemptEnded]
    assert facts_of(read_journal(tmp_path), AttemptEnded)[0].status == status


def test_the_open_stage_ends_with_the_wrapper(tmp_path: Path) -> None:
    """At the moment that wait4 gave; in another boot, at the last sign of life of the old one."""
    clock = JumpClock()
    with Journal(tmp_path, "agent", clock) as journal:
        journal.append(
            WrapperReaped(
                pid=1, exit_code=1, signal=None, end_boottime_ns=77, user_cpu_seconds=0.0, system_cpu_seconds=0.0
            )
        )
    written = recovered(tmp_path, WRAPPER_DIED, StageStarted(stage="execute", at_boottime_ns=5), clock=clock)
    assert written[0] == StageFinished(
        stage="execute",
        at_boottime_ns=77,
        result="error",
        error_type="wrapper_died",
        message="the wrapper ended with exit code 1 before its time",
    )


@pytest.mark.parametrize(
    ("how", "error_type", "message"),
    [
        ({"signal": 9}, "wrapper_died", "the wrapper was killed by SIGKILL, perhaps because memory ran out"),
        ({"signal": 9, "oom_kills": 0}, "wrapper_died", "the wrapper was killed by SIGKILL"),
        (
            {"signal": 9, "oom_kills": 2},
            "out_of_memory",
            "the wrapper was killed by the kernel (2 killed): no memory left",
        ),
        ({"signal": 11, "oom_kills": 2}, "wrapper_died", "the wrapper was killed by SIGSEGV"),
        ({"signal": 40}, "wrapper_died", "the wrapper was killed by signal 40"),
        ({"exit_code": 3}, "wrapper_died", "the wrapper ended with exit code 3 before its time"),
        (None, "wrapper_died", "the wrapper process died; nobody saw how"),
    ],
)
def test_the_true_cause(tmp_path: Path, how: dict[str, int] | None, error_type: str, message: str) -> None:
    """Stage and end say how the wrapper died, as far as wait4 and the kernel's count of kills for memory tell."""
    clock = JumpClock()
    if how is not None:
        values = {"exit_code": None, "signal": None, **how}
        with Journal(tmp_path, "agent", clock) as journal:
            journal.append(
                WrapperReaped(pid=1, end_boottime_ns=77, user_cpu_seconds=0.0, system_cpu_seconds=0.0, **values)  # type: ignore[arg-type]
            )
    recovered(tmp_path, WRAPPER_DIED, StageStarted(stage="execute", at_boottime_ns=5), clock=clock)
    entries = read_journal(tmp_path)
    (stage,), (end,) = facts_of(entries, StageFinished), facts_of(entries, AttemptEnded)
    assert (stage.error_type, end.error_type, stage.message) == (error_type, error_type, message)


def test_another_boot_has_another_clock(tmp_path: Path) -> None:
    """After a reboot the stage ends with the last fact of the boot in which it ran."""
    clock = JumpClock()
    with Journal(tmp_path, "wrapper", clock) as journal:
        journal.append(StageStarted(stage="execute", at_boottime_ns=clock.boottime_ns()))
        clock.advance(30)
        journal.append(RUNNING)
    last = clock.boottime_ns()
    clock.reboot()
    assert recover(tmp_path, clock, WRAPPER_DIED)
    (stage,), (end,) = facts_of(read_journal(tmp_path), StageFinished), facts_of(read_journal(tmp_path), AttemptEnded)
    assert stage.at_boottime_ns == last
    assert stage.message == "the machine was restarted while the job ran"
    assert (stage.error_type, end.error_type) == ("reboot", "reboot")


def test_an_end_is_written_once(tmp_path: Path) -> None:
    """A second recovery, or one after the wrapper's own end, adds nothing."""
    recovered(tmp_path, WRAPPER_DIED, RUNNING, PLANNED)
    before = read_journal(tmp_path)
    assert has_ended(before)
    assert recover(tmp_path, JumpClock(), PREEMPTED)
    assert read_journal(tmp_path) == before
    assert not wrapper_lives(tmp_path)
