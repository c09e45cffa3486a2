"""Output files on a real disk: where they may lie, and how they are followed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.config import JobWrapperConfig
from runner.errors import PermanentJobError
from runner.process.output import ExecutionThread, OutputFiles, open_for_payload
from tests.support.waiting import eventually

CONFIG = JobWrapperConfig(polling_time_seconds=0.01, max_job_peek_lines=2)


@pytest.fixture
def thread(tmp_path: Path) -> Iterator[ExecutionThread]:
    """A thread that follows std.out and std.err; not started."""
    thread = ExecutionThread(OutputFiles(tmp_path, "std.out", "std.err"), config=CONFIG)
    yield thread
    thread.finish()


def test_totals_without_a_running_thread(tmp_path: Path, thread: ExecutionThread) -> None:
    """Whoever asks gets what is in the files now."""
    (tmp_path / "std.out").write_bytes(b"one\ntwo\nthree")
    (tmp_path / "std.err").write_bytes(b"\0\xff\n")
    out, err = thread.seen()
    assert (out.lines, out.bytes) == (3, 13)
    assert (err.lines, err.bytes) == (1, 3)
    assert thread.largest_bytes == 13


def test_the_thread_reads_along(tmp_path: Path, thread: ExecutionThread) -> None:
    """Lines that would be gone from the peek by the end are taken in while they come."""
    thread.start()
    taken: list[int] = []
    with (tmp_path / "std.out").open("ab", buffering=0) as file:
        for number in range(5):
            file.write(f"{number}\n".encode())
            eventually(lambda wanted=number: thread._peek.seen("stdout").lines == wanted + 1)
            taken.append(thread._peek.seen("stdout").lines)
    assert taken == [1, 2, 3, 4, 5]
    assert thread.finish()[0].peek_lines_dropped == 3
    assert not thread.is_alive()


def test_finish_is_exact_and_can_be_repeated(tmp_path: Path, thread: ExecutionThread) -> None:
    """What was written before the end is in the final totals, and files that grow later change nothing."""
    thread.start()
    with (tmp_path / "std.out").open("ab") as file:
        file.write(b"x\n" * 100_000 + b"end")
    seen = thread.finish()
    assert (seen[0].lines, seen[0].bytes) == (100_001, 200_003)
    (tmp_path / "std.out").write_bytes(b"")
    assert thread.finish() == seen
    assert thread.peek() == "x\nend"


def test_a_million_lines(tmp_path: Path, thread: ExecutionThread) -> None:
    """Large output is counted in blocks."""
    (tmp_path / "std.out").write_bytes(b"a line of the usual length, more or less\n" * 1_000_000)
    assert thread.finish()[0].lines == 1_000_000


def test_nobody_who_asks_reads_for_long(tmp_path: Path, thread: ExecutionThread) -> None:
    """Where very much is new an answer is behind, and each further one less; the last word is not told before it is
    known to be the last."""
    lines = 80 << 17
    (tmp_path / "std.out").write_bytes(b"a word\n\n" * lines + b"the last word")
    assert thread.peek(ended=True).endswith("a word\n\n")
    told = [thread.seen()[0].bytes for _ in range(3)]
    assert told[0] < told[1] == told[2] == 8 * lines + 13
    assert thread.peek(ended=True).endswith("the last word")
    assert thread.finish()[0].lines == 2 * lines + 1


def test_a_truncated_file_goes_on(tmp_path: Path, thread: ExecutionThread) -> None:
    """A payload that empties its output loses nothing of the count: what comes then is new."""
    path = tmp_path / "std.out"
    path.write_bytes(b"first\n" * 100)
    thread.seen()
    path.write_bytes(b"second\n")
    assert (thread.seen()[0].lines, thread.seen()[0].bytes) == (101, 607)
    assert thread.peek().endswith("second\n")


def test_what_was_there_before_is_not_output(tmp_path: Path) -> None:
    """A file that an input sandbox has brought is appended to, and only what is appended counts."""
    (tmp_path / "std.out").write_bytes(b"old\n")
    thread = ExecutionThread(OutputFiles(tmp_path, "std.out", "std.err"), config=CONFIG)
    os.close(fd := open_for_payload(tmp_path, tmp_path / "std.out", None))
    assert fd > 2
    with (tmp_path / "std.out").open("ab") as file:
        file.write(b"new\n")
    assert thread.finish()[0].lines == 1


def test_both_streams_in_one_file(tmp_path: Path) -> None:
    """One name for both is one stream, counted once."""
    thread = ExecutionThread(OutputFiles(tmp_path, "log", "./log"), config=CONFIG)
    (tmp_path / "log").write_bytes(b"1\n2\n")
    assert [(seen.stream, seen.lines) for seen in thread.finish()] == [("stdout", 2)]


@pytest.mark.parametrize(
    "name", ["../out", "/etc/passwd", "a/../../out", ".", "", "folder", "fifo", "link", "into/x", "a\0"]
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    """Nothing outside of the working directory, no link, no pipe: refused in words, and nothing is made outside."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "folder").mkdir()
    os.mkfifo(work / "fifo")
    (work / "link").symlink_to(tmp_path / "target")
    (work / "into").symlink_to(tmp_path)
    with pytest.raises(PermanentJobError, match="stdout of the job") as caught:
        OutputFiles(work, name, "std.err")
    assert caught.value.error_type == "output_file"
    assert sorted(os.listdir(tmp_path)) == ["work"]


def test_names_in_folders(tmp_path: Path) -> None:
    """A file in a folder of the job is a file like others."""
    (tmp_path / "logs").mkdir()
    files = OutputFiles(tmp_path, "logs/out", "logs/err")
    os.close(open_for_payload(tmp_path, files.stdout, None))
    files.close()
    assert sorted(os.listdir(tmp_path / "logs")) == ["err", "out"]
