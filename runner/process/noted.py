"""The processes of a payload, noted in a small file beside the journal: pid and start time, which are one process for
good.

For recovery, where wrapper, starter and agent died together and no control group tells: a process that has left its
session and its environment, or has not come as far as its exec, is known by its note. The note of the payload's first
process is its own, written before it makes sure that the starter lives: so whoever finds the starter dead finds that
note, or a process that will not execute anything. All others are noted by the starter when it looks at them.

The file keeps its size: as many slots as it has are noted at most, those of the ended are used again. Nothing is
synchronised: what a reboot loses it has ended.
"""

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self

from telemetry.measure import procfs
from telemetry.measure.snapshot import ProcessId

NAME = "payload.pids"
#: So many at most, with the boot id in the first slot and the payload's first process in the second.
SLOTS = 512
#: A part of a page, so that no slot is ever half written.
_SLOT_BYTES = 64
_FIRST_FREE = 2


class Notes:
    """Those of one starter, which removes them when nothing of the payload is left."""

    def __init__(self, path: Path, fd: int) -> None:
        """Use `make`."""
        self._path = path
        self._fd = fd
        self._slots: dict[ProcessId, int] = {}
        self._free = list(range(SLOTS - 1, _FIRST_FREE - 1, -1))

    @classmethod
    def make(cls, control: Path, boot_id: str) -> Self | None:
        """A new file, with all the room that it needs; None when the disk has none: recovery has to do without."""
        fd = -1
        try:
            fd = os.open(control / NAME, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.posix_fallocate(fd, 0, SLOTS * _SLOT_BYTES)
            os.pwrite(fd, _slot(boot_id), 0)
        except OSError:
            if fd >= 0:
                os.close(fd)
            return None
        return cls(control / NAME, fd)

    def note_ourselves(self) -> None:
        """Note this process, which was just forked to become the payload. Never fails."""
        pid = os.getpid()
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, _slot(f"{pid} {procfs.start_ticks(pid)}"), _SLOT_BYTES)

    def remove(self) -> None:
        """Nothing of the payload is left: remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def keep(self, living: Iterable[ProcessId]) -> None:
        """Note *living*, as far as there are slots; the ended need theirs no more."""
        now = set(living)
        if now == self._slots.keys():
            return
        for gone in self._slots.keys() - now:
            self._free.append(self._slots.pop(gone))
        for each in now - self._slots.keys():
            if not self._free:
                return
            slot = self._slots[each] = self._free.pop()
            with contextlib.suppress(OSError):
                os.pwrite(self._fd, _slot(f"{each.pid} {each.start_ticks}"), slot * _SLOT_BYTES)


def read_notes(control: Path, boot_id: str) -> frozenset[ProcessId]:
    """What the starter of the attempt in *control* has noted in this boot; many of them have ended."""
    try:
        first, *slots = (control / NAME).read_bytes().replace(b"\0", b"").decode("ascii", "replace").splitlines()
    except (OSError, ValueError):  # there is none; or it is empty
        return frozenset()
    if first.strip() != boot_id:
        return frozenset()
    words = [slot.split() for slot in slots]
    return frozenset(
        ProcessId(int(each[0]), int(each[1])) for each in words if len(each) == 2 and "".join(each).isdecimal()
    )


def living(noted: Collection[ProcessId]) -> set[int]:
    """Pids of those that are still the same process, perhaps a zombie."""
    return {each.pid for each in noted if procfs.start_ticks(each.pid) == each.start_ticks}


def _slot(text: str) -> bytes:
    return text.encode().ljust(_SLOT_BYTES - 1) + b"\n"
