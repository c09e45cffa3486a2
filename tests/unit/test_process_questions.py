"""When the watchdog asks the starter for a reading, and when it need not."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.process.questions import Questions
from runner.process.wire import pack_reading
from telemetry.measure.snapshot import NOTHING_USED, Methods, Peaks

METHODS = Methods(cpu="cgroup2", memory="walk", peak_threads="cgroup1")


@pytest.fixture
def line() -> Iterator[socket.socket]:
    """A line at whose other end somebody answers each question; the process count tells how often."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def answer() -> None:
        asked = 0
        while question := theirs.recv(64):
            asked += 1
            reading = NOTHING_USED._replace(processes=asked, peaks=Peaks(threads=7), methods=METHODS)
            theirs.send(pack_reading(question, reading))

    thread = threading.Thread(target=answer)
    thread.start()
    yield ours
    ours.close()
    thread.join(10)
    theirs.close()


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
    questions = Questions(line)
    questions.know_groups(method, (str(tmp_path),))
    assert [asked(questions) for _ in range(3)] == [1, 1, 1]
    (tmp_path / file).write_text("usage_usec 6\n")
    assert [asked(questions) for _ in range(3)] == [2, 2, 2]
    assert [asked(questions, "deep"), asked(questions), asked(questions, "pss")] == [3, 3, 4]
    questions.close()
    questions.close()


def test_without_a_group_every_look_is_taken(tmp_path: Path, line: socket.socket) -> None:
    """Where nobody tells whether a payload has run, and where the group is gone, the starter is asked."""
    questions = Questions(line)
    questions.know_groups("wait4", ())
    assert [asked(questions), asked(questions)] == [1, 2]
    questions.know_groups("cgroup2", (str(tmp_path / "gone"),))
    assert [asked(questions), asked(questions)] == [3, 4]
    questions.close()


def test_what_the_kernel_does_to_a_resting_payload_shows_in_time(
    tmp_path: Path, line: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may be reclaimed, and pages written back, without its running: no answer holds for ever."""
    monkeypatch.setattr("runner.process.questions._LONGEST_TRUST_SECONDS", 0.0)
    (tmp_path / "cpu.stat").write_text("usage_usec 5\n")
    questions = Questions(line)
    questions.know_groups("cgroup2", (str(tmp_path),))
    assert [asked(questions), asked(questions)] == [1, 2]
    questions.close()


def test_nobody_answers(line: socket.socket) -> None:
    """A line that is closed gives no reading, and no error."""
    questions = Questions(line)
    questions.close()
    assert questions.ask("") is None
