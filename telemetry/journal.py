"""The journal: where every fact arrives first.

One folder (a job's `control/`), one file for each writer: `<writer>.journal.jsonl`, a JSON object
a line, appended by a single write. The writer holds a POSIX record lock on `<writer>.lock` for
its life, so a writer is dead when its lock is free, not when a pid is gone. (The lock has a file
of its own: closing *any* descriptor of a locked file would drop the lock, and readers open the
journal itself.) A torn last line is a fact of life: readers count it, the next append starts a
new line.
"""

import contextlib
import errno
import fcntl
import io
import json
import os
import sys
import threading
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from telemetry.clock import Clock
from telemetry.entries import Entry, UnreadableFact, from_line, to_json
from telemetry.facts import Fact

SUFFIX = ".journal.jsonl"
#: Room kept for the closing facts of a job when the disk runs full.
RESERVE_BYTES = 1 << 20
#: Files whose facts are kept for the next reader, and how large one of them is at most.
_MOST_RECENT = 16
_LARGEST_RECENT_BYTES = 1 << 18


class JournalBusy(RuntimeError):
    """Another living process writes this journal."""


class JournalFull(OSError):
    """The disk has no room for a fact, and the reserve is spent; or it has not kept what it took."""


class Journal:
    """The writing end, for one writer. Safe to use from several threads; not across a fork."""

    def __init__(self, folder: Path, writer: str, clock: Clock, *, reserve_bytes: int = 0) -> None:
        """Open or continue *writer*'s file in *folder*, and reserve room for its last facts.

        Raises:
            JournalBusy: the writer's lock is held.
            JournalFull: no room for *reserve_bytes*.
        """
        self._path = folder / f"{writer}{SUFFIX}"
        self._writer = writer
        self._clock = clock
        self._mutex = threading.Lock()
        self._lock_fd = _take_lock(folder / f"{writer}.lock")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._sequence, self._torn = _last_sequence(self._path)
        self._reserve = folder / f"{writer}.reserve"
        if reserve_bytes:
            try:
                self._make_reserve(reserve_bytes)
            except JournalFull:
                self.close()
                raise

    def append(self, fact: Fact) -> Entry:
        """Write *fact*; on return it is in the file, and on disk if its class is durable.

        Raises:
            JournalFull: no room, even after giving up the reserve; or the disk (a file server, above all) says so
                only now.
        """
        with self._mutex:
            entry = Entry(
                self._writer,
                self._sequence + 1,
                self._clock.utc_ns(),
                self._clock.boottime_ns(),
                self._clock.boot_id,
                fact,
            )
            self._write(json.dumps(to_json(entry), separators=(",", ":")).encode() + b"\n")
            self._sequence += 1
            if fact.DURABLE:
                self._force()
            return entry

    def close(self) -> None:
        """Force the file to disk, give the reserve back and let the lock go. Idempotent."""
        with self._mutex:
            if self._fd < 0:
                return
            with contextlib.ExitStack() as stack:  # whatever fails: who recovers must not wait for a lock
                stack.callback(os.close, self._lock_fd)
                stack.callback(self._reserve.unlink, missing_ok=True)
                stack.callback(os.close, self._fd)
                fd, self._fd, self._lock_fd = self._fd, -1, -1
                os.fdatasync(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _force(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise JournalFull(error.errno, f"cannot keep {self._path} on its disk: {error.strerror}") from error

    def _write(self, line: bytes) -> None:
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._give_up_reserve():
                raise JournalFull(error.errno, f"cannot write {self._path}: {error.strerror}") from error
            written = 0
        if written < len(line):
            self._finish(line[written:])
        self._torn = False

    def _finish(self, rest: bytes) -> None:
        """Write what a full disk cut off; the reserve makes room."""
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT) and self._give_up_reserve():
                    continue
                self._torn = True
                raise JournalFull(error.errno, f"cannot write {self._path}: {error.strerror}") from error

    def _make_reserve(self, reserve_bytes: int) -> None:
        fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, reserve_bytes)
        except OSError as error:
            self._reserve.unlink(missing_ok=True)
            raise JournalFull(error.errno, f"no room to reserve {reserve_bytes} bytes beside {self._path}") from error
        finally:
            os.close(fd)

    def _give_up_reserve(self) -> bool:
        try:
            self._reserve.unlink()
        except FileNotFoundError:
            return False
        return True


@dataclass
class JournalTail:
    """The reading end: follows all writers of a folder from where it stopped the last time."""

    folder: Path
    #: Lines that were not facts: torn by a crash, or damaged. They are skipped and counted.
    damaged: int = 0
    #: By the names of the files.
    _offsets: dict[str, int] = field(default_factory=dict)

    def poll(self) -> list[Entry]:
        """The entries completed since the last call, in the order of `merge`."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(SUFFIX))
        except (FileNotFoundError, NotADirectoryError):  # the job's folder was cleaned up under us
            return []
        entries: list[Entry] = []
        for name in names:
            entries.extend(self._read(name))
        return merge(entries)

    def _read(self, name: str) -> tuple[Entry, ...]:
        path, offset = os.path.join(self.folder, name), self._offsets.get(name, 0)
        try:
            if os.stat(path).st_size == offset:
                return ()
            with open(path, "rb", buffering=0) as file:
                lines = _read_on(file, offset)
        except FileNotFoundError:  # as above
            return ()
        self._offsets[sys.intern(name)] = lines.end
        self.damaged += lines.damaged
        return lines.entries


@dataclass(frozen=True)
class _Lines:
    """What a file holds up to *end*, behind the offset at which it was begun."""

    entries: tuple[Entry, ...]
    damaged: int
    end: int


class _Recent:
    """The files that were read last: at the end of a job many read its whole journal, which grows no more."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._lines: dict[tuple[int, ...], _Lines] = {}

    def find(self, stamp: tuple[int, ...]) -> _Lines | None:
        with self._mutex:
            return self._lines.get(stamp)

    def keep(self, stamp: tuple[int, ...], lines: _Lines) -> None:
        with self._mutex:
            self._lines[stamp] = lines
            while len(self._lines) > _MOST_RECENT:
                del self._lines[next(iter(self._lines))]


_recent = _Recent()


def _read_on(file: io.FileIO, start: int) -> _Lines:
    if start:
        return _decoded(file, start)
    status = os.fstat(file.fileno())
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if (known := _recent.find(stamp)) is not None:
        return known
    lines = _decoded(file, 0)
    if 0 < lines.end == status.st_size <= _LARGEST_RECENT_BYTES:
        _recent.keep(stamp, lines)
    return lines


def _decoded(file: io.FileIO, start: int) -> _Lines:
    file.seek(start)
    data = file.readall()
    end = data.rfind(b"\n") + 1
    entries, damaged = [], 0
    for line in data[:end].splitlines():
        if not line:
            continue
        try:
            entries.append(from_line(line))
        except UnreadableFact:
            damaged += 1
    return _Lines(tuple(entries), damaged, start + end)


def read_journal(folder: Path) -> list[Entry]:
    """All facts of *folder*, merged. Damaged lines are left out; use `JournalTail` to count them."""
    return JournalTail(folder).poll()


def merge(entries: list[Entry]) -> list[Entry]:
    """Bring entries of several writers and boots into the order in which they happened.

    Within a boot CLOCK_BOOTTIME decides, because UTC may step. Boots follow each other as a writer
    that lived through both has counted them, else by the smallest UTC seen in each. A writer's own
    sequence is never broken.
    """
    if len({entry.boot_id for entry in entries}) < 2:
        return sorted(entries, key=lambda e: (e.boottime_ns, e.writer, e.sequence))
    order = {boot_id: number for number, boot_id in enumerate(_boots(entries))}
    return sorted(entries, key=lambda e: (order[e.boot_id], e.boottime_ns, e.writer, e.sequence))


def _boots(entries: list[Entry]) -> list[str]:
    first_utc: dict[str, int] = {}
    for entry in entries:
        first_utc[entry.boot_id] = min(entry.utc_ns, first_utc.get(entry.boot_id, entry.utc_ns))
    by_utc = sorted(first_utc, key=lambda boot_id: (first_utc[boot_id], boot_id))
    before: dict[str, set[str]] = {boot_id: set() for boot_id in by_utc}
    for one, other in pairwise(sorted(entries, key=lambda e: (e.writer, e.sequence))):
        if one.writer == other.writer and one.boot_id != other.boot_id:
            before[other.boot_id].add(one.boot_id)
    ordered: list[str] = []
    while len(ordered) < len(by_utc):
        left = [boot_id for boot_id in by_utc if boot_id not in ordered]
        # A damaged file may contradict itself; then UTC has the last word.
        ordered.append(next((each for each in left if before[each] <= {*ordered, each}), left[0]))
    return ordered


def inherit_reserve(folder: Path, dead: str, heir: str) -> None:
    """The room that the *dead* writer has reserved is the *heir*'s from now on; its journal gives it back."""
    with contextlib.suppress(FileNotFoundError):
        (folder / f"{dead}.reserve").rename(folder / f"{heir}.reserve")


def is_written(folder: Path, writer: str) -> bool:
    """Whether a living process holds *writer*'s lock in *folder* (asked from another process)."""
    path = folder / f"{writer}.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(fd)
    return False


def _take_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.close(fd)
        raise JournalBusy(f"{path} is held by a living process; wait for it, or look for it with fuser") from error
    return fd


def _last_sequence(path: Path) -> tuple[int, bool]:
    """The highest sequence in *path*, and whether its last line is torn."""
    data = path.read_bytes()
    last = 0
    for line in data.splitlines():
        try:
            last = max(last, from_line(line).sequence)
        except UnreadableFact:
            continue
    return last, bool(data) and not data.endswith(b"\n")
