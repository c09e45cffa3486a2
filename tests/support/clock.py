"""A clock that stands still until a test moves it."""

from telemetry.clock import NANOSECONDS

#: 2026-01-15 12:00:00 UTC, in the middle of nothing: no leap, no daylight saving nearby.
NOON_UTC_NS = 1_768_478_400 * NANOSECONDS


class JumpClock:
    """Implements `telemetry.clock.Clock`. Nothing moves unless the test says so."""

    def __init__(self, utc_ns: int = NOON_UTC_NS, boottime_ns: int = 1000 * NANOSECONDS, boot_id: str = "boot-1"):
        self._utc_ns = utc_ns
        self._boottime_ns = boottime_ns
        self._boot_id = boot_id

    @property
    def boot_id(self) -> str:
        """Identity of the present boot."""
        return self._boot_id

    def utc_ns(self) -> int:
        """Wall clock, nanoseconds since 1970."""
        return self._utc_ns

    def boottime_ns(self) -> int:
        """Nanoseconds since boot."""
        return self._boottime_ns

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks go on together."""
        self._utc_ns += round(seconds * NANOSECONDS)
        self._boottime_ns += round(seconds * NANOSECONDS)

    def step_utc(self, seconds: float) -> None:
        """Set the wall clock forwards or, when negative, backwards; no time passes."""
        self._utc_ns += round(seconds * NANOSECONDS)

    def reboot(self, down_seconds: float = 60.0, boot_id: str = "boot-2") -> None:
        """The machine was down for a while and is up again: boottime starts anew."""
        self._utc_ns += round(down_seconds * NANOSECONDS)
        self._boottime_ns = NANOSECONDS
        self._boot_id = boot_id
