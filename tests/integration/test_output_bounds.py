"""Output of real payloads that is too long, shrinks, has no lines, or goes on after its payload."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.config import JobWrapperConfig
from runner.process.followed import Followed, punch_hole
from runner.process.output import ExecutionThread, OutputFiles, open_for_payload
from telemetry.facts import OutputSeen
from tests.support.waiting import eventually

LIMIT = 1 << 20
DEADLINE_SECONDS = 20.0
NUMBERS = (
    "import os\nfor n in range({blocks}): os.write(1, b''.join(b'%012d\\n' % i for i in range(n*5041, n*5041+5041)))"
)


class Payload:
    """A program whose streams go straight into files, and the thread that reads along."""

    def __init__(self, folder: Path, options: dict[str, Any], stderr: str = "std.err", **given: Any) -> None:
        options = {"polling_time_seconds": 0.02, "output_file_limit_bytes": LIMIT, **options}
        self.folder = folder
        self.files = OutputFiles(folder, "std.out", stderr)
        self.thread = ExecutionThread(self.files, config=JobWrapperConfig(**options), **given)

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Run *argv*."""
        fds = [open_for_payload(self.folder, each, None) for each in (self.files.stdout, self.files.stderr)]
        process = subprocess.Popen(argv, stdout=fds[0], stderr=fds[1], cwd=self.folder, stdin=subprocess.PIPE)
        for fd in fds:
            os.close(fd)
        self.thread.start()
        return process

    def run(self, *argv: str) -> tuple[OutputSeen, ...]:
        """Run *argv* to its end."""
        with self.start(*argv) as process:
            assert process.wait(DEADLINE_SECONDS) == 0
        return self.thread.finish()

    @property
    def text(self) -> bytes:
        """What is in std.out."""
        return (self.folder / "std.out").read_bytes()


Make = Callable[..., Payload]


@pytest.fixture
def payload(tmp_path: Path) -> Iterator[Make]:
    """Makes payloads, whose threads end with the test."""
    made: list[Payload] = []

    def make(options: dict[str, Any] | None = None, **given: Any) -> Payload:
        made.append(Payload(tmp_path, options or {}, **given))
        return made[-1]

    yield make
    for each in made:
        each.thread.finish()


def python(source: str) -> Sequence[str]:
    """A payload in Python."""
    return (sys.executable, "-I", "-S", "-c", source)


def test_too_much_output_loses_its_middle(payload: Make) -> None:
    """Beyond OutputFileLimit head and tail are kept, the dropped bytes are exact, and no NUL is left."""
    job = payload()
    seen = job.run(*python(NUMBERS.format(blocks=160)))[0]
    total = 160 * 5041
    assert (seen.lines, seen.bytes) == (total, total * 13)
    text = job.text
    head, notice, tail = text.partition(f"\n--- {seen.dropped_bytes} of {seen.bytes} bytes left out".encode())
    assert notice, text[LIMIT // 2 - 20 : LIMIT // 2 + 200]
    assert head == b"".join(b"%012d\n" % number for number in range(total))[: LIMIT // 2]
    tail = tail.partition(b"OutputFileLimit ---\n")[2]
    assert tail.endswith(b"%012d\n" % (total - 1))
    assert len(head) + len(tail) + seen.dropped_bytes == seen.bytes
    assert b"\0" not in text
    assert len(text) <= LIMIT + 200


def test_the_disk_gets_its_blocks_back_while_it_writes(payload: Make) -> None:
    """While the payload goes on, the file takes no more room than the limit and one look's worth of output."""
    job = payload()
    source = NUMBERS.format(blocks=160) + "\nimport sys; sys.stdin.read(1); print('the end', flush=True)"
    with job.start(*python(source)) as process:
        eventually(lambda: job.thread.seen()[0].bytes == 160 * 5041 * 13, DEADLINE_SECONDS)
        status = (job.folder / "std.out").stat()
        assert status.st_size == 160 * 5041 * 13
        assert status.st_blocks * 512 <= LIMIT + 2 * status.st_blksize
        assert job.thread.held_bytes <= LIMIT
        process.communicate(b"x", DEADLINE_SECONDS)
    seen = job.thread.finish()[0]
    assert seen.bytes == 160 * 5041 * 13 + 8
    assert job.text.endswith(b"\nthe end\n")


def test_a_file_system_without_holes(payload: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be dropped the file stays whole, and its length is held against the limit."""

    def punch(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    job = payload(punch=punch)
    seen = job.run(*python(NUMBERS.format(blocks=30)))[0]
    assert (seen.dropped_bytes, job.thread.held_bytes) == (0, seen.bytes)
    assert seen.bytes == len(job.text) > LIMIT
    assert caplog.text.count("cannot be truncated on this file system") == 1


@pytest.mark.parametrize("action", ["kill", "warn", "off"])
def test_only_truncation_truncates(payload: Make, action: str) -> None:
    """With any other OutputFileAction nothing is dropped: the watchdog sees the whole file."""
    job = payload({"output_file_action": action})
    seen = job.run(*python(NUMBERS.format(blocks=30)))[0]
    assert (seen.dropped_bytes, job.thread.held_bytes) == (0, seen.bytes)


def test_whoever_reads_along_is_nicer_than_the_payload(payload: Make) -> None:
    """The thread that counts gives way to the payload; the rest of the wrapper does not."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    job = payload()
    with job.start(*python("import sys; sys.stdin.read(1)")) as process:
        nicer = min(19, own + 5)
        eventually(lambda: os.getpriority(os.PRIO_PROCESS, job.thread.native_id or 0) == nicer, DEADLINE_SECONDS)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == own
        process.communicate(b"x", DEADLINE_SECONDS)
    job.thread.finish()
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_a_payload_that_empties_its_output(payload: Make) -> None:
    """A file that shrinks is told as a fact, and what was counted before stays counted."""
    job = payload()
    source = "import os,sys\nos.write(1, b'old\\n' * 100)\nsys.stdin.read(1)\n"
    source += "os.truncate('std.out', 0)\nos.write(1, b'new\\n')"
    with job.start(*python(source)) as process:
        eventually(lambda: job.thread.seen()[0].bytes == 400, DEADLINE_SECONDS)
        process.communicate(b"x", DEADLINE_SECONDS)
    seen = job.thread.finish()[0]
    assert (seen.lines, seen.bytes, seen.shrunk, seen.dropped_bytes) == (101, 404, 1, 0)
    assert job.text == b"new\n"


def test_emptied_after_truncation(payload: Make) -> None:
    """A file that was emptied after its middle was dropped is not cut again: what it holds now stays whole."""
    job = payload()
    source = NUMBERS.format(blocks=30) + (
        "\nimport sys\nsys.stdin.readline()\nos.truncate('std.out', 0)\nos.write(1, b'new\\n' * 1000)"
    )
    with job.start(*python(source)) as process:
        eventually(lambda: job.thread.seen()[0].bytes == 30 * 5041 * 13, DEADLINE_SECONDS)
        assert job.thread.seen()[0].dropped_bytes > 0
        process.communicate(b"x\n", DEADLINE_SECONDS)
    seen = job.thread.finish()[0]
    assert seen.shrunk == 1
    assert seen.lines == 30 * 5041 + 1000
    assert job.text == b"new\n" * 1000


def test_filled_again_between_two_looks(tmp_path: Path) -> None:
    """A file that was emptied and grew beyond its old length unseen has no hole any more: none is closed."""
    path = tmp_path / "log"
    path.touch()
    with path.open("r+b", buffering=0) as file:
        followed = Followed(file.fileno(), 100_000)
        file.write(b"a" * 200_000)
        assert sum(map(len, followed.read())) == 200_000
        assert followed.dropped_bytes > 0
        path.write_bytes(b"b" * 300_000)
        followed.close_gap()
        assert followed.shrunk == 1
    assert path.read_bytes() == b"b" * 300_000


#: What nobody could read through within a test.
SPARSE = 400 << 30


@pytest.mark.parametrize("action", ["truncate", "off"])
@pytest.mark.parametrize(
    "script",
    [
        "truncate -s {size} std.out; echo; echo the end",
        "echo begin; truncate -s {size} std.out; echo; echo the end",
        "echo begin; truncate -s 100G std.out; echo middle; truncate -s {size} std.out; echo; echo the end",
    ],
)
def test_a_payload_that_makes_a_hole(payload: Make, action: str, script: str) -> None:
    """A file that has become long without being written is not read through: its bytes and lines are exact, its end is
    shown, and it is kept within OutputFileLimit like any other."""
    job = payload({"output_file_action": action})
    seen = job.run("/bin/sh", "-c", script.format(size=SPARSE))[0]
    assert (seen.lines, seen.bytes) == (script.count("echo"), SPARSE + len("\nthe end\n"))
    assert job.thread.peek() == "the end\n"
    assert job.thread.excerpt("stdout").piece.data == b"the end\n"
    status = (job.folder / "std.out").stat()
    if action == "truncate":
        assert status.st_size <= LIMIT + 200
        assert job.text.endswith(b"\nthe end\n")
        assert seen.dropped_bytes > SPARSE - LIMIT
    else:
        assert (seen.dropped_bytes, status.st_size) == (0, seen.bytes)


@pytest.mark.parametrize("action", ["truncate", "off"])
def test_a_file_that_ends_with_a_hole(payload: Make, action: str) -> None:
    """Up to the end of a file its bytes count, though nothing follows the hole."""
    job = payload({"output_file_action": action})
    seen = job.run("/bin/sh", "-c", f"echo begin; truncate -s {SPARSE} std.out")[0]
    assert (seen.lines, seen.bytes) == (2, SPARSE)


@pytest.mark.parametrize("reader", ["thread", "finish"])
def test_who_reads_on_lets_in_whoever_asks(payload: Make, reader: str) -> None:
    """However much there is to read, who asks is answered before all of it was: he waits for a piece at most."""
    told: list[OutputSeen] = []

    def punch(fd: int, offset: int, length: int) -> None:
        if asker.ident is None:
            asker.start()
            eventually(job.thread._turn.locked, DEADLINE_SECONDS)
        punch_hole(fd, offset, length)

    job = payload(punch=punch)
    asker = threading.Thread(target=lambda: told.extend(job.thread.seen()))
    lines = 50 << 17
    (job.folder / "std.out").write_bytes(b"a line\n\n" * lines)
    if reader == "thread":
        job.thread.start()
        eventually(lambda: told, DEADLINE_SECONDS)
    seen = job.thread.finish()[0]
    asker.join(DEADLINE_SECONDS)
    assert 0 < told[0].bytes < seen.bytes
    assert (seen.lines, seen.bytes) == (2 * lines, 8 * lines)


def test_descendants_write_on(payload: Make) -> None:
    """What a process writes that outlives the payload's top process is counted, up to the very end."""
    job = payload()
    script = "(for i in 1 2 3 4 5 6 7 8; do echo $i; read x; done) <fifo & echo top"
    os.mkfifo(job.folder / "fifo")
    with job.start("/bin/sh", "-c", script) as process:
        assert process.wait(DEADLINE_SECONDS) == 0
    with (job.folder / "fifo").open("wb", buffering=0) as fifo:
        fifo.write(b"\n" * 8)
        eventually(lambda: job.thread.seen()[0].lines == 9, DEADLINE_SECONDS)
    assert job.thread.finish()[0].lines == 9


def test_both_streams_in_one_file(payload: Make) -> None:
    """Two writers of one file overwrite nothing of each other, and are one stream, counted once."""
    job = payload(stderr="std.out")
    (seen,) = job.run("/bin/sh", "-c", "for i in 1 2 3 4 5; do echo out; echo err >&2; done")
    assert (seen.stream, seen.lines, seen.bytes) == ("stdout", 10, 40)
    assert job.text == b"out\nerr\n" * 5


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("b'x' * 5_000_000", 1),
        ("bytes(range(256)) * 1000", 1001),
        ("'h\\u00e9'.encode()[:2]", 1),
        ("b'\\0' * 100_000 + b'\\n'", 1),
        ("b''", 0),
        ("b'\\n' * 70_000", 70_000),
    ],
)
def test_whatever_is_written(payload: Make, written: str, lines: int) -> None:
    """Lines without an end, binary, half a character, NULs: counted exactly, held within BufferLimit, shown as text."""
    job = payload({"output_file_limit_bytes": 2 << 30, "buffer_limit_bytes": 4096})
    seen = job.run(*python(f"import sys; sys.stdout.buffer.write({written})"))[0]
    assert (seen.lines, seen.bytes) == (lines, len(job.text))
    assert len(job.thread.peek()) <= 4096 + 1
    assert "\0" not in job.thread.peek()
    assert seen.dropped_bytes == seen.shrunk == 0


def test_memory_is_bounded(payload: Make) -> None:
    """However much is written, what the thread keeps of it stays within BufferLimit."""
    job = payload({"output_file_limit_bytes": 2 << 30, "buffer_limit_bytes": 2048, "max_job_peek_lines": 10**6})
    job.run(*python("import sys; sys.stdout.write('a line\\n' * 300_000 + 'open' * 10_000)"))
    held = sum(len(line.text) for line in job.thread._peek._lines)
    assert held <= 2048
    assert all(len(counts.open_line) <= 2048 for counts in job.thread._peek._counts.values())


def test_a_look_by_stream(payload: Make) -> None:
    """Each stream is shown by itself, from any position, whole lines only until it has ended."""
    job = payload()
    source = (
        "import os,sys\nos.write(1, b'one\\ntw')\nos.write(2, b'oops\\n')\nsys.stdin.read(1)\nos.write(1, b'o\\nthree')"
    )
    with job.start(*python(source)) as process:
        eventually(lambda: [each.bytes for each in job.thread.seen()] == [6, 5], DEADLINE_SECONDS)
        first = job.thread.excerpt("stdout")
        assert (first.piece.start, first.piece.data, first.ended) == (0, b"one\n", False)
        assert job.thread.excerpt("stderr").piece.data == b"oops\n"
        process.communicate(b"x", DEADLINE_SECONDS)
    job.thread.finish()
    last = job.thread.excerpt("stdout", 4)
    assert (last.piece.start, last.piece.data, last.ended) == (4, b"two\nthree", True)
    assert job.thread.excerpt("stdout", 10**9).piece.data == b""


def test_looks_from_many_threads(payload: Make) -> None:
    """Whoever asks while the payload writes gets what follows his last answer: nothing twice, nothing left out."""
    job = payload({"output_file_limit_bytes": 2 << 30})
    got: list[bytes] = []

    def follow() -> None:
        position, ended = 0, False
        while not ended:
            excerpt = job.thread.excerpt("stdout", position)
            assert excerpt.piece.start == position
            got.append(excerpt.piece.data)
            position += len(excerpt.piece.data)
            ended = excerpt.ended

    source = "import sys\nfor i in range(200): sys.stdout.write('%06d\\n' % i); sys.stdout.flush()"
    follower = threading.Thread(target=follow)
    follower.start()
    job.run(*python(source))
    follower.join(DEADLINE_SECONDS)
    assert b"".join(got) == job.text
