"""Files of lines that several processes append to: a line is there whole or not at all."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def append_line(path: Path, line: bytes) -> None:
    """Append *line* to *path* whole or not at all, alone among all processes and threads; on disk on return.

    Raises:
        OSError: the disk is full, or we may not.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # flock and not a record lock: it belongs to this descriptor, so that it also excludes our own
        # threads, and a reader that closes the file does not drop it
        fcntl.flock(fd, fcntl.LOCK_EX)
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        try:
            _write_all(fd, b"\n" + line if torn else line)
            os.fdatasync(fd)
        except OSError:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def complete_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of *path* with their numbers from 1; without empty ones and a last one that has no end.

    There it stops: what a writer adds meanwhile is the rest of that line, and not a line.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            if line.strip():
                yield number, line
