"""Control groups, version 2: a group for one payload, which counts and ends every process in it."""

import contextlib
import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from telemetry.measure.snapshot import Cpu

_MICROSECONDS = 1_000_000
#: All our groups begin like this, so that whoever cleans up finds them.
PREFIX = "jobspan-"


class NoControlGroup(OSError):
    """The machine grants no control group; the message says why."""


@dataclass(frozen=True)
class ControlGroup:
    """One group of the unified hierarchy that is ours alone."""

    path: Path

    @classmethod
    def create(cls, name: str) -> "ControlGroup":
        """Make the group *name* below the one that this process is in.

        Raises:
            NoControlGroup: there is no unified hierarchy, or no right to make a group.
        """
        return cls.create_in(own_group(), name, "cpu.stat")

    @classmethod
    def create_in(cls, folder: Path, name: str, file: str) -> "ControlGroup":
        """Make the group *name* in *folder*; its *file* must be there.

        Raises:
            NoControlGroup: there is no right to make a group, or the file is not there.
        """
        path = folder / f"{PREFIX}{name}"
        try:
            path.mkdir()
            (path / file).read_bytes()
        except OSError as error:
            with contextlib.suppress(OSError):
                path.rmdir()
            raise NoControlGroup(error.errno, f"no group can be made in {folder}: {error.strerror}") from error
        return cls(path)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder, for whoever has to remove it in our place."""
        return (self.path,)

    @property
    def birth_path(self) -> Path | None:
        """The folder into which a process can be born, instead of being moved."""
        return self.path

    @property
    def can_kill(self) -> bool:
        """Whether the kernel (5.14 and newer) kills all of the group at once."""
        return (self.path / "cgroup.kill").exists()

    def cpu(self) -> Cpu:
        """CPU of every process that ever was in the group or below, also of those that nobody waited for."""
        values = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return Cpu(int(values["user_usec"]) / _MICROSECONDS, int(values["system_usec"]) / _MICROSECONDS)

    def peak_memory_bytes(self) -> int | None:
        """Highest memory of the group, page cache included; None without a memory controller."""
        try:
            return int((self.path / "memory.peak").read_text())
        except OSError:
            return None

    def pids(self) -> list[int]:
        """The processes in the group and in the groups below it; zombies are not listed."""
        found: list[int] = []
        for folder, _, _ in os.walk(self.path):
            with contextlib.suppress(OSError):  # removed under us, or threaded
                found.extend(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
        return found

    def kill(self) -> None:
        """KILL every process in the group and below, those just being forked included."""
        (self.path / "cgroup.kill").write_text("1")

    def enter(self) -> None:
        """Move the calling process into the group."""
        (self.path / "cgroup.procs").write_text("0")

    def remove(self) -> bool:
        """Remove the group and those below it; whether it is gone. It must be empty."""
        folders = [Path(folder) for folder, _, _ in os.walk(self.path, topdown=False)]
        for folder in folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in (errno.EBUSY, errno.EPERM, errno.EACCES):
                    return False
                raise
        return True


def own_group() -> Path:
    """The folder of the group that this process is in.

    Raises:
        NoControlGroup: no unified hierarchy is mounted, or ours is not visible in it.
    """
    mount = _mount_point(Path("/proc/self/mountinfo").read_text())
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = [line[3:] for line in lines if line.startswith("0::")]
    if mount is None or not own:
        raise NoControlGroup(errno.ENOENT, "no unified control group hierarchy (cgroup2) is mounted")
    if own[0].startswith("/.."):
        raise NoControlGroup(errno.ENOENT, f"our control group {own[0]} lies outside of what is mounted here")
    return mount / own[0].lstrip("/")


def _mount_point(mountinfo: str) -> Path | None:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] == "cgroup2":
            return Path(unescaped(before.split(" ")[4]))
    return None


def unescaped(field: str) -> str:
    """A field of mountinfo, in which blanks and backslashes are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
