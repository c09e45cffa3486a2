"""Control groups, version 1: one group for each controller, with the same processes in all of them.

CPU comes from `cpuacct`, which must be granted; the peak of memory from `memory` where that is. The
`pids` controller is left alone: its peak counts threads, and we state processes.

A process can only be moved into these groups. The first move in a while waits for the kernel's other
processors: 7 to 20 ms measured on Linux 6.18, the moves right after it 0.1 ms. This is why nothing of
version 1 is used beside a group of version 2, into which a process is born.
"""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from telemetry.measure.cgroup import ControlGroup, NoControlGroup, unescaped
from telemetry.measure.snapshot import Cpu

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class ControllerGroups:
    """The groups of one payload, ours alone."""

    cpuacct: ControlGroup
    memory: ControlGroup | None = None

    @classmethod
    def create(cls, name: str) -> "ControllerGroups":
        """Make the groups *name* below those that this process is in.

        Raises:
            NoControlGroup: there is no cpuacct hierarchy, or no right to make a group in it.
        """
        cpuacct = ControlGroup.create_in(own_group("cpuacct"), name, "cpuacct.usage")
        memory = None
        with contextlib.suppress(OSError):
            folder = own_group("memory")
            # Both controllers may be mounted as one hierarchy: then it is the same group.
            is_shared = folder == cpuacct.path.parent
            memory = cpuacct if is_shared else ControlGroup.create_in(folder, name, "memory.max_usage_in_bytes")
        return cls(cpuacct, memory)

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
        """Version 1 does not kill a group at once; its processes are signalled until none is left."""
        return False

    def total_cpu_seconds(self) -> float:
        """CPU of every process that ever was in the group or below, exact."""
        return int((self.cpuacct.path / "cpuacct.usage").read_text()) / _NANOSECONDS

    def cpu_share(self) -> Cpu:
        """User and system CPU in the kernel's ticks, which say how the total is to be split."""
        return parse_cpuacct_stat((self.cpuacct.path / "cpuacct.stat").read_text())

    def peak_memory_bytes(self) -> int | None:
        """Highest memory of the group, page cache included; None without a memory controller."""
        if self.memory is None:
            return None
        try:
            return int((self.memory.path / "memory.max_usage_in_bytes").read_text())
        except OSError:
            return None

    def pids(self) -> list[int]:
        """The processes in the groups and in those below."""
        return list({pid: None for group in self._groups for pid in group.pids()})

    def kill(self) -> None:
        """There is no such thing in version 1."""
        raise NoControlGroup(errno.ENOSYS, "version 1 of control groups does not kill")

    def enter(self) -> None:
        """Move the calling process, which must have a single thread, into all of the groups."""
        for group in self._groups:
            group.enter()

    def remove(self) -> bool:
        """Remove the groups and those below; whether all are gone. They must be empty."""
        return all([group.remove() for group in self._groups])

    @property
    def _groups(self) -> tuple[ControlGroup, ...]:
        if self.memory is None or self.memory == self.cpuacct:
            return (self.cpuacct,)
        return self.cpuacct, self.memory


def parse_cpuacct_stat(text: str) -> Cpu:
    """`cpuacct.stat`, as seconds."""
    values = dict(line.split() for line in text.splitlines())
    ticks = os.sysconf("SC_CLK_TCK")
    return Cpu(int(values["user"]) / ticks, int(values["system"]) / ticks)


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
