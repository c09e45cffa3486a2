"""The journal between processes and on a full disk."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.agent.recovery import WRAPPER_DIED, recover
from telemetry.clock import SystemClock
from telemetry.facts import AttemptEnded, Fenced, StatusChanged
from telemetry.journal import RESERVE_BYTES, Journal, JournalBusy, JournalFull, JournalTail, is_written, read_journal
from telemetry.outbox import Acknowledgements
from tests.support.clock import JumpClock
from tests.support.tree import ROOT

HOLDER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from telemetry.clock import SystemClock
from telemetry.facts import Fenced
from telemetry.journal import Journal
journal = Journal(Path(sys.argv[2]), "wrapper", SystemClock())
journal.append(Fenced(reason="mine"))
print("held", flush=True)
sys.stdin.read()
"""
ENDED = AttemptEnded(status="Done", minor_status="Execution Complete")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes the journal of "wrapper"."""
    command = [sys.executable, "-c", HOLDER, str(ROOT), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "jobspan-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, *, leave_bytes: int = 0) -> None:
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - leave_bytes))


def test_one_writer_at_a_time(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """While a process writes, another is refused, and everybody can see that the writer lives."""
    assert is_written(tmp_path, "wrapper")
    with pytest.raises(JournalBusy, match="held by a living process"):
        Journal(tmp_path, "wrapper", JumpClock())


def test_a_killed_writer_is_dead_at_once(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    """After kill -9 the lock is free, what was written is there, and the next one continues the sequence."""
    holder.kill()
    holder.wait()
    assert not is_written(tmp_path, "wrapper")
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(ENDED)
    assert [(entry.sequence, entry.fact) for entry in read_journal(tmp_path)] == [
        (1, Fenced(reason="mine")),
        (2, ENDED),
    ]


def test_nobody_has_written_yet(tmp_path: Path) -> None:
    """A folder without the writer's lock has no living writer."""
    assert not is_written(tmp_path, "wrapper")


@pytest.mark.root
def test_closing_facts_fit_on_a_full_disk(small_disk: Path) -> None:
    """A payload fills the disk; the reserve still takes the facts that close the job."""
    with Journal(small_disk, "wrapper", JumpClock(), reserve_bytes=RESERVE_BYTES) as journal:
        fill(small_disk)
        try:
            for number in range(1000):
                journal.append(Fenced(reason=f"{number} {'x' * 200}"))
            journal.append(ENDED)
        except JournalFull as error:
            pytest.fail(f"the closing facts did not fit: {error}")
    found = [entry.fact for entry in read_journal(small_disk)]
    assert len(found) == 1001
    assert found[-1] == ENDED


@pytest.mark.root
def test_the_reserve_of_a_dead_wrapper_closes_its_job(small_disk: Path) -> None:
    """A wrapper dies while its disk is full: recovery writes the end into the room that it had reserved, and gives
    back the rest, in which acknowledgements find their place."""
    clock = JumpClock()
    with Journal(small_disk, "wrapper", clock) as journal:
        journal.append(StatusChanged(status="Running"))
    with (small_disk / "wrapper.reserve").open("wb") as file:  # as kill -9 leaves it
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
    fill(small_disk)
    clock.advance(1)
    assert recover(small_disk, clock, WRAPPER_DIED)
    assert isinstance(read_journal(small_disk)[-1].fact, AttemptEnded)
    assert list(small_disk.glob("*.reserve")) == []
    Acknowledgements(small_disk, "sink").settle("uid", "accepted")
    assert Acknowledgements(small_disk, "sink").outcome("uid") == "accepted"


@pytest.mark.root
def test_no_reserve_no_journal(small_disk: Path) -> None:
    """Without room for the reserve the journal is refused, nothing is left of it, and its lock is free."""
    fill(small_disk, leave_bytes=RESERVE_BYTES // 2)
    with pytest.raises(JournalFull, match="no room to reserve"):
        Journal(small_disk, "wrapper", JumpClock(), reserve_bytes=RESERVE_BYTES)
    assert not (small_disk / "wrapper.reserve").exists()
    with Journal(small_disk, "wrapper", JumpClock()) as journal:
        journal.append(ENDED)


@pytest.mark.root
def test_a_spent_reserve_is_an_error_and_no_crash(small_disk: Path) -> None:
    """When the reserve is spent too, the fact is refused in words, and a torn line is never taken for a fact."""
    with Journal(small_disk, "wrapper", JumpClock(), reserve_bytes=4096) as journal:
        fill(small_disk)
        kept = 0

        def until_full() -> None:
            nonlocal kept
            for _ in range(1000):
                journal.append(Fenced(reason="x" * 200))
                kept += 1

        with pytest.raises(JournalFull, match="cannot write"):
            until_full()
        (small_disk / "filler").unlink()
        journal.append(ENDED)
    found = [entry.fact for entry in read_journal(small_disk)]
    assert len(found) == kept + 1
    assert found[-1] == ENDED


def test_a_reader_sees_what_was_written_since_another_read(tmp_path: Path) -> None:
    """Facts are decoded once for all readers of a journal, and no reader is told of the journal as it was before."""
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(Fenced(reason="first"))
        assert [entry.fact for entry in read_journal(tmp_path)] == [Fenced(reason="first")]
        assert [entry.fact for entry in read_journal(tmp_path)] == [Fenced(reason="first")]
        journal.append(Fenced(reason="second"))
        assert [entry.fact for entry in read_journal(tmp_path)] == [Fenced(reason="first"), Fenced(reason="second")]


def test_every_reader_counts_the_damaged_lines(tmp_path: Path) -> None:
    """A line that is no fact is counted by the second reader of a journal as by the first."""
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(Fenced(reason="whole"))
    with (tmp_path / "wrapper.journal.jsonl").open("ab") as file:
        file.write(b"\xff torn\n")
    first, second = JournalTail(tmp_path), JournalTail(tmp_path)
    assert (len(first.poll()), first.damaged) == (1, 1)
    assert (len(second.poll()), second.damaged) == (1, 1)


def test_lines_that_nest_without_end_are_damaged_lines(tmp_path: Path) -> None:
    """Whatever somebody has written between the facts, they are read, and the next one has the next number."""
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        line = journal.append(ENDED)
    path = tmp_path / "wrapper.journal.jsonl"
    endless = path.read_bytes().replace(b'"sequence":1', b'"sequence":1e999')
    path.write_bytes(b"[" * 100_000 + b"\n" + endless + path.read_bytes())
    tail = JournalTail(tmp_path)
    assert (tail.poll(), tail.damaged) == ([line], 2)
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        assert journal.append(ENDED).sequence == 2


def test_a_disk_that_does_not_keep_a_fact_is_full(tmp_path: Path) -> None:
    """A file server may take a line and say only then, when it is to be forced to the disk, that there is no room: the
    fact is none, and the lock is let go all the same. (Here something that nothing can be forced to.)"""
    (tmp_path / "wrapper.journal.jsonl").symlink_to(os.devnull)
    journal = Journal(tmp_path, "wrapper", SystemClock(), reserve_bytes=4096)
    with pytest.raises(JournalFull, match="cannot keep"):
        journal.append(ENDED)
    with pytest.raises(OSError, match="Invalid argument"):
        journal.close()
    journal.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrapper.journal.jsonl", "wrapper.lock"]
