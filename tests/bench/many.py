"""Many jobs: what 200 watchdogs cost at once while kills come through, and what 1,000 jobs leave in the agent."""

import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from telemetry.clock import NANOSECONDS
from telemetry.facts import PayloadEnded, PayloadPlanned, PayloadStarted, WrapperStarted
from tests.bench.place import CONFIGURATION, TRUE, Place, a_place
from tests.bench.table import Row
from tests.support.waiting import eventually

#: The kills come within the window, evenly; what is counted is the cost of those that go on, scaled to all.
#: Heartbeats are counted apart: there is none in the window.
WATCHING = f"{CONFIGURATION}\n[JobWrapper]\nPollingTime = 1.0\nCheckingTime = 3600\n"
SLEEP = {"Executable": "/bin/sleep", "Arguments": "3600", "CPUTime": 600}
#: What a watchdog cannot do without, once a second in as many processes: status, memory, I/O, children of one payload.
BARE = """
import os, select, sys
for _ in range(int(sys.argv[1]) - 1):
    if os.fork() == 0:
        break
names = [f"/proc/self/{name}" for name in ("stat", "statm", "io", f"task/{os.getpid()}/children")]
while True:
    select.select([], [], [], 1.0)
    for name in names:
        with open(name, "rb", buffering=0) as file:
            file.read()
"""
KILLS = 20
AIM_PERCENT = 12.0
AIM_KILL_SECONDS = 2.0

#: Jobs before the first look: two calls at once leave a second connection in the pool, and few jobs have such.
WARM_UP = 500


@dataclass(frozen=True)
class Belongings:
    """What a process holds; None: not for us to see."""

    descriptors: tuple[str, ...] | None
    """What each of them is, sorted: socket, pipe, or the file's path."""
    threads: int
    rss_bytes: int


def rows(quick: bool) -> Iterator[Row]:
    """Both, smaller when *quick*."""
    yield from _at_once(20 if quick else 200, 5.0 if quick else 20.0)
    yield from _one_after_another(50 if quick else WARM_UP, 100 if quick else 1000)


def _at_once(count: int, window_seconds: float) -> Iterator[Row]:
    with a_place(WATCHING) as place:
        jobs = place.submit(SLEEP, count)
        with place.process("agent", "--drain", "--slots", str(count)) as agent:
            eventually(lambda: all(place.entry(job, PayloadStarted) for job in jobs), 120, "all payloads")
            with _bare(count) as pids:
                bare = _percent(pids, window_seconds, ())
            killed = jobs[:: max(2, count // KILLS)][:KILLS]  # at most every other: the CPU of those left is measured
            others = [job for job in jobs if job not in killed]
            kills: list[float] = []
            orders = [partial(_kill, place, job, kills) for job in killed]
            ours = _percent(_watching(place, others), window_seconds, orders) * count / len(others)
            _kill_all(place, others)
            agent.wait(120)
    yield Row(
        what=f"{count} jobs at once, sampled every second: CPU of all their wrappers and starters",
        ours=f"{ours:.1f} % of a core",
        against=f"bare sampling {bare:.1f} %",
        ratio=f"{ours / bare:.1f}" if bare else "",
        aim=f"{AIM_PERCENT:.0f} %",
        reached=ours < AIM_PERCENT,
    )
    yield Row(
        what=f"kill ordered to payload gone, meanwhile, slowest of {len(kills)}",
        ours=f"{max(kills):.2f} s (median {statistics.median(kills):.2f})",
        aim=f"{AIM_KILL_SECONDS:.0f} s",
        reached=max(kills) <= AIM_KILL_SECONDS,
    )


def _one_after_another(warm_up: int, count: int) -> Iterator[Row]:
    with a_place() as place, place.process("agent", "--slots", "1") as agent:
        before = _after(place, agent.pid, warm_up)
        after = _after(place, agent.pid, count)
    growth = after.rss_bytes / before.rss_bytes - 1
    same = (_count(before), before.threads) == (_count(after), after.threads)
    more = Counter(after.descriptors) - Counter(before.descriptors)
    new = f" (new: {', '.join(f'{count} {kind}' for kind, count in more.items())})" if more else ""
    yield Row(
        what=f"the agent after {count} jobs, beside itself {count} jobs before",
        ours=f"{_count(after)} descriptors{new}, {after.threads} threads, {after.rss_bytes / 2**20:.1f} MiB",
        against=f"{_count(before)}, {before.threads}, {before.rss_bytes / 2**20:.1f} MiB",
        ratio=f"{growth:+.1%}",
        aim="the same, memory within 5 %",
        reached=same and growth <= 0.05,
    )


def _after(place: Place, pid: int, count: int) -> Belongings:
    """What the agent holds when *count* more jobs have ended and nothing is left to do for them."""
    jobs = place.submit(TRUE, count)
    eventually(lambda: place.ended(jobs[-1:]) and place.ended(jobs), 60 + count, "the jobs' end")
    counts: list[Belongings] = []

    def calm() -> bool:
        counts.append(belongings(pid))
        return len(counts) > 5 and len({(each.descriptors, each.threads) for each in counts[-5:]}) == 1

    eventually(calm, 10, "an agent at rest")
    return counts[-1]


def belongings(pid: int) -> Belongings:
    """What the process *pid* holds now."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    try:
        descriptors = tuple(sorted(_kind(each) for each in Path(f"/proc/{pid}/fd").iterdir()))
    except PermissionError:  # it is non-dumpable, and we are not root
        descriptors = None
    return Belongings(descriptors, int(lines["Threads"]), int(lines["VmRSS"].split()[0]) * 1024)


def _count(held: Belongings) -> str:
    return "hidden" if held.descriptors is None else str(len(held.descriptors))


def _kind(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor).split(":[")[0]
    except FileNotFoundError:  # closed between the list and the look
        return "closed"


def _watching(place: Place, jobs: Sequence[int]) -> list[int]:
    pids = []
    for job in jobs:
        for entry in (place.entry(job, WrapperStarted), place.entry(job, PayloadPlanned)):
            if entry is not None and isinstance(entry.fact, WrapperStarted):
                pids.append(entry.fact.pid)
            elif entry is not None and isinstance(entry.fact, PayloadPlanned):
                pids.append(entry.fact.starter_pid)
    return pids


def _percent(pids: Sequence[int], window_seconds: float, orders: Sequence[Callable[[], object]]) -> float:
    """CPU of *pids* in a window, percent of one core; *orders* are given evenly within it."""
    start, before = time.monotonic(), _cpu_seconds(pids)
    moments = [start + window_seconds * (each + 0.5) / len(orders) for each in range(len(orders))]
    for moment, order in zip(moments, orders, strict=True):
        _until(moment)
        order()
    _until(start + window_seconds)
    used, passed = _cpu_seconds(pids) - before, time.monotonic() - start
    return 100 * used / passed


def _until(moment: float) -> None:
    eventually(lambda: time.monotonic() >= moment, 60, "a moment of the window")


def _cpu_seconds(pids: Iterable[int]) -> float:
    """To the nanosecond, by the CPU clock of each process: `/proc` tells ticks, of which most use none in a window."""
    return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in pids) / NANOSECONDS


@contextmanager
def _bare(count: int) -> Iterator[list[int]]:
    """As many processes that only read; their pids."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", BARE, str(count)], start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        eventually(lambda: len(children.read_text().split()) == count - 1, 30, "the bare processes")
        yield [process.pid, *map(int, children.read_text().split())]
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _kill(place: Place, job: int, found: list[float]) -> None:
    """Order it, and append the seconds from the user's order to the end of the payload."""
    client = place.client()
    ordered_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    client.kill(job, ordered_ns)
    client.close()
    ended = eventually(lambda: place.entry(job, PayloadEnded), 30, "the payload's end")
    found.append((ended.utc_ns - ordered_ns) / NANOSECONDS)


def _kill_all(place: Place, jobs: Sequence[int]) -> None:
    client = place.client()
    for job in jobs:
        client.kill(job, time.clock_gettime_ns(time.CLOCK_REALTIME))
    client.close()
