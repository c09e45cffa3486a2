"""Limits: which reading breaks which limit, and under which name."""

import pytest

from runner.config import JobWrapperConfig
from runner.process.limits import Limits, PayloadReading, RatioWindow, Reading, WatchdogJob, decide

MEGABYTE = 1 << 20


def limits(config: JobWrapperConfig | None = None, **job: float) -> Limits:
    """The limits of a job under *config*."""
    return Limits.of(config or JobWrapperConfig(), WatchdogJob(start_boottime_ns=0, **job))  # type: ignore[arg-type]


def reading(wall: float = 1.0, disk: int = 1 << 40, **payload: float) -> Reading:
    """A reading within all limits but for what is given."""
    values = {"awake_seconds": wall, "cpu_seconds": 0.0, "rss_bytes": 0, "output_bytes": 0, **payload}
    return Reading(wall_seconds=wall, disk_bytes=disk, payload=PayloadReading(**values))  # type: ignore[arg-type]


def test_cpu_limit_is_work_for_each_processor() -> None:
    """CPUTime 1000 at factor 10 on 4 processors with a margin of 20 % allows 480 raw seconds."""
    assert limits(cpu_time_seconds=1000, cpu_normalization_factor=10, processors=4).cpu_seconds == pytest.approx(480)


def test_cpu_limit_without_a_figure_is_the_default() -> None:
    """DefaultCPUTime applies only where the description has none; a factor of 0 counts as 1."""
    assert limits().cpu_seconds == pytest.approx(600 * 1.2)
    assert limits(cpu_time_seconds=10, cpu_normalization_factor=0).cpu_seconds == pytest.approx(12)


@pytest.mark.parametrize(
    ("broken", "limit", "minor_status"),
    [
        (reading(wall=259201), "wall_clock", "Job has exceeded maximum wall clock time"),
        (reading(disk=10 * MEGABYTE - 1), "disk_space", "Job has insufficient disk space to continue"),
        (reading(cpu_seconds=720.1), "cpu", "Job has exceeded maximum CPU time limit"),
        (reading(rss_bytes=100 * MEGABYTE + 1), "memory", "Job has exceeded its memory limit"),
        (reading(output_bytes=(2 << 30) + 1), "output_size", "Job has exceeded its output limit"),
    ],
)
def test_each_limit_has_its_name(broken: Reading, limit: str, minor_status: str) -> None:
    """Beyond a limit, the hit says which, by how much, and DIRAC's minor status."""
    config = JobWrapperConfig(check_memory_limit=True)
    hit = decide(limits(config, memory_mb=100), broken)
    assert hit is not None
    assert (hit.limit, hit.minor_status) == (limit, minor_status)
    assert (hit.measured < hit.allowed) == (limit == "disk_space")


def test_at_a_limit_a_job_goes_on() -> None:
    """Limits are inclusive, in both directions."""
    at = reading(wall=259200, disk=10 * MEGABYTE, cpu_seconds=720.0, output_bytes=2 << 30)
    assert decide(limits(), at) is None


@pytest.mark.parametrize(
    ("config", "broken"),
    [
        (JobWrapperConfig(check_wall_clock=False), reading(wall=1e9)),
        (JobWrapperConfig(check_disk_space=False), reading(disk=0)),
        (JobWrapperConfig(check_cpu_limit=False), reading(cpu_seconds=1e9)),
        (JobWrapperConfig(), reading(rss_bytes=1 << 50)),
    ],
)
def test_what_is_switched_off_is_not_watched(config: JobWrapperConfig, broken: Reading) -> None:
    """Each Check...Flag switches its own limit; memory is off unless asked for."""
    assert decide(limits(config, memory_mb=1), broken) is None


def test_without_a_payload_only_clock_and_disk_count() -> None:
    """In the stages around the payload there is nothing else to judge."""
    assert decide(limits(), Reading(wall_seconds=1.0, disk_bytes=1 << 40)) is None
    hit = decide(limits(), Reading(wall_seconds=1e6, disk_bytes=0))
    assert hit is not None
    assert hit.limit == "wall_clock"


STALLING = JobWrapperConfig(cpu_sample_time_seconds=60.0, polling_time_seconds=1.0)


def _stalls(config: JobWrapperConfig, points: list[tuple[float, float]], **job: float) -> list[float]:
    """At which times of *points* (awake, CPU) a job counts as stalled."""
    its = limits(config, **job)
    window = RatioWindow(its)
    found = []
    for awake, cpu in points:
        ratio = window.add(PayloadReading(awake_seconds=awake, cpu_seconds=cpu, rss_bytes=0, output_bytes=0))
        hit = decide(its, Reading(wall_seconds=awake, disk_bytes=1 << 40), ratio)
        hit = hit or decide(its, reading(wall=1.0), ratio)
        if hit is not None and hit.limit == "stall":
            found.append(awake)
    return found


def test_an_idle_payload_stalls_when_the_window_is_full() -> None:
    """Nothing computed for CPUSampleTime is a stall, and not a second earlier."""
    assert _stalls(STALLING, [(float(second), 0.0) for second in range(70)])[0] == 60.0


def test_a_busy_payload_never_stalls() -> None:
    """Just above the ratio is enough."""
    assert _stalls(STALLING, [(float(second), second * 0.0501) for second in range(1000)]) == []


def test_the_ratio_is_that_of_each_processor() -> None:
    """On 4 processors, 10 % of one of them is 2.5 %."""
    points = [(float(second), second * 0.1) for second in range(100)]
    assert _stalls(STALLING, points, processors=1) == []
    assert _stalls(STALLING, points, processors=4) != []


def test_only_the_last_window_counts() -> None:
    """Hours of work before do not excuse a payload that hangs now; the other way round neither."""
    busy = [(float(second), float(second)) for second in range(1000)]
    hanging = [(float(second), 1000.0) for second in range(1000, 1100)]
    found = _stalls(STALLING, busy + hanging)
    assert found
    assert 1050 <= found[0] <= 1065
    assert _stalls(STALLING, [(0.0, 0.0), (30.0, 0.0)] + [(30.0 + s, float(s)) for s in range(1, 200)]) == []


def test_a_late_sampler_sees_no_stall() -> None:
    """A wrapper that was stopped for an hour saw nothing: the hour is no evidence."""
    points = [(0.0, 0.0), (1.0, 1.0), (3600.0, 1.0), (3601.0, 2.0), (7200.0, 2.0), (7201.0, 3.0)]
    assert _stalls(STALLING, points) == []


def test_no_ratio_where_it_is_not_wanted() -> None:
    """DisableCPUCheck of a job and CheckCPUConsumedFlag switch it off."""
    idle = [(float(second), 0.0) for second in range(100)]
    assert _stalls(JobWrapperConfig(cpu_sample_time_seconds=60.0, check_cpu_consumed=False), idle) == []
    assert _stalls(STALLING, idle, check_cpu_consumed=False) == []
