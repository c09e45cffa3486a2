"""Late samples and stepping clocks, by clocks that a test moves."""

import pytest

from runner.process.punctuality import Moment, Punctuality
from telemetry.facts import ClockStepped, Fact, SamplerLate
from tests.support.clock import JumpClock


class Bench:
    """A sampler that should come every second."""

    def __init__(self) -> None:
        self.clock = JumpClock()
        self.awake_seconds = 5.0
        self._punctuality = Punctuality(1.0)
        assert self.sample(0.0) == []

    def sample(self, seconds: float, *, asleep_seconds: float = 0.0) -> list[Fact]:
        """What is noticed *seconds* after the last sample, the machine having slept for some of them."""
        self.clock.advance(seconds)
        self.awake_seconds += seconds - asleep_seconds
        return list(self._punctuality.notice(Moment(self.clock.utc_ns(), self.clock.boottime_ns(), self.awake_seconds)))


def test_nothing_is_said_of_samples_in_time() -> None:
    """Neither of those that are a little late."""
    bench = Bench()
    assert [bench.sample(seconds) for seconds in (1.0, 1.9, 0.0, 2.5)] == [[], [], [], []]


def test_a_sampler_that_was_stopped() -> None:
    """How late it is, beyond its interval; none of it asleep."""
    assert Bench().sample(61.0) == [SamplerLate(late_seconds=60.0, suspended_seconds=0.0)]


def test_a_machine_that_slept() -> None:
    """The time asleep is told apart from the time in which the sampler was starved."""
    assert Bench().sample(601.0, asleep_seconds=590.0) == [SamplerLate(late_seconds=600.0, suspended_seconds=590.0)]


@pytest.mark.parametrize("step_seconds", [3600.0, -3600.0, 0.75])
def test_a_wall_clock_that_is_set(step_seconds: float) -> None:
    """By how much, forwards or backwards; it makes no sample late, and is told once."""
    bench = Bench()
    bench.clock.step_utc(step_seconds)
    (seen,) = bench.sample(1.0)
    assert isinstance(seen, ClockStepped)
    assert seen.step_seconds == pytest.approx(step_seconds)
    assert bench.sample(1.0) == []


def test_a_clock_that_is_disciplined_is_no_step() -> None:
    """A few milliseconds are nothing."""
    bench = Bench()
    bench.clock.step_utc(0.02)
    assert bench.sample(1.0) == []


def test_a_sleep_and_a_step_at_once() -> None:
    """A machine that wakes up and sets its clock: both are told, and no time is negative."""
    bench = Bench()
    bench.clock.step_utc(-90.0)
    late, step = bench.sample(31.0, asleep_seconds=31.0)
    assert late == SamplerLate(late_seconds=30.0, suspended_seconds=31.0)
    assert isinstance(step, ClockStepped)
    assert step.step_seconds == pytest.approx(-90.0)
