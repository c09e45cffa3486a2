"""Payloads that recovery could lose: those that hide, are not payloads yet, or are found late."""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.agent.recovery import WRAPPER_DIED, recover
from runner.process.noted import NAME, SLOTS, Notes, living, read_notes
from runner.process.remnants import Traces, end_remnants
from telemetry.clock import SystemClock
from telemetry.measure import procfs
from telemetry.measure.snapshot import ProcessId
from tests.support.node import launching, node
from tests.support.processes import is_alive
from tests.support.starting import program
from tests.support.waiting import eventually

WITHOUT_GROUP = ("wait4", pytest.param("perf", marks=pytest.mark.perf))
MARK = "JOBSPAN_PAYLOAD_MARK=89ab"


def identity(pid: int) -> ProcessId:
    """Of a living process."""
    ticks = procfs.start_ticks(pid)
    assert ticks is not None
    return ProcessId(pid, ticks)


@contextmanager
def sleeper(folder: Path = Path("/"), **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that stays, in *folder*."""
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True, env=environment, cwd=folder) as process:
        try:
            if environment:  # the exec is known to have succeeded a moment before its environment can be read
                eventually(Path(f"/proc/{process.pid}/environ").read_bytes, what="the environment of a process")
            yield process
        finally:
            process.kill()


@contextmanager
def closed_gate(path: Path) -> Iterator[int]:
    """A lease on *path*: who executes it waits in the middle of its exec, until the lease is given up."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel tells so that somebody waits
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield fd
    finally:
        os.close(fd)
        signal.signal(signal.SIGIO, before)


@pytest.mark.parametrize("method", WITHOUT_GROUP)
def test_a_daemon_that_hides_is_known_by_its_note(tmp_path: Path, method: str) -> None:
    """Wrapper, starter and agent die together: a process that has left its session and cleared its environment goes
    with the rest, though no control group and no parent tells of it."""
    hidden = f"env -i setsid {' '.join(program('stubborn'))} & wait"
    with node(tmp_path, method, "/bin/sh", "-c", hidden) as it:
        pid = it.payload()
        assert os.getsid(pid) == pid
        assert not procfs.environment_has(pid, it.mark.encode())
        boot_id = SystemClock().boot_id
        eventually(lambda: identity(pid) in read_notes(it.control, boot_id), 20)
        it.write(it.planned())
        it.kill(it.starter)
    assert is_alive(pid)
    assert recover(it.control, SystemClock(), WRAPPER_DIED)
    assert not is_alive(pid)


@pytest.mark.parametrize("how", ["stays", "writes", "has a child"])
def test_a_daemon_that_nobody_has_noted_is_known_by_the_job_s_folder(tmp_path: Path, how: str) -> None:
    """It has left session, environment and parents between two looks; yet it stays in the folder, or writes into a file
    there, or a process of that kind has started it. Somebody else in the folder, who has a parent, goes on."""
    with node(tmp_path, "wait4", *program("hidden", how)) as it:
        it.write(it.planned())
        (tmp_path / "work" / "go").touch()
        count = 2 if how == "has a child" else 1
        pids = eventually(lambda: len(said := it.output().split()) == count and [*map(int, said)], 20)
        eventually(lambda: not any(procfs.environment_names(pid, b"JOBSPAN_PAYLOAD_MARK") for pid in pids), 20)
        it.kill(it.starter)
        (it.control / NAME).unlink()
    assert all(is_alive(pid) for pid in pids)
    with sleeper(tmp_path / "work") as somebody:
        assert recover(it.control, SystemClock(), WRAPPER_DIED)
        assert somebody.poll() is None
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize("method", WITHOUT_GROUP)
def test_a_crash_in_the_middle_of_the_exec(tmp_path: Path, method: str) -> None:
    """A starter dies while the exec of its payload hangs, as on a file system that does not answer: what has no mark
    yet is ended all the same, and executes nothing afterwards."""
    program_file = tmp_path / "payload"
    shutil.copy("/bin/sleep", program_file)
    with closed_gate(program_file) as gate, launching(tmp_path / "node", method, str(program_file), "60") as it:
        eventually(lambda: fcntl.fcntl(gate, fcntl.F_GETLEASE) != fcntl.F_WRLCK, 20)
        (child,) = procfs.children(it.starter)
        it.write(it.planned())
        it.kill(it.starter)
        assert is_alive(child)
        assert not procfs.environment_has(child, it.mark.encode())
        assert recover(it.control, SystemClock(), WRAPPER_DIED)
        assert not is_alive(child)


def test_what_is_found_late_is_killed_all_the_same() -> None:
    """However long the search took, as on a node that was held up: no process is found and then left."""
    with sleeper(**dict([MARK.split("=")])) as process:
        sent = end_remnants((), MARK, patience_seconds=0.0).killed
        assert sent.pids == (process.pid,)
        assert process.wait(10) == -signal.SIGKILL


def test_a_note_is_of_one_process_in_one_boot(tmp_path: Path) -> None:
    """Somebody who has got the pid of a process that was noted is never meant, nor is anybody of this boot by the notes
    of another one."""
    with sleeper() as process:
        notes = Notes.make(tmp_path, "this boot")
        assert notes is not None
        own = identity(process.pid)
        notes.keep([ProcessId(own.pid, own.start_ticks - 1)])
        noted = read_notes(tmp_path, "this boot")
        assert [each.pid for each in noted] == [own.pid]
        assert end_remnants((), "", traces=Traces(notes=noted)).killed.pids == ()
        notes.keep([own])
        assert read_notes(tmp_path, "another boot") == frozenset()
        assert living(read_notes(tmp_path, "this boot")) == {own.pid}


def test_notes_take_no_more_room_than_they_had(tmp_path: Path) -> None:
    """As many processes as there are slots are noted, the slots of the ended are used again, and the file keeps its
    size, which it has from the beginning."""
    notes = Notes.make(tmp_path, "this boot")
    assert notes is not None
    size = (tmp_path / NAME).stat().st_size
    many = [ProcessId(1000 + number, 7) for number in range(2 * SLOTS)]
    notes.keep(many)
    assert len(read_notes(tmp_path, "this boot")) == SLOTS - 2
    notes.keep(many[:1])
    notes.keep([*many[:1], ProcessId(5, 5)])
    assert {many[0], ProcessId(5, 5)} <= read_notes(tmp_path, "this boot")
    assert (tmp_path / NAME).stat().st_size == size


def test_what_is_no_note_is_passed_over(tmp_path: Path) -> None:
    """A file of notes that is empty, cut or full of rubbish tells what it can, and breaks no recovery."""
    path = tmp_path / NAME
    for content, found in ((b"", 0), (b"\0" * 4096, 0), (b"this boot\n12 7\nx y\n\xff\xfe \xff\n12\n1 2 3\n", 1)):
        path.write_bytes(content)
        assert len(read_notes(tmp_path, "this boot")) == found
