"""The process that is forked ahead to become the payload: it saves the start a fork, and ends where there is none."""

import os
import signal
from pathlib import Path

import pytest

from telemetry.clock import SystemClock
from telemetry.measure import procfs
from tests.support.processes import is_alive
from tests.support.starting import METHODS, Stage, end, stage
from tests.support.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
#: What a batch system sends to all processes of a job, or a terminal to all of a session.
MEANT_FOR_ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def waiting(it: Stage) -> int:
    """The process that waits, when it has a session of its own."""
    it.starter.prepare()
    (pid,) = eventually(lambda: procfs.children(it.starter.pid))
    eventually(lambda: os.getsid(pid) == pid)
    assert not procfs.has_executed(pid)
    return int(pid)


def state(pid: int) -> str:
    """Of a process: S, T, Z ..."""
    seen = procfs.look(pid, with_bytes=False)
    return seen.state if seen else ""


@pytest.mark.parametrize("method", METHODS)
def test_the_payload_is_forked_ahead(tmp_path: Path, method: str) -> None:
    """The process is there, and in the groups, before it is known what to execute; its start is that of the order."""
    with stage(tmp_path, method) as it:
        pid = waiting(it)
        groups = it.starter.prepare().cgroup_paths
        eventually(lambda: all(str(pid) in Path(group, "cgroup.procs").read_text().split() for group in groups))
        ticks, ordered_ns = procfs.start_ticks(pid), SystemClock().boottime_ns()
        started = it.starter.start(it.command("/bin/sh", "-c", "echo $$"))
        it.events()
        assert it.first_line() == str(pid)
    assert (started.pid, started.start_ticks) == (pid, ticks)
    assert ordered_ns <= started.start_boottime_ns <= SystemClock().boottime_ns()


def test_signals_that_are_meant_for_all_of_the_job_do_not_end_it(tmp_path: Path) -> None:
    """Before it is the payload it hears as little as the starter; as the payload it ends by them, as any program."""
    with stage(tmp_path, "wait4") as it:
        pid = waiting(it)
        for each in MEANT_FOR_ALL:
            os.kill(pid, each)
        assert it.starter.start(it.command("/bin/sh", "-c", "kill -USR1 $$")).pid == pid
        assert end(it.events()).signal == signal.SIGUSR1


def test_one_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """Nobody has to know that there was one before."""
    with stage(tmp_path, "wait4") as it:
        pid = waiting(it)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: state(pid) == "Z")
        assert it.starter.start(it.command("/bin/true")).pid != pid
        assert end(it.events()).exit_code == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_stopped", [False, True], ids=["waiting", "stopped"])
def test_without_a_payload_it_ends_with_the_starter(tmp_path: Path, method: str, is_stopped: bool) -> None:
    """A job that never comes to its payload leaves neither process nor groups, even if somebody has stopped it."""
    with stage(tmp_path, method) as it:
        pid = waiting(it)
        groups = it.starter.prepare().cgroup_paths
        if is_stopped:
            os.kill(pid, signal.SIGSTOP)
        it.starter.close()
        assert not is_alive(pid)
    assert [group for group in groups if Path(group).exists()] == []


def test_it_dies_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    """Nobody is left to give the word: it ends, and executes nothing."""
    with stage(tmp_path, "wait4") as it:
        pid = waiting(it)
        os.kill(it.starter.pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pid))


def test_a_starter_does_not_wait_for_one_that_is_stopped(tmp_path: Path) -> None:
    """However long the command is: readings are answered, and the end is obeyed."""
    with stage(tmp_path, "wait4", grace_seconds=0.1) as it:
        pid = waiting(it)
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: state(pid) == "T")
        it.starter._send("start", it.command("/bin/true", *["x" * 1000] * 1000).to_json())
        it.reading()
        it.starter.close()
        assert not is_alive(pid)
