"""Warm starts: the agent's side of the zygote."""

import contextlib
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.computing.spare import LARGEST_MESSAGE_BYTES
from runner.computing.spawners import InterpreterSpawner
from runner.process.linux import become_subreaper

READY_SECONDS = 30.0
ANSWER_SECONDS = 10.0
#: A zygote that dies this often without having started a wrapper is not tried again.
MOST_FAILURES = 3
log = logging.getLogger("jobspan.agent")


class ZygoteError(Exception):
    """The zygote has not started this wrapper."""


class ZygoteSpawner:
    """Forks wrappers from a preloaded process; falls back to a fresh interpreter while that does not live.

    A wrapper that was forked although the answer was lost does no harm: it and the one of the
    fallback compete for the lock of the job's journal, and one of them ends at once.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        """Start the process; it loads the modules *preload* while we go on."""
        become_subreaper()  # before the first fork in it: what is orphaned earlier becomes somebody else's child
        self._preload = tuple(preload)
        self._fallback = InterpreterSpawner()
        self._mutex = threading.Lock()
        self._failures = 0
        self._zygote: _Zygote | None = _Zygote(self._preload)

    def spawn(self, script: Path, log: Path) -> int:
        """See `Spawner.spawn`."""
        with self._mutex:
            try:
                return self._warm(script, log)
            except ZygoteError as error:
                self._give_up(error)
        return self._fallback.spawn(script, log)

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._mutex:
            if self._zygote is not None:
                self._zygote.close()
            self._zygote = None
            self._failures = MOST_FAILURES

    def pids(self) -> frozenset[int]:
        """See `Spawner.pids`: the process itself, and the wrapper that waits for a job."""
        zygote = self._zygote
        return zygote.pids() if zygote else frozenset()

    def _warm(self, script: Path, log: Path) -> int:
        if self._zygote is None:
            if self._failures >= MOST_FAILURES:
                raise ZygoteError("it is switched off")
            self._zygote = _Zygote(self._preload)
        pid = self._zygote.fork(script, log)
        self._failures = 0
        return pid

    def _give_up(self, error: ZygoteError) -> None:
        if self._zygote is None:
            return
        self._zygote.close()
        self._zygote = None
        self._failures += 1
        log.warning("no warm start, a fresh interpreter instead: %s", error)


class _Zygote:
    """One such process and our end of its socket."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "runner.computing.zygote_process", str(theirs.fileno()), *preload],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._ready = False
        self._spare: int | None = None
        #: Messages that `pids` has found.
        self._unread: list[bytes] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, script: Path, log: Path) -> int:
        """The pid of a new wrapper.

        Raises:
            ZygoteError: no wrapper, or none that we know of.
        """
        try:
            if not self._ready:
                self._receive(READY_SECONDS)
                self._ready = True
            self._channel.settimeout(ANSWER_SECONDS)
            self._channel.send(json.dumps({"script": str(script), "log": str(log)}).encode())
            while "spare" in (answer := self._receive(ANSWER_SECONDS)):
                pass
            self._spare = None  # it is the wrapper now, or it has died
            return int(answer["pid"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ZygoteError(f"{type(error).__name__}: {error}") from error

    def pids(self) -> frozenset[int]:
        """Of the process and of its spare. Not while `fork` waits for its answer."""
        with contextlib.suppress(OSError):
            self._channel.setblocking(False)
            while message := self._channel.recv(LARGEST_MESSAGE_BYTES):
                self._unread.append(message)
        for message in self._unread:
            self._spare = json.loads(message).get("spare", self._spare)
        return frozenset({self.pid} if self._spare is None else {self.pid, self._spare})

    def close(self) -> None:
        self._channel.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:  # it may be stuck in an import of a community's module
            self._process.kill()
            self._process.wait()

    def _receive(self, seconds: float) -> dict[str, Any]:
        self._channel.settimeout(seconds)
        received = self._unread.pop(0) if self._unread else self._channel.recv(LARGEST_MESSAGE_BYTES)
        message: dict[str, Any] = json.loads(received or b"{}")
        if "error" in message:
            raise ZygoteError(str(message["error"]))
        if not message:
            raise ZygoteError("it has ended")
        return message
