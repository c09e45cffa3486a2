"""Work that a Kill can interrupt: it runs in a thread, and who waits for it is woken by the end of either."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from runner.process.cancel import Cancel, Cancelled
from telemetry.facts import KillRequested

T = TypeVar("T")


class Interruptible:
    """Runs blocking calls (transfers, waits for the WMS) for one job.

    When the job is told to stop, the caller goes on at once with `Cancelled`; the thread is left
    behind. It is a daemon and must touch nothing but the job's own folder.
    """

    def __init__(self, cancel: Cancel) -> None:
        self._cancel = cancel
        self._changed = threading.Condition()
        self._cancelled_at: float | None = None
        cancel.on_request(self._wake)

    def __call__(self, work: Callable[[], T]) -> T:
        """The result of *work*, or what it raises.

        Raises:
            Cancelled: the job was told to stop, before or meanwhile.
        """
        return self.run(work, lambda: self._cancelled_at)

    def patient(self, seconds: float) -> "Patient":
        """A runner that, when the job is told to stop, still waits *seconds*, counted from now or from then."""
        return Patient(self, seconds)

    def run(self, work: Callable[[], T], give_up_at: Callable[[], float | None]) -> T:
        """As `__call__`; gives up when the monotonic time that *give_up_at* tells, if any, has come."""
        self.check(give_up_at)
        box = _Box(work, self._changed)
        threading.Thread(target=box.run, name="interruptible", daemon=True).start()
        with self._changed:
            while not box.done:
                limit = give_up_at()
                left = None if limit is None else limit - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
        if box.done:
            return box.result()
        raise self._cancelled()

    def check(self, give_up_at: Callable[[], float | None]) -> None:
        """Raise `Cancelled` if the time to give up has come."""
        limit = give_up_at()
        if limit is not None and limit <= time.monotonic():
            raise self._cancelled()

    @property
    def cancelled_at(self) -> float | None:
        """When the job was told to stop, by the monotonic clock."""
        return self._cancelled_at

    def _cancelled(self) -> Cancelled:
        cause = self._cancel.cause
        return Cancelled(cause or KillRequested(origin="wrapper", reason="told to stop"))

    def _wake(self, _: KillRequested) -> None:
        with self._changed:
            self._cancelled_at = time.monotonic()
            self._changed.notify_all()


class Patient:
    """Runs what should still be done for a job that was told to stop: a short, bounded upload of what exists."""

    def __init__(self, interruptible: Interruptible, seconds: float) -> None:
        self._interruptible = interruptible
        self._seconds = seconds
        self._since = time.monotonic()

    def __call__(self, work: Callable[[], T]) -> T:
        """The result of *work*, or what it raises.

        Raises:
            Cancelled: the patience is over.
        """
        return self._interruptible.run(work, self._give_up_at)

    def check(self) -> None:
        """Raise `Cancelled` if the patience is over."""
        self._interruptible.check(self._give_up_at)

    def _give_up_at(self) -> float | None:
        cancelled_at = self._interruptible.cancelled_at
        return None if cancelled_at is None else max(cancelled_at, self._since) + self._seconds


class _Box(Generic[T]):
    """Carries a result, or an exception, from one thread to another."""

    def __init__(self, work: Callable[[], T], changed: threading.Condition) -> None:
        self._work = work
        self._changed = changed
        self._results: list[T] = []
        self._error: BaseException | None = None
        self.done = False

    def run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self._error = error
        with self._changed:
            self.done = True
            self._changed.notify_all()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]
