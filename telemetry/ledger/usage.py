"""What an attempt's payload has used: the settled account, or the best that a cut-off journal tells. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry.facts import OutputSeen, PayloadEnded, UsageSampled, UsageSettled
from telemetry.ledger.selection import Attempt
from telemetry.ledger.timeline import Timeline


@dataclass(frozen=True)
class Cpu:
    """CPU of the payload's tree, in microseconds. `method` is None when there was no payload."""

    user_us: int = 0
    system_us: int = 0
    method: str | None = None
    uncertainty_us: int = 0
    orphan_us: int = 0

    @property
    def total_us(self) -> int:
        """User plus system: each is rounded first, so that the three add up."""
        return self.user_us + self.system_us


@dataclass(frozen=True)
class Memory:
    """Peaks of memory and processes, and what went through storage. None: not measured."""

    peak_rss_bytes: int = 0
    peak_pss_bytes: int | None = None
    peak_cgroup_bytes: int | None = None
    method: str | None = None
    max_processes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    peak_swap_bytes: int | None = None
    swap_method: str | None = None
    peak_memory_swap_bytes: int | None = None
    peak_threads: int | None = None
    threads_method: str | None = None


@dataclass(frozen=True)
class Waits:
    """Page faults, context switches and pressure of the settled account. None: nobody told them."""

    io_method: str | None = None
    minor_faults: int | None = None
    major_faults: int | None = None
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    cpu_pressure_seconds: float | None = None
    memory_pressure_seconds: float | None = None
    io_pressure_seconds: float | None = None


@dataclass(frozen=True)
class Output:
    """Totals of both streams."""

    lines: int
    bytes: int
    peek_lines_dropped: int
    #: Cut out of the files by OutputFileLimit; None: nothing was.
    bytes_dropped: int | None


def last_look_ns(attempt: Attempt) -> int | None:
    """Boottime of the last sample of the payload's tree; None without one."""
    return max(
        (each.boottime_ns for each in attempt.on_node if isinstance(each.fact, UsageSampled) and each.fact.cpu_method),
        default=None,
    )


def cpu(attempt: Attempt, times: Timeline) -> Cpu:
    """CPU of the payload.

    `UsageSettled` is the truth (of two, the one that saw more). Without it, the wrapper died: the
    highest of the samples and of wait4's account of the top process is a lower bound, and what
    all its processors could have done after the last sample is the uncertainty.
    """
    settled = _settled(attempt)
    if settled is not None:
        return Cpu(
            _us(settled.cpu_user_seconds),
            _us(settled.cpu_system_seconds),
            settled.cpu_method,
            _us(settled.cpu_uncertainty_seconds),
            _us(settled.orphan_cpu_seconds),
        )
    sampled = [Cpu(_us(each.cpu_user_seconds), _us(each.cpu_system_seconds), "sampled") for each in _samples(attempt)]
    waited = [
        Cpu(_us(each.user_cpu_seconds), _us(each.system_cpu_seconds), "wait4") for each in attempt.facts(PayloadEnded)
    ]
    if not sampled and not waited and not times.payload_us:
        return Cpu()
    seen = _highest(sampled)
    best = _highest([*sampled, *waited])
    possible_us = seen.total_us + times.unsampled_us * attempt.matched.processors
    return Cpu(best.user_us, best.system_us, best.method, max(0, possible_us - best.total_us))


def memory(attempt: Attempt) -> Memory:
    """Memory, processes and storage traffic: the settled account, else the highest that the samples tell."""
    settled = _settled(attempt)
    if settled is not None:
        return Memory(
            settled.peak_rss_bytes,
            settled.peak_pss_bytes,
            settled.peak_cgroup_memory_bytes,
            settled.memory_method or None,
            settled.max_processes,
            settled.read_bytes,
            settled.written_bytes,
            settled.peak_swap_bytes,
            settled.swap_method or None,
            settled.peak_memory_swap_bytes,
            settled.peak_threads,
            settled.threads_method or None,
        )
    return _sampled_memory(_samples(attempt), attempt.facts(PayloadEnded))


def _sampled_memory(samples: Sequence[UsageSampled], ended: Sequence[PayloadEnded]) -> Memory:
    """Peaks as the samples tell them: what was seen, and the control group's own up to the last look at them."""
    rss = [*(max(each.rss_bytes, each.peak_rss_bytes) for each in samples), *(each.max_rss_bytes for each in ended)]
    group = next((each.peaks_method for each in reversed(samples) if each.peaks_method), "")
    own_bytes = _known(each.peak_cgroup_memory_bytes for each in samples)
    swap = _Peak(_known(each.peak_cgroup_swap_bytes for each in samples), [each.peak_swap_bytes for each in samples])
    threads = _Peak(_known(each.peak_cgroup_threads for each in samples), [each.peak_threads for each in samples])
    return Memory(
        peak_rss_bytes=_most(rss),
        peak_pss_bytes=_known(each.peak_pss_bytes for each in samples),
        peak_cgroup_bytes=own_bytes,
        method=group if own_bytes is not None else "sampled" if rss else None,
        max_processes=_most(max(each.processes, each.max_processes) for each in samples),
        read_bytes=_most(each.read_bytes for each in samples),
        written_bytes=_most(each.written_bytes for each in samples),
        peak_swap_bytes=swap.value,
        swap_method=swap.method(group),
        peak_memory_swap_bytes=_known(each.peak_memory_swap_bytes for each in samples),
        peak_threads=threads.value,
        threads_method=threads.method(group),
    )


@dataclass(frozen=True)
class _Peak:
    """What a control group *told*, or else the most that was *seen*; nothing, if that is 0."""

    told: int | None
    seen: Sequence[int]

    @property
    def value(self) -> int | None:
        return self.told if self.told is not None else _most(self.seen) or None

    def method(self, group: str) -> str | None:
        return group if self.told is not None else "sampled" if self.value else None


def waits(attempt: Attempt) -> Waits:
    """The settled account; nothing is made up for a wrapper that died, or for one of before it told them."""
    settled = _settled(attempt)
    if settled is None or not settled.io_method:
        return Waits()
    return Waits(
        settled.io_method,
        settled.minor_faults,
        settled.major_faults,
        settled.voluntary_switches,
        settled.involuntary_switches,
        settled.cpu_pressure_seconds,
        settled.memory_pressure_seconds,
        settled.io_pressure_seconds,
    )


def methods(attempt: Attempt, used: Cpu, held: Memory) -> dict[str, str]:
    """Who has measured what the record tells, where the journal says so (those of before it did say nothing).

    Of an account that nobody settled it is what `cpu` and `memory` have made of the samples: *used* and *held*.
    """
    if (settled := _settled(attempt)) is not None:
        return dict(settled.methods)
    told = next((each.methods for each in reversed(attempt.facts(UsageSampled)) if each.methods), None)
    if told is None:
        return {}
    named = {
        "cpu": used.method,
        "peak_rss": "sampled" if held.method else None,
        "peak_memory": None if held.peak_cgroup_bytes is None else held.method,
        "peak_swap": held.swap_method,
        "peak_memory_swap": None if held.peak_memory_swap_bytes is None else held.method,
        "peak_threads": held.threads_method,
        "processes": "sampled" if held.method else None,
        "io": told.get("io"),
    }
    return {quantity: method for quantity, method in named.items() if method}


def output(attempt: Attempt) -> Output:
    """Lines and bytes of the payload: the highest totals of each stream, added up."""
    seen: dict[str, list[OutputSeen]] = {}
    for each in attempt.facts(OutputSeen):
        seen.setdefault(each.stream, []).append(each)
    streams = seen.values()
    return Output(
        sum(_most(each.lines for each in stream) for stream in streams),
        sum(_most(each.bytes for each in stream) for stream in streams),
        sum(_most(each.peek_lines_dropped for each in stream) for stream in streams),
        sum(_most(each.dropped_bytes for each in stream) for stream in streams) or None,
    )


def _samples(attempt: Attempt) -> list[UsageSampled]:
    """Looks at a payload's tree; a sample without a method was taken while there was no payload."""
    return [each for each in attempt.facts(UsageSampled) if each.cpu_method]


def _settled(attempt: Attempt) -> UsageSettled | None:
    accounts = attempt.facts(UsageSettled)
    return max(accounts, key=lambda each: each.cpu_user_seconds + each.cpu_system_seconds, default=None)


def _highest(accounts: list[Cpu]) -> Cpu:
    return max(accounts, key=lambda each: each.total_us, default=Cpu(method="sampled"))


def _most(values: Iterable[int]) -> int:
    return max(values, default=0)


def _known(values: Iterable[int | None]) -> int | None:
    """The largest of those that are known."""
    return max((each for each in values if each is not None), default=None)


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
