"""Time as text and as numbers."""

import pytest

from telemetry.clock import NANOSECONDS, SystemClock, parse_utc, utc_text
from tests.support.clock import NOON_UTC_NS, JumpClock


def test_text_of_a_moment() -> None:
    """Moments are written in UTC with microseconds and a Z, also when they are whole seconds."""
    assert utc_text(NOON_UTC_NS) == "2026-01-15T12:00:00.000000Z"
    assert utc_text(NOON_UTC_NS + 1_234_567) == "2026-01-15T12:00:00.001234Z"


@pytest.mark.parametrize(
    "text", ["2026-01-15T12:00:00Z", "2026-01-15T13:00:00+01:00", "2026-01-15 12:00:00.000000+00:00"]
)
def test_moments_are_read_in_any_zone(text: str) -> None:
    """A zone is taken into account, however it is written."""
    assert parse_utc(text) == NOON_UTC_NS


@pytest.mark.parametrize("text", ["2026-01-15T12:00:00", "yesterday", ""])
def test_naive_times_are_refused(text: str) -> None:
    """A time without zone could be anybody's and is refused."""
    with pytest.raises(ValueError, match=r"zone|isoformat"):
        parse_utc(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_that_utc_does_not_have_are_refused(text: str) -> None:
    """A moment that is in another year in UTC, and there is no such year."""
    with pytest.raises(ValueError, match="year"):
        parse_utc(text)


def test_the_machine_has_one_boot() -> None:
    """The system's clocks advance, and the boot id stays."""
    clock, again = SystemClock(), SystemClock()
    assert clock.boottime_ns() <= clock.boottime_ns()
    assert clock.boot_id == again.boot_id != ""
    assert clock.utc_ns() > NOON_UTC_NS - 365 * 86400 * NANOSECONDS


def test_the_tests_own_clock_steps_and_reboots() -> None:
    """A step of the wall clock leaves the boottime alone, a reboot starts it anew under another id."""
    clock = JumpClock()
    utc, boottime = clock.utc_ns(), clock.boottime_ns()
    clock.step_utc(-3600)
    assert (clock.utc_ns(), clock.boottime_ns()) == (utc - 3600 * NANOSECONDS, boottime)
    clock.advance(0.5)
    assert clock.boottime_ns() == boottime + NANOSECONDS // 2
    before = clock.boot_id
    clock.reboot()
    assert clock.boottime_ns() < boottime
    assert clock.boot_id != before
