"""What a zygote has and does before there is any job: little, and of what it does it leaves nothing behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runner.compose import ahead

_WARM = """
import os, threading
from runner.compose import ahead
from runner.computing import birth

def held():
    fds = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(fd) for fd in fds if os.path.lexists(fd))

before = held()
birth.warm()
assert held() == before, (before, held())
assert threading.enumerate() == [threading.main_thread()]
"""


def test_a_wrapper_loads_little() -> None:
    """What it imports is copied by each of its forks, and read anew by each wrapper that no zygote forks."""
    code = "import sys; import runner.compose.wrapper; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    absent = {"requests", "psutil", "prometheus_client", "opentelemetry", "google.protobuf", "yaml", "sqlalchemy"}
    assert not absent & set(done.stdout.split())


def test_a_warm_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither a thread nor a descriptor is inherited by whoever is forked, and no file is left."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR")}
    for each in places.values():
        each.mkdir()
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}}
    subprocess.run([sys.executable, "-c", _WARM], env=environment, check=True, timeout=120)
    assert [path for each in places.values() for path in each.rglob("*")] == []


def test_what_is_in_the_way_of_a_warm_up_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a loopback to listen on starts its jobs all the same, and nothing is tried twice."""
    tries = []

    def refuse(*_arguments: object, **_options: object) -> socket.socket:
        tries.append(True)
        raise OSError("no loopback")

    monkeypatch.setattr(socket, "create_server", refuse)
    ahead._warm()
    assert len(tries) == 1
