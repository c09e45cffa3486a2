"""The threads that take received jobs through the optimizers: one for our own steps, one for those of others."""

import logging
import threading

from sqlalchemy.exc import DataError, SQLAlchemyError

from runner.server.errors import DatabaseAwayError
from runner.server.inbox import Handed, Inbox
from runner.server.services.context import ServiceContext
from runner.server.services.optimization_mind import Advanced, OptimizationMind
from telemetry.clock import NANOSECONDS

#: So many jobs are written in one transaction: as many milliseconds others wait for their turn.
BATCH = 8
#: Looks for jobs that another server has left on their way, and for those that are on hold.
LOOK_SECONDS = 5.0
#: Pause after an error of the database.
ERROR_SECONDS = 1.0
log = logging.getLogger("jobspan.wms")


class OptimizerThreads:
    """Attends the inbox of received jobs. What was on its way when an earlier server ended comes first."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._mind = OptimizationMind(context)
        self._slow = Inbox()
        self._ended = threading.Event()
        self._held: dict[int, int] = {}
        self._in_slow_hands: set[int] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(inbox, slowly), name=name, daemon=True)
            for inbox, slowly, name in ((context.received, False, "optimizers"), (self._slow, True, "slow-optimizers"))
        ]

    def start(self) -> None:
        """Begin, with what is left from before."""
        self._mind.adopt()
        for inbox in (self._context.received, self._slow):
            inbox.attend(True)
        self._context.received.put(self._mind.left(self._context.now_ns()))
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """End after what is being looked at; the rest stands in the database."""
        self._ended.set()
        for inbox in (self._context.received, self._slow):
            inbox.attend(False)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_seconds)

    def _run(self, inbox: Inbox, slowly: bool) -> None:
        while not self._ended.is_set():
            handed = inbox.take(1 if slowly else BATCH, LOOK_SECONDS)
            try:
                if handed:
                    self._take_on(handed, slowly)
                elif not slowly:
                    inbox.put(self._overlooked())
            except Exception as error:  # noqa: BLE001 - a full disk or a busy database passes; the thread must outlive it
                self._stumbled(inbox, handed, error)
            finally:
                inbox.done(handed)
                if slowly:
                    self._in_slow_hands.difference_update(each.number for each in handed)

    def _take_on(self, handed: list[Handed], slowly: bool) -> None:
        """All at once; if that breaks, each by itself, and a job that breaks it alone has failed.

        Raises:
            SQLAlchemyError, DatabaseAwayError, OSError, MemoryError: these are no job's fault.
        """
        try:
            self._follow(self._advance(handed, slowly))
        except DataError as error:  # the one error of a database that is about what it was given
            self._apart(handed, slowly, error)
        except (SQLAlchemyError, DatabaseAwayError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug that one description meets must not hold up the others
            self._apart(handed, slowly, error)

    def _apart(self, handed: list[Handed], slowly: bool, error: Exception) -> None:
        if len(handed) == 1:
            self._mind.give_up(handed[0].number, error)
            return
        for each in handed:
            self._take_on([each], slowly)

    def _advance(self, handed: list[Handed], slowly: bool) -> Advanced:
        numbers = [each.number for each in handed]
        return self._context.databases.repeated(lambda: self._mind.advance(numbers, slowly=slowly))

    def _follow(self, advanced: Advanced) -> None:
        now_ns = self._context.clock.boottime_ns()
        for job_id, seconds in advanced.held.items():
            self._held[job_id] = now_ns + round(seconds * NANOSECONDS)
        self._in_slow_hands.update(advanced.slow)
        self._slow.put(advanced.slow)

    def _overlooked(self) -> list[int]:
        """Jobs that are not through although nobody has them in hand, and those whose hold is over."""
        now_ns = self._context.clock.boottime_ns()
        self._held = {job_id: until_ns for job_id, until_ns in list(self._held.items()) if until_ns > now_ns}
        before_ns = self._context.now_ns() - round(LOOK_SECONDS * NANOSECONDS)
        return [
            each for each in self._mind.left(before_ns) if each not in self._held and each not in self._in_slow_hands
        ]

    def _stumbled(self, inbox: Inbox, handed: list[Handed], error: Exception) -> None:
        log.error("optimizing %d jobs failed: %s: %s", len(handed), type(error).__name__, error)
        self._ended.wait(ERROR_SECONDS)
        inbox.put(each.number for each in handed)
