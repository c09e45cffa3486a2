"""The one way in which a job is told to stop: the first cause wins and is never overwritten."""

import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from telemetry.bus import Emit
from telemetry.facts import KillRequested

Origin: TypeAlias = Literal["user", "watchdog", "signal", "fence", "wrapper", "recovery"]


class Cancelled(BaseException):
    """The job was told to stop while this ran. Not an `Exception`, so that no handler eats it by accident."""

    def __init__(self, cause: KillRequested) -> None:
        super().__init__(f"{cause.origin}: {cause.reason}")
        self.cause = cause


class Cancel:
    """Shared by all threads of a wrapper: who asks for the end, and who waits for it."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._mutex = threading.Lock()
        self._event = threading.Event()
        self._callbacks: list[Callable[[KillRequested], None]] = []
        self._cause: KillRequested | None = None
        self._origins: frozenset[Origin] = frozenset()

    @property
    def cause(self) -> KillRequested | None:
        """Why the job must end; None while it may go on."""
        return self._cause

    def request(self, origin: Origin, reason: str) -> bool:
        """Ask for the end; *reason* is the minor status or a sentence. False when somebody was first."""
        cause = KillRequested(origin=origin, reason=reason)
        with self._mutex:
            self._origins |= {origin}
            if self._cause is not None:
                return False
            self._cause = cause
            callbacks = tuple(self._callbacks)
        try:
            self._emit(cause)
        finally:  # a full disk may keep the fact out of the journal, but not the job from being stopped
            self._event.set()
            for callback in callbacks:
                callback(cause)
        return True

    def said(self, origin: Origin) -> bool:
        """Whether *origin* asked for the end, first or later: after "user" and "fence" no status is ours to set."""
        return origin in self._origins

    def on_request(self, callback: Callable[[KillRequested], None]) -> None:
        """Call *callback* once, when the end is asked for; at once if it was already. It must not block."""
        with self._mutex:
            cause = self._cause
            if cause is None:
                self._callbacks.append(callback)
        if cause is not None:
            callback(cause)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the end is asked for, at most *timeout_seconds*; whether it was."""
        return self._event.wait(timeout_seconds)

    def check(self) -> None:
        """Raise `Cancelled` if the end was asked for."""
        if self._cause is not None:
            raise Cancelled(self._cause)
