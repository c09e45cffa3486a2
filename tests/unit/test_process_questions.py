"""When the watchdog asks the starter for a reading, and when it need not."""

import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner.process.questions import Questions
from runner.process.wire import pack_reading, unpack_question
from telemetry.clock import SystemClock
from telemetry.measure import procfs
from telemetry.measure.snapshot import NOTHING_USED, Methods, Peaks
from telemetry.measure.stillness import NO_MARKS, RunCounters
from tests.support.clock import JumpClock
from tests.support.waiting import eventually

METHODS = Methods(cpu="cgroup2", memory="walk", peak_threads="cgroup1")


@dataclass
class Answerer:
    """Answers at the other end of a line: with how often it was asked as the number of processes."""

    ours: socket.socket
    theirs: socket.socket
    #: Read before each answer, as a starter does it.
    pids: Sequence[int] = ()
    counters: RunCounters = field(default_factory=RunCounters)
    questions: list[tuple[str, int]] = field(default_factory=list)

    def work(self) -> None:
        """Until the line is closed."""
        while question := self.theirs.recv(64):
            self.questions.append(unpack_question(question))
            marks = self.counters.read(self.pids) if self.pids else NO_MARKS
            asked = len(self.questions)
            reading = NOTHING_USED._replace(processes=asked, peaks=Peaks(threads=7), methods=METHODS)
            self.theirs.send(pack_reading(question, reading, marks))


@pytest.fixture
def answerer() -> Iterator[Answerer]:
    """Somebody who answers in a thread of its own."""
    it = Answerer(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    thread = threading.Thread(target=it.work)
    thread.start()
    yield it
    it.ours.close()
    thread.join(10)
    it.theirs.close()
    it.counters.close()


@pytest.fixture
def line(answerer: Answerer) -> socket.socket:
    """Our end."""
    return answerer.ours


def asked(questions: Questions, depth: str = "") -> int:
    """Ask, and how many questions the other end has had then."""
    reading = questions.ask(depth)  # type: ignore[arg-type]
    assert reading is not None
    assert (reading.peaks, reading.methods) == (Peaks(threads=7), METHODS)
    return reading.processes


@pytest.mark.parametrize(("method", "file"), [("cgroup2", "cpu.stat"), ("cgroup1", "cpuacct.usage")])
def test_a_payload_that_has_not_run_is_not_looked_at_again(
    tmp_path: Path, line: socket.socket, method: str, file: str
) -> None:
    """While the group's CPU stands still the last answer holds; a deep look is always taken."""
    (tmp_path / file).write_text("usage_usec 5\n")
    questions = Questions(line, SystemClock())
    questions.know_groups(method, (str(tmp_path),))
    assert [asked(questions) for _ in range(3)] == [1, 1, 1]
    (tmp_path / file).write_text("usage_usec 6\n")
    assert [asked(questions) for _ in range(3)] == [2, 2, 2]
    assert [asked(questions, "deep"), asked(questions), asked(questions, "pss")] == [3, 3, 4]
    questions.close()
    questions.close()


def test_without_a_group_and_marks_every_look_is_taken(tmp_path: Path, line: socket.socket) -> None:
    """Where nothing tells whether a payload has run, and where the group is gone, the starter is asked."""
    questions = Questions(line, SystemClock())
    questions.know_groups("wait4", ())
    assert [asked(questions), asked(questions)] == [1, 2]
    questions.know_groups("cgroup2", (str(tmp_path / "gone"),))
    assert [asked(questions), asked(questions)] == [3, 4]
    questions.close()


@pytest.fixture
def cat() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs when it is written to, and only then."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        echo(process)
        yield process
        process.kill()


def echo(process: subprocess.Popen[bytes]) -> None:
    """Have `cat` run, and wait until it sleeps again."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x")
    assert process.stdout.read(1) == b"x"
    eventually(lambda: (seen := procfs.look(process.pid)) and seen.state == "S", 10, "its sleep")


def test_processes_that_have_not_run_are_not_looked_at_again(answerer: Answerer, cat: subprocess.Popen[bytes]) -> None:
    """Without a group the scheduler's counters tell; a process that has run, if only for a moment, is looked at, and
    so is one that is gone. A question says until when nobody had run."""
    clock = JumpClock()
    answerer.pids = [cat.pid]
    questions = Questions(answerer.ours, clock)
    assert [asked(questions) for _ in range(3)] == [1, 1, 1]
    clock.advance(3)
    assert asked(questions) == 1
    still_until_ns = clock.boottime_ns()
    clock.advance(1)
    echo(cat)
    assert [asked(questions) for _ in range(3)] == [2, 2, 2]
    assert answerer.questions == [("", 0), ("", still_until_ns)]
    assert [asked(questions, "deep"), asked(questions)] == [3, 3]
    cat.kill()
    cat.wait()
    assert [asked(questions) for _ in range(2)] == [4, 5]
    questions.close()


@pytest.mark.parametrize("kind", ["group", "marks"])
def test_what_the_kernel_does_to_a_resting_payload_shows_in_time(
    tmp_path: Path, answerer: Answerer, cat: subprocess.Popen[bytes], kind: str
) -> None:
    """Memory may be reclaimed, and pages written back, without its running: no answer holds for ever."""
    clock = JumpClock()
    questions = Questions(answerer.ours, clock)
    if kind == "group":
        (tmp_path / "cpu.stat").write_text("usage_usec 5\n")
        questions.know_groups("cgroup2", (str(tmp_path),))
    else:
        answerer.pids = [cat.pid]
    assert asked(questions) == 1
    clock.advance(14.9)
    assert asked(questions) == 1
    clock.advance(0.2)
    assert [asked(questions), asked(questions)] == [2, 2]
    questions.close()


def test_nobody_answers(line: socket.socket) -> None:
    """A line that is closed gives no reading, and no error."""
    questions = Questions(line, SystemClock())
    questions.close()
    assert questions.ask("") is None
