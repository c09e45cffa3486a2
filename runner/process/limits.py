"""Whether a job may go on: limits against readings. Pure.

The rules are DIRAC's Watchdog's, with its minor statuses, applied at every poll. CPU limit: CPUTime of
the description is CPU work for each processor in normalised seconds, so that on raw CPU the limit is
CPUTime / CPUNormalizationFactor x Processors x (1 + JobCPULimitMargin). What has no rule in DIRAC
(stalled output, processes, size of the output) is ours.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from runner.config import JobWrapperConfig
from runner.job.status import MinorStatus
from runner.options import Check
from telemetry.facts import LimitHit

_MEGABYTE = 1 << 20
#: A gap between two samples counts towards a stall at most as so many polls: whoever sampled late (a stopped
#: or starved wrapper, a machine that slept) did not see the payload idle.
_GAP_POLLS = 5
#: The window of the CPU/wall ratio is divided into so many samples.
_WINDOW_SAMPLES = 60
#: DIRAC's jobs of this type may idle.
_TEST_JOBS = "Test"


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
    job_type: str = "User"
    #: Wall clock that the batch job had left when the wrapper started; None: nobody knows.
    time_left_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class StopSignal:
    """The graceful stop that a job has asked for (DIRAC's StopSig*)."""

    regex: str
    number: int
    #: Not before the job is so old.
    start_seconds: float
    #: With so much wall clock left.
    finish_seconds: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a job may use; None where nothing is watched."""

    cpu_seconds: float | None
    wall_seconds: float | None
    rss_bytes: float | None
    disk_bytes: float | None
    output_bytes: float | None
    load_average: float | None
    processes: int | None
    still_seconds: float | None
    #: The least ratio of CPU to wall clock on each processor, percent, over a window of so many seconds.
    ratio_percent: float | None
    window_seconds: float
    processors: int
    longest_gap_seconds: float
    #: Wall clock left to the batch job at the wrapper's start, and how much of it must remain unused.
    time_left_seconds: float | None
    margin_seconds: float
    stop: StopSignal | None
    #: By the limit's name in `LimitHit`.
    checks: Mapping[str, Check]

    @classmethod
    def of(cls, config: JobWrapperConfig, job: WatchdogJob) -> "Limits":
        """The limits of *job* under *config*."""
        cpu_time = config.default_cpu_time_seconds if job.cpu_time_seconds is None else job.cpu_time_seconds
        raw = cpu_time / (job.cpu_normalization_factor or 1.0) * job.processors
        checks = _checks(config, job)
        watched = frozenset(name for name, check in checks.items() if check != Check.OFF)
        return cls(
            cpu_seconds=raw * (1 + config.job_cpu_limit_margin_percent / 100) if "cpu" in watched else None,
            wall_seconds=config.max_wall_clock_seconds if "wall_clock" in watched else None,
            rss_bytes=job.memory_mb * _MEGABYTE if job.memory_mb and "memory" in watched else None,
            disk_bytes=config.min_disk_space_mb * _MEGABYTE if "disk_space" in watched else None,
            output_bytes=config.output_file_limit_bytes if "output_size" in watched else None,
            load_average=config.load_average_limit if "load_average" in watched else None,
            processes=config.max_processes if "processes" in watched else None,
            still_seconds=config.stalled_output_seconds if "stalled_output" in watched else None,
            ratio_percent=config.min_cpu_wall_clock_ratio_percent if "stall" in watched else None,
            window_seconds=config.cpu_sample_time_seconds,
            processors=job.processors,
            longest_gap_seconds=config.polling_time_seconds * _GAP_POLLS,
            time_left_seconds=job.time_left_seconds if "time_left" in watched else None,
            margin_seconds=config.stop_margin_seconds,
            stop=_stop_signal(config, job),
            checks=checks,
        )

    def wall_left_seconds(self, wall_seconds: float) -> float | None:
        """Until the first limit of time ends a job that is *wall_seconds* old; None: none ever will."""
        ends = []
        if self.time_left_seconds is not None:
            ends.append(self.time_left_seconds - self.margin_seconds)
        if self.wall_seconds is not None and self.checks["wall_clock"] == Check.KILL:
            ends.append(self.wall_seconds)
        return min(ends) - wall_seconds if ends else None

    def must_stop(self, wall_seconds: float) -> bool:
        """Whether the job is to be told now that its time is nearly up (DIRAC's rule for StopSig*)."""
        left = self.wall_left_seconds(wall_seconds)
        if self.stop is None or left is None:
            return False
        return left <= self.stop.finish_seconds and wall_seconds >= self.stop.start_seconds


def _checks(config: JobWrapperConfig, job: WatchdogJob) -> dict[str, Check]:
    idles = not job.check_cpu_consumed or job.job_type == _TEST_JOBS
    return {
        "wall_clock": config.check_wall_clock,
        "time_left": config.check_time_left,
        "disk_space": config.check_disk_space,
        "load_average": config.check_load_average,
        "cpu": config.check_cpu_limit,
        "memory": config.check_memory_limit,
        "processes": config.check_process_count,
        # A file that is kept within its limit is beyond it only where the file system has no holes.
        "output_size": Check.KILL if config.output_file_action == "truncate" else Check(config.output_file_action),
        "stall": Check.OFF if idles else config.check_cpu_consumed,
        "stalled_output": config.check_stalled_output,
    }


def _stop_signal(config: JobWrapperConfig, job: WatchdogJob) -> StopSignal | None:
    if not config.stop_signal_regex:
        return None
    power = job.cpu_normalization_factor or 1.0
    finish = config.stop_signal_finish_work / power
    return StopSignal(
        regex=config.stop_signal_regex,
        number=config.stop_signal_number,
        start_seconds=config.stop_signal_start_work / power or finish,
        finish_seconds=finish,
    )


class PayloadReading(NamedTuple):
    """A payload at one moment. *awake_seconds* is CLOCK_MONOTONIC, which does not count a suspended machine."""

    awake_seconds: float
    cpu_seconds: float
    rss_bytes: int
    #: Of the longer stream.
    output_bytes: int
    processes: int = 1


class Reading(NamedTuple):
    """A job at one moment; without a payload only clocks, disk and node can be judged."""

    wall_seconds: float
    disk_bytes: int
    load_average: float = 0.0
    payload: PayloadReading | None = None


@dataclass
class _Watched:
    """The time for which a payload was really watched: of a gap between two looks only so much counts."""

    longest_gap_seconds: float
    seconds: float = 0.0
    _last: float | None = None

    def until(self, awake_seconds: float) -> float:
        """The seconds watched up to now."""
        gap = 0.0 if self._last is None else max(0.0, awake_seconds - self._last)
        self._last = awake_seconds
        self.seconds += min(gap, self.longest_gap_seconds)
        return self.seconds


class RatioWindow:
    """The CPU/wall ratio of a payload over the last so many seconds in which it was really watched."""

    def __init__(self, limits: Limits) -> None:
        """An empty window."""
        self._limits = limits
        self._watched = _Watched(limits.longest_gap_seconds)
        #: (seconds observed, CPU) at the beginning of each slice of the window.
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, reading: PayloadReading) -> float | None:
        """The ratio in percent over the window that ends with *reading*; None while it is not full."""
        now = self._watched.until(reading.awake_seconds)
        window = self._limits.window_seconds
        while len(self._samples) > 1 and self._samples[1][0] <= now - window:
            self._samples.popleft()
        if not self._samples or now - self._samples[-1][0] >= window / _WINDOW_SAMPLES:
            self._samples.append((now, reading.cpu_seconds))
        since, cpu_then = self._samples[0]
        if now - since < window:
            return None
        return 100 * (reading.cpu_seconds - cpu_then) / (now - since) / self._limits.processors


class Stillness:
    """For how long a payload has written nothing, in seconds in which it was really watched."""

    def __init__(self, limits: Limits) -> None:
        """Nothing was seen yet."""
        self._watched = _Watched(limits.longest_gap_seconds)
        self._bytes: int | None = None
        self._since = 0.0

    def add(self, awake_seconds: float, written_bytes: int) -> float:
        """The seconds since the output has changed; *written_bytes* is the sum of all streams."""
        now = self._watched.until(awake_seconds)
        if written_bytes != self._bytes:
            self._bytes, self._since = written_bytes, now
        return now - self._since


class Trends(NamedTuple):
    """What only several readings together can say; None: nothing yet."""

    ratio_percent: float | None = None
    still_seconds: float | None = None


@dataclass
class Warnings:
    """Tells each warning once for each time that its limit is reached, and not again within *pause_seconds*."""

    pause_seconds: float
    _last: dict[str, tuple[float, bool]] = field(default_factory=dict)

    def news(self, found: list[LimitHit], awake_seconds: float) -> list[LimitHit]:
        """Those of *found* that were not there at the look before."""
        present = {each.limit for each in found}
        new = [each for each in found if self._is_new(each.limit, awake_seconds)]
        for name, (told_at, _) in self._last.items():
            self._last[name] = (told_at, name in present)
        self._last.update({each.limit: (awake_seconds, True) for each in new})
        return new

    def _is_new(self, name: str, awake_seconds: float) -> bool:
        if name not in self._last:
            return True
        told_at, was_there = self._last[name]
        return not was_there and awake_seconds - told_at >= self.pause_seconds


NO_TRENDS = Trends()


def decide(limits: Limits, reading: Reading, trends: Trends = NO_TRENDS) -> LimitHit | None:
    """The first limit that ends the job; None while it may go on."""
    return next((each for each in hits(limits, reading, trends) if each.action == "kill"), None)


def hits(limits: Limits, reading: Reading, trends: Trends = NO_TRENDS) -> Iterator[LimitHit]:
    """All limits that *reading* breaks, to warn and to kill.

    *trends* are what `RatioWindow` and `Stillness` say. Broken means beyond: what is exactly at a limit goes on.
    """
    for name, measured, allowed in _above(limits, reading, trends):
        if allowed is not None and measured is not None and measured > allowed:
            yield _hit(limits, name, measured, allowed)
    for name, measured, allowed in _below(limits, reading, trends):
        if allowed is not None and measured is not None and measured < allowed:
            yield _hit(limits, name, measured, allowed)


_Row = tuple[str, float | None, float | None]


def _above(limits: Limits, reading: Reading, trends: Trends) -> tuple[_Row, ...]:
    """What must not be more than it is allowed to be. (Tuples: they are looked at on every poll of every job.)"""
    job: tuple[_Row, ...] = (
        ("wall_clock", reading.wall_seconds, limits.wall_seconds),
        ("load_average", reading.load_average, limits.load_average),
    )
    payload = reading.payload
    if payload is None:
        return job
    return (
        *job,
        ("cpu", payload.cpu_seconds, limits.cpu_seconds),
        ("memory", payload.rss_bytes, limits.rss_bytes),
        ("processes", payload.processes, limits.processes),
        ("output_size", payload.output_bytes, limits.output_bytes),
        ("stalled_output", trends.still_seconds, limits.still_seconds),
    )


def _below(limits: Limits, reading: Reading, trends: Trends) -> tuple[_Row, ...]:
    """What must not be less."""
    end = limits.time_left_seconds
    return (
        ("time_left", None if end is None else end - reading.wall_seconds, limits.margin_seconds),
        ("disk_space", reading.disk_bytes, limits.disk_bytes),
        ("stall", None if reading.payload is None else trends.ratio_percent, limits.ratio_percent),
    )


#: Minor status and unit of each limit.
_WORDS: dict[str, tuple[MinorStatus, str]] = {
    "wall_clock": (MinorStatus.WALL_CLOCK_LIMIT, "s"),
    "time_left": (MinorStatus.QUEUE_CPU_LIMIT, "s"),
    "disk_space": (MinorStatus.DISK_SPACE, "By"),
    "load_average": (MinorStatus.LOAD_AVERAGE, "1"),
    "cpu": (MinorStatus.CPU_LIMIT, "s"),
    "memory": (MinorStatus.MEMORY_LIMIT, "By"),
    "processes": (MinorStatus.PROCESS_LIMIT, "1"),
    "output_size": (MinorStatus.OUTPUT_LIMIT, "By"),
    "stall": (MinorStatus.STALLED_BY_WATCHDOG, "%"),
    "stalled_output": (MinorStatus.STALLED_OUTPUT, "s"),
}


def _hit(limits: Limits, limit: str, measured: float, allowed: float) -> LimitHit:
    minor_status, unit = _WORDS[limit]
    action: Literal["kill", "warn"] = "kill" if limits.checks[limit] == Check.KILL else "warn"
    return LimitHit(
        limit=limit, minor_status=str(minor_status), measured=measured, allowed=allowed, unit=unit, action=action
    )
