"""Control groups, version 2: a group for one payload, which counts and ends every process in it."""

import contextlib
import errno
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.measure.files import LIST_BYTES, KernelFiles, named_number
from telemetry.measure.snapshot import Cpu, GroupAccount, Peaks, Pressure, Tellers

_MICROSECONDS = 1_000_000
_READ = re.compile(rb"\brbytes=(\d+)")
_WRITTEN = re.compile(rb"\bwbytes=(\d+)")
_SOME = re.compile(rb"some .*\btotal=(\d+)")
#: All our groups begin like this, so that whoever cleans up finds them.
PREFIX = "jobspan-"
#: An agent that is in a group of this name has the group above to make its payloads' groups in (see `delegation`).
LEAF = f"{PREFIX}leaf"


class NoControlGroup(OSError):
    """The machine grants no control group; the message says why."""


@dataclass(frozen=True)
class ControlGroup:
    """One group of the unified hierarchy that is ours alone."""

    path: Path
    #: Whether a list that is kept open shows the present on every reading. (In version 1 it may be a second old.)
    has_live_lists: bool = True
    files: KernelFiles = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing is opened yet."""
        object.__setattr__(self, "files", KernelFiles(self.path))

    @classmethod
    def create(cls, name: str) -> "ControlGroup":
        """Make the group *name* below the one that this process is in; beside it, if that is a leaf.

        Raises:
            NoControlGroup: there is no unified hierarchy, or no right to make a group.
        """
        own = own_group()
        return cls.create_in(own.parent if own.name == LEAF else own, name, "cpu.stat")

    @classmethod
    def create_in(cls, folder: Path, name: str, file: str, *, has_live_lists: bool = True) -> "ControlGroup":
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
        return cls(path, has_live_lists)

    @property
    def tellers(self) -> Tellers:
        """Version 2 tells everything that it has a controller for."""
        return Tellers("cgroup2", "cgroup2", "cgroup2")

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

    def account(self, *, with_threads: bool = True) -> GroupAccount:
        """All that the group's controllers tell; CPU of every process that ever was in it or below.

        Without the pids controller threads are counted by their list, unless somebody else knows them.

        Raises:
            OSError: the group is gone.
        """
        cpu = self.files.read("cpu.stat")
        if cpu is None:
            raise NoControlGroup(errno.ENOENT, f"{self.path} does not tell its CPU time any more")
        # "usage_usec 3 user_usec 2 system_usec 1 ...", always the first three (Documentation/admin-guide/cgroup-v2).
        _, _, _, user, _, system, *_ = cpu.split(None, 6)
        memory = self.files.read("memory.stat")
        read_bytes, written_bytes = _moved(self.files.read("io.stat"))
        return GroupAccount(
            (int(user) + int(system)) / _MICROSECONDS,
            Cpu(int(user) / _MICROSECONDS, int(system) / _MICROSECONDS),
            _resident(memory) if memory else None,
            self.files.number("memory.swap.current") if memory else None,
            self._threads() if with_threads else None,
            read_bytes,
            written_bytes,
            _minor_faults(memory) if memory else None,
            named_number(memory, b"pgmajfault") if memory else None,
        )

    def peaks(self) -> Peaks:
        """The kernel's own: `memory.peak` and `pids.peak` since Linux 5.19 and 6.1, `memory.swap.peak` since 6.5."""
        return Peaks(
            memory_bytes=self.files.number("memory.peak"),
            swap_bytes=self.files.number("memory.swap.peak"),
            threads=self.files.number("pids.peak"),
        )

    def cpu(self) -> Cpu:
        """CPU of every process that ever was in the group or below, also of those that nobody waited for."""
        return self.account().cpu_share

    def pressure(self) -> Pressure:
        """How long its processes had to wait in all, where the kernel keeps pressure stall information."""
        return Pressure(
            cpu_seconds=_stalled(self.files.read("cpu.pressure")),
            memory_seconds=_stalled(self.files.read("memory.pressure")),
            io_seconds=_stalled(self.files.read("io.pressure")),
        )

    def count(self) -> int:
        """Its processes, as far as they are in the group itself or, where it has groups below, in all of them."""
        if self._is_leaf() and self.has_live_lists:
            return self.files.lines("cgroup.procs") or 0
        return len(self.pids())

    def _threads(self) -> int | None:
        counted = self.files.number("pids.current")
        return self.files.lines("cgroup.threads") if counted is None else counted

    def _is_leaf(self) -> bool:
        # A folder of the kernel's has a link for each folder below it.
        return self.files.links() <= 2

    def members(self) -> list[int]:
        """The same as `pids`."""
        return self.pids()

    def pids(self) -> list[int]:
        """The processes in the group and in the groups below it; zombies are not listed."""
        found: list[int] = []
        if self._is_leaf():
            name = "cgroup.procs"
            data = self.files.read(name) if self.has_live_lists else self.files.read_anew(name)
            if data is not None and len(data) < LIST_BYTES:
                return [int(pid) for pid in data.split()]
        for folder, _, _ in os.walk(self.path):
            with contextlib.suppress(OSError):  # removed under us, or threaded
                found.extend(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
        return found

    def kill(self) -> None:
        """KILL every process in the group and below, those just being forked included.

        Raises:
            OSError: the kernel is older than Linux 5.14, or the group is gone.
        """
        (self.path / "cgroup.kill").write_text("1")

    def enter(self) -> None:
        """Move the calling process, which must have a single thread, into the group.

        Raises:
            OSError: the group is gone, or it is not ours to enter.
        """
        # In version 1 threads move alone too, and one that moves itself waits for nobody (Linux 5.5 and newer).
        (self.path / ("cgroup.procs" if self.has_live_lists else "tasks")).write_text("0")

    def enter_others(self) -> None:
        """There is only this one."""

    def remove(self) -> bool:
        """Remove the group and those below it; whether it is gone. It must be empty. Idempotent."""
        self.files.close()
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


def _resident(memory: bytes) -> int | None:
    """What is mapped by somebody: anonymous memory and files, shared memory among them."""
    anonymous = named_number(memory, b"anon")
    return None if anonymous is None else anonymous + (named_number(memory, b"file_mapped") or 0)


def _minor_faults(memory: bytes) -> int | None:
    faults = named_number(memory, b"pgfault")
    return None if faults is None else faults - (named_number(memory, b"pgmajfault") or 0)


def _moved(io: bytes | None) -> tuple[int | None, int | None]:
    """Bytes read and written, by `io.stat`: "8:0 rbytes=1 wbytes=2 rios=..." for each device."""
    if io is None:
        return None, None
    return sum(map(int, _READ.findall(io))), sum(map(int, _WRITTEN.findall(io)))


def _stalled(pressure: bytes | None) -> float | None:
    """The total of "some avg10=0.00 avg60=0.00 avg300=0.00 total=123" in microseconds, as seconds."""
    found = _SOME.match(pressure or b"")
    return int(found[1]) / _MICROSECONDS if found else None


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
