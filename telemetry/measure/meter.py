"""Ways of measuring: each method of CPU is a `Meter`, chosen by what the machine grants; it says who tells the rest."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from telemetry.measure import cgroup, cgroup1, hybrid, perf, procfs
from telemetry.measure.delegation import obstacle
from telemetry.measure.snapshot import (
    NO_CPU,
    NO_PEAKS,
    Cpu,
    GroupAccount,
    MemberSums,
    Methods,
    Peaks,
    Pressure,
    Tellers,
    UsageReading,
)
from telemetry.measure.tree import TICK_SECONDS, TreeState
from telemetry.measure.walker import TreeWalker

#: The method of what only looks at processes tell of the living, and wait4 of the ended.
WALK = "walk"
#: That of sums over the processes that a group lists, and wait4 of the ended.
MEMBERS = "members"
#: What the task clock does not count: the payload from its fork to its exec (1 to 5 ms measured).
_BEFORE_EXEC_SECONDS = 0.02


class Group(Protocol):
    """Control groups of one payload, with the same processes in all of them."""

    @property
    def tellers(self) -> Tellers:
        """Of which version they are."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders, for whoever has to remove them in our place."""
        ...

    @property
    def birth_path(self) -> Path | None:
        """The folder into which a process can be born; None: it can only enter."""
        ...

    @property
    def can_kill(self) -> bool:
        """Whether `kill` ends all of its processes at once."""
        ...

    def account(self) -> GroupAccount:
        """What the kernel tells of it as a whole."""
        ...

    def peaks(self) -> Peaks:
        """The kernel's own peaks of it."""
        ...

    def pressure(self) -> Pressure:
        """How long its processes had to wait."""
        ...

    def count(self) -> int:
        """How many processes are in it."""
        ...

    def members(self) -> list[int]:
        """The processes that it counts."""
        ...

    def pids(self) -> list[int]:
        """The processes in it, in any of its groups."""
        ...

    def kill(self) -> None:
        """KILL every process in it."""
        ...

    def enter(self) -> None:
        """Move the calling process, which must have a single thread, into it."""
        ...

    def enter_others(self) -> None:
        """The same for a process that was born in `birth_path`: into the groups that it is not in yet."""
        ...

    def remove(self) -> bool:
        """Remove it; whether it is gone."""
        ...


class Meter(Protocol):
    """One method of measuring; it looks at the fold of the process tree and adds what it knows better."""

    @property
    def method(self) -> str:
        """Its name in the accounting record."""
        ...

    @property
    def group(self) -> Group | None:
        """The control group that the payload belongs into, if the method has one."""
        ...

    @property
    def looks_only(self) -> bool:
        """Whether what wait4 tells of the ended is left aside."""
        ...

    def sums(self, walker: TreeWalker, /) -> MemberSums | None:
        """The living in sum, without a look at each as a process; None: only a walk can tell."""
        ...

    def read(self, state: TreeState, *, is_lean: bool = False) -> UsageReading:
        """What the tree has used so far. Totals never fall from one call to the next.

        A lean look leaves out what only the last one must tell: the kernel's peaks.
        """
        ...

    def close(self) -> None:
        """Give back what the method holds, its control group among it. Idempotent."""
        ...


@cache
def _fold_methods(cpu: str) -> Methods:
    """Only CPU is told by anybody else than the fold, and pressure by nobody."""
    return Methods(cpu, WALK, WALK, WALK, WALK, WALK, WALK, WALK)


def _read_fold(state: TreeState, cpu: Cpu, method: str, uncertainty_seconds: float) -> UsageReading:
    """The fold with *cpu* by *method*."""
    totals = state.totals
    return UsageReading(
        cpu=cpu,
        methods=_fold_methods(method),
        cpu_uncertainty_seconds=uncertainty_seconds,
        peak_rss_bytes=state.peak_rss_bytes,
        max_processes=state.max_processes,
        read_bytes=totals.read_bytes,
        written_bytes=totals.written_bytes,
        rss_bytes=state.rss_bytes,
        vsize_bytes=state.vsize_bytes,
        processes=state.processes,
        threads=state.threads,
        minor_faults=totals.minor_faults,
        major_faults=totals.major_faults,
        voluntary_switches=state.voluntary_switches,
        involuntary_switches=state.involuntary_switches,
    )


class _Foldless:
    """What all methods have in common that know no more than the fold."""

    group: Group | None = None
    looks_only = False

    def sums(self, _walker: TreeWalker, /) -> MemberSums | None:
        """Only a walk can tell."""
        return None


@dataclass(frozen=True)
class Wait4Meter(_Foldless):
    """wait4 of every descendant that ends at a subreaper, and looks at those that live."""

    method: str = "wait4"

    def read(self, state: TreeState, *, is_lean: bool = False) -> UsageReading:  # noqa: ARG002 - no peaks
        """The fold as it is. What the ticks hide of the living is uncertain only as long as they live."""
        return _read_fold(state, state.cpu, self.method, state.uncertainty_seconds + state.rounding_seconds)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class SampledMeter(Wait4Meter):
    """Looks at the living and nothing else, as other watchdogs do: what was used after the last look is lost.

    The loss is stated; see `tree`. It is for comparison, and for nobody's accounting where wait4 is.
    """

    method: str = "sampled"
    looks_only = True


def group_methods(group: Group, account: GroupAccount) -> Methods:
    """Who tells what of a payload whose control groups give this *account*."""
    cpu, memory, threads = group.tellers
    return Methods(
        cpu=cpu,
        memory=MEMBERS if account.rss_bytes is None else memory,
        swap=WALK if account.swap_bytes is None else memory,
        processes=cpu,
        threads=WALK if account.threads is None else threads,
        io=MEMBERS if account.read_bytes is None or account.written_bytes is None else cpu,
        faults=WALK if account.minor_faults is None or account.major_faults is None else memory,
        switches=WALK,
        pressure=cpu,
        peak_memory=memory,
        peak_threads=threads,
    )


@dataclass
class GroupMeter:
    """The kernel's own account of control groups: exact CPU for every process shape, auto-reaped ones included.

    All else comes from a controller where there is one. Without the memory controller resident memory is the sum
    over the members, without an I/O controller bytes are (and of the ended what wait4 tells).
    """

    group: Group
    looks_only = False
    _cpu: Cpu = field(default=NO_CPU, init=False)
    _account: GroupAccount | None = field(default=None, init=False)
    _peaks: Peaks = field(default=NO_PEAKS, init=False)
    #: By the first account: controllers neither come nor go.
    _methods: Methods | None = field(default=None, init=False)

    @property
    def method(self) -> str:
        """That of the groups."""
        return self.group.tellers.cpu

    def sums(self, walker: TreeWalker, /) -> MemberSums | None:
        """By the controllers, and by the members for what no controller tells."""
        account = self.group.account()
        self._account = account
        moved = (account.read_bytes, account.written_bytes)
        if account.rss_bytes is None:
            return walker.sums(self.group.members(), threads=account.threads)
        if moved[0] is None or moved[1] is None:
            return walker.sums(self.group.members(), threads=account.threads, rss_bytes=account.rss_bytes)
        return MemberSums(
            rss_bytes=account.rss_bytes,
            vsize_bytes=None,
            processes=self.group.count(),
            threads=account.threads,
            read_bytes=0,
            written_bytes=0,
        )

    def read(self, state: TreeState, *, is_lean: bool = False) -> UsageReading:
        """CPU by the group, the rest by whoever knows it best."""
        account, self._account = self._account or self.group.account(), None
        self._cpu = self._cpu.grown_to(account.cpu_seconds, account.cpu_share)
        if not is_lean:
            self._peaks = self.group.peaks()
        if self._methods is None:
            self._methods = group_methods(self.group, account)
        totals = state.totals
        tells_rss = account.rss_bytes is not None
        tells_io = account.read_bytes is not None and account.written_bytes is not None
        return UsageReading(
            cpu=self._cpu,
            methods=self._methods,
            cpu_uncertainty_seconds=0.0,
            peak_rss_bytes=state.peak_rss_bytes,
            max_processes=state.max_processes,
            read_bytes=account.read_bytes or 0 if tells_io else totals.read_bytes,
            written_bytes=account.written_bytes or 0 if tells_io else totals.written_bytes,
            rss_bytes=account.rss_bytes or 0 if tells_rss else state.rss_bytes,
            vsize_bytes=state.vsize_bytes,
            processes=state.processes,
            threads=state.threads,
            peaks=self._peaks,
            swap_bytes=account.swap_bytes or 0,
            minor_faults=totals.minor_faults if account.minor_faults is None else account.minor_faults,
            major_faults=totals.major_faults if account.major_faults is None else account.major_faults,
            voluntary_switches=state.voluntary_switches,
            involuntary_switches=state.involuntary_switches,
        )

    def close(self) -> None:
        """Remove the group."""
        self.group.remove()


@dataclass
class PerfMeter(_Foldless):
    """The task clock, as exact as a group but for the moments before the exec, and the fold where that saw more.

    The clock goes on while a hypervisor keeps the processor from us; all other sums of the kernel do not. What the fold
    cannot have missed is taken for such time, as far as so much was kept from the machine.
    """

    clock: perf.TaskClock
    stolen_seconds: Callable[[], float] = procfs.stolen_seconds
    method: str = "perf"
    _cpu: Cpu = field(default=NO_CPU, init=False)
    _is_partial: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._stolen_before = self.stolen_seconds()

    def read(self, state: TreeState, *, is_lean: bool = False) -> UsageReading:  # noqa: ARG002 - no peaks
        """CPU by the clock, split as the fold has it, the rest by the fold."""
        counted = self.clock.seconds()
        # More than that is missing: a program that the clock is not allowed to see. What the fold may
        # have missed is all that can be said from then on.
        tolerance = _BEFORE_EXEC_SECONDS + TICK_SECONDS * len(state.members)
        self._is_partial |= state.cpu.total_seconds > counted + tolerance
        used, doubtful = self._without_stolen(counted, state)
        self._cpu = self._cpu.grown_to(max(used, state.cpu.total_seconds), state.cpu)
        doubts = state.uncertainty_seconds + state.rounding_seconds if self._is_partial else _BEFORE_EXEC_SECONDS
        return _read_fold(state, self._cpu, self.method, max(doubts, doubtful))

    def _without_stolen(self, counted: float, state: TreeState) -> tuple[float, float]:
        """What was used of what was *counted*, and how much of that may still be stolen time, in seconds."""
        beyond = counted - state.cpu.total_seconds
        if beyond <= _BEFORE_EXEC_SECONDS:  # too little to look further
            return counted, 0.0
        stolen = self.stolen_seconds() - self._stolen_before
        if stolen <= 0.0:
            return counted, 0.0
        stolen += TICK_SECONDS  # it is told in whole ticks
        impossible = max(0.0, beyond - state.uncertainty_seconds - state.rounding_seconds)
        taken_off = min(impossible, stolen)
        return counted - taken_off, min(stolen, beyond) - taken_off

    def close(self) -> None:
        """Close the clock."""
        self.clock.close()


def _cgroup2(name: str) -> Meter:
    return GroupMeter(hybrid.create(name))


def _cgroup1(name: str) -> Meter:
    return GroupMeter(cgroup1.ControllerGroups.create(name))


#: How each method is taken up; all but wait4 and sampled may be refused by an OSError.
_METHODS: Mapping[str, Callable[[str], Meter]] = {
    "cgroup2": _cgroup2,
    "cgroup1": _cgroup1,
    "wait4": lambda _: Wait4Meter(),
    "perf": lambda _: PerfMeter(perf.TaskClock.open()),
    "sampled": lambda _: SampledMeter(),
}
#: What `auto` tries, the best first. Not perf: set-user-ID programs escape it.
_AUTO = ("cgroup2", "cgroup1", "wait4")


def choose(method: str, name: str) -> tuple[Meter, str]:
    """Take up *method* (CPUMethod) for one payload, *name* being that of its control group.

    Returns the meter and, where a demanded method is not granted, the reason; wait4 stands in for it then.
    """
    reason = ""
    for each in _AUTO if method == "auto" else (method,):
        try:
            return _METHODS[each](name), ""
        except OSError as error:
            reason = str(error.strerror or error)
    return Wait4Meter(), reason


@dataclass(frozen=True)
class Granted:
    """Whether this machine grants a *method* of measuring, and, in words, why or why not."""

    method: str
    is_granted: bool
    reason: str


def probe() -> tuple[Granted, ...]:
    """Which methods the machine grants to this process, in the order of `auto`, what it never takes last. For
    `jobspan doctor`."""
    return tuple(_probe(method) for method in _METHODS)


def _probe(method: str) -> Granted:
    try:
        meter = _METHODS[method](f"probe-{os.getpid()}")
    except OSError as error:
        return Granted(method, False, str(error.strerror or error))
    try:
        return Granted(method, True, _praise(meter))
    finally:
        meter.close()


def _praise(meter: Meter) -> str:
    """What is good about a method that is granted, and what is not."""
    if isinstance(meter, GroupMeter):
        account, peaks = meter.group.account(), meter.group.peaks()
        told = {
            "memory": account.rss_bytes,
            "the peak of memory": peaks.memory_bytes,
            "the peak of swap": peaks.swap_bytes,
            "the peak of memory and swap": peaks.memory_swap_bytes,
            "threads": account.threads,
            "the peak of threads": peaks.threads,
            "I/O": account.read_bytes,
        }
        more = " and ".join(("CPU", *(name for name, value in told.items() if value is not None)))
        if meter.method == "cgroup1":
            kills = "its freezer holds it still for the kill" if meter.group.can_kill else "without a freezer"
            enters = "before Linux 5.5 it costs up to 20 ms to enter"
            return f"every process of a payload is counted by version 1: {more}; {kills}; {enters}"
        kills = "is ended at once by cgroup.kill" if meter.group.can_kill else "but cgroup.kill needs Linux 5.14"
        tellers = meter.group.tellers
        older = {"memory": tellers.memory, "threads": tellers.threads}
        beside = " and ".join(name for name, version in older.items() if version == "cgroup1")
        more += f"; {beside} by version 1" if beside else ""
        more += f"; {lacking}" if (lacking := obstacle(cgroup.own_group())) else ""
        return f"every process of a payload is counted by its control group ({more}) and {kills}"
    if isinstance(meter, SampledMeter):
        return "looks at the living only, as other watchdogs: CPU after a process's last look is lost, and stated so"
    if isinstance(meter, PerfMeter):
        return "every program of a payload is counted by the kernel's task clock, but for set-user-ID ones"
    return "a subreaper reaps every process that nobody else has waited for"
