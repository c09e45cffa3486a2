"""What one look at a process tree shows: frozen values, no I/O. Pure."""

from dataclasses import dataclass
from typing import NamedTuple


class ProcessId(NamedTuple):
    """Who a process is: a pid alone is reused, together with its start time it is not."""

    pid: int
    #: Clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    start_ticks: int


class Cpu(NamedTuple):
    """CPU time, seconds."""

    user_seconds: float
    system_seconds: float

    def less(self, other: "Cpu") -> "Cpu":
        """What of this goes beyond *other*, user and system each for itself."""
        return Cpu(
            max(0.0, self.user_seconds - other.user_seconds), max(0.0, self.system_seconds - other.system_seconds)
        )

    @property
    def total_seconds(self) -> float:
        """User and system together."""
        return self.user_seconds + self.system_seconds

    def plus(self, other: "Cpu") -> "Cpu":
        """The sum of both."""
        return Cpu(self.user_seconds + other.user_seconds, self.system_seconds + other.system_seconds)

    def at_least(self, other: "Cpu") -> "Cpu":
        """The larger of both, user and system each for itself."""
        return Cpu(max(self.user_seconds, other.user_seconds), max(self.system_seconds, other.system_seconds))

    def grown_to(self, total_seconds: float, share: "Cpu") -> "Cpu":
        """An exact total, split as *share* proposes, and so that neither user nor system falls below ours."""
        more = max(0.0, total_seconds - self.total_seconds)
        user = total_seconds * share.user_seconds / share.total_seconds if share.total_seconds else 0.0
        user = min(max(self.user_seconds, user), self.user_seconds + more)
        return Cpu(user, max(self.system_seconds, total_seconds - user))


NO_CPU = Cpu(0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessLook:
    """One process as `/proc` shows it at one moment.

    `own` is the CPU of the process, `waited` that of the descendants it has waited for; bytes read
    and written contain those of the waited-for.
    """

    identity: ProcessId
    parent_pid: int
    state: str = "R"
    own: Cpu = NO_CPU
    waited: Cpu = NO_CPU
    rss_bytes: int = 0
    vsize_bytes: int = 0
    threads: int = 1
    read_bytes: int = 0
    written_bytes: int = 0
    #: It ignores SIGCHLD: the kernel reaps its children, and their CPU is added to nobody's.
    ignores_children: bool = False

    @property
    def is_alive(self) -> bool:
        """No zombie. (A process whose first thread has ended looks like one, but has other threads.)"""
        return self.state not in "ZX" or self.threads > 1

    @property
    def is_stopped(self) -> bool:
        """Stopped by a signal or a debugger: it acts on TERM only after CONT."""
        return self.state in "Tt"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessEnded:
    """A process that the subreaper has reaped: wait4's usage, waited-for descendants included.

    Start time and `waited` were read while it was a zombie. `max_rss_bytes` is 0 where the kernel's
    figure cannot be told from that of the process before its exec.
    """

    identity: ProcessId
    used: Cpu
    #: The part of `used` that its waited-for descendants had, by its last look.
    waited: Cpu = NO_CPU
    max_rss_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    ignored_children: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSnapshot:
    """The descendants of *root_pid* (the subreaper, which is none of them) that live or wait to be
    reaped, and those reaped since the snapshot before."""

    root_pid: int
    boottime_seconds: float
    living: tuple[ProcessLook, ...] = ()
    ended: tuple[ProcessEnded, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageReading:
    """Use of resources by a payload's tree so far. Totals never fall; the rest are gauges of this moment.

    `cpu_uncertainty_seconds` is how much CPU may be missing.
    """

    cpu: Cpu
    cpu_method: str
    cpu_uncertainty_seconds: float
    peak_rss_bytes: int = 0
    max_processes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    rss_bytes: int = 0
    vsize_bytes: int = 0
    processes: int = 0
    threads: int = 0
    #: Of the control group, where it has a memory controller; `memory_method` says which one told it.
    peak_cgroup_memory_bytes: int | None = None
    memory_method: str = ""


NOTHING_USED = UsageReading(cpu=NO_CPU, cpu_method="", cpu_uncertainty_seconds=0.0)
