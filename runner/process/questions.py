"""What the watchdog asks the starter about the payload's use of resources, and when it need not ask."""

import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.process.wire import READING_BYTES, pack_question, unpack_reading
from telemetry.clock import NANOSECONDS, Clock
from telemetry.measure.files import KernelFiles
from telemetry.measure.snapshot import UsageReading
from telemetry.measure.stillness import Marks, RunCounters

#: Longest wait for an answer that costs the starter some milliseconds; then it is looked at.
ANSWER_SECONDS = 2.0
#: What of a control group changes, to the microsecond, whenever a process in it has run.
_CLOCKS = {"cgroup2": "cpu.stat", "cgroup1": "cpuacct.usage"}
#: What the kernel does to a payload that does not run (reclaiming memory, writing back) shows so late at most.
_LONGEST_TRUST_SECONDS = 15.0


@dataclass
class _LastAnswer:
    """A reading, and by what it is seen whether it still holds."""

    reading: UsageReading
    at_ns: int
    #: Until when it was found to hold.
    still_until_ns: int
    #: Of the control group, read before the question; None: there is none.
    ticks: bytes | None
    #: Of each process, where there is no group.
    marks: Marks


class Questions:
    """Asks for readings over *line*; may be used by any thread.

    As long as no process of the payload has run, nothing was forked, ended, allocated, read or written, and the last
    answer holds. To see that takes one system call here (by the group's CPU time), or one for each process (by what
    the scheduler counts for it), where a question wakes up another process.
    """

    def __init__(self, line: socket.socket, clock: Clock) -> None:
        """Nothing was asked yet."""
        # The kernel's own timeout: a socket with one of Python's is polled before each call.
        for timeout in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            line.setsockopt(socket.SOL_SOCKET, timeout, struct.pack("@ll", int(ANSWER_SECONDS), 0))
        self.line = line
        self._clock = clock
        self._mutex = threading.Lock()
        self.asked = 0
        #: Questions that have had no answer since the last that had one.
        self.unanswered = 0
        self._group: tuple[KernelFiles, str] | None = None
        self._counters = RunCounters()
        self._last: _LastAnswer | None = None

    def know_groups(self, method: str, paths: tuple[str, ...]) -> None:
        """The payload is measured by *method* in the control groups *paths*, that of CPU first."""
        if method in _CLOCKS and paths:
            self._group = KernelFiles(Path(paths[0])), _CLOCKS[method]

    def ask(self, depth: Literal["", "deep", "pss"]) -> UsageReading | None:
        """The use of resources up to now; None when nobody answers."""
        with self._mutex:
            now_ns = self._clock.boottime_ns()
            # What runs between our look and the answer is seen by the next look.
            ticks = self._group[0].read(self._group[1]) if self._group else None
            last = self._last
            if last is not None and self._is_still(last, ticks):
                last.still_until_ns = now_ns
                if not depth and now_ns - last.at_ns < _LONGEST_TRUST_SECONDS * NANOSECONDS:
                    return last.reading
            return self._answer(depth, now_ns, ticks)

    def close(self) -> None:
        """Let go of the line. Idempotent."""
        with self._mutex:
            self.line.close()
            self._counters.close()
            if self._group:
                self._group[0].close()
            self._group = self._last = None

    def _is_still(self, last: _LastAnswer, ticks: bytes | None) -> bool:
        if ticks is not None:
            return ticks == last.ticks
        return bool(last.marks) and self._counters.read([pid for pid, _ in last.marks]) == last.marks

    def _answer(self, depth: str, now_ns: int, ticks: bytes | None) -> UsageReading | None:
        self.asked += 1
        question = pack_question(self.asked, depth, self._last.still_until_ns if self._last else 0)
        self._last = None
        try:
            self.line.send(question)
            while packet := self.line.recv(READING_BYTES):
                answered, reading, marks = unpack_reading(packet)
                if answered == question:  # else of a question that was given up
                    self.unanswered = 0
                    self._last = _LastAnswer(reading, now_ns, 0, ticks, marks)
                    return reading
        except OSError:
            self.unanswered += 1
        return None
