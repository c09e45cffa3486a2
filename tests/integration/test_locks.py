"""Locks between real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.locks import FileLock, LockHeld, lock_holder

HOLDER = """
import sys
from pathlib import Path
from runner.locks import FileLock
lock = FileLock.take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """While another process lives it has the lock, and we know its pid; when it is killed, the lock is free."""
    path = tmp_path / "x.lock"
    assert lock_holder(path) is None
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert lock_holder(path) == holder.pid
        with pytest.raises(LockHeld):
            FileLock.take(path)
        holder.kill()
        holder.wait()
    with FileLock.take(path):
        pass
    assert lock_holder(path) is None
