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
    reading = PerfMeter(clock).read(fold)
    assert reading.cpu.total_seconds == pytest.approx(total)
    assert reading.cpu.user_seconds == pytest.approx(user, abs=0.02)
    assert reading.cpu_uncertainty_seconds == uncertainty
    assert reading.methods.cpu == "perf"


def test_what_the_clock_has_missed_once_stays_in_doubt() -> None:
    """When later processes that only the clock sees fill the gap, the doubt of before is not forgotten."""
    clock = SetClock(-1)
    meter = PerfMeter(clock)
    clock.value = 1.0
    assert meter.read(state(2.0, 0.0, 0.5)).cpu_uncertainty_seconds == 0.5
    clock.value = 9.0
    assert meter.read(state(2.0, 0.0, 0.5)).cpu_uncertainty_seconds == 0.5
    assert meter.read(state(2.0, 0.0, 0.5)).cpu == Cpu(9.0, 0.0)
