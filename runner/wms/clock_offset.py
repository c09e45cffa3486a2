"""How far the WMS's clock is from ours, from the Date headers of its answers. Pure.

A Date header says the second only, and servers renew it once a second (uvicorn does): it may be
STALE_SECONDS old. Each answer therefore gives an interval; intervals of many
answers are intersected, and while zero is possible the offset is zero: correcting a good clock by
half a second of rounding would put statuses before the match, or after a kill.
"""

import threading
from dataclasses import dataclass

from telemetry.clock import NANOSECONDS

STALE_SECONDS = 2.1


@dataclass(frozen=True)
class _Interval:
    low_ns: int
    high_ns: int

    def meet(self, other: "_Interval") -> "_Interval | None":
        low, high = max(self.low_ns, other.low_ns), min(self.high_ns, other.high_ns)
        return _Interval(low, high) if low <= high else None


class ClockOffset:
    """The estimate, WMS minus node. Safe from several threads."""

    def __init__(self) -> None:
        self._initial_ns = 0
        self._interval: _Interval | None = None
        self._mutex = threading.Lock()

    def assume(self, seconds: float) -> None:
        """What somebody else on this node measured: it holds until our first answer."""
        with self._mutex:
            self._initial_ns = round(seconds * NANOSECONDS)

    def saw(self, date_seconds: int, sent_utc_ns: int, received_utc_ns: int) -> None:
        """The WMS said *date_seconds* at some moment between sending and receiving (ours)."""
        date_ns = date_seconds * NANOSECONDS
        seen = _Interval(date_ns - received_utc_ns, date_ns + round(STALE_SECONDS * NANOSECONDS) - sent_utc_ns)
        if seen.low_ns > seen.high_ns:  # our clock was set back during the call
            return
        with self._mutex:
            both = self._interval.meet(seen) if self._interval else seen
            self._interval = both or seen  # nothing in common: a clock was set, so begin anew

    @property
    def nanoseconds(self) -> int:
        """To be added to our UTC to get the WMS's."""
        with self._mutex:
            interval, initial_ns = self._interval, self._initial_ns
        if interval is None:
            return initial_ns
        if interval.low_ns <= 0 <= interval.high_ns:
            return 0
        # Over many answers the low end comes to within a second below the truth, however old they were.
        return min(interval.low_ns + NANOSECONDS // 2, interval.high_ns)
