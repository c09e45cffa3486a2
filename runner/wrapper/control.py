"""How a Kill or a Peek reaches a wrapper: its control socket, and the signals that mean "preempted".

One JSON object a line, one answer a line: ``{"command": "Kill", "reason": "..."}`` ->
``{"accepted": true}``; a Peek is answered with output (`peeking`). The socket lies in the job's
control folder, which only its owner may enter; whoever connects must have our uid or be root. Signal
handlers only queue: Python writes the signal into a socket, and this thread acts.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from runner.job.status import GIVEN_UP, MinorStatus
from runner.process.cancel import Cancel

SOCKET = "control.sock"
_LONGEST_REQUEST = 64 << 10
#: Output as JSON: a control character takes six bytes.
_LONGEST_ANSWER = 4 << 20
_CALLER_SECONDS = 1.0
_PREEMPTING = (signal.SIGTERM, signal.SIGINT)
log = logging.getLogger("jobspan.control")


class ControlServer:
    """Turns commands and signals into `Cancel` requests. A context manager."""

    def __init__(
        self, control: Path, cancel: Cancel, peek: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    ) -> None:
        """Listen in the folder *control*; *peek* answers those who want to see output."""
        self._control = control
        self._peek = peek
        self._cancel = cancel
        self._wake, self._woken = socket.socketpair()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        for each in (self._wake, self._woken, self._listener):
            each.setblocking(False)

    def catch_signals(self) -> None:
        """From now on SIGTERM and SIGINT preempt the job. In the main thread only; explicit, for SIGINT may be
        inherited as ignored."""
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in _PREEMPTING:
            signal.signal(number, _leave_to_the_thread)

    def start(self) -> None:
        """Listen. An older socket of the same name belongs to a dead wrapper: the journal's lock says so."""
        (self._control / SOCKET).unlink(missing_ok=True)
        with _short(self._control) as folder:
            self._listener.bind(f"{folder}/{SOCKET}")
        self._listener.listen(8)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        self._wake.send(b"\0")
        if self._thread.is_alive():
            self._thread.join(2 * _CALLER_SECONDS)
        (self._control / SOCKET).unlink(missing_ok=True)
        for each in (self._wake, self._woken, self._listener):
            each.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select():
                    self._turn(key.fileobj is self._woken)

    def _turn(self, is_wakeup: bool) -> None:
        try:
            if is_wakeup:
                self._signals(self._woken.recv(64))
            else:
                caller, _ = self._listener.accept()
                with caller:
                    self._answer(caller)
        except BlockingIOError:
            return
        except OSError as error:  # the caller went away, or sent nothing in time
            log.info("a call on the control socket failed: %s", error)

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number in _PREEMPTING:
                self._cancel.request("signal", f"preempted by {signal.Signals(number).name}")

    def _answer(self, caller: socket.socket) -> None:
        caller.settimeout(_CALLER_SECONDS)
        _, uid, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        answer: dict[str, Any] = {"accepted": False, "reason": "not allowed"}
        if uid in (0, os.geteuid()):
            answer = self._obey(_line(caller))
        caller.sendall(json.dumps(answer).encode() + b"\n")

    def _obey(self, line: bytes) -> dict[str, Any]:
        try:
            command = json.loads(line)
        except (ValueError, RecursionError):
            command = None
        match command:
            case {"command": "Kill", "reason": str(reason)} if reason in GIVEN_UP:
                self._cancel.request("user", reason)
                return {"accepted": True}
            case {"command": "Kill"}:
                self._cancel.request("user", MinorStatus.RECEIVED_KILL_SIGNAL)
                return {"accepted": True}
            case {"command": "Peek"} if self._peek is not None:
                return self._peek(command)
            case _:
                return {"accepted": False, "reason": 'the commands are {"command": "Kill"} and {"command": "Peek"}'}


def send_command(control: Path, command: Mapping[str, Any], timeout_seconds: float) -> bool:
    """Send *command* to the wrapper whose folder is *control*; whether it was accepted.

    Raises:
        OSError: no wrapper listens there, or it does not answer in time.
    """
    return ask(control, command, timeout_seconds).get("accepted") is True


def ask(control: Path, command: Mapping[str, Any], timeout_seconds: float) -> dict[str, Any]:
    """Send *command* to the wrapper whose folder is *control*; its answer, empty when it makes no sense.

    Raises:
        OSError: no wrapper listens there, or it does not answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller, _short(control) as folder:
        caller.settimeout(timeout_seconds)
        caller.connect(f"{folder}/{SOCKET}")
        caller.sendall(json.dumps(command).encode() + b"\n")
        try:
            answer = json.loads(_line(caller, _LONGEST_ANSWER))
        except (ValueError, RecursionError):
            return {}
    return answer if isinstance(answer, dict) else {}


def _leave_to_the_thread(*_: object) -> None:
    """The handler in Python's sense; what counts is the number in the wakeup socket."""


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A path to *folder* of a few bytes: the address of a socket has room for 107."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _line(connection: socket.socket, longest: int = _LONGEST_REQUEST) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) < longest:
        piece = connection.recv(64 << 10 if longest > _LONGEST_REQUEST else 4096)
        if not piece:
            break
        data += piece
    return bytes(data)
