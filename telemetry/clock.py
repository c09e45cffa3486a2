"""Time: UTC for timestamps, CLOCK_BOOTTIME for durations, never one for the other."""

import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    """What tells the time. Tests pass a clock of their own that steps and jumps."""

    @property
    def boot_id(self) -> str:
        """Identity of this boot of the machine; boottimes of two boots cannot be compared."""
        ...

    def utc_ns(self) -> int:
        """Nanoseconds since 1970 by the machine's wall clock, which may step."""
        ...

    def boottime_ns(self) -> int:
        """Nanoseconds since boot; never steps, and counts time spent suspended."""
        ...


class SystemClock:
    """The machine's own clocks (Linux)."""

    @cached_property
    def boot_id(self) -> str:
        """Content of `/proc/sys/kernel/random/boot_id`."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def utc_ns(self) -> int:
        """Wall clock, nanoseconds since 1970."""
        return time.time_ns()

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME in nanoseconds."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def utc_text(utc_ns: int) -> str:
    """Render *utc_ns* as ISO 8601 in UTC with microseconds, as records and the wire carry it."""
    whole, rest = divmod(utc_ns, NANOSECONDS)
    moment = datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 *text*; naive times are refused.

    Raises:
        ValueError: not ISO 8601, without a zone, or of a year that UTC does not have.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; write it in UTC, ending in Z")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is of no year from 1 to 9999 in UTC") from error
    return int(moment.replace(microsecond=0).timestamp()) * NANOSECONDS + moment.microsecond * 1000
