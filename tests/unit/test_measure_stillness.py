"""When the marks of a look tell that nobody has run since, and when there are none."""

from pathlib import Path

import pytest

from telemetry.measure import stillness
from telemetry.measure.snapshot import ProcessId, ProcessLook
from telemetry.measure.stillness import NO_MARKS, Marks, RunCounters, Stillness


class Counters(RunCounters):
    """The scheduler's counters, as the test sets them; a process that is not there is gone."""

    def __init__(self, **runs: int) -> None:
        super().__init__()
        self.runs = {int(name[1:]): run for name, run in runs.items()}

    def read(self, pids: object) -> Marks:
        """As the test has set them."""
        wanted = list(pids)  # type: ignore[call-overload]
        return tuple((pid, b"%d 0 1\n" % self.runs[pid]) for pid in wanted) if set(wanted) <= set(self.runs) else ()


def look(pid: int, threads: int = 1) -> ProcessLook:
    """A process as `/proc` shows it."""
    return ProcessLook(ProcessId(pid, pid), parent_pid=1, threads=threads)


def test_the_second_look_at_the_same_processes_has_marks() -> None:
    """They are those of before the look: who ran during it will be found to have run."""
    counters = Counters(p10=5, p11=7)
    it = Stillness(_counters=counters)

    def seen() -> list[ProcessLook]:
        counters.runs[10] += 1
        return [look(11), look(10)]

    it.during(seen)
    assert it.marks == NO_MARKS
    it.during(seen)
    assert it.marks == ((10, b"6 0 1\n"), (11, b"7 0 1\n"))
    assert counters.read([10, 11]) != it.marks


@pytest.mark.parametrize(
    "after",
    [
        pytest.param([look(10), look(11)], id="another has come"),
        pytest.param([], id="all are gone"),
        pytest.param([look(10, threads=2)], id="it has a second thread, which its counters do not show"),
        pytest.param([look(pid) for pid in range(100, 120)], id="too many"),
    ],
)
def test_no_marks(after: list[ProcessLook]) -> None:
    """Nobody is called still whom the marks do not show whole."""
    it = Stillness(_counters=Counters(p10=5, p11=7))
    for _ in range(2):
        it.during(lambda: [look(10)])
    assert it.marks != NO_MARKS
    it.during(lambda: after)
    assert it.marks == NO_MARKS


def test_a_kernel_that_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros, and a file that is not there, are no marks: everything would look still for ever."""
    counters = RunCounters()
    (file := tmp_path / "schedstat").write_bytes(b"0 0 0\n")
    real = stillness.os.open
    monkeypatch.setattr(stillness.os, "open", lambda _, flags: real(file, flags))
    assert counters.read([10]) == NO_MARKS
    file.write_bytes(b"1200 0 3\n")
    assert counters.read([10]) == ((10, b"1200 0 3\n"),)
    counters.close()
    file.unlink()
    assert counters.read([10]) == NO_MARKS
