"""Whether samples come when they should, and whether the wall clock goes on evenly. Pure.

A watchdog that is stopped, starved, or sleeps with its machine does not see the payload meanwhile: it says so, and
judges nothing by a time in which it saw nothing (`limits.RatioWindow`). A wall clock that is set changes no duration,
because durations are by CLOCK_BOOTTIME, but whoever compares timestamps must know of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from telemetry.clock import NANOSECONDS
from telemetry.facts import ClockStepped, Fact, SamplerLate

#: Later than so many intervals, and than so many seconds, a sample is late.
_LATE_INTERVALS = 2.0
_LATE_SECONDS = 1.0
#: A clock that is disciplined drifts by less within an interval.
_STEP_SECONDS = 0.5


class Moment(NamedTuple):
    """One moment by three clocks. *awake_seconds* is CLOCK_MONOTONIC, which stands still while the machine sleeps."""

    utc_ns: int
    boottime_ns: int
    awake_seconds: float


@dataclass
class Punctuality:
    """Compares each sample's moment with the one before; samples should be *interval_seconds* apart."""

    interval_seconds: float
    _last: Moment | None = None

    def notice(self, now: Moment) -> Iterator[Fact]:
        """What is to be told of the time since the sample before."""
        last, self._last = self._last or now, now
        elapsed = max(0.0, (now.boottime_ns - last.boottime_ns) / NANOSECONDS)
        late = elapsed - self.interval_seconds
        if late > max(_LATE_SECONDS, _LATE_INTERVALS * self.interval_seconds):
            awake = max(0.0, now.awake_seconds - last.awake_seconds)
            suspended = max(0.0, elapsed - awake)
            # (Two clocks cannot be read at once.)
            yield SamplerLate(late_seconds=late, suspended_seconds=suspended if suspended > _STEP_SECONDS else 0.0)
        step = (now.utc_ns - last.utc_ns) / NANOSECONDS - elapsed
        if abs(step) > _STEP_SECONDS:
            yield ClockStepped(step_seconds=step)
