"""When this process was born, and what it did before its job came: the wall clock of a job runs from the start of its
wrapper process, which for one that was forked ahead is the moment at which it was given its job.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from telemetry.clock import NANOSECONDS


@dataclass(frozen=True)
class Birth:
    """Start of the process by CLOCK_BOOTTIME, and what started it."""

    start_boottime_ns: int
    started_by: Literal["zygote", "interpreter"]


@dataclass(frozen=True)
class Readiness:
    """What the zygote can do for all that it will fork, what a process can do that waits for its job, and what it does
    when there will be none."""

    warm: Callable[[], None]
    prepare: Callable[[], None]
    leave: Callable[[], None]


_recorded: Birth | None = None
_readiness: list[Readiness] = []


def record(start_boottime_ns: int) -> None:
    """Called once in a process that the zygote has forked: the fork began at *start_boottime_ns*."""
    global _recorded
    _recorded = Birth(start_boottime_ns, "zygote")


def ready_by(readiness: Readiness) -> None:
    """Called by a module that the zygote preloads."""
    _readiness.append(readiness)


def warm() -> None:
    """Called once in the zygote, when all is loaded."""
    for each in _readiness:
        each.warm()


def prepare() -> None:
    """Called once in a process that the zygote has forked ahead of its job."""
    for each in _readiness:
        each.prepare()


def leave() -> None:
    """Called in such a process when no job will come."""
    for each in _readiness:
        each.leave()


def current() -> Birth:
    """The birth of this process.

    What the zygote handed over, else the start time that the kernel keeps, in clock ticks of 10 ms
    since boot; the middle of that tick.
    """
    if _recorded is not None:
        return _recorded
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    ticks = int(fields[19])
    return Birth(round((ticks + 0.5) * NANOSECONDS / os.sysconf("SC_CLK_TCK")), "interpreter")
