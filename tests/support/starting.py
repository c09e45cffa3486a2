"""Starting payloads in tests: a starter, its control and work folders, and what it tells."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from runner.process.starter import PayloadCommand, PayloadUser, Starter, StarterEvent, TreeEnded
from telemetry.clock import SystemClock
from telemetry.facts import PayloadEnded
from telemetry.measure.snapshot import UsageReading
from tests.support.waiting import eventually

PAYLOADS = Path(__file__).parent / "payloads"
DEADLINE_SECONDS = 60.0
#: CPU that an interpreter needs to start and that forks cost, at most, on a busy machine.
START_CPU_SECONDS = 0.6
#: Every method of measuring, each where the machine grants it.
METHODS = (
    "wait4",
    pytest.param("cgroup2", marks=pytest.mark.cgroup),
    pytest.param("cgroup1", marks=pytest.mark.cgroup1),
    pytest.param("perf", marks=pytest.mark.perf),
)


def program(name: str, *arguments: object) -> tuple[str, ...]:
    """Command line of one of the misbehaving programs."""
    return (sys.executable, "-I", "-S", str(PAYLOADS / f"{name}.py"), *map(str, arguments))


def fork_starter(control: Path, *, method: str, orphan_grace_seconds: float, kill_grace_seconds: float) -> Starter:
    """A starter of this very process, once the threads of tests before this one have ended: it is a fork."""
    try:
        eventually(lambda: threading.active_count() == 1, DEADLINE_SECONDS, "the end of other tests' threads")
    except AssertionError as error:
        raise AssertionError(f"{error}; there are {[each.name for each in threading.enumerate()]}") from error
    return Starter.fork(
        control,
        method=method,
        uid_label="test",
        orphan_grace_seconds=orphan_grace_seconds,
        kill_grace_seconds=kill_grace_seconds,
        clock=SystemClock(),
    )


@contextmanager
def releasing(folder: Path, *conditions: Callable[[], object]) -> Iterator[None]:
    """A pipe `release` in *folder*, into which for each of *conditions* a line is written as soon as it is true.

    A payload that reads there lives for as long as somebody may take to see what there is to be seen of it.
    """
    os.mkfifo(folder / "release")
    pipe = os.open(folder / "release", os.O_RDWR)  # waits for no reader, and keeps what was written for him

    def release() -> None:
        try:
            for condition in conditions:
                eventually(condition, DEADLINE_SECONDS, "what the payload waits for")
                os.write(pipe, b"\n")
        except BaseException:
            os.write(pipe, b"\n" * len(conditions))  # or the payload would wait for ever
            raise

    try:
        with ThreadPoolExecutor(1) as pool:
            released = pool.submit(release)
            yield
        released.result()
    finally:
        os.close(pipe)


class Stage:
    """A place where one payload is run."""

    def __init__(self, folder: Path, starter: Starter) -> None:
        self.control = folder / "control"
        self.work = folder / "work"
        self.starter = starter

    def command(self, *argv: str, user: PayloadUser | None = None, **environment: str) -> PayloadCommand:
        """A command in this place."""
        return PayloadCommand(
            argv=argv,
            environment={"PATH": "/usr/bin:/bin", **environment},
            folder=self.work,
            stdout=self.work / "std.out",
            stderr=self.work / "std.err",
            user=user,
        )

    def run(self, *argv: str, user: PayloadUser | None = None) -> list[StarterEvent]:
        """Run *argv* to its end; what was told after its start."""
        self.starter.start(self.command(*argv, user=user))
        return self.events()

    def events(self) -> list[StarterEvent]:
        """All that is told up to the end of the tree."""
        events: list[StarterEvent] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not any(isinstance(each, TreeEnded) for each in events):
            assert time.monotonic() < deadline, f"no end; only {events}"
            events.extend(self.starter.poll(1.0))
        return events

    def reading(self, depth: Literal["", "deep", "pss"] = "") -> UsageReading:
        """What the payload has used so far; a starter that was held up for longer than an answer may take is asked
        again."""
        return eventually(lambda: self.starter.snapshot(depth), DEADLINE_SECONDS, "a reading")

    def output(self) -> str:
        """What the payload has written."""
        return (self.work / "std.out").read_text()

    def first_line(self) -> str:
        """The first line of the output, when it is there."""
        return eventually(lambda: (text := self.output()).endswith("\n") and text.splitlines()[0])


@contextmanager
def stage(folder: Path, method: str = "auto", *, grace_seconds: float = 5.0) -> Iterator[Stage]:
    """A place below *folder* with a starter, which is closed at the end."""
    for name in ("control", "work"):
        (folder / name).mkdir()
    starter = fork_starter(
        folder / "control", method=method, orphan_grace_seconds=grace_seconds, kill_grace_seconds=grace_seconds
    )
    try:
        yield Stage(folder, starter)
    finally:
        starter.end_tree("the test is over", 0.0)
        starter.close()


def usage(events: Sequence[StarterEvent]) -> TreeEnded:
    """The final usage among *events*."""
    return next(each for each in events if isinstance(each, TreeEnded))


def end(events: Sequence[StarterEvent]) -> PayloadEnded:
    """The end of the top process among *events*."""
    return next(each for each in events if isinstance(each, PayloadEnded))
