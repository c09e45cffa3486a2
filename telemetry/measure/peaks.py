"""Who tells a peak: the kernel where a control group keeps it, else the looks that were taken. Pure."""

from dataclasses import replace

from telemetry.facts import PeaksSoFar, UsageSettled
from telemetry.measure.snapshot import NO_PEAKS, Methods, Peaks, UsageReading

#: The method of the most that any look has seen: a lower bound of the peak.
SAMPLED = "sampled"


def peaks_so_far(reading: UsageReading) -> PeaksSoFar:
    """What a sample tells of the peaks up to its *reading*."""
    own = reading.peaks
    return PeaksSoFar(
        peak_rss_bytes=reading.peak_rss_bytes,
        peak_pss_bytes=reading.peak_pss_bytes,
        peak_swap_bytes=reading.peak_swap_bytes,
        peak_threads=reading.peak_threads,
        max_processes=reading.max_processes,
        peaks_method="" if own == NO_PEAKS else _teller(own, reading.methods),
        peak_cgroup_memory_bytes=own.memory_bytes,
        peak_cgroup_swap_bytes=own.swap_bytes,
        peak_memory_swap_bytes=own.memory_swap_bytes,
        peak_cgroup_threads=own.threads,
    )


def with_peaks(
    settled: UsageSettled, peaks: Peaks, methods: Methods, *, seen_swap_bytes: int, seen_threads: int
) -> UsageSettled:
    """*settled* with the *peaks* of control groups, and with what was *seen* where they keep none; and with the methods
    of all that it tells, which are those of its own fields and, beside them, *methods*."""
    swap, threads = peaks.swap_bytes, peaks.threads
    whole = replace(
        settled,
        peak_cgroup_memory_bytes=peaks.memory_bytes,
        memory_method=settled.memory_method if peaks.memory_bytes is None else methods.peak_memory,
        peak_swap_bytes=swap if swap is not None else seen_swap_bytes or None,
        swap_method=_method(swap, methods.peak_memory, seen_swap_bytes),
        peak_memory_swap_bytes=peaks.memory_swap_bytes,
        peak_threads=threads if threads is not None else seen_threads or None,
        threads_method=_method(threads, methods.peak_threads, seen_threads),
    )
    return replace(whole, methods=_named(whole, methods, settled.memory_method))


def _named(settled: UsageSettled, methods: Methods, rss_method: str) -> dict[str, str]:
    """The method of each quantity of *settled* that is told; of the peak of RSS that is *rss_method*."""
    pressures = (settled.cpu_pressure_seconds, settled.memory_pressure_seconds, settled.io_pressure_seconds)
    named = {
        "cpu": settled.cpu_method,
        "peak_rss": rss_method,
        "peak_pss": "" if settled.peak_pss_bytes is None else SAMPLED,
        "peak_memory": "" if settled.peak_cgroup_memory_bytes is None else methods.peak_memory,
        "peak_swap": settled.swap_method,
        "peak_memory_swap": "" if settled.peak_memory_swap_bytes is None else methods.peak_memory,
        "peak_threads": settled.threads_method,
        "processes": SAMPLED,
        "io": settled.io_method,
        "faults": methods.faults,
        "switches": methods.switches,
        "pressure": methods.pressure if any(each is not None for each in pressures) else "",
        "oom_kills": "" if settled.oom_kills is None else methods.peak_memory,
    }
    return {quantity: method for quantity, method in named.items() if method}


def _teller(peaks: Peaks, methods: Methods) -> str:
    """Of control groups of both versions: that of the memory, unless there are only threads."""
    has_memory = any(each is not None for each in peaks[:3])
    return methods.peak_memory if has_memory else methods.peak_threads


def _method(told: int | None, method: str, seen: int) -> str:
    return method if told is not None else SAMPLED if seen else ""
