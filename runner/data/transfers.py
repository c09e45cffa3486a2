"""Moving bytes, with the checksum that DIRAC's catalogues keep: adler32, as 8 hexadecimal digits."""

import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from runner.errors import ChecksumError

CHUNK_BYTES = 1 << 20
#: Errors of a disk that another node, or this one later, may not have.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def adler32_of(path: Path, check: Callable[[], None] = lambda: None) -> str:
    """Checksum of the file *path*. *check* is called between pieces and may raise to stop."""
    value = 1
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            check()
            value = zlib.adler32(piece, value)
    return f"{value:08x}"


def verify(path: Path, size_bytes: int, adler32: str, check: Callable[[], None] = lambda: None) -> None:
    """Hold the file *path* against what was promised.

    Raises:
        ChecksumError: another size or another checksum.
    """
    size = path.stat().st_size
    if size != size_bytes:
        raise ChecksumError(f"{path.name} has {size} bytes instead of {size_bytes}")
    if adler32 and (found := adler32_of(path, check)) != adler32.lower().rjust(8, "0"):
        raise ChecksumError(f"{path.name} has the adler32 {found} instead of {adler32}")


def copy(source: BinaryIO, target: Path, *, mode: int = 0o644) -> int:
    """Write what is left of *source* to the new file *target*; the bytes. A failed copy leaves nothing.

    Raises:
        OSError: *target* exists, the disk is full, *source* cannot be read.
    """
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    total = 0
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            while piece := source.read(CHUNK_BYTES):
                _write_all(file.fileno(), piece)
                total += len(piece)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return total


def is_disk_full(error: OSError) -> bool:
    """Whether *error* says that there is no room."""
    return error.errno in _FULL


def _write_all(fd: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(fd, rest) :]
