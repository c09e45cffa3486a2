"""How a Kill reaches a wrapper: a real socket, real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.process.cancel import Cancel
from runner.wrapper.control import SOCKET, ControlServer, ask, send_command
from telemetry.facts import Fact, KillRequested
from tests.support.tree import ROOT

KILL = {"command": "Kill", "reason": "by its user"}


@pytest.fixture
def facts() -> list[Fact]:
    return []


@pytest.fixture
def cancel(facts: list[Fact]) -> Cancel:
    return Cancel(facts.append)


def talk(control: Path, data: bytes) -> object:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(5)
        caller.connect(str(control / SOCKET))
        caller.sendall(data)
        caller.shutdown(socket.SHUT_WR)
        return json.loads(caller.recv(4096))


def test_kill(tmp_path: Path, cancel: Cancel, facts: list[Fact]) -> None:
    """A Kill is accepted and stops the job; a repeated one is accepted, too."""
    with ControlServer(tmp_path, cancel):
        assert send_command(tmp_path, KILL, 5)
        assert send_command(tmp_path, KILL, 5)
    assert facts == [KillRequested(origin="user", reason="Received Kill signal")]
    assert not (tmp_path / SOCKET).exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"no json\n", b"[]\n", b'{"command": "Dance"}\n', b"[" * 60_000 + b"\n", b"x" * 70_000],
    ids=["nothing", "a line", "no json", "a list", "another", "nested", "too long"],
)
def test_nonsense_is_refused(tmp_path: Path, cancel: Cancel, data: bytes) -> None:
    """Anything but Kill is refused in words, and the server goes on: a Kill, and SIGTERM, have no other way."""
    with ControlServer(tmp_path, cancel):
        try:
            answer = talk(tmp_path, data)
        except (ConnectionResetError, BrokenPipeError):  # more than we read: cut off
            assert len(data) > 60_000
        else:
            assert isinstance(answer, dict)
            assert not answer["accepted"]
        assert cancel.cause is None
        assert send_command(tmp_path, KILL, 5)


def test_a_silent_caller_does_not_block_for_long(tmp_path: Path, cancel: Cancel) -> None:
    """Somebody who connects and says nothing is dropped; the next Kill arrives."""
    with ControlServer(tmp_path, cancel), socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(tmp_path / SOCKET))
        assert send_command(tmp_path, KILL, 10)


def test_long_paths(tmp_path: Path, cancel: Cancel) -> None:
    """A folder whose path has no room in a socket's address is no obstacle."""
    deep = tmp_path / ("deep" * 30) / ("er" * 50)
    deep.mkdir(parents=True)
    with ControlServer(deep, cancel):
        assert send_command(deep, KILL, 5)


def test_nobody_listens(tmp_path: Path) -> None:
    """A wrapper that is not there is an error, not a kill."""
    with pytest.raises(OSError, match=r".") as raised:
        send_command(tmp_path, KILL, 5)
    assert isinstance(raised.value, FileNotFoundError)


def test_a_socket_of_a_dead_wrapper_is_replaced(tmp_path: Path, cancel: Cancel) -> None:
    """What a dead wrapper left in the folder does not keep the next one from listening."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET))
    with pytest.raises(ConnectionRefusedError):
        send_command(tmp_path, KILL, 5)
    with ControlServer(tmp_path, cancel):
        assert send_command(tmp_path, KILL, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_preempt(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT, inherited as ignored or not, become a request to stop with the origin "signal"."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from runner.process.cancel import Cancel
        from runner.wrapper.control import ControlServer

        cancel = Cancel(lambda fact: None)
        server = ControlServer(Path(sys.argv[1]), cancel)
        server.catch_signals()
        with server:
            print("ready", flush=True)
            cancel.wait(20)
            print(cancel.cause.origin, cancel.cause.reason, flush=True)
        """
    )
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        assert process.stdout.readline() == f"signal preempted by {number.name}\n"
        assert process.wait(10) == 0


def test_a_peek_is_answered(tmp_path: Path, cancel: Cancel) -> None:
    """A Peek gets what the door says, however large, and ends nothing; without a door it is refused in words."""
    door = {"accepted": True, "streams": {"stdout": {"lines": [[0, "\N{SYMBOL FOR NULL}" * 100_000]]}}}
    asked: list[Mapping[str, Any]] = []

    def peek(command: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(command)
        return door

    question = {"command": "Peek", "after": {"stdout": 5}}
    with ControlServer(tmp_path, cancel, peek):
        assert ask(tmp_path, question, 5) == door
    assert asked == [question]
    assert cancel.cause is None
    with ControlServer(tmp_path, cancel):
        assert ask(tmp_path, question, 5)["accepted"] is False
