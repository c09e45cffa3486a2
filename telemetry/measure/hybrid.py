"""Both versions of control groups side by side, for machines whose unified hierarchy lacks the memory or the pids
controller because version 1 has it: CPU and kills by version 2, what those controllers tell by version 1.

The other way round is not needed: version 2 tells CPU without any controller (since Linux 4.15).

A process is born in the group of version 2 and moves itself into those of version 1 before its exec.
"""

from dataclasses import dataclass
from pathlib import Path

from telemetry.measure.cgroup import ControlGroup
from telemetry.measure.cgroup1 import create_each, kept_peaks, told_by_memory
from telemetry.measure.snapshot import GroupAccount, Peaks, Pressure, Tellers

#: What shows that version 2 has the controller.
_FILES = {"memory": "memory.stat", "pids": "pids.current"}


@dataclass(frozen=True)
class HybridGroups:
    """The groups of one payload, ours alone: *unified* of version 2, the others of version 1."""

    unified: ControlGroup
    memory: ControlGroup | None = None
    tasks: ControlGroup | None = None

    @property
    def tellers(self) -> Tellers:
        """Version 1 tells what version 2 has no controller for."""
        own = self.unified.tellers
        return Tellers(own.cpu, "cgroup1" if self.memory else own.memory, "cgroup1" if self.tasks else own.threads)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders, that of CPU first, for whoever has to remove them in our place."""
        return self.unified.paths + tuple(each.path for each in self._others)

    @property
    def birth_path(self) -> Path | None:
        """The folder into which a process can be born; `enter_others` is left to it."""
        return self.unified.birth_path

    @property
    def can_kill(self) -> bool:
        """Whether version 2 kills all at once."""
        return self.unified.can_kill

    def account(self) -> GroupAccount:
        """All that the controllers of both tell.

        Raises:
            OSError: the group of version 2 is gone.
        """
        account = self.unified.account(with_threads=self.tasks is None)
        if self.tasks is not None:
            account = account._replace(threads=self.tasks.files.number("pids.current"))
        if self.memory is None:
            return account
        return GroupAccount(
            account.cpu_seconds,
            account.cpu_share,
            threads=account.threads,
            read_bytes=account.read_bytes,
            written_bytes=account.written_bytes,
            **told_by_memory(self.memory),
        )

    def peaks(self) -> Peaks:
        """The kernel's own, of whichever version has the controller."""
        own, other = self.unified.peaks(), kept_peaks(self.memory, self.tasks)
        return Peaks(*(mine if theirs is None else theirs for mine, theirs in zip(own, other, strict=True)))

    def pressure(self) -> Pressure:
        """Version 2 keeps it, with or without controllers."""
        return self.unified.pressure()

    def count(self) -> int:
        """How many processes are counted."""
        return self.unified.count()

    def members(self) -> list[int]:
        """The processes that are counted."""
        return self.unified.members()

    def pids(self) -> list[int]:
        """The processes in any of the groups and in those below."""
        groups = (self.unified, *self._others)
        return list({pid: None for group in groups for pid in group.pids()})

    def kill(self) -> None:
        """KILL every process of the group of version 2."""
        self.unified.kill()

    def enter(self) -> None:
        """Move the calling process, which must have a single thread, into all of the groups."""
        self.unified.enter()
        self.enter_others()

    def enter_others(self) -> None:
        """The same for one that was born in the group of version 2."""
        for group in self._others:
            group.enter()

    def remove(self) -> bool:
        """Remove the groups and those below; whether all are gone. They must be empty."""
        return all([group.remove() for group in (self.unified, *self._others)])

    @property
    def _others(self) -> tuple[ControlGroup, ...]:
        found = (each for each in (self.memory, self.tasks) if each is not None)
        return tuple({each.path: each for each in found}.values())


def create(name: str) -> ControlGroup | HybridGroups:
    """Make the group *name* of version 2 below our own; and beside it those of version 1 for what it does not tell.

    Raises:
        NoControlGroup: none of version 2 can be made.
    """
    unified = ControlGroup.create(name)
    lacking = [controller for controller, file in _FILES.items() if not (unified.path / file).exists()]
    return joined(unified, create_each(lacking, name))


def joined(unified: ControlGroup, others: dict[str, ControlGroup]) -> ControlGroup | HybridGroups:
    """*unified* with those of version 1 by their controllers, if there are any."""
    memory, tasks = others.get("memory"), others.get("pids")
    return HybridGroups(unified, memory, tasks) if memory or tasks else unified
