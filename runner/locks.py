"""Locks between processes: POSIX record locks, which the kernel lets go when their holder dies."""

import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from runner.errors import JobspanError

#: `struct flock` of Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


class LockHeld(JobspanError):
    """Another living process holds the lock."""


class FileLock:
    """An exclusive lock on a file of its own. Held by the process; not inherited by a fork.

    The kernel drops such a lock when its process closes *any* descriptor of the file, so nobody
    else in the holder's process may open it.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> Self:
        """Take the lock on *path*, which is made if need be.

        Raises:
            LockHeld: another process has it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(fd)
            raise LockHeld(f"{path} is held by another process") from error
        return cls(path, fd)

    def release(self) -> None:
        """Let it go. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock on *path*; None when nobody does, or we ourselves.

    Never ask for a lock that this very process holds: closing the file would drop it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return None if kind == fcntl.F_UNLCK else pid
