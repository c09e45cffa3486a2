"""Telling a wrapper something: one line of JSON to `control.sock` in its control folder, one line back."""

import contextlib
import json
import os
import socket
from pathlib import Path

from runner.errors import UnavailableError

SOCKET_NAME = "control.sock"
LARGEST_ANSWER_BYTES = 4096


def order(control: Path, command: str, reason: str, timeout_seconds: float = 2.0) -> bool:
    """Give the wrapper of *control* a command; whether it has accepted.

    Raises:
        UnavailableError: it does not listen (not yet, or no more).
    """
    message = json.dumps({"command": command, "reason": reason}).encode() + b"\n"
    try:
        # A socket's address holds 107 bytes; through /proc the folder may lie as deep as it likes.
        folder = os.open(control, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(timeout_seconds)
                line.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
                line.sendall(message)
                answer = json.loads(_read_line(line))
        finally:
            os.close(folder)
    except OSError as error:
        raise UnavailableError(f"the wrapper of {control.parent.name} does not listen: {error}") from error
    except ValueError as error:
        raise UnavailableError(f"the wrapper of {control.parent.name} answers nonsense") from error
    return isinstance(answer, dict) and answer.get("accepted") is True


def _read_line(line: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(TimeoutError):
        while b"\n" not in data and len(data) < LARGEST_ANSWER_BYTES:
            piece = line.recv(LARGEST_ANSWER_BYTES)
            if not piece:
                break
            data += piece
    return data
