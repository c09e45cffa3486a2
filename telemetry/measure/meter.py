"""Ways of measuring CPU: each method is a `Meter`, chosen by what the machine grants."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from telemetry.measure import cgroup, cgroup1, perf
from telemetry.measure.snapshot import NO_CPU, Cpu, UsageReading
from telemetry.measure.tree import TICK_SECONDS, TreeState

#: What the task clock does not count: the payload from its fork to its exec (1 to 5 ms measured).
_BEFORE_EXEC_SECONDS = 0.02


class Group(Protocol):
    """Control groups of one payload, with the same processes in all of them."""

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

    def pids(self) -> list[int]:
        """The processes in it."""
        ...

    def kill(self) -> None:
        """KILL every process in it."""
        ...

    def enter(self) -> None:
        """Move the calling process, which must have a single thread, into it."""
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

    def read(self, state: TreeState) -> UsageReading:
        """What the tree has used so far. Totals never fall from one call to the next."""
        ...

    def close(self) -> None:
        """Give back what the method holds, its control group among it. Idempotent."""
        ...


@dataclass(frozen=True)
class Wait4Meter:
    """wait4 of every descendant that ends at a subreaper, and looks at those that live."""

    method: str = "wait4"
    group: Group | None = None

    def read(self, state: TreeState) -> UsageReading:
        """The fold as it is."""
        present = state.present
        return UsageReading(
            cpu=state.cpu,
            cpu_method=self.method,
            cpu_uncertainty_seconds=state.uncertainty_seconds,
            peak_rss_bytes=state.peak_rss_bytes,
            max_processes=state.max_processes,
            read_bytes=state.read_bytes,
            written_bytes=state.written_bytes,
            rss_bytes=sum(look.rss_bytes for look in present),
            vsize_bytes=sum(look.vsize_bytes for look in present),
            processes=len(present),
            threads=sum(look.threads for look in present),
        )

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Cgroup2Meter:
    """The kernel's own account of a control group: exact for every process shape, auto-reaped ones included."""

    group: cgroup.ControlGroup
    method: str = "cgroup2"

    def read(self, state: TreeState) -> UsageReading:
        """CPU by the group, the rest by the fold."""
        peak_bytes = self.group.peak_memory_bytes()
        return replace(
            Wait4Meter().read(state),
            cpu=self.group.cpu(),
            cpu_method=self.method,
            cpu_uncertainty_seconds=0.0,
            peak_cgroup_memory_bytes=peak_bytes,
            memory_method="" if peak_bytes is None else self.method,
        )

    def close(self) -> None:
        """Remove the group."""
        self.group.remove()


@dataclass
class Cgroup1Meter:
    """The kernel's account by controller: as exact as version 2, and dearer to enter (see `cgroup1`)."""

    group: cgroup1.ControllerGroups
    method: str = "cgroup1"
    _cpu: Cpu = field(default=NO_CPU, init=False)

    def read(self, state: TreeState) -> UsageReading:
        """CPU and peak memory by the groups, the rest by the fold."""
        # The share first: it is never ahead of the total then.
        share = self.group.cpu_share()
        self._cpu = self._cpu.grown_to(self.group.total_cpu_seconds(), share)
        peak_bytes = self.group.peak_memory_bytes()
        return replace(
            Wait4Meter().read(state),
            cpu=self._cpu,
            cpu_method=self.method,
            cpu_uncertainty_seconds=0.0,
            peak_cgroup_memory_bytes=peak_bytes,
            memory_method="" if peak_bytes is None else self.method,
        )

    def close(self) -> None:
        """Remove the groups."""
        self.group.remove()


@dataclass
class PerfMeter:
    """The task clock, as exact as a group but for the moments before the exec, and the fold where that saw more."""

    clock: perf.TaskClock
    method: str = "perf"
    group: Group | None = None
    _cpu: Cpu = field(default=NO_CPU, init=False)
    _is_partial: bool = field(default=False, init=False)

    def read(self, state: TreeState) -> UsageReading:
        """CPU by the clock, split as the fold has it, the rest by the fold."""
        counted = self.clock.seconds()
        self._cpu = self._cpu.grown_to(max(counted, state.cpu.total_seconds), state.cpu)
        # More than that is missing: a program that the clock is not allowed to see. What the fold may
        # have missed is all that can be said from then on.
        tolerance = _BEFORE_EXEC_SECONDS + TICK_SECONDS * len(state.members)
        self._is_partial |= state.cpu.total_seconds > counted + tolerance
        return replace(
            Wait4Meter().read(state),
            cpu=self._cpu,
            cpu_method=self.method,
            cpu_uncertainty_seconds=state.uncertainty_seconds if self._is_partial else _BEFORE_EXEC_SECONDS,
        )

    def close(self) -> None:
        """Close the clock."""
        self.clock.close()


def _cgroup2(name: str) -> Meter:
    return Cgroup2Meter(cgroup.ControlGroup.create(name))


def _cgroup1(name: str) -> Meter:
    return Cgroup1Meter(cgroup1.ControllerGroups.create(name))


#: How each method is taken up; all but wait4 may be refused by an OSError.
_METHODS: Mapping[str, Callable[[str], Meter]] = {
    "cgroup2": _cgroup2,
    "cgroup1": _cgroup1,
    "wait4": lambda _: Wait4Meter(),
    "perf": lambda _: PerfMeter(perf.TaskClock.open()),
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
    if isinstance(meter, Cgroup2Meter):
        kills = "and is ended at once by cgroup.kill" if meter.group.can_kill else "but cgroup.kill needs Linux 5.14"
        return f"every process of a payload is counted by its control group {kills}"
    if isinstance(meter, Cgroup1Meter):
        memory = "" if meter.group.peak_memory_bytes() is None else ", its peak of memory by memory"
        return f"every process of a payload is counted by cpuacct{memory}; to enter costs the start up to 20 ms"
    if isinstance(meter, PerfMeter):
        return "every program of a payload is counted by the kernel's task clock, but for set-user-ID ones"
    return "a subreaper reaps every process that nobody else has waited for"
