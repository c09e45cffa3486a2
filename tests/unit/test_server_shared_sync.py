"""A sync that several share: nobody goes on before one has succeeded that began after his call."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.server.db.shared_sync import SharedSync, WriteAheadLog
from runner.server.errors import DatabaseAwayError
from tests.support.waiting import eventually

DEADLINE_SECONDS = 20.0


class Disk:
    """Syncs that end when they are let go on, and say what was written when each began."""

    def __init__(self) -> None:
        self.written = 0
        self.safe = 0
        self.syncs = 0
        self.go_on = threading.Semaphore(0)
        self.error: OSError | None = None

    def sync(self) -> None:
        """What has been written by now is safe when this returns."""
        self.syncs += 1
        present = self.written
        assert self.go_on.acquire(timeout=DEADLINE_SECONDS)
        if self.error is not None:
            raise self.error
        self.safe = present


def test_who_comes_during_a_sync_waits_for_the_next_one() -> None:
    """Of twenty that come while a sync is under way each goes on only when its part is safe."""
    disk = Disk()
    shared = SharedSync(disk.sync)

    def write() -> bool:
        disk.written += 1
        mine = disk.written
        shared.wait()
        return disk.safe >= mine

    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(write)
        eventually(lambda: disk.syncs == 1, DEADLINE_SECONDS, "the first sync")
        later = [pool.submit(write) for _ in range(20)]
        eventually(lambda: disk.written == 21, DEADLINE_SECONDS, "all to have written")
        disk.go_on.release(21)
        assert first.result(DEADLINE_SECONDS)
        assert all(each.result(DEADLINE_SECONDS) for each in later)
    assert disk.syncs >= 2  # the first had begun before they wrote


def test_a_sync_that_fails_fails_for_all_who_shared_it() -> None:
    """Nobody is told that his part is safe when it is not; whoever comes later gets a sync of his own."""
    disk = Disk()
    shared = SharedSync(disk.sync)
    disk.error = OSError(5, "Input/output error")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared.wait)
        disk.go_on.release()
        with pytest.raises(DatabaseAwayError, match="Input/output error"):
            first.result(DEADLINE_SECONDS)
    disk.error = None
    disk.go_on.release()
    shared.wait()
    assert disk.syncs == 2


def test_nobody_waits_for_ever_for_a_disk_that_hangs() -> None:
    """Who would share the next sync is told that nothing is known, when the one under way does not end."""
    disk = Disk()
    shared = SharedSync(disk.sync, patience_seconds=0.05)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared.wait)
        eventually(lambda: disk.syncs == 1, DEADLINE_SECONDS, "the first sync")
        with pytest.raises(DatabaseAwayError, match="has taken nothing"):
            shared.wait()
        disk.go_on.release()
        first.result(DEADLINE_SECONDS)


def test_a_log_that_was_taken_into_the_database_needs_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes the database last takes the log in and removes it: only one that is there is forced out."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    log = WriteAheadLog(tmp_path / "wms.sqlite")
    log.sync()
    assert not synced
    (tmp_path / "wms.sqlite-wal").write_bytes(b"x" * 100)
    log.sync()
    assert len(synced) == 1
