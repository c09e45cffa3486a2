"""Files below a folder that somebody else fills: found and opened without following a link.

A payload owns its working directory; whatever stands there is untrusted. Every step of a path is
opened relative to the step before with O_NOFOLLOW, so that no link, planted before or during the
call, leads anywhere else. Only regular files are opened, and no FIFO makes us wait.
"""

import errno
import fnmatch
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: A folder deeper than this below the root is not looked into.
MAX_DEPTH = 64
#: More files than this are not collected for one pattern.
MAX_FILES = 100_000


class NotBelow(OSError):
    """The name leads outside, through a link, or to something that is no regular file."""


@dataclass(frozen=True)
class Found:
    """A regular file below the root."""

    name: str
    size_bytes: int


def parts_of(name: str) -> tuple[str, ...]:
    """The steps of the relative path *name*.

    Raises:
        NotBelow: absolute, empty, or with `..`.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or not parts or ".." in parts or "\0" in name:
        raise NotBelow(errno.EINVAL, f"{name!r} is not a name below the job's folder")
    return parts


def open_below(root: Path, name: str, *, owner: int | None = None) -> int:
    """Open the regular file *name* below *root* for reading; the descriptor.

    With *owner*, a uid other than ours under which the payload ran: what belongs to neither and has
    several names is refused, for it may be a hard link to somebody else's file.

    Raises:
        NotBelow: see there.
        OSError: no such file, no right to read it.
    """
    *folders, last = parts_of(name)
    try:
        with _opened(root, folders) as folder:
            fd = os.open(last, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise NotBelow(error.errno, f"{name!r} leads through a link, or is a socket") from error
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotBelow(errno.EINVAL, f"{name!r} is not a regular file")
        if owner is not None and status.st_nlink > 1 and status.st_uid != owner:
            raise NotBelow(errno.EPERM, f"{name!r} is a hard link to a file of another user")
    except BaseException:
        os.close(fd)
        raise
    return fd


def find_below(root: Path, pattern: str) -> list[Found]:
    """The regular files that *pattern* (a name, or a glob in each step) means; a folder means all files in it.

    As in a shell, hidden names need a pattern that starts with a dot. Names that lead outside find nothing.
    """
    try:
        parts = parts_of(pattern)
    except NotBelow:
        return []
    found: list[Found] = []
    with _opened(root, ()) as folder:
        for each in _matches(folder, parts, ""):
            found.append(each)
            if len(found) >= MAX_FILES:
                break
    return sorted(found, key=lambda each: each.name)


@contextmanager
def _opened(root: Path, parts: tuple[str, ...] | list[str]) -> Iterator[int]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            below = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _matches(folder: int, parts: tuple[str, ...], prefix: str) -> Iterator[Found]:
    """What in *folder* the pattern *parts* means; without parts: all files in it, at any depth."""
    if prefix.count("/") > MAX_DEPTH:
        return
    for name in _names(folder, parts[0] if parts else None):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            below = os.open(name, _FOLDER, dir_fd=folder) if stat.S_ISDIR(status.st_mode) else None
        except OSError:  # gone, closed to us, or replaced by a link since we looked
            continue
        if stat.S_ISREG(status.st_mode) and len(parts) <= 1:
            yield Found(prefix + name, status.st_size)
        elif below is not None:
            try:
                yield from _matches(below, parts[1:], f"{prefix}{name}/")
            finally:
                os.close(below)


def _names(folder: int, pattern: str | None) -> list[str]:
    names = sorted(os.listdir(folder))
    if pattern is None:
        return names
    if not any(character in pattern for character in "*?["):
        return [pattern] if pattern in names else []
    hidden = pattern.startswith(".")
    return [name for name in names if fnmatch.fnmatchcase(name, pattern) and (hidden or not name.startswith("."))]
