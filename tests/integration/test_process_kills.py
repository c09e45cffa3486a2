"""Kills with real processes: when each signal comes, who gets it, and that nothing of a payload is left."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import PayloadStartError, TransientJobError
from runner.process import candidate, launch, signals, tree
from runner.process.cancel import Cancel
from telemetry.bus import Bus
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import KillFinished, SignalSent
from telemetry.measure.cgroup import ControlGroup
from telemetry.measure.cgroup1 import ControllerGroups
from tests.support.journals import ListJournal
from tests.support.processes import held_up_seconds, is_alive
from tests.support.starting import METHODS, end, program, stage
from tests.support.waiting import at_best, eventually

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

GRACE_SECONDS = 0.3


def kill_after_seconds(folder: Path, method: str) -> tuple[float, float]:
    """From the TERM to the KILL of a payload that ignores the first, by the times of the facts, less what the starter
    waited for a processor; and from the order."""
    folder.mkdir()
    with stage(folder, method, grace_seconds=GRACE_SECONDS) as it:
        it.starter.start(it.command(*program("stubborn")))
        it.first_line()
        ordered_ns = SystemClock().boottime_ns()
        held_up = held_up_seconds(it.starter.pid)
        it.starter.end_tree("the test")
        term, kill = (each for each in it.events() if isinstance(each, SignalSent))
        held_up = held_up_seconds(it.starter.pid) - held_up
    assert (term.signal, kill.signal) == (signal.SIGTERM, signal.SIGKILL)
    assert term.names == kill.names == (Path(program("stubborn")[0]).name[:15],)
    at_ns = kill.at_boottime_ns
    return (at_ns - term.at_boottime_ns) / NANOSECONDS - held_up, (at_ns - ordered_ns) / NANOSECONDS


@pytest.mark.parametrize("method", METHODS)
def test_the_grace_is_honoured_to_a_tenth_of_a_second(tmp_path: Path, method: str) -> None:
    """KILL never comes before the grace is over, and at best 0.1 s after it; a busy machine gets five tries."""

    def seconds(number: int) -> float:
        elapsed, since_order = kill_after_seconds(tmp_path / str(number), method)
        assert since_order >= GRACE_SECONDS  # the fact of the TERM is made after its signals, on a busy machine late
        return elapsed

    at_best(GRACE_SECONDS + 0.1, seconds)


@pytest.mark.parametrize("method", METHODS)
def test_a_fork_bomb_ends(tmp_path: Path, method: str) -> None:
    """Hundreds of processes that replace each other as they die are gone after the kill, all of them."""
    with stage(tmp_path, method, grace_seconds=0.1) as it:
        it.starter.start(it.command(*program("bomb", 3, 5)))
        eventually(lambda: (reading := it.starter.snapshot()) and reading.processes >= 300)
        it.starter.end_tree("the test")
        events = it.events()
        assert it.reading().processes == 0
    (finished,) = [each for each in events if isinstance(each, KillFinished)]
    assert finished.survivors == ()
    term = next(each for each in events if isinstance(each, SignalSent))
    assert term.processes >= 300
    assert len(term.names) == 32


@pytest.mark.parametrize(
    ("method", "groups"),
    [
        pytest.param("cgroup2", ControlGroup, marks=pytest.mark.cgroup),
        pytest.param("cgroup1", ControllerGroups, marks=pytest.mark.cgroup1),
    ],
)
def test_a_group_that_cannot_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, groups: type[object]
) -> None:
    """Before Linux 5.14, and without a freezer, each process of the group gets a signal of its own; none is left."""
    monkeypatch.setattr(groups, "can_kill", False)
    monkeypatch.setattr(groups, "kill", lambda _group: (tmp_path / "killed").touch())
    with stage(tmp_path, method, grace_seconds=0.2) as it:
        it.starter.start(
            it.command("/bin/sh", "-c", f"{' '.join(program('stubborn'))} & {' '.join(program('bomb', 2, 4))}")
        )
        eventually(lambda: (reading := it.starter.snapshot()) and reading.processes >= 20)
        it.starter.end_tree("the test")
        events = it.events()
        assert it.starter.prepare().cpu_method == method
    sent = [each for each in events if isinstance(each, SignalSent)]
    assert sent[0].signal == signal.SIGTERM
    assert sent[-1].signal == signal.SIGKILL
    assert [each.survivors for each in events if isinstance(each, KillFinished)] == [()]
    assert not (tmp_path / "killed").exists()


def test_who_survives_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that no signal reaches holds nobody up for ever: after some patience the kill is over, and names it."""
    monkeypatch.setattr(signals, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(tree, "_send", lambda _target, _number: False)
    with stage(tmp_path, "wait4", grace_seconds=0.1) as it:
        it.starter.start(it.command(*program("stubborn")))
        pid = int(it.first_line())
        try:
            it.starter.end_tree("the test")
            events = it.events()
            assert is_alive(pid)
        finally:
            os.kill(pid, signal.SIGKILL)
    (finished,) = [each for each in events if isinstance(each, KillFinished)]
    assert finished.survivors == (pid,)
    assert finished.duration_seconds >= 0.4
    assert [each for each in events if isinstance(each, SignalSent)] == []  # nobody was reached


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "argv", [program("headless"), (*program("spawner"), *program("stubborn"))], ids=["headless", "vfork"]
)
def test_shapes_that_hide_end(tmp_path: Path, method: str, argv: tuple[str, ...]) -> None:
    """A process without its first thread, and one that was made by vfork and left behind, do not survive."""
    with stage(tmp_path, method, grace_seconds=0.2) as it:
        it.starter.start(it.command(*argv))
        pid = int(it.first_line())
        it.starter.end_tree("the test")
        events = it.events()
        assert not Path(f"/proc/{pid}").exists()
    assert [each.survivors for each in events if isinstance(each, KillFinished)] == [()]


def test_a_kill_has_one_cause_and_says_who(tmp_path: Path) -> None:
    """What the user asked for stays the reason of every signal, whatever the watchdog finds afterwards."""
    with stage(tmp_path, "wait4", grace_seconds=0.2) as it:
        cancel = Cancel(Bus(ListJournal(SystemClock())).emit)
        it.starter.start(it.command(*program("stubborn")))
        it.first_line()
        cancel.on_request(lambda cause: it.starter.end_tree(cause.reason))
        assert cancel.request("user", "Received Kill signal")
        assert not cancel.request("watchdog", "Job has exceeded maximum CPU time limit")
        events = it.events()
    assert {each.reason for each in events if isinstance(each, SignalSent)} == {"Received Kill signal"}


def hold(gate: Path) -> None:
    """Wait between fork and exec until somebody writes into *gate*."""
    (gate.parent / "held").write_text(str(os.getpid()))
    gate.read_text()


@pytest.mark.parametrize("victim", ["starter", "wrapper"])
def test_nobody_is_started_when_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str) -> None:
    """Starter or wrapper die between fork and exec of a payload: it is not executed."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    monkeypatch.setattr(launch, "_reset_signals", lambda _changed: hold(gate))
    with stage(tmp_path, "wait4", grace_seconds=0.2) as it:
        it.starter.prepare()
        it.starter._send("start", it.command("/bin/sh", "-c", "echo executed").to_json())
        pid = int(eventually(lambda: (held := tmp_path / "held").exists() and held.read_text()))
        if victim == "starter":
            os.kill(it.starter.pid, signal.SIGKILL)
            with pytest.raises(TransientJobError):
                it.starter.poll(10)
            eventually(lambda: not is_alive(it.starter.pid))  # a dying process lets its files go before its children
            with gate.open("w"):
                pass
        else:
            for line in (it.starter._commands, it.starter._questions.line):  # as the kernel does it for a dead wrapper
                line.close()
        eventually(lambda: not is_alive(pid))
        eventually(lambda: not is_alive(it.starter.pid))
    assert not (it.work / "std.out").exists() or it.output() == ""


def test_no_process_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is full of processes, ahead and at the start, refuses that with the cause; the starter lives on."""

    def refuse(group: object) -> tuple[int, Callable[[], None]]:
        for name in ("refused ahead", "refused at the start"):
            if not (tmp_path / name).exists():
                (tmp_path / name).touch()
                raise OSError(errno.EAGAIN, "no process")
        return os.fork(), lambda: None

    monkeypatch.setattr(candidate, "_fork", refuse)
    with stage(tmp_path, "wait4") as it:
        with pytest.raises(PayloadStartError, match="no process can be made") as caught:
            it.starter.start(it.command("/bin/true"))
        assert caught.value.errno == errno.EAGAIN
        assert end(it.run("/bin/true")).exit_code == 0


def test_a_program_that_is_being_written(tmp_path: Path) -> None:
    """ETXTBSY is told in words."""
    with stage(tmp_path, "wait4") as it:
        program_file = it.work / "program"
        program_file.write_bytes(Path("/bin/true").read_bytes())
        program_file.chmod(0o755)
        with program_file.open("ab"), pytest.raises(PayloadStartError, match="open for writing") as caught:
            it.starter.start(it.command("./program"))
    assert caught.value.errno == errno.ETXTBSY
