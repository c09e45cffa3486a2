"""Ways of measuring CPU: each method is a `Meter`, chosen by what the machine grants."""

import os
from dataclasses import dataclass, replace
from typing import Protocol

from telemetry.measure import cgroup
from telemetry.measure.snapshot import UsageReading
from telemetry.measure.tree import TreeState


class Meter(Protocol):
    """One method of measuring; it looks at the fold of the process tree and adds what it knows better."""

    @property
    def method(self) -> str:
        """Its name in the accounting record."""
        ...

    def read(self, state: TreeState) -> UsageReading:
        """What the tree has used so far. Totals never fall from one call to the next."""
        ...


@dataclass(frozen=True)
class Wait4Meter:
    """wait4 of every descendant that ends at a subreaper, and looks at those that live."""

    method: str = "wait4"

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


@dataclass(frozen=True)
class Cgroup2Meter:
    """The kernel's own account of a control group: exact for every process shape, auto-reaped ones included."""

    group: cgroup.ControlGroup
    method: str = "cgroup2"

    def read(self, state: TreeState) -> UsageReading:
        """CPU by the group, the rest by the fold."""
        reading = Wait4Meter().read(state)
        return replace(
            reading,
            cpu=self.group.cpu(),
            cpu_method=self.method,
            cpu_uncertainty_seconds=0.0,
            peak_cgroup_memory_bytes=self.group.peak_memory_bytes(),
        )


@dataclass(frozen=True)
class Granted:
    """Whether this machine grants a *method* of measuring, and, in words, why or why not."""

    method: str
    is_granted: bool
    reason: str


def probe() -> tuple[Granted, ...]:
    """Which methods the machine grants to this process, the best first. For `jobspan doctor`."""
    try:
        group = cgroup.ControlGroup.create(f"probe-{os.getpid()}")
    except OSError as error:
        first = Granted("cgroup2", False, str(error.strerror or error))
    else:
        kills = "and is ended at once by cgroup.kill" if group.can_kill else "but cgroup.kill needs Linux 5.14"
        group.remove()
        first = Granted("cgroup2", True, f"every process of a payload is counted by its control group {kills}")
    return first, Granted("wait4", True, "a subreaper reaps every process that nobody else has waited for")
