"""What the watchdog asks the starter about the payload's use of resources, and when it need not ask."""

import socket
import struct
import threading
import time
from pathlib import Path
from typing import Literal

from runner.process.wire import READING_BYTES, unpack_reading
from telemetry.measure.files import KernelFiles
from telemetry.measure.snapshot import UsageReading

#: Longest wait for an answer that costs the starter some milliseconds; then it is looked at.
ANSWER_SECONDS = 2.0
#: What of a control group changes, to the microsecond, whenever a process in it has run.
_CLOCKS = {"cgroup2": "cpu.stat", "cgroup1": "cpuacct.usage"}
#: What the kernel does to a payload that does not run (reclaiming memory, writing back) shows so late at most.
_LONGEST_TRUST_SECONDS = 15.0


class Questions:
    """Asks for readings over *line*; may be used by any thread.

    As long as the control group's CPU time stands still none of its processes has run: nothing was forked, ended,
    allocated, read or written, and the last answer holds. To see that takes one system call here, where a question
    wakes up another process.
    """

    def __init__(self, line: socket.socket) -> None:
        """Nothing was asked yet."""
        # The kernel's own timeout: a socket with one of Python's is polled before each call.
        for timeout in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            line.setsockopt(socket.SOL_SOCKET, timeout, struct.pack("@ll", int(ANSWER_SECONDS), 0))
        self.line = line
        self._mutex = threading.Lock()
        self.asked = 0
        #: Questions that have had no answer since the last that had one.
        self.unanswered = 0
        self._clock: tuple[KernelFiles, str] | None = None
        self._last: tuple[bytes, float, UsageReading] | None = None

    def know_groups(self, method: str, paths: tuple[str, ...]) -> None:
        """The payload is measured by *method* in the control groups *paths*, that of CPU first."""
        if method in _CLOCKS and paths:
            self._clock = KernelFiles(Path(paths[0])), _CLOCKS[method]

    def ask(self, depth: Literal["", "deep", "pss"]) -> UsageReading | None:
        """The use of resources up to now; None when nobody answers."""
        with self._mutex:
            ticks = self._clock[0].read(self._clock[1]) if self._clock else None
            now = time.monotonic()
            if not depth and self._last is not None and ticks == self._last[0]:
                _, at, reading = self._last
                if now < at + _LONGEST_TRUST_SECONDS:
                    return reading
            found = self._answer(depth)
            # What ran between our look and the answer is seen by the next look.
            self._last = (ticks, now, found) if ticks and found else None
            return found

    def close(self) -> None:
        """Let go of the line. Idempotent."""
        with self._mutex:
            self.line.close()
            if self._clock:
                self._clock[0].close()
            self._clock = self._last = None

    def _answer(self, depth: str) -> UsageReading | None:
        self.asked += 1
        question = f"{self.asked} {depth}".strip().encode()
        try:
            self.line.send(question)
            while packet := self.line.recv(READING_BYTES):
                answered, reading = unpack_reading(packet)
                if answered == question:  # else of a question that was given up
                    self.unanswered = 0
                    return reading
        except OSError:
            self.unanswered += 1
        return None
