"""The peaks that a sample tells. Pure; part of the fact `UsageSampled`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PeaksSoFar:
    """Of RSS, processes, swap and threads the most that any look has seen; what is known should nobody settle them.

    Those that `peaks_method` tells are a control group's own (of memory with its page cache), as of the last deep look.
    None is what nobody tells here.
    """

    peak_rss_bytes: int = 0
    peak_pss_bytes: int | None = None
    peak_swap_bytes: int = 0
    peak_threads: int = 0
    max_processes: int = 0
    peaks_method: str = ""
    peak_cgroup_memory_bytes: int | None = None
    peak_cgroup_swap_bytes: int | None = None
    peak_memory_swap_bytes: int | None = None
    peak_cgroup_threads: int | None = None
