"""What a payload has used in all, when nothing of it is left: the last reading as a fact. Pure."""

from telemetry.facts import PayloadEnded, UsageSettled
from telemetry.measure.peaks import SAMPLED, with_peaks
from telemetry.measure.snapshot import UsageReading


def settled_usage(
    reading: UsageReading, *, ended: PayloadEnded | None, orphan_cpu_seconds: float, oom_kills: int | None
) -> UsageSettled:
    """The account by the last *reading* of a payload whose top process has *ended* (None: it could not be ended).

    *oom_kills* is how many processes the kernel has killed for want of memory; None: nobody tells.
    """
    settled = UsageSettled(
        cpu_user_seconds=reading.cpu.user_seconds,
        cpu_system_seconds=reading.cpu.system_seconds,
        cpu_method=reading.methods.cpu,
        cpu_uncertainty_seconds=reading.cpu_uncertainty_seconds,
        orphan_cpu_seconds=min(orphan_cpu_seconds, reading.cpu.total_seconds),
        # A payload that is over before the first look has only wait4's figure.
        peak_rss_bytes=reading.peak_rss_bytes or (ended.max_rss_bytes if ended else 0),
        memory_method=SAMPLED if reading.peak_rss_bytes else "wait4",
        max_processes=max(1, reading.max_processes),
        read_bytes=reading.read_bytes,
        written_bytes=reading.written_bytes,
        peak_pss_bytes=reading.peak_pss_bytes,
        io_method=reading.methods.io,
        minor_faults=reading.minor_faults,
        major_faults=reading.major_faults,
        voluntary_switches=reading.voluntary_switches,
        involuntary_switches=reading.involuntary_switches,
        cpu_pressure_seconds=reading.cpu_pressure_seconds,
        memory_pressure_seconds=reading.memory_pressure_seconds,
        io_pressure_seconds=reading.io_pressure_seconds,
        oom_kills=oom_kills,
    )
    return with_peaks(
        settled,
        reading.peaks,
        reading.methods,
        seen_swap_bytes=reading.peak_swap_bytes,
        seen_threads=reading.peak_threads,
    )
