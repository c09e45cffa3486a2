"""What one look at a process tree shows: frozen values, no I/O. Pure.

What every sample makes anew is a named tuple: it is made in a third of the time of a frozen dataclass.
"""

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


class ProcessLook(NamedTuple):
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
    #: Page faults, those of waited-for descendants too.
    minor_faults: int = 0
    major_faults: int = 0
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
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    ignored_children: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSnapshot:
    """The descendants of *root_pid* (the subreaper, which is none of them) that live or wait to be
    reaped, and those reaped since the snapshot before."""

    root_pid: int
    boottime_seconds: float
    living: tuple[ProcessLook, ...] = ()
    ended: tuple[ProcessEnded, ...] = ()
    #: When the look was over, which began at `boottime_seconds`; None: it took no time.
    until_seconds: float | None = None
    #: The pid that our namespace of pids had given out last when the look began, and when it was over; None: not read.
    last_pid: int | None = None
    until_last_pid: int | None = None


class MemberSums(NamedTuple):
    """What the living members of a control group hold together, read without looking at each as a process.

    `vsize_bytes` and `threads` are None when nobody looked: then those of the last walk hold.
    """

    rss_bytes: int
    vsize_bytes: int | None
    processes: int
    threads: int | None
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepLook:
    """What is dear to read, and so looked at seldom: sums over the living processes.

    `pss_bytes` is None when it was not asked for, or may not be read.
    """

    swap_bytes: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    pss_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressure:
    """Seconds for which some process of a control group had to wait for CPU, memory, I/O, in all; None: not told."""

    cpu_seconds: float | None = None
    memory_seconds: float | None = None
    io_seconds: float | None = None


NO_PRESSURE = Pressure()


class Peaks(NamedTuple):
    """The kernel's own peaks of a control group; None: no controller tells it. They are settled by one look at the end.

    Memory contains the page cache. `memory_swap_bytes` is of memory and swap together, which is what version 1 keeps;
    threads are what the pids controller counts.
    """

    memory_bytes: int | None = None
    swap_bytes: int | None = None
    memory_swap_bytes: int | None = None
    threads: int | None = None


NO_PEAKS = Peaks()


class GroupAccount(NamedTuple):
    """The kernel's own account of a control group, totals of all that was ever in it. None: no controller tells it.

    `cpu_share` says how the exact `cpu_seconds` divide into user and system. `rss_bytes` is what is mapped: anonymous
    memory and mapped files, each page once.
    """

    cpu_seconds: float
    cpu_share: Cpu
    rss_bytes: int | None = None
    swap_bytes: int | None = None
    threads: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None


class Tellers(NamedTuple):
    """Of which version the control groups of a payload are ("cgroup2", "cgroup1") that tell what each controller does.

    `cpu` is also that of all that needs no controller, and of I/O; `memory` that of swap and page faults too.
    """

    cpu: str
    memory: str
    threads: str


class Methods(NamedTuple):
    """Who tells each quantity of a reading; empty: nobody does.

    That is the version of a control group, "perf", "wait4" or "sampled", or the fold over processes: "walk" for what is
    seen of the living and told by wait4 of the ended, "members" for sums over the processes that a group lists.
    Peaks are the kernel's own, `peak_memory` those of swap too.
    """

    cpu: str = ""
    memory: str = ""
    swap: str = ""
    processes: str = ""
    threads: str = ""
    io: str = ""
    faults: str = ""
    switches: str = ""
    pressure: str = ""
    peak_memory: str = ""
    peak_threads: str = ""


class UsageReading(NamedTuple):
    """Use of resources by a payload's tree so far. Totals never fall; the rest are gauges of this moment.

    `cpu_uncertainty_seconds` is how much CPU may be missing; by the method perf in a virtual machine it may also be so
    much too much.
    """

    cpu: Cpu
    methods: Methods
    cpu_uncertainty_seconds: float
    peak_rss_bytes: int = 0
    max_processes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    rss_bytes: int = 0
    vsize_bytes: int = 0
    processes: int = 0
    threads: int = 0
    swap_bytes: int = 0
    #: The most that any look has seen.
    peak_swap_bytes: int = 0
    peak_threads: int = 0
    pss_bytes: int | None = None
    peak_pss_bytes: int | None = None
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    cpu_pressure_seconds: float | None = None
    memory_pressure_seconds: float | None = None
    io_pressure_seconds: float | None = None
    #: Of the control groups, as of the last look at their peaks.
    peaks: Peaks = NO_PEAKS


NOTHING_USED = UsageReading(cpu=NO_CPU, methods=Methods(), cpu_uncertainty_seconds=0.0)
