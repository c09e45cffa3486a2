"""A job stripped to its bones: what the promises ask of any runner written in Python, by the shortest way, and no more.

An agent that makes a folder, forces one line and gives a word; a wrapper that was forked and warmed before (as large as
ours), which forces two lines and tells the WMS that it runs; its starter, forked before too, and the process that
becomes the payload, which the starter has forked into a control group, waits for, and whose group it reads and removes;
two more lines; the end, told to the WMS. The calls are durable inserts by a plain FastAPI. There is no description,
token, policy, watchdog, span or record.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

import urllib3

import runner.compose.wrapper  # noqa: F401 - for its size
from runner.process.linux import fork_into
from telemetry.clock import NANOSECONDS
from telemetry.measure.cgroup import ControlGroup

BODY = {"Statuses": {"2026-01-01T00:00:00Z": {"Status": "Running", "MinorStatus": "Application"}}, "Parameters": {}}
TIMEOUT_SECONDS = 30.0
#: Lines that a job forces to the disk before its payload starts (the first by the agent), and when it has ended.
LINES_BEFORE, LINES_AFTER = 3, 2
#: Calls between the start of the payload and the end: the end; with outputs, their address and their name too.
PLAIN_CALLS, OUTPUT_CALLS = 1, 3
_LINE = b"x" * 300 + b"\n"
_MESSAGE_BYTES = 1 << 12


@dataclass(frozen=True, kw_only=True)
class Bones:
    """What one took, in seconds."""

    #: From the word to the wrapper to its payload's exec, and without the answer to Running.
    start_seconds: float
    own_start_seconds: float
    #: From the commit of the match to that of the end.
    seconds: float


class Caller:
    """A kept connection, as a wrapper has one."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = urllib3.PoolManager(retries=False)

    def call(self) -> int:
        """One call; when it was committed (CLOCK_MONOTONIC, which all processes share)."""
        answer = self._pool.request("POST", self._url, json=BODY, timeout=TIMEOUT_SECONDS)
        if answer.status != 200:
            raise SystemExit(f"a bare call failed: HTTP {answer.status}")
        return int(answer.json()["CommittedNs"])

    def close(self) -> None:
        """End the connection."""
        self._pool.clear()


@dataclass(frozen=True)
class Spare:
    """The handle on a wrapper that waits."""

    pid: int
    line: socket.socket

    @classmethod
    def fork(cls, url: str, calls: int, *, with_record: bool = False) -> Self:
        """Make one that has gone through what does not depend on its job."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            _end_after(lambda: _wrapper(theirs, url, calls, with_record))
        theirs.close()
        ours.settimeout(TIMEOUT_SECONDS)
        spare = cls(pid, ours)
        spare.hear()
        return spare

    def take(self, folder: Path, matched_ns: int) -> Bones:
        """Give it the job that was matched then, as an agent does, and wait for the job's end.

        Raises:
            SystemExit: it failed.
        """
        (folder / "control").mkdir(parents=True)
        (folder / "work").mkdir()
        (folder / "control" / "arguments.json").write_text(json.dumps(BODY))
        with (folder / "control" / "journal").open("ab", buffering=0) as journal:
            force(journal.fileno(), 1)
        word_ns = time.monotonic_ns()
        self.line.send(str(folder).encode())
        exec_ns, answer_ns, end_ns = map(int, self.hear().split())
        start = exec_ns - word_ns
        return Bones(
            start_seconds=start / NANOSECONDS,
            own_start_seconds=(start - answer_ns) / NANOSECONDS,
            seconds=(end_ns - matched_ns) / NANOSECONDS,
        )

    def hear(self) -> str:
        """What it says next."""
        message = self.line.recv(_MESSAGE_BYTES)
        if not message:
            raise SystemExit("a bare job failed; that is no measurement")
        return message.decode()

    def reap(self) -> None:
        """Wait for its end, which comes when it has said all."""
        self.line.close()
        os.waitpid(self.pid, 0)


def force(fd: int, count: int) -> None:
    """Write *count* lines, each forced to the disk by itself."""
    for _ in range(count):
        os.write(fd, _LINE)
        os.fdatasync(fd)


def _end_after(life: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        life()
        code = 0
    finally:
        os._exit(code)


def _wrapper(line: socket.socket, url: str, calls: int, with_record: bool) -> None:
    commands, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    starter = os.fork()
    if starter == 0:
        line.close()
        commands.close()
        _end_after(lambda: _starter(theirs))
    theirs.close()
    caller = Caller(url)
    caller.call()
    line.send(b"ready")
    folder = Path(line.recv(_MESSAGE_BYTES).decode())
    json.loads((folder / "control" / "arguments.json").read_text())
    with (folder / "control" / "journal").open("ab", buffering=0) as journal:
        force(journal.fileno(), LINES_BEFORE - 2)
        asked_ns = time.monotonic_ns()
        caller.call()
        answer_ns = time.monotonic_ns() - asked_ns
        force(journal.fileno(), 1)
        commands.send(str(folder).encode())
        commands.recv(_MESSAGE_BYTES)
        exec_ns = time.monotonic_ns()
        commands.recv(_MESSAGE_BYTES)
        force(journal.fileno(), LINES_AFTER)
    end_ns = [caller.call() for _ in range(calls)][-1]
    line.send(f"{exec_ns} {answer_ns} {end_ns}".encode())
    if with_record:
        caller.call()
    os.waitpid(starter, 0)
    caller.close()


def _starter(line: socket.socket) -> None:
    """Fork the payload, have it execute in the folder that is named, tell of its exec, and of its end with what it has
    used."""
    group: ControlGroup | None = None
    with suppress(OSError):  # an ordinary user has none
        group = ControlGroup.create(f"bones-{os.getpid()}")
    reader, writer = os.pipe()
    gate, word = os.pipe()
    pid = _fork(group)
    if pid == 0:
        os.close(word)
        line.close()
        _end_after(lambda: _payload(gate))
    os.close(writer)
    folder = line.recv(_MESSAGE_BYTES)
    os.write(word, folder)
    os.read(reader, 1)
    line.send(b"started")
    os.waitpid(pid, 0)
    used = group.cpu() if group else None
    line.send(repr(used).encode())
    if group:
        group.remove()


def _fork(group: ControlGroup | None) -> int:
    if group is None:
        return os.fork()
    group_fd = os.open(group.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return fork_into(group_fd)
    finally:
        os.close(group_fd)


def _payload(gate: int) -> None:
    os.setsid()
    work = Path(os.read(gate, _MESSAGE_BYTES).decode()) / "work"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    streams = (os.open(os.devnull, os.O_RDONLY), os.open(work / "std.out", flags), os.open(work / "std.err", flags))
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    os.chdir(work)
    os.execv("/bin/true", ["true"])
