"""Who tells a peak: the kernel where a control group keeps it, else the looks that were taken. Pure."""

from dataclasses import replace

from telemetry.facts import PeaksSoFar, UsageSettled
from telemetry.measure.snapshot import NO_PEAKS, Peaks, UsageReading

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
        peaks_method="" if own == NO_PEAKS else reading.peaks_method,
        peak_cgroup_memory_bytes=own.memory_bytes,
        peak_cgroup_swap_bytes=own.swap_bytes,
        peak_memory_swap_bytes=own.memory_swap_bytes,
        peak_cgroup_threads=own.threads,
    )


def with_peaks(
    settled: UsageSettled, peaks: Peaks, method: str, *, seen_swap_bytes: int, seen_threads: int
) -> UsageSettled:
    """*settled* with the *peaks* of a control group by *method*, and with what was *seen* where it keeps none."""
    swap, threads = peaks.swap_bytes, peaks.threads
    return replace(
        settled,
        peak_cgroup_memory_bytes=peaks.memory_bytes,
        memory_method=settled.memory_method if peaks.memory_bytes is None else method,
        peak_swap_bytes=swap if swap is not None else seen_swap_bytes or None,
        swap_method=_method(swap, method, seen_swap_bytes),
        peak_memory_swap_bytes=peaks.memory_swap_bytes,
        peak_threads=threads if threads is not None else seen_threads or None,
        threads_method=_method(threads, method, seen_threads),
    )


def _method(told: int | None, method: str, seen: int) -> str:
    return method if told is not None else SAMPLED if seen else ""
