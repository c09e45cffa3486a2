"""Health: whether this process can do its work now, and if not, why. Asked by load balancers, without a token.

Everybody may read the answer, so that it names no path and no driver's words; those go to the log.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from runner.errors import ConfigError
from runner.server.db.versions import check
from runner.server.services.context import ServiceContext

LOGGER = logging.getLogger("jobspan.wms")
OK = "ok"
#: Whoever asks more often gets the last answer again: the question costs a transaction.
FRESH_SECONDS = 1.0
#: A database that does not answer at all must not keep the answer to a probe.
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Problem:
    """What is wrong, for everybody; and the rest of it, for the log."""

    words: str
    detail: str = ""


class Health:
    """Looks at what every call needs. Many may ask; one at a time looks."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._mutex = threading.Lock()
        self._seen: Mapping[str, str] = {"database": "nobody has looked yet"}
        self._begun = self._ended = float("-inf")

    def checks(self) -> Mapping[str, str]:
        """What was looked at: "ok", or in words what is wrong with it. A look that takes too long is such a thing."""
        if self._mutex.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._mutex.release()
        return self.last_checks()

    def last_checks(self) -> Mapping[str, str]:
        """What the last look has found; waits for nothing."""
        seen = dict(self._seen)
        under_way_seconds = time.monotonic() - self._begun if self._begun > self._ended else 0.0
        if under_way_seconds >= PATIENCE_SECONDS:
            seen["database"] = f"no answer for {under_way_seconds:.0f} s"
        return {**seen, "server": "it was told to stop" if self._context.is_stopping else OK}

    def _look(self) -> None:
        if time.monotonic() - self._ended < FRESH_SECONDS:
            return
        self._begun = time.monotonic()
        try:
            looks: dict[str, Callable[[], Problem | None]] = {
                "database": self._database,
                "schema": self._schema,
                "sandboxes": self._sandboxes,
                "disk": self._disk,
            }
            found = {name: look() for name, look in looks.items()}
            self._tell({name: problem for name, problem in found.items() if problem})
            self._seen = {name: problem.words if problem else OK for name, problem in found.items()}
        finally:
            self._ended = time.monotonic()

    def _tell(self, problems: Mapping[str, Problem]) -> None:
        """Log what is new; whoever asks, asks every few seconds."""
        for name, problem in problems.items():
            if self._seen.get(name) != problem.words:
                LOGGER.warning("not ready: %s: %s %s", name, problem.words, problem.detail)
        if not problems and any(words != OK for words in self._seen.values()):
            LOGGER.info("is ready")

    def _database(self) -> Problem | None:
        """A writer's turn is asked for and given back."""
        try:
            with self._context.databases.write() as transaction:
                transaction.connection.scalar(select(1))  # a connection alone may be one of before
                return None
        except SQLAlchemyError as error:
            return Problem("cannot be written", _reason(error))

    def _schema(self) -> Problem | None:
        try:
            with self._context.databases.read() as transaction:
                check(transaction.connection)
        except ConfigError as error:
            return Problem(str(error))
        except SQLAlchemyError as error:
            return Problem("cannot be read", _reason(error))
        return None

    def _sandboxes(self) -> Problem | None:
        found = self._context.contents.problem()
        return Problem(*found) if found else None

    def _disk(self) -> Problem | None:
        least = self._context.settings.minimum_disk_bytes
        folder = self._context.settings.folder
        places = {folder, self._context.contents.folder or folder}
        return next(filter(None, (_shortage(place, least) for place in sorted(places))), None)


def _shortage(place: Path, least_bytes: int) -> Problem | None:
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        return Problem("cannot be looked at", f"{place}: {error.strerror}")
    if free_bytes >= least_bytes:
        return None
    words = f"{free_bytes >> 20} MiB free, less than MinDiskSpace ({least_bytes >> 20} MiB)"
    return Problem(words, str(place))


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words; SQLAlchemy's would carry the statement."""
    return str(getattr(error, "orig", None) or type(error).__name__)
