"""Whether a job may go on: limits against readings. Pure.

The rules are DIRAC's Watchdog's, with its minor statuses, applied at every poll. CPU limit: CPUTime of
the description is CPU work for each processor in normalised seconds, so that on raw CPU the limit is
CPUTime / CPUNormalizationFactor x Processors x (1 + JobCPULimitMargin).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.config import JobWrapperConfig
from runner.job.status import MinorStatus
from telemetry.facts import LimitHit

_MEGABYTE = 1 << 20
#: A gap between two samples counts towards a stall at most as so many polls: whoever sampled late (a stopped
#: or starved wrapper, a machine that slept) did not see the payload idle.
_GAP_POLLS = 5
#: The window of the CPU/wall ratio is divided into so many samples.
_WINDOW_SAMPLES = 60


@dataclass(frozen=True, kw_only=True)
class WatchdogJob:
    """What the watchdog must know of the job. *start_boottime_ns* is the start of the wrapper process."""

    start_boottime_ns: int
    processors: int = 1
    cpu_normalization_factor: float = 1.0
    #: CPUTime of the description, normalised seconds; None: DefaultCPUTime.
    cpu_time_seconds: float | None = None
    #: Memory that the job asked for; None: no limit.
    memory_mb: float | None = None
    #: False for DisableCPUCheck: the job is idle on purpose.
    check_cpu_consumed: bool = True


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a job may use; None where nothing is watched."""

    cpu_seconds: float | None
    wall_seconds: float | None
    rss_bytes: float | None
    disk_bytes: float | None
    output_bytes: float | None
    #: The least ratio of CPU to wall clock on each processor, percent, over a window of so many seconds.
    ratio_percent: float | None
    window_seconds: float
    processors: int
    longest_gap_seconds: float

    @classmethod
    def of(cls, config: JobWrapperConfig, job: WatchdogJob) -> "Limits":
        """The limits of *job* under *config*."""
        cpu_time = config.default_cpu_time_seconds if job.cpu_time_seconds is None else job.cpu_time_seconds
        raw = cpu_time / (job.cpu_normalization_factor or 1.0) * job.processors
        memory = job.memory_mb if config.check_memory_limit else None
        watches_ratio = config.check_cpu_consumed and job.check_cpu_consumed
        return cls(
            cpu_seconds=raw * (1 + config.job_cpu_limit_margin_percent / 100) if config.check_cpu_limit else None,
            wall_seconds=config.max_wall_clock_seconds if config.check_wall_clock else None,
            rss_bytes=memory * _MEGABYTE if memory else None,
            disk_bytes=config.min_disk_space_mb * _MEGABYTE if config.check_disk_space else None,
            output_bytes=config.output_file_limit_bytes,
            ratio_percent=config.min_cpu_wall_clock_ratio_percent if watches_ratio else None,
            window_seconds=config.cpu_sample_time_seconds,
            processors=job.processors,
            longest_gap_seconds=config.polling_time_seconds * _GAP_POLLS,
        )


@dataclass(frozen=True, kw_only=True)
class PayloadReading:
    """A payload at one moment. *awake_seconds* is CLOCK_MONOTONIC, which does not count a suspended machine."""

    awake_seconds: float
    cpu_seconds: float
    rss_bytes: int
    output_bytes: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A job at one moment; without a payload only clock and disk can be judged."""

    wall_seconds: float
    disk_bytes: int
    payload: PayloadReading | None = None


@dataclass
class RatioWindow:
    """The CPU/wall ratio of a payload over the last so many seconds in which it was really watched."""

    limits: Limits
    _observed_seconds: float = 0.0
    _last: PayloadReading | None = None
    #: (seconds observed, CPU) at the beginning of each slice of the window.
    _samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, reading: PayloadReading) -> float | None:
        """The ratio in percent over the window that ends with *reading*; None while it is not full."""
        last = self._last or reading
        self._last = reading
        gap = max(0.0, reading.awake_seconds - last.awake_seconds)
        self._observed_seconds += min(gap, self.limits.longest_gap_seconds)
        now = self._observed_seconds
        window = self.limits.window_seconds
        while len(self._samples) > 1 and self._samples[1][0] <= now - window:
            self._samples.popleft()
        if not self._samples or now - self._samples[-1][0] >= window / _WINDOW_SAMPLES:
            self._samples.append((now, reading.cpu_seconds))
        since, cpu_then = self._samples[0]
        if now - since < window:
            return None
        return 100 * (reading.cpu_seconds - cpu_then) / (now - since) / self.limits.processors


def decide(limits: Limits, reading: Reading, ratio_percent: float | None = None) -> LimitHit | None:
    """The first limit that *reading* breaks; None while the job may go on.

    *ratio_percent* is what the `RatioWindow` says. Broken means beyond: what is exactly at a limit goes on.
    """
    return next(_hits(limits, reading, ratio_percent), None)


def _hits(limits: Limits, reading: Reading, ratio_percent: float | None) -> Iterator[LimitHit]:
    if limits.wall_seconds is not None and reading.wall_seconds > limits.wall_seconds:
        yield _hit("wall_clock", MinorStatus.WALL_CLOCK_LIMIT, reading.wall_seconds, limits.wall_seconds, "s")
    if limits.disk_bytes is not None and reading.disk_bytes < limits.disk_bytes:
        yield _hit("disk_space", MinorStatus.DISK_SPACE, reading.disk_bytes, limits.disk_bytes, "By")
    payload = reading.payload
    if payload is None:
        return
    if limits.cpu_seconds is not None and payload.cpu_seconds > limits.cpu_seconds:
        yield _hit("cpu", MinorStatus.CPU_LIMIT, payload.cpu_seconds, limits.cpu_seconds, "s")
    if limits.rss_bytes is not None and payload.rss_bytes > limits.rss_bytes:
        yield _hit("memory", MinorStatus.MEMORY_LIMIT, payload.rss_bytes, limits.rss_bytes, "By")
    if limits.output_bytes is not None and payload.output_bytes > limits.output_bytes:
        yield _hit("output_size", MinorStatus.OUTPUT_LIMIT, payload.output_bytes, limits.output_bytes, "By")
    if limits.ratio_percent is not None and ratio_percent is not None and ratio_percent < limits.ratio_percent:
        yield _hit("stall", MinorStatus.STALLED_BY_WATCHDOG, ratio_percent, limits.ratio_percent, "%")


def _hit(limit: str, minor_status: MinorStatus, measured: float, allowed: float, unit: str) -> LimitHit:
    return LimitHit(limit=limit, minor_status=str(minor_status), measured=measured, allowed=allowed, unit=unit)
