"""Sandboxes: archives unpacked by rules of our own, and packed.

An archive is untrusted. Only regular files and folders come out of it, only below the folder they
are meant for, and only as many and as large as `ArchiveLimits` says. It is unpacked into a new
folder, step by step relative to open folders and without following links, and what is there is
moved in by renaming when all of it was good: a bad archive changes nothing. `pack` holds itself to
the same limits, so that whatever it writes can be unpacked: how well a file can be compressed says
nothing about its being hostile, and bytes, entries and depth bound what a bomb can do.
"""

import bz2
import contextlib
import errno
import gzip
import os
import shutil
import stat
import tarfile
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from runner.data.below import open_below
from runner.data.tarstream import ByteSource, Member, TarReader, damaged
from runner.data.transfers import is_disk_full
from runner.errors import HostileArchiveError, PermanentJobError, TransientJobError

_CHUNK_BYTES = 64 << 10
#: What a file of ours takes in a tar archive beside its content, at most: headers with a long name, and padding.
_ENTRY_BYTES = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What a frame of zstd may ask for as memory, bytes: the most that `zstd --long` makes.
_ZSTD_WINDOW_BYTES = 1 << 27
#: More than this comes out of an archive only while a twentieth of the disk stays free: a bomb takes none of it from
#: others, and a little one is not refused for a disk that is nearly full.
_ROOM_FROM_BYTES = 64 << 20
#: What the decompressors raise for bad input.
_BAD_INPUT = (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile)


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """How much may come out of an archive, and go into one."""

    entries: int = 100_000
    total_bytes: int = 20 << 30
    depth: int = 32
    name_bytes: int = 255
    path_bytes: int = 1024


LIMITS = ArchiveLimits()


class Listing:
    """What may stand in one archive: what `unpack` would refuse is not taken here."""

    def __init__(self, limits: ArchiveLimits = LIMITS) -> None:
        self._limits = limits
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()
        self._bytes = 0

    def add(self, name: str, size_bytes: int = 0) -> None:
        """The file *name*, and the folders in which it is.

        Raises:
            HostileArchiveError: it breaks a rule, or is too much. It is not taken.
        """
        parts = tuple(_parts(name, self._limits, is_file=True))
        folders = {parts[:end] for end in range(1, len(parts))}
        if parts in self._files or parts in self._folders or folders & self._files:
            raise HostileArchiveError(f"the archive has {name!r} twice")
        if len(self._files) + len(self._folders) + len(folders - self._folders) >= self._limits.entries:
            raise _too_many(self._limits)
        if self._bytes + size_bytes > self._limits.total_bytes:
            raise _too_large(self._limits)
        self._files.add(parts)
        self._folders |= folders
        self._bytes += size_bytes


@dataclass(frozen=True)
class Unpacked:
    """What came out."""

    files: int
    bytes: int


def unpack(
    archive: Path,
    folder: Path,
    *,
    staging: Path,
    limits: ArchiveLimits = LIMITS,
    check: Callable[[], None] = lambda: None,
) -> Unpacked:
    """Bring what is in *archive* (tar.gz, tar.bz2 or tar.zst, told by content) into *folder*.

    *staging* is a folder of the same file system, out of the payload's reach, in which a new folder
    is made and removed. *check* is called between pieces and may raise to stop. A file that is
    already in *folder* is replaced, as by tar.

    Raises:
        HostileArchiveError: it breaks a rule.
        PermanentJobError: it is damaged, or has a folder where *folder* has a file.
        TransientJobError: the disk is full, or would nearly be.
    """
    new = staging / f"unpacking-{uuid.uuid4().hex}"
    new.mkdir(mode=0o700)
    try:
        with archive.open("rb") as file, _decompressed(file) as stream:
            unpacked = _Unpacking(_Bounded(stream, limits, check), new).run()
        _move_in(new, folder)
        return unpacked
    except _BAD_INPUT as error:
        raise damaged(str(error) or "it is cut off") from error
    except OSError as error:
        if is_disk_full(error):
            raise TransientJobError(f"no room to unpack: {error.strerror}", error_type="disk_full") from error
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def pack(
    files: Sequence[tuple[str, Callable[[], int]]],
    archive: Path,
    check: Callable[[], None] = lambda: None,
    limits: ArchiveLimits = LIMITS,
) -> int:
    """Write *files* (a name, and what opens it for reading) to the new tar.zst *archive*; its bytes.

    The same files give the same archive: owners are left out, so that a checksum names the content.

    Raises:
        OSError: a file cannot be read, the disk is full. Nothing is left then.
        HostileArchiveError: `unpack` would refuse it. Nothing is left then.
    """
    listing = Listing(limits)
    for name, opener in files:
        listing.add(name, size_of(opener))
    try:
        with archive.open("xb") as target:
            compressor = zstandard.ZstdCompressor(level=3).stream_writer(target, closefd=False)
            with compressor, tarfile.open(fileobj=compressor, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for name, opener in files:
                    _add(tar, name, opener, check)
        return archive.stat().st_size
    except BaseException:
        archive.unlink(missing_ok=True)
        raise


def opener(root: Path, name: str, owner: int | None = None) -> Callable[[], int]:
    """What opens *name* below *root* for `pack`, by the rules of `open_below`."""
    return lambda: open_below(root, name, owner=owner)


def packed_size(opener: Callable[[], int], at_most_bytes: int, check: Callable[[], None] = lambda: None) -> int:
    """Bytes that a file takes in an archive, about; stops counting beyond *at_most_bytes*."""
    compressor = zstandard.ZstdCompressor(level=3).compressobj()
    total = 0
    with os.fdopen(opener(), "rb", buffering=0) as file:
        while total <= at_most_bytes and (piece := file.read(1 << 20)):
            check()
            total += len(compressor.compress(piece))
    return total + len(compressor.flush())


def size_of(opener: Callable[[], int]) -> int:
    """Bytes of a file as it lies there.

    Raises:
        OSError: it cannot be read.
    """
    fd = opener()
    try:
        return os.fstat(fd).st_size
    finally:
        os.close(fd)


def _add(tar: tarfile.TarFile, name: str, opener: Callable[[], int], check: Callable[[], None]) -> None:
    with os.fdopen(opener(), "rb") as file:
        status = os.fstat(file.fileno())
        info = tarfile.TarInfo(name)
        info.size, info.mtime = status.st_size, int(status.st_mtime)
        info.mode = stat.S_IMODE(status.st_mode) & 0o777
        tar.addfile(info, cast(BinaryIO, _Checked(file, check)))


class _Checked:
    """A file whose reading can be stopped."""

    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check

    def read(self, size: int) -> bytes:
        self._check()
        return self._file.read(size)


@contextlib.contextmanager
def _decompressed(file: BinaryIO) -> Iterator[ByteSource]:
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    elif magic[:3] == b"BZh":
        with bz2.BZ2File(file) as stream:
            yield stream
    elif magic == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        with reader.stream_reader(file, read_across_frames=True, closefd=False) as stream:
            yield stream
    else:
        raise damaged("it is neither tar.gz nor tar.bz2 nor tar.zst")


class _Bounded:
    """A decompressed stream that ends with an error when more comes out than may."""

    def __init__(self, source: ByteSource, limits: ArchiveLimits, check: Callable[[], None]) -> None:
        self.limits = limits
        self._source = source
        self._check = check
        self._total = 0
        self._most = limits.total_bytes + _ENTRY_BYTES * (limits.entries + 8)

    def read(self, size: int) -> bytes:
        self._check()
        try:
            piece = self._source.read(min(size, _CHUNK_BYTES))
        except OSError as error:  # bz2 has no error of its own
            raise damaged(str(error)) from error
        self._total += len(piece)
        if self._total > self._most:
            raise _too_large(self.limits)
        return piece


class _Unpacking:
    """One archive into one new folder."""

    def __init__(self, source: _Bounded, folder: Path) -> None:
        self._limits = source.limits
        self._source = source
        self._reader = TarReader(source)
        self._folder = folder
        self._entries = 0
        self._files = 0
        self._bytes = 0

    def run(self) -> Unpacked:
        root = os.open(self._folder, _FOLDER)
        try:
            for member in self._reader:
                self._count()
                self._take(root, member)
            while self._source.read(_CHUNK_BYTES):  # up to the end: only there the compressor's checksum is looked at
                pass
        finally:
            os.close(root)
        return Unpacked(self._files, self._bytes)

    def _take(self, root: int, member: Member) -> None:
        parts = _parts(member.name, self._limits, is_file=member.kind == "file")
        if self._bytes + member.size_bytes > self._limits.total_bytes:
            raise _too_large(self._limits)
        if not parts:
            return
        self._leave_room(root, member.size_bytes)
        folders = parts if member.kind == "folder" else parts[:-1]
        try:
            fd = self._enter(root, folders)
            try:
                if member.kind == "file":
                    self._write(fd, parts[-1], member.mode)
            finally:
                os.close(fd)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise HostileArchiveError(f"the archive has {member.name!r} twice") from error

    def _leave_room(self, root: int, size_bytes: int) -> None:
        if self._bytes + size_bytes <= _ROOM_FROM_BYTES:
            return
        disk = os.statvfs(root)
        if size_bytes > (disk.f_bavail - disk.f_blocks // 20) * disk.f_frsize:
            raise TransientJobError(
                f"no room to unpack {size_bytes} bytes more: a twentieth of the disk is left free",
                error_type="disk_full",
            )

    def _enter(self, root: int, folders: list[str]) -> int:
        fd = os.dup(root)
        try:
            for name in folders:
                below = self._enter_one(fd, name)
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _enter_one(self, fd: int, name: str) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=fd)
        except FileNotFoundError:
            self._count()
            os.mkdir(name, 0o755, dir_fd=fd)
            return os.open(name, _FOLDER, dir_fd=fd)

    def _write(self, folder: int, name: str, mode: int) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            while piece := self._reader.content(_CHUNK_BYTES):
                file.write(piece)
                self._bytes += len(piece)
            # The owner reads and writes what is his; nobody else writes.
            os.fchmod(fd, mode & 0o755 | 0o600)
        self._files += 1

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise _too_many(self._limits)


def _parts(name: str, limits: ArchiveLimits, *, is_file: bool) -> list[str]:
    """The steps of a member's *name*, if it keeps the rules."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise HostileArchiveError(f"the archive has an absolute path: {name!r}")
    if ".." in parts:
        raise HostileArchiveError(f"the archive has a path that leads upwards: {name!r}")
    if "\0" in name or (is_file and (not parts or name.endswith("/"))):
        raise HostileArchiveError(f"the archive has a file without a proper name: {name!r}")
    encoded = [len(os.fsencode(part)) for part in parts]
    if len(parts) > limits.depth or max(encoded, default=0) > limits.name_bytes or sum(encoded) > limits.path_bytes:
        raise HostileArchiveError(f"the archive has a path that is too long or too deep: {name[:80]!r} ...")
    return parts


def _too_many(limits: ArchiveLimits) -> HostileArchiveError:
    return HostileArchiveError(f"the archive has more than {limits.entries} entries")


def _too_large(limits: ArchiveLimits) -> HostileArchiveError:
    return HostileArchiveError(f"more than {limits.total_bytes} bytes come out of the archive")


def _move_in(new: Path, folder: Path) -> None:
    source, target = os.open(new, _FOLDER), os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _merge(source, target, move=False)  # nothing is moved if not all can be
        _merge(source, target, move=True)
    except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        raise PermanentJobError(
            f"the archive has a file where there is a folder, or the reverse: {error.filename}",
            error_type="archive_conflict",
        ) from error
    finally:
        os.close(source)
        os.close(target)


def _merge(source: int, target: int, *, move: bool) -> None:
    """Move what is in *source* into *target*, or only look whether that is possible."""
    for name in os.listdir(source):
        if not (_is_folder(source, name) and _is_folder(target, name)):
            if move:
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            elif _exists(target, name) and _is_folder(source, name) != _is_folder(target, name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
            continue
        inner = os.open(name, _FOLDER, dir_fd=source)
        try:
            outer = os.open(name, _FOLDER, dir_fd=target)
            try:
                _merge(inner, outer, move=move)
            finally:
                os.close(outer)
        finally:
            os.close(inner)


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
