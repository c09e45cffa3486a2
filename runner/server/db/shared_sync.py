"""Forcing to the disk what several transactions have written, once for all of them, while others go on writing.

SQLite would do it within each transaction (`synchronous=FULL`), and nobody else could write meanwhile. Here a
transaction commits, gives up its turn, and then waits until its part of the write-ahead log is on the disk: the log
is synced as a whole, and whoever came while a sync was under way shares the next one. Before SQLite takes the log
into the database it syncs it itself, so that a log that has begun anew has nothing left that would be missing.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from runner.server.errors import DatabaseAwayError

MOST_FAILURES = 1000
#: A disk that takes longer for the sync of somebody else hangs.
PATIENCE_SECONDS = 60.0


class SharedSync:
    """`wait` returns when a sync has succeeded that began after the call."""

    def __init__(self, sync: Callable[[], None], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._sync = sync
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._begun = self._ended = 0
        self._failed: dict[int, str] = {}

    def wait(self) -> None:
        """Wait, or do it oneself if nobody else does.

        Raises:
            DatabaseAwayError: it failed, or takes too long; nobody knows whether what was written is on the disk.
        """
        with self._changed:
            mine = self._begun + 1
            while self._ended < mine:
                if self._begun == self._ended:
                    self._begun += 1
                    break
                if not self._changed.wait(self._patience_seconds):
                    raise DatabaseAwayError(f"the disk has taken nothing for {self._patience_seconds:g} s")
            else:
                self._check(mine)
                return
        self._run()
        with self._changed:
            self._check(mine)

    def _run(self) -> None:
        failure = "interrupted"
        try:
            self._sync()
            failure = ""
        except OSError as error:
            failure = str(error.strerror)
        finally:
            with self._changed:
                self._ended = self._begun
                if failure:
                    self._failed[self._ended] = failure
                    self._failed.pop(self._ended - MOST_FAILURES, None)  # nobody waits for that one any more
                self._changed.notify_all()

    def _check(self, number: int) -> None:
        if number in self._failed:
            raise DatabaseAwayError(f"the database could not be forced to the disk: {self._failed[number]}")


class WriteAheadLog:
    """The log beside an SQLite file."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-wal")
        self._inode = 0

    def sync(self) -> None:
        """Force it to the disk, and its name if it is new."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # whoever closed the database last has taken it in, and synced that
        try:
            os.fdatasync(fd)
            inode = os.fstat(fd).st_ino
        finally:
            os.close(fd)
        if inode != self._inode:
            _sync_folder(self._path.parent)
            self._inode = inode


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
