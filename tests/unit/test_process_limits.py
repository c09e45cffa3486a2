"""Limits: which reading breaks which limit, and under which name."""

from typing import Any

import pytest

from runner.config import JobWrapperConfig
from runner.options import Check
from runner.process.limits import (
    Limits,
    PayloadReading,
    RatioWindow,
    Reading,
    Stillness,
    Trends,
    Warnings,
    WatchdogJob,
    decide,
    hits,
)
from telemetry.facts import LimitHit

MEGABYTE = 1 << 20


def limits(config: JobWrapperConfig | None = None, **job: Any) -> Limits:
    """The limits of a job under *config*."""
    return Limits.of(config or JobWrapperConfig(), WatchdogJob(start_boottime_ns=0, **job))


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
        (reading(processes=4097), "processes", "Job has exceeded its limit of processes"),
    ],
)
def test_each_limit_has_its_name(broken: Reading, limit: str, minor_status: str) -> None:
    """Beyond a limit, the hit says which, by how much, and DIRAC's minor status."""
    config = JobWrapperConfig(check_memory_limit=Check.KILL)
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
        (JobWrapperConfig(check_wall_clock=Check.OFF), reading(wall=1e9)),
        (JobWrapperConfig(check_disk_space=Check.OFF), reading(disk=0)),
        (JobWrapperConfig(check_cpu_limit=Check.OFF), reading(cpu_seconds=1e9)),
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


def _stalls(config: JobWrapperConfig, points: list[tuple[float, float]], **job: Any) -> list[float]:
    """At which times of *points* (awake, CPU) a job counts as stalled."""
    its = limits(config, **job)
    window = RatioWindow(its)
    found = []
    for awake, cpu in points:
        trends = Trends(
            ratio_percent=window.add(PayloadReading(awake_seconds=awake, cpu_seconds=cpu, rss_bytes=0, output_bytes=0))
        )
        hit = decide(its, Reading(wall_seconds=awake, disk_bytes=1 << 40), trends)
        hit = hit or decide(its, reading(wall=1.0), trends)
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
    assert _stalls(JobWrapperConfig(cpu_sample_time_seconds=60.0, check_cpu_consumed=Check.OFF), idle) == []
    assert _stalls(STALLING, idle, check_cpu_consumed=False) == []


def test_dirac_true_of_the_load_average_warns() -> None:
    """LoadAverageLimit is DIRAC's: a node under load is no reason to end a job unless somebody says kill."""
    loaded = Reading(wall_seconds=1.0, disk_bytes=1 << 40, load_average=1001.0)
    assert decide(limits(), loaded) is None
    assert [(each.limit, each.action) for each in hits(limits(), loaded)] == [("load_average", "warn")]
    assert decide(limits(JobWrapperConfig(check_load_average=Check.KILL)), loaded) is not None


CHECKS = {
    "check_wall_clock": reading(wall=259201),
    "check_disk_space": reading(disk=0),
    "check_load_average": Reading(wall_seconds=1.0, disk_bytes=1 << 40, load_average=2000.0),
    "check_cpu_limit": reading(cpu_seconds=1e9),
    "check_memory_limit": reading(rss_bytes=1 << 40),
    "check_process_count": reading(processes=5000),
    "output_file_action": reading(output_bytes=1 << 40),
    "check_time_left": reading(wall=900.0),
    "check_cpu_consumed": reading(),
    "check_stalled_output": reading(),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("action", Check)
def test_each_check_can_be_off_warn_or_kill(check: str, action: Check) -> None:
    """Off says nothing; warn tells exactly what kill would have told, and ends nothing."""
    config = JobWrapperConfig(**{**dict.fromkeys(CHECKS, Check.OFF), check: action})
    its = limits(config, memory_mb=100, time_left_seconds=1100.0)
    trends = Trends(ratio_percent=1.0, still_seconds=3601.0)
    found = list(hits(its, CHECKS[check], trends))
    assert [each.action for each in found] == ([] if action == Check.OFF else [str(action)])
    assert (decide(its, CHECKS[check], trends) is None) == (action != Check.KILL)


def test_truncation_that_cannot_be_kills() -> None:
    """A file that is beyond OutputFileLimit all the same lies on a file system without holes."""
    hit = decide(limits(), CHECKS["output_file_action"])
    assert hit is not None
    assert (hit.limit, limits().output_bytes) == ("output_size", 2 << 30)
    assert decide(limits(JobWrapperConfig(output_file_action="off")), CHECKS["output_file_action"]) is None


def test_the_batch_job_ends_no_job() -> None:
    """With StopMargin left to the batch job, the job is ended under DIRAC's name; unknown time ends nothing."""
    its = limits(time_left_seconds=1000.0)
    assert decide(its, reading(wall=700.0)) is None
    hit = decide(its, reading(wall=700.5))
    assert hit is not None
    assert hit.minor_status == "Job has reached the CPU limit of the queue"
    assert decide(limits(), reading(wall=1e5)) is None


def test_the_job_type_test_may_idle() -> None:
    """DIRAC's JobType Test has no CPU/wall ratio."""
    assert limits().ratio_percent == 5.0
    assert limits(job_type="Test").ratio_percent is None


def stop(finish: float, start: float = 0.0, **options: Any) -> JobWrapperConfig:
    """A configuration with a graceful stop."""
    return JobWrapperConfig(
        stop_signal_regex="app", stop_signal_finish_work=finish, stop_signal_start_work=start, **options
    )


def test_the_graceful_stop_comes_when_the_work_left_is_what_it_needs() -> None:
    """With 1300 s to live, a margin of 300 s and 1000 of work at power 10, it is sent from 900 s on."""
    its = limits(stop(1000.0), time_left_seconds=1300.0, cpu_normalization_factor=10.0)
    assert [second for second in (100.0, 899.0, 900.0, 999.0) if its.must_stop(second)] == [900.0, 999.0]


def test_no_graceful_stop_of_a_job_that_has_hardly_begun() -> None:
    """Before StopSigStartWork none is sent; without a value it is StopSigFinishWork."""
    assert not limits(stop(500.0), time_left_seconds=800.0).must_stop(499.0)
    assert limits(stop(500.0), time_left_seconds=800.0).must_stop(500.0)
    assert not limits(stop(500.0, 600.0), time_left_seconds=800.0).must_stop(599.0)


def test_the_graceful_stop_knows_the_wall_clock_limit_too() -> None:
    """MaxWallClockTime ends a job like the batch system does; without any end there is nothing to stop for."""
    assert limits(stop(10.0, max_wall_clock_seconds=100.0)).must_stop(90.0)
    assert not limits(stop(10.0, max_wall_clock_seconds=100.0, check_wall_clock=Check.OFF)).must_stop(1e6)
    assert not limits(time_left_seconds=1.0).must_stop(1e6)


def test_output_stalls_only_while_it_was_watched() -> None:
    """A payload that writes, or that nobody could look at, is not silent."""
    stillness = Stillness(limits(JobWrapperConfig(polling_time_seconds=1.0)))
    assert stillness.add(0.0, 10) == 0.0
    assert stillness.add(1.0, 10) == 1.0
    assert stillness.add(3601.0, 10) == 6.0
    assert stillness.add(3602.0, 11) == 0.0
    assert stillness.add(3603.0, 0) == 0.0


def warning(limit: str) -> LimitHit:
    return LimitHit(limit=limit, minor_status="m", measured=2.0, allowed=1.0, unit="s", action="warn")


def test_a_warning_is_told_once_for_each_hit() -> None:
    """What stays beyond its limit is told once; what comes back is told again, but not in every other look."""
    warnings = Warnings(60.0)
    assert [each.limit for each in warnings.news([warning("cpu")], 0.0)] == ["cpu"]
    assert warnings.news([warning("cpu")], 1000.0) == []
    assert [each.limit for each in warnings.news([warning("cpu"), warning("memory")], 1001.0)] == ["memory"]
    assert warnings.news([], 1002.0) == []
    assert [each.limit for each in warnings.news([warning("memory"), warning("cpu")], 1030.0)] == ["cpu"]
    assert warnings.news([], 1031.0) == []
    assert [each.limit for each in warnings.news([warning("memory")], 1062.0)] == ["memory"]
