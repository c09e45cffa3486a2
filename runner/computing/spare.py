"""A wrapper's process that waits for its job: forked ahead by the zygote, so that a start waits for no fork.

It has left everything of the zygote's behind, but for one socket, on which it is given a job once,
or told by its end to go. No job's time runs before: the life of a wrapper counts from the moment
at which it is given its job.
"""

import contextlib
import json
import os
import select
import socket
from dataclasses import asdict, dataclass

#: How long the end of a spare is awaited that was told to go.
END_SECONDS = 1.0
LARGEST_MESSAGE_BYTES = 1 << 16


@dataclass(frozen=True)
class Assignment:
    """What a wrapper is given: its script, where its output goes, and when that was (CLOCK_BOOTTIME)."""

    script: str
    log: str
    start_boottime_ns: int


@dataclass(frozen=True)
class Spare:
    """The zygote's handle on one that waits."""

    pid: int
    line: socket.socket

    def employ(self, assignment: Assignment) -> bool:
        """Give it its job; False when it does not live any more."""
        with self.line:
            try:
                self.line.send(json.dumps(asdict(assignment)).encode())
            except OSError:
                return False
        return True

    def dismiss(self) -> None:
        """Let it go, and see it end."""
        self.line.close()
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                select.select([handle], [], [], END_SECONDS)
            finally:
                os.close(handle)


def wait_for_job(line: socket.socket) -> Assignment | None:
    """In the spare: wait for its job; None when there will be none."""
    with line:
        try:
            message = line.recv(LARGEST_MESSAGE_BYTES)
        except ConnectionError:
            return None
    return Assignment(**json.loads(message)) if message else None
