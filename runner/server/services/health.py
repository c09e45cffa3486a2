"""Health: whether this process can do its work now, and if not, why. Asked by load balancers, without a token."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from runner.errors import ConfigError
from runner.server.services.context import ServiceContext

OK = "ok"
#: Whoever asks more often gets the last answer again: the question costs a transaction.
FRESH_SECONDS = 1.0
#: A database that does not answer at all must not keep the answer to a probe.
PATIENCE_SECONDS = 3.0


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
            looks: dict[str, Callable[[], str]] = {
                "database": self._database,
                "schema": self._schema,
                "sandboxes": self._sandboxes,
                "disk": self._disk,
            }
            self._seen = {name: look() or OK for name, look in looks.items()}
        finally:
            self._ended = time.monotonic()

    def _database(self) -> str:
        """A writer's turn is asked for and given back."""
        try:
            with self._context.databases.write():
                return ""
        except SQLAlchemyError as error:
            return f"cannot be written: {_reason(error)}"

    def _schema(self) -> str:
        try:
            with self._context.databases.read() as transaction:
                transaction.system.check_version()
        except ConfigError as error:
            return str(error)
        except SQLAlchemyError as error:
            return f"cannot be read: {_reason(error)}"
        return ""

    def _sandboxes(self) -> str:
        folder = self._context.settings.sandboxes
        if not folder.is_dir():
            return f"{folder} is not there"
        return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written"

    def _disk(self) -> str:
        least = self._context.settings.minimum_disk_bytes
        places = {self._context.settings.folder, self._context.settings.sandboxes}
        return "; ".join(filter(None, (_shortage(place, least) for place in sorted(places))))


def _shortage(place: Path, least_bytes: int) -> str:
    try:
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        return f"{place}: {error.strerror}"
    if free_bytes >= least_bytes:
        return ""
    return f"{free_bytes >> 20} MiB free for {place}, less than MinDiskSpace ({least_bytes >> 20} MiB)"


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words; SQLAlchemy's would carry the statement."""
    return str(getattr(error, "orig", None) or type(error).__name__)
