"""One output file that a payload appends to: read in order, kept within OutputFileLimit, readable at the end.

A file that becomes too long gets a hole in its middle: the kernel gives the blocks back, size and
offsets stay, so that writers with O_APPEND notice nothing. When nobody writes any more, the hole
is closed: what is left is the head, a line that says how much is missing, and the tail.
"""

import ctypes
import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from runner.process.peek import Piece

#: Read at once, bytes: within the processor's cache, counting lines costs least.
READ_BYTES = 256 << 10
_COPY_BYTES = 4 << 20
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
#: What file systems answer that have no holes.
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM)
#: Frees the bytes of a file from an offset on: (descriptor, offset, length).
Punch: TypeAlias = Callable[[int, int, int], None]
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
log = logging.getLogger("jobspan.output")


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Give back the blocks of *length* bytes from *offset* on; they read as zeros, and the size stays.

    Raises:
        OSError: EOPNOTSUPP where the file system has no holes, or the kernel's own.
    """
    if _libc.fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True)
class Hole:
    """What was dropped of the file as it is now: its bytes from *start* to *end*."""

    start: int
    end: int


class Followed:
    """Where we are in one file, and what became of it."""

    def __init__(self, fd: int, limit_bytes: int | None = None, punch: Punch = punch_hole) -> None:
        """Follow the file *fd* from its present end; with *limit_bytes* it is kept from growing beyond."""
        self.fd = fd
        self.offset = os.fstat(fd).st_size
        #: What is older than our look at the file, or than its last emptying, was never read.
        self.first_offset = self.offset
        self.taken_bytes = 0
        self.dropped_bytes = 0
        self.shrunk = 0
        self._limit_bytes = limit_bytes
        self._punch = punch
        self._hole: Hole | None = None

    def read(self, is_enough: Callable[[], bool] = lambda: False) -> Iterator[bytes]:
        """What is new, in pieces, until *is_enough*; each must have been taken in before the next is asked for.

        Of a hole that the payload has left only the end comes; it counts in `taken_bytes` as a whole.
        A file that is shorter than before was emptied: what it holds now is new, and `shrunk` tells.

        Raises:
            OSError: it cannot be read now.
        """
        size = os.fstat(self.fd).st_size
        if size < self.offset:
            self.shrunk += 1
            self.offset = self.first_offset = 0
            self._hole = None
        while self.offset < size and not is_enough():
            data = os.pread(self.fd, min(READ_BYTES, size - self.offset), self.offset)
            if not data:
                return
            self.offset += len(data)
            self.taken_bytes += len(data)
            yield data
            self._bound()
            if data.endswith(b"\0"):
                self._skip_hole(size)

    @property
    def held_bytes(self) -> int:
        """What of the file, as far as it was read, is still there."""
        return self.offset - (self._hole.end - self._hole.start if self._hole else 0)

    def back(self, position: int, most_bytes: int) -> Piece:
        """What of the stream, counted in `taken_bytes`, comes from *position* on: *most_bytes* from its end at most.

        What was dropped is not in it.
        """
        first = self._hole.end if self._hole else self.first_offset
        readable = min(most_bytes, self.offset - first)
        start = min(max(position, self.taken_bytes - readable), self.taken_bytes)
        offset = self.offset - (self.taken_bytes - start)
        is_clean = offset == self.first_offset or os.pread(self.fd, 1, offset - 1).isspace()
        return Piece(start, os.pread(self.fd, self.taken_bytes - start, offset), is_clean)

    def _skip_hole(self, size: int) -> None:
        """Should we stand in a hole, go on shortly before its end: a payload makes terabytes of zeros by one call."""
        try:
            data_at = os.lseek(self.fd, self.offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody can tell: then it is read
                return
            data_at = os.fstat(self.fd).st_size  # a hole up to the end, unless it was emptied just now
        skipped = min(data_at, size) - READ_BYTES - self.offset
        if skipped > 0:
            self.offset += skipped
            self.taken_bytes += skipped

    def _bound(self) -> None:
        """Drop the middle, once what we have read of the file exceeds the limit: half is head, a quarter tail.

        Only what was counted is dropped, so the totals stay exact.
        """
        if self._limit_bytes is None or self.held_bytes <= self._limit_bytes:
            return
        if os.fstat(self.fd).st_size < self.offset:  # emptied just now: there is nothing to drop
            return
        self._check_hole()
        before = self._hole or Hole(self._limit_bytes // 2, self._limit_bytes // 2)
        end = self.offset - self._limit_bytes // 4
        try:  # from its start again: blocks that it shared with what was kept so far are given back, too
            self._punch(self.fd, before.start, end - before.start)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            log.warning("output cannot be truncated on this file system (%s): beyond the limit it counts", error)
            self._limit_bytes = None
            return
        self._hole = Hole(before.start, end)
        self.dropped_bytes += end - before.end

    def close_gap(self) -> None:
        """Put a notice and the tail where the hole is. For when nobody writes any more."""
        self._check_hole()
        hole = self._hole
        if hole is None:
            return
        left_out = f"\n--- {hole.end - hole.start} of {self.offset} bytes left out: OutputFileLimit ---\n".encode()
        target = hole.start
        try:
            target += os.pwrite(self.fd, left_out[: hole.end - hole.start], target)
            for data in self._rest(hole.end):
                target += _write(self.fd, data, target)
            os.ftruncate(self.fd, target)
        except OSError as error:  # no room for the copy: the file stays as it is, with its hole
            log.warning("the hole in the output cannot be closed: %s", error)
            if target < hole.end:
                self._punch(self.fd, hole.start, hole.end - hole.start)
            return
        self.offset, self._hole = target, None

    def _rest(self, offset: int) -> Iterator[bytes]:
        while data := os.pread(self.fd, _COPY_BYTES, offset):
            offset += len(data)
            yield data

    def _check_hole(self) -> None:
        """A file that was emptied and filled again between two looks has no hole any more, and data in its place."""
        if self._hole is None:
            return
        status = os.fstat(self.fd)
        block = max(4096, status.st_blksize)  # only whole ones are given back
        begin, end = -(-self._hole.start // block) * block, self._hole.end // block * block
        try:
            is_there = status.st_size >= self.offset and os.lseek(self.fd, begin, os.SEEK_DATA) >= end
        except OSError as error:  # ENXIO: nothing but holes up to the end
            is_there = error.errno == errno.ENXIO
        if not is_there:
            self.shrunk += 1
            self._hole = None


def _write(fd: int, data: bytes, offset: int) -> int:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)
    return done
