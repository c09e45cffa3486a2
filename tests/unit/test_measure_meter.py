"""What a meter makes of the kernel's own account and of the fold."""

import pytest

from telemetry.measure.meter import PerfMeter
from telemetry.measure.perf import TaskClock
from telemetry.measure.snapshot import Cpu
from telemetry.measure.tree import TreeState


class SetClock(TaskClock):
    """A task clock that shows what it is told to."""

    value = 0.0

    def seconds(self) -> float:
        """The value."""
        return self.value


def state(user: float, system: float, uncertainty: float = 0.01) -> TreeState:
    """A fold that has seen so much CPU."""
    return TreeState(processors=2, cpu=Cpu(user, system), uncertainty_seconds=uncertainty)


@pytest.mark.parametrize(
    ("clock_seconds", "fold", "total", "user", "uncertainty"),
    [
        (10.0, state(3.0, 1.0, 5.0), 10.0, 7.5, 0.02),  # auto-reaped: the clock has it all
        (4.0, state(3.0, 1.01, 5.0), 4.01, 3.0, 0.02),  # only the moments before the exec
        (4.0, state(6.0, 2.0, 0.01), 8.0, 6.0, 0.01),  # a set-user-ID program: the fold has it
        (4.0, state(6.0, 2.0, 7.0), 8.0, 6.0, 7.0),  # and may not have it all
        (0.0, state(0.0, 0.0), 0.0, 0.0, 0.02),
    ],
)
def test_task_clock_and_fold(
    clock_seconds: float, fold: TreeState, total: float, user: float, uncertainty: float
) -> None:
    """The larger total counts, split as the fold has it; what neither can know is the uncertainty."""
    clock = SetClock(-1)
    clock.value = clock_seconds
    reading = PerfMeter(clock, lambda: 0.0).read(fold)
    assert reading.cpu.total_seconds == pytest.approx(total)
    assert reading.cpu.user_seconds == pytest.approx(user, abs=0.02)
    assert reading.cpu_uncertainty_seconds == uncertainty
    assert reading.methods.cpu == "perf"


def test_what_the_clock_has_missed_once_stays_in_doubt() -> None:
    """When later processes that only the clock sees fill the gap, the doubt of before is not forgotten."""
    clock = SetClock(-1)
    meter = PerfMeter(clock, lambda: 0.0)
    clock.value = 1.0
    assert meter.read(state(2.0, 0.0, 0.5)).cpu_uncertainty_seconds == 0.5
    clock.value = 9.0
    assert meter.read(state(2.0, 0.0, 0.5)).cpu_uncertainty_seconds == 0.5
    assert meter.read(state(2.0, 0.0, 0.5)).cpu == Cpu(9.0, 0.0)


@pytest.mark.parametrize(
    ("counted", "stolen", "fold", "total", "uncertainty"),
    [
        (10.0, 0.5, state(9.4, 0.2), 9.61, 0.02),  # the fold has all but its own doubt
        (10.0, 0.1, state(3.0, 1.0), 9.89, 0.02),  # somebody hides from the fold, too: no more is taken off
        (10.0, 0.5, state(3.0, 1.0, 5.99), 9.99, 0.5),  # auto-reaped: the fold may have missed as much
        (10.0, 0.5, state(9.99, 0.0), 10.0, 0.02),  # the moments after the look
    ],
)
def test_time_that_a_hypervisor_took_is_no_cpu(
    counted: float, stolen: float, fold: TreeState, total: float, uncertainty: float
) -> None:
    """The task clock goes on then: as far as the fold cannot have missed it, it is taken off, else it is in doubt."""
    clock, machine = SetClock(-1), [7.0]
    clock.value = counted
    meter = PerfMeter(clock, lambda: machine[0])
    machine[0] += stolen
    reading = meter.read(fold)
    assert reading.cpu.total_seconds == pytest.approx(total)
    assert reading.cpu_uncertainty_seconds == pytest.approx(uncertainty, abs=0.011)


def test_what_was_told_once_is_not_taken_back() -> None:
    """A look that could not tell yet that time was stolen has told it as used: totals never fall."""
    clock, machine = SetClock(-1), [0.0]
    meter = PerfMeter(clock, lambda: machine[0])
    clock.value = 5.0
    assert meter.read(state(4.0, 0.0, 1.0)).cpu.total_seconds == 5.0
    machine[0] = 2.0
    assert meter.read(state(4.5, 0.0, 0.0)).cpu.total_seconds == 5.0
