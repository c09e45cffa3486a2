"""Signals of the agent: handlers only count; the main loop acts."""

import contextlib
import os
import signal
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Counts SIGINT and SIGTERM until it is closed; `fd` becomes readable with each, and when a child ends."""

    def __init__(self) -> None:
        """Install the handlers, also where a signal was inherited as ignored. Main thread only."""
        self.count = 0
        self.fd, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before: dict[signal.Signals, Any] = {number: signal.signal(number, self._count) for number in STOPPING}
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)

    def close(self) -> None:
        """Put everything back as it was."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._writer)

    def clear(self) -> None:
        """Forget what made `fd` readable."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass

    def _count(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signal calls it
        self.count += 1
