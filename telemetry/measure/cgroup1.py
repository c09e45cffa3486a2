"""Control groups, version 1: one group for each controller, with the same processes in all of them.

CPU comes from `cpuacct`, which must be granted. Where they are, `memory` tells memory and swap, and their peaks (of
swap only together with memory, and only where it is accounted: the files with `memsw`), `pids` the threads, and
`freezer` holds a fork bomb still while it is killed. Not used is `blkio`: it does not see what is written back later,
which is most of what is written.

A process can only be moved into these groups. Its first move in a while, as a process, waits for the kernel's other
processors: 7 to 20 ms measured on Linux 6.18. A thread that moves itself waits for nobody since Linux 5.5, and a
process that was just forked is one thread: that is how a payload enters them. (Two of them, side by side on a busy
machine: 0.7 ms as a thread, 10 ms as a process.)
"""

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from telemetry.measure.cgroup import PREFIX, ControlGroup, NoControlGroup, unescaped
from telemetry.measure.files import named_number
from telemetry.measure.snapshot import NO_PRESSURE, Cpu, GroupAccount, Peaks, Pressure, Tellers

_NANOSECONDS = 1_000_000_000
#: What must be there of each controller beside cpuacct, for it to be used.
_OTHERS = {"memory": "memory.max_usage_in_bytes", "pids": "pids.current", "freezer": "freezer.state"}
#: The freezer needs some milliseconds, longer for processes that wait for a disk: those cannot fork either.
_FREEZING_SECONDS = 0.25
_LOOK_SECONDS = 0.002


@dataclass(frozen=True)
class ControllerGroups:
    """The groups of one payload, ours alone."""

    cpuacct: ControlGroup
    memory: ControlGroup | None = None
    tasks: ControlGroup | None = None
    freezer: ControlGroup | None = None

    @classmethod
    def create(cls, name: str) -> "ControllerGroups":
        """Make the groups *name* below those that this process is in.

        Raises:
            NoControlGroup: there is no cpuacct hierarchy, or no right to make a group in it.
        """
        cpuacct = ControlGroup.create_in(own_group("cpuacct"), name, "cpuacct.usage", has_live_lists=False)
        found = create_each(_OTHERS, name, there=cpuacct)
        return cls(cpuacct, found.get("memory"), found.get("pids"), found.get("freezer"))

    @property
    def tellers(self) -> Tellers:
        """Version 1 tells everything that it has a controller for."""
        return Tellers("cgroup1", "cgroup1", "cgroup1")

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folders, for whoever has to remove them in our place."""
        return tuple(each.path for each in self._groups)

    @property
    def birth_path(self) -> Path | None:
        """No process can be born in a group of version 1."""
        return None

    @property
    def can_kill(self) -> bool:
        """With a freezer all can be killed at once; else they are signalled until none is left."""
        return self.freezer is not None

    def account(self) -> GroupAccount:
        """What the controllers tell; user and system of CPU only in the kernel's ticks.

        Raises:
            OSError: the group is gone.
        """
        # The share first: it is never ahead of the total then.
        share = parse_cpuacct_stat(self._needed("cpuacct.stat"))
        nanoseconds = int(self._needed("cpuacct.usage"))
        return GroupAccount(
            cpu_seconds=nanoseconds / _NANOSECONDS,
            cpu_share=share,
            threads=self.tasks.files.number("pids.current") if self.tasks else None,
            **told_by_memory(self.memory),
        )

    def peaks(self) -> Peaks:
        """The kernel's own."""
        return kept_peaks(self.memory, self.tasks)

    def pressure(self) -> Pressure:
        """Version 1 keeps none."""
        return NO_PRESSURE

    def count(self) -> int:
        """The processes in the groups and in those below."""
        return self.cpuacct.count()

    def members(self) -> list[int]:
        """The processes that are counted."""
        return self.cpuacct.pids()

    def pids(self) -> list[int]:
        """The processes in any of the groups and in those below."""
        return list({pid: None for group in self._groups for pid in group.pids()})

    def kill(self) -> None:
        """Freeze all processes, so that none can fork, send them KILL, and let them go on to their end.

        Raises:
            OSError: there is no freezer, or it does not obey.
        """
        if self.freezer is None:
            raise NoControlGroup(errno.ENOSYS, "there is no freezer")
        state = self.freezer.path / "freezer.state"
        try:
            state.write_text("FROZEN")
            deadline = time.monotonic() + _FREEZING_SECONDS
            while state.read_text().strip() != "FROZEN" and time.monotonic() < deadline:
                select.select((), (), (), _LOOK_SECONDS)
            for pid in self.freezer.pids():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            state.write_text("THAWED")

    def enter(self) -> None:
        """Move the calling process, which must have a single thread, into all of the groups."""
        for group in self._groups:
            group.enter()

    def enter_others(self) -> None:
        """No process is born in any of them."""
        self.enter()

    def remove(self) -> bool:
        """Remove the groups and those below; whether all are gone. They must be empty."""
        return all([group.remove() for group in self._groups])

    def _needed(self, name: str) -> bytes:
        data = self.cpuacct.files.read(name)
        if data is None:
            raise NoControlGroup(errno.ENOENT, f"{self.cpuacct.path / name} is gone")
        return data

    @property
    def _groups(self) -> tuple[ControlGroup, ...]:
        every = (self.cpuacct, self.memory, self.tasks, self.freezer)
        return tuple({each.path: each for each in every if each is not None}.values())


def create_each(controllers: Iterable[str], name: str, *, there: ControlGroup | None = None) -> dict[str, ControlGroup]:
    """Make the groups *name* of these *controllers* below our own, as far as they are granted.

    Controllers may be mounted as one hierarchy: then theirs is the same group, perhaps the one that is *there* already.
    """
    made = {} if there is None else {there.path: there}
    found: dict[str, ControlGroup] = {}
    for controller in controllers:
        with contextlib.suppress(OSError):
            folder = own_group(controller)
            if controller == "memory" and not _limits_below(folder):
                continue
            path = folder / f"{PREFIX}{name}"
            if path not in made:
                made[path] = ControlGroup.create_in(folder, name, _OTHERS[controller], has_live_lists=False)
            found[controller] = made[path]
    return found


def _limits_below(folder: Path) -> bool:
    """Whether the limits of a memory group hold for those below it: since Linux 5.11 always, before that on demand.

    Else a payload would escape from the limit that its batch system has set.
    """
    try:
        return (folder / "memory.use_hierarchy").read_text().strip() != "0"
    except FileNotFoundError:
        return True


def told_by_memory(memory: ControlGroup | None) -> dict[str, int | None]:
    """What the memory controller tells of a `GroupAccount`, by the names of its fields; None without one."""
    stat = (memory.files.read("memory.stat") if memory else None) or b""
    resident, mapped = named_number(stat, b"total_rss"), named_number(stat, b"total_mapped_file")
    faults, major = named_number(stat, b"total_pgfault"), named_number(stat, b"total_pgmajfault")
    return {
        "rss_bytes": None if resident is None else resident + (mapped or 0),
        "swap_bytes": named_number(stat, b"total_swap"),
        "minor_faults": None if faults is None else faults - (major or 0),
        "major_faults": major,
    }


def kept_peaks(memory: ControlGroup | None, tasks: ControlGroup | None) -> Peaks:
    """The kernel's own by these controllers, as far as they are there; that of threads is kept since Linux 6.1."""
    return Peaks(
        memory_bytes=memory.files.number("memory.max_usage_in_bytes") if memory else None,
        memory_swap_bytes=memory.files.number("memory.memsw.max_usage_in_bytes") if memory else None,
        threads=tasks.files.number("pids.peak") if tasks else None,
    )


def parse_cpuacct_stat(text: bytes) -> Cpu:
    """`cpuacct.stat`, as seconds."""
    ticks = os.sysconf("SC_CLK_TCK")
    return Cpu((named_number(text, b"user") or 0) / ticks, (named_number(text, b"system") or 0) / ticks)


def own_group(controller: str) -> Path:
    """The folder of the group that this process is in, in the hierarchy of *controller*.

    Raises:
        NoControlGroup: that hierarchy is not mounted, or our group is not visible in it.
    """
    mountinfo = Path("/proc/self/mountinfo").read_text()
    folder = find_group(mountinfo, Path("/proc/self/cgroup").read_text(), controller)
    if folder is None:
        raise NoControlGroup(errno.ENOENT, f"no hierarchy of version 1 with {controller} shows our control group")
    return folder


def find_group(mountinfo: str, own: str, controller: str) -> Path | None:
    """Where the group of a process lies, by its `/proc/<pid>/mountinfo` and `/proc/<pid>/cgroup`.

    Controllers may share a mount ("cpu,cpuacct"), and a container may see a part of the hierarchy only:
    then the mount's root is a prefix of the group's name.
    """
    lines = [line.split(":", 2) for line in own.splitlines()]
    names = [fields[2] for fields in lines if controller in fields[1].split(",")]
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind != "cgroup" or controller not in options.split(",") or not names:
            continue
        root, mount = (unescaped(field) for field in before.split(" ")[3:5])
        if names[0] == root or names[0].startswith(f"{root.rstrip('/')}/"):
            return Path(mount) / names[0][len(root) :].lstrip("/")
    return None
