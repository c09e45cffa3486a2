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


class Health:
    """Looks at what every call needs."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._mutex = threading.Lock()
        self._seen: Mapping[str, str] = {}
        self._seen_at = float("-inf")

    def checks(self) -> Mapping[str, str]:
        """What was looked at: "ok", or in words what is wrong with it."""
        with self._mutex:
            if time.monotonic() - self._seen_at >= FRESH_SECONDS:
                looks: dict[str, Callable[[], str]] = {
                    "database": self._database,
                    "schema": self._schema,
                    "sandboxes": self._sandboxes,
                    "disk": self._disk,
                }
                self._seen = {name: look() or OK for name, look in looks.items()}
                self._seen_at = time.monotonic()
        return {**self._seen, "server": "it was told to stop" if self._context.is_stopping else OK}

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
