"""One full sample of a payload's tree (CPU, memory, processes, I/O, disk space) beside psutil's walk of the machine.

For trees of 10 and 100 processes and 200 to 4,000 sleeping processes on the node. Ours is what the starter does for
each question of the watchdog, and what the watchdog adds; psutil is `Process(root).children(recursive=True)` with
`cpu_times()` of each, which gives CPU only. Both are measured in one process, in turns, by the CPU that they use: on a
busy machine that says more than the time that passes. The floor beside ours is what the system calls of a sample cost
alone, the same calls on the same files with nothing between them. Methods: each that the machine grants; a group with
all controllers of version 2 where there is none, as files of a folder.

A payload that has not computed since the last poll is not sampled at all, which is not what is measured here.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from runner.process.linux import become_subreaper
from runner.process.tree import ProcessTree
from telemetry.clock import SystemClock
from telemetry.measure.cgroup import ControlGroup
from telemetry.measure.meter import Group, GroupMeter, Meter, choose
from tests.bench.table import Row, spread
from tests.support.waiting import eventually

AIMS_MS = {("group", 10): 0.05, ("group", 100): 0.05, ("walk", 10): 0.2, ("walk", 100): 1.5}
AIMS_TIMES = {("group", 10): 500, ("group", 100): 500, ("walk", 10): 150, ("walk", 100): 20}
#: "files" is a group with every controller, as files.
METHODS = ("files", "cgroup1", "cgroup2", "wait4")
NODES = (200, 2000, 4000)
#: Forks processes that do nothing but read descriptor 3, until its other end is closed. A shell is small: so are they.
SLEEPERS = "i=1; while [ $i -lt $1 ]; do (read x <&3) & i=$((i+1)); done; echo; read x <&3; wait"
#: Of so many samples the one with the most calls: bytes are looked at in turn.
TRACED_SAMPLES = 30
TRACED_CALLS = ("open", "pread", "read", "close", "fstat", "statvfs")
#: What a group with every controller shows: version 2 as of Linux 6.12.
CONTROLLERS = {
    "cpu.stat": "usage_usec 1200\nuser_usec 1000\nsystem_usec 200\nnice_usec 0\n",
    "memory.stat": "anon 4096\nfile 0\nkernel 0\nfile_mapped 8192\n" + "x 0\n" * 40 + "pgfault 12\npgmajfault 1\n",
    "memory.peak": "65536\n",
    "memory.swap.current": "0\n",
    "pids.current": "12\n",
    "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n",
}


@contextmanager
def family(count: int, group: Group | None = None) -> Iterator[None]:
    """*count* sleeping processes, one the parent of the others, in *group*; ended and reaped afterwards."""
    if count < 1:
        yield
        return
    read_fd, write_fd = os.pipe()
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec 3<&0; {SLEEPERS}", "sleepers", str(count)],
        stdin=read_fd,
        stdout=subprocess.PIPE,
        preexec_fn=group.enter if group else None,
    )
    os.close(read_fd)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        os.close(write_fd)
        process.wait(60)
        process.communicate()


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the rounds of one setting took, milliseconds."""

    ours: list[float]
    theirs: list[float]
    #: The system calls of a sample, and nothing else.
    floor: float

    def plus(self, more: "Figures") -> "Figures":
        """These rounds, and *more* of the same setting."""
        return Figures(ours=self.ours + more.ours, theirs=self.theirs + more.theirs, floor=min(self.floor, more.floor))


def _milliseconds(act: Callable[[], object], times: int) -> float:
    begin = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - begin) / times * 1000


def _psutil(root: psutil.Process) -> None:
    for each in root.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.cpu_times()


def _measure(tree: ProcessTree, folder: str, rounds: int) -> Figures:
    def sample() -> None:
        tree.reading()
        os.statvfs(folder)

    root = psutil.Process()
    sample()
    _psutil(root)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(_milliseconds(sample, 100))
        theirs.append(_milliseconds(lambda: _psutil(root), 1))
    return Figures(ours=ours, theirs=theirs, floor=_floor(sample))


def _floor(sample: Callable[[], object]) -> float:
    """The calls of the longest of some samples again: they get the same descriptors, the lowest that are free."""
    calls = max((_traced(sample) for _ in range(TRACED_SAMPLES)), key=len)
    return min(_milliseconds(lambda: [call() for call in calls], 20) for _ in range(9))


def _traced(sample: Callable[[], object]) -> list[Callable[[], object]]:
    """The system calls of one sample; not those on a file that was opened in another way than by a call."""
    calls: list[Callable[[], object]] = []
    opened: set[object] = set()

    def traced(name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            found = act(*values, **named)
            if name == "open":
                opened.add(found)
            if name not in ("read", "close") or values[0] in opened:
                calls.append(partial(act, *values, **named))
            if name == "close":
                opened.discard(values[0])
            return found

        return call

    real = {name: getattr(os, name) for name in TRACED_CALLS}
    for name, act in real.items():
        setattr(os, name, traced(name, act))
    try:
        sample()
    finally:
        for name, act in real.items():
            setattr(os, name, act)
    return calls


@contextmanager
def _meter(method: str, folder: str) -> Iterator[Meter]:
    """A meter by *method*.

    Raises:
        OSError: the machine does not grant it.
    """
    if method != "files":
        meter, refusal = choose(method, f"bench-{os.getpid()}")
        if refusal:
            raise OSError(refusal)
    else:
        for name, content in CONTROLLERS.items():
            Path(folder, name).write_text(content)
        meter = GroupMeter(ControlGroup(Path(folder)))
    try:
        yield meter
    finally:
        if method != "files":
            if meter.group:
                eventually(meter.group.remove)
            meter.close()


def _serve(method: str, size: int, rounds: int) -> None:
    """In a process of its own, as the starter is: a tree of *size*, measured for each line that comes in."""
    become_subreaper()
    with tempfile.TemporaryDirectory() as folder, _meter(method, folder) as meter:
        group = meter.group if method != "files" else None
        with family(size, group):
            if method == "files":
                Path(folder, "cgroup.procs").write_text("".join(f"{pid}\n" for pid in range(10000, 10000 + size)))
            tree = ProcessTree(SystemClock(), meter)
            tree.is_empty = False
            for _ in sys.stdin:
                figures = _measure(tree, folder, rounds)
                print(json.dumps(asdict(figures)), flush=True)


@contextmanager
def _starter(method: str, size: int, rounds: int) -> Iterator[Callable[[], Figures | None]]:
    """A function that has such a process measure; it returns None where the method is not granted."""
    process = subprocess.Popen(
        [sys.executable, __file__, method, str(size), str(rounds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    stdin, stdout = process.stdin, process.stdout

    def ask() -> Figures | None:
        try:
            stdin.write("now\n")
            stdin.flush()
        except BrokenPipeError:
            return None
        line = stdout.readline()
        return Figures(**json.loads(line)) if line else None

    try:
        yield ask
    finally:
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        process.wait(60)
        stdout.close()


def rows(quick: bool) -> Iterator[Row]:
    """The rows of the table, for each method and size of tree."""
    nodes = NODES[:2] if quick else NODES
    passes, rounds = (1, 3) if quick else (4, 8)
    for method in METHODS:
        for size in (10, 100):
            found: dict[int, Figures] = {}
            with _starter(method, size, rounds) as ask:
                # Up and down again and again: a machine that turns slower or quicker does so for every setting.
                for node in (*nodes, *reversed(nodes)) * passes:
                    with family(node - len(psutil.pids())):
                        figures = ask()
                        if figures is not None:
                            found[node] = found[node].plus(figures) if node in found else figures
            yield from _rows_of(method, size, found)


def _rows_of(method: str, size: int, found: dict[int, Figures]) -> Iterator[Row]:
    if not found:
        return
    kind = "walk" if method == "wait4" else "group"
    name = {"files": "cgroup2, every controller (as files)", "wait4": "walk"}.get(method, method)
    medians = {node: statistics.median(figures.ours) for node, figures in found.items()}
    node = 2000 if 2000 in found else max(found)
    figures = found[node]
    times = [theirs / ours for ours, theirs in zip(figures.ours, figures.theirs, strict=True)]
    aim_ms, aim_times = AIMS_MS[kind, size], AIMS_TIMES[kind, size]
    floor = f"; floor {figures.floor * 1000:.0f} us: its system calls alone"
    yield Row(
        what=f"one sample, {name}, tree of {size}, {node} processes on the node",
        ours=f"{spread([each * 1000 for each in figures.ours])} us{floor}",
        against=f"psutil {statistics.median(figures.theirs):.1f} ms",
        ratio=f"{spread(times)} times cheaper",
        aim=f"{aim_ms * 1000:.0f} us, {aim_times} times cheaper",
        reached=medians[node] <= aim_ms and statistics.median(times) >= aim_times,
    )
    # What else the machine does meanwhile shows least in the quickest rounds.
    quickest = {node: min(figures.ours) for node, figures in found.items()}
    least, most = min(quickest.values()), max(quickest.values())
    yield Row(
        what=f"the same from {min(found)} to {max(found)} processes, quickest rounds",
        ours=", ".join(f"{value * 1000:.0f}" for value in quickest.values()) + " us",
        ratio=f"{most / least:.2f}",
        aim="1.10",
        reached=most <= 1.1 * least,
    )


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
