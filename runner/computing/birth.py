"""When this process was born: the wall clock of a job runs from the start of its wrapper process."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from telemetry.clock import NANOSECONDS


@dataclass(frozen=True)
class Birth:
    """Start of the process by CLOCK_BOOTTIME, and what started it."""

    start_boottime_ns: int
    started_by: Literal["zygote", "interpreter"]


_recorded: Birth | None = None


def record(start_boottime_ns: int) -> None:
    """Called once in a process that the zygote has forked: the fork began at *start_boottime_ns*."""
    global _recorded
    _recorded = Birth(start_boottime_ns, "zygote")


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
