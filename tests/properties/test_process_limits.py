"""Limits under any figures."""

from hypothesis import given
from hypothesis import strategies as st

from runner.config import JobWrapperConfig
from runner.options import Check
from runner.process.limits import Limits, PayloadReading, RatioWindow, Reading, WatchdogJob, decide

SECONDS = st.floats(0, 1e7, allow_nan=False)
BYTES = st.integers(0, 1 << 50)
JOBS = st.builds(
    WatchdogJob,
    start_boottime_ns=st.just(0),
    processors=st.integers(1, 256),
    cpu_normalization_factor=st.just(0.0) | st.floats(0.001, 100),
    cpu_time_seconds=st.none() | st.floats(1, 1e7),
    memory_mb=st.none() | st.floats(1, 1e6),
    check_cpu_consumed=st.booleans(),
    time_left_seconds=st.none() | st.floats(0, 1e6),
)
CHECKS = st.sampled_from(Check)
CONFIGS = st.builds(
    JobWrapperConfig,
    check_wall_clock=CHECKS,
    check_disk_space=CHECKS,
    check_cpu_consumed=CHECKS,
    check_time_left=CHECKS,
    check_process_count=CHECKS,
    output_file_action=st.sampled_from(["truncate", "kill", "warn", "off"]),
    check_cpu_limit=CHECKS,
    check_memory_limit=CHECKS,
    job_cpu_limit_margin_percent=st.floats(0, 200),
    polling_time_seconds=st.floats(0.01, 60),
    cpu_sample_time_seconds=st.floats(1, 3600),
)
PAYLOADS = st.builds(PayloadReading, awake_seconds=SECONDS, cpu_seconds=SECONDS, rss_bytes=BYTES, output_bytes=BYTES)
READINGS = st.builds(Reading, wall_seconds=SECONDS, disk_bytes=BYTES, payload=st.none() | PAYLOADS)


@given(CONFIGS, JOBS, READINGS)
def test_a_hit_is_beyond_what_is_allowed(config: JobWrapperConfig, job: WatchdogJob, reading: Reading) -> None:
    """Whoever is stopped has broken the limit that is named: the figures of the hit prove it."""
    hit = decide(Limits.of(config, job), reading)
    if hit is not None:
        assert hit.measured < hit.allowed if hit.limit in ("disk_space", "time_left") else hit.measured > hit.allowed
        assert hit.minor_status.startswith(("Job has", "Watchdog"))


@given(CONFIGS, JOBS, READINGS, st.floats(0, 1e6))
def test_more_is_never_more_allowed(config: JobWrapperConfig, job: WatchdogJob, reading: Reading, more: float) -> None:
    """A job that is over a limit stays over it when it uses still more."""
    limits = Limits.of(config, job)
    if decide(limits, reading) is not None:
        worse = Reading(
            wall_seconds=reading.wall_seconds + more, disk_bytes=reading.disk_bytes, payload=reading.payload
        )
        assert decide(limits, worse) is not None


@given(JOBS, st.integers(2, 16))
def test_the_cpu_limit_grows_with_the_processors(job: WatchdogJob, factor: int) -> None:
    """CPUTime is meant for each processor."""
    config = JobWrapperConfig()
    values = {**{name: getattr(job, name) for name in job.__dataclass_fields__}, "processors": job.processors * factor}
    one, many = Limits.of(config, job).cpu_seconds, Limits.of(config, WatchdogJob(**values)).cpu_seconds
    assert one is not None
    assert many is not None
    assert abs(many - one * factor) <= 1e-9 * many


@given(
    CONFIGS,
    st.integers(1, 16),
    st.lists(st.tuples(st.floats(0, 7200), st.floats(0.05, 1)), min_size=1, max_size=80),
)
def test_working_payloads_never_stall(
    config: JobWrapperConfig, processors: int, steps: list[tuple[float, float]]
) -> None:
    """However irregularly it is sampled, a payload that always computes above the ratio never counts as stalled."""
    job = WatchdogJob(start_boottime_ns=0, processors=processors)
    limits = Limits.of(config, job)
    window = RatioWindow(limits)
    awake = cpu = 0.0
    for seconds, rate in steps:
        awake += seconds
        cpu += seconds * rate * processors
        ratio = window.add(PayloadReading(awake_seconds=awake, cpu_seconds=cpu, rss_bytes=0, output_bytes=0))
        assert ratio is None or ratio >= 4.999


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=50))
def test_unwatched_time_is_no_evidence(gaps: list[float]) -> None:
    """An idle payload counts as stalled only after CPUSampleTime of looks that were close to each other."""
    config = JobWrapperConfig(cpu_sample_time_seconds=300.0, polling_time_seconds=1.0)
    window = RatioWindow(Limits.of(config, WatchdogJob(start_boottime_ns=0)))
    awake = watched = 0.0
    window.add(PayloadReading(awake_seconds=0.0, cpu_seconds=0.0, rss_bytes=0, output_bytes=0))
    for gap in gaps:
        awake += gap
        watched += min(gap, 5.0)
        ratio = window.add(PayloadReading(awake_seconds=awake, cpu_seconds=0.0, rss_bytes=0, output_bytes=0))
        assert ratio is None or watched >= 299.9
