"""A starter that was stopped (SIGSTOP) or that hangs: nobody waits for it without end."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from runner.errors import TransientJobError
from runner.process import starter as starter_module
from telemetry.facts import PayloadStarted, SignalSent
from telemetry.measure import procfs
from tests.support.processes import is_alive
from tests.support.starting import METHODS, program, releasing, stage
from tests.support.waiting import eventually
from tests.support.watched import CONFIG, Job

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def stop(pid: int) -> None:
    """SIGSTOP *pid*, and wait until it stands."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: (seen := procfs.look(pid)) and seen.is_stopped)


def stopped_when_it_runs(job: Job) -> threading.Thread:
    """A thread that stops the starter of *job* as soon as its payload has started."""

    def work() -> None:
        eventually(lambda: job.journal.facts(PayloadStarted))
        os.kill(job.starter.pid, signal.SIGSTOP)  # the watchdog may have ended that before anybody has seen it

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_stopped_starter_is_told_to_go_on(tmp_path: Path) -> None:
    """The watchdog gets no reading, sees why, and mends it; the job ends as if nothing had been, and a fact tells."""
    job = Job(tmp_path, CONFIG)
    thread = stopped_when_it_runs(job)
    with releasing(tmp_path, lambda: job.journal.facts(SignalSent)):
        result = job.run("/bin/sh", "-c", "read line < release")
    thread.join()
    job.watchdog.stop()
    job.starter.close()
    assert (result.exit_code, result.killed) == (0, None)
    woken = job.journal.facts(SignalSent)
    assert {(each.signal, each.purpose, each.pids) for each in woken} == {(signal.SIGCONT, "wake", (job.starter.pid,))}


def test_a_starter_that_hangs_is_killed_and_its_payload_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never answers costs its job, with a cause in words, and leaves nothing running."""
    monkeypatch.setattr(starter_module, "_MOST_LOOKS", 1)
    job = Job(tmp_path, CONFIG)
    thread = stopped_when_it_runs(job)
    with pytest.raises(TransientJobError, match="starter process has died"):
        job.run(*program("stubborn"))
    thread.join()
    job.watchdog.stop()
    (started,) = job.journal.facts(PayloadStarted)
    sent = {(each.signal, each.purpose, each.reason) for each in job.journal.facts(SignalSent)}
    assert sent == {(signal.SIGKILL, "wake", "the payload's starter does not answer")}
    assert not is_alive(started.pid)
    assert not is_alive(job.starter.pid)


def test_a_starter_that_is_stopped_before_the_start(tmp_path: Path) -> None:
    """Whoever waits for the exec wakes it, and the payload starts."""
    with stage(tmp_path, "wait4") as it:
        it.starter.prepare()
        stop(it.starter.pid)
        it.starter.start(it.command("/bin/true"))
        woken = [each for each in it.events() if isinstance(each, SignalSent)]
    assert [(each.signal, each.purpose) for each in woken] == [(signal.SIGCONT, "wake")]


@pytest.mark.parametrize("method", METHODS)
def test_a_resting_payload_needs_no_starter(tmp_path: Path, method: str) -> None:
    """Nobody wakes the starter for a payload that has not run since the last reading, which then holds."""
    with stage(tmp_path, method) as it:
        started = it.starter.start(it.command("/bin/sleep", "600"))
        # While it loads two readings in a row may be the same too.
        eventually(lambda: (seen := procfs.look(started.pid)) and seen.state == "S")
        held = eventually(lambda: (seen := it.starter.snapshot()) is it.starter.snapshot() and seen)
        stop(it.starter.pid)
        assert it.starter.snapshot() is held
        os.kill(it.starter.pid, signal.SIGCONT)
    assert held.processes == 1


def test_a_resting_payload_whose_children_nobody_waits_for_is_looked_at(tmp_path: Path) -> None:
    """What such children have used between two looks is uncertain: the looks must not become rare."""
    with stage(tmp_path, "wait4") as it:
        deaf = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pause()"
        started = it.starter.start(it.command(sys.executable, "-I", "-S", "-c", deaf))
        eventually(lambda: (seen := procfs.look(started.pid)) and seen.ignores_children and seen.state == "S")
        readings = [it.reading() for _ in range(5)]
    assert len({id(each) for each in readings}) == len(readings)
