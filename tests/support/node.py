"""A node in tests of recovery: a wrapper run by hand, with its starter, its payload and its journal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from telemetry.clock import SystemClock
from telemetry.facts import Fact, PayloadPlanned, StageStarted, StatusChanged, WrapperStarted
from telemetry.journal import Journal
from tests.support.attempts import job_matched
from tests.support.processes import is_alive
from tests.support.starting import PAYLOADS
from tests.support.waiting import eventually

ROOT = PAYLOADS.parents[2]


@dataclass
class Node:
    """A wrapper that a test runs by hand, with its starter and its payload, and the journal that it would write."""

    folder: Path
    wrapper: "subprocess.Popen[str]"
    mark: str
    starter: int
    groups: tuple[str, ...]

    @property
    def control(self) -> Path:
        return self.folder / "control"

    def payload(self) -> int:
        """Its pid, once it has said it."""
        return int(eventually(lambda: (text := self.output()).endswith("\n") and text.split()[0], 20))

    def output(self) -> str:
        path = self.folder / "work" / "std.out"
        return path.read_text() if path.exists() else ""

    def write(self, *facts: Fact) -> None:
        """Journal *facts* as the wrapper, after those with which every attempt begins."""
        clock = SystemClock()
        with Journal(self.control, "agent", clock) as journal:
            journal.append(job_matched(processors=2))
        with Journal(self.control, "wrapper", clock) as journal:
            start = clock.boottime_ns()
            journal.append(
                WrapperStarted(pid=self.wrapper.pid, start_boottime_ns=start, started_by="zygote", version="1")
            )
            journal.append(StageStarted(stage="initialize", at_boottime_ns=start))
            journal.append(StageStarted(stage="execute", at_boottime_ns=clock.boottime_ns()))
            journal.append(StatusChanged(status="Running", minor_status="Application"))
            for fact in facts:
                journal.append(fact)

    def planned(self) -> PayloadPlanned:
        return PayloadPlanned(starter_pid=self.starter, cgroup_paths=self.groups, environment_mark=self.mark)

    def kill(self, *pids: int) -> None:
        """KILL *pids*, the wrapper last, and reap it."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.wrapper.kill()
        self.wrapper.wait(10)
        for pid in pids:
            eventually(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]


@contextmanager
def node(folder: Path, method: str, *argv: str) -> Iterator[Node]:
    """A wrapper whose payload is *argv* and has been started."""
    with launching(folder, method, *argv) as it:
        assert it.wrapper.stdout
        assert it.wrapper.stdout.readline() == "started\n"
        yield it


@contextmanager
def launching(folder: Path, method: str, *argv: str) -> Iterator[Node]:
    """A wrapper that is about to start *argv*."""
    for name in ("control", "work"):
        (folder / name).mkdir(parents=True)
    wrapper = subprocess.Popen(
        [sys.executable, PAYLOADS / "wrapper.py", folder / "control", folder / "work", method, "60", *argv],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    with wrapper:
        assert wrapper.stdout
        mark, starter, *groups = wrapper.stdout.readline().split()
        try:
            yield Node(folder, wrapper, mark, int(starter), tuple(groups))
        finally:
            if wrapper.poll() is None:
                wrapper.kill()
