"""The databases that a benchmark of the WMS is run on: SQLite, and MariaDB where that is installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.components import COMPONENTS
from tests.support.databases import MariaDB


def kinds() -> tuple[str, ...]:
    """What can be had here."""
    return ("sqlite",) if COMPONENTS["mariadb"]() else ("sqlite", "mariadb")


@contextmanager
def a_database(kind: str) -> Iterator[str]:
    """Its URL; empty for SQLite, which lies in the WMS's folder. MariaDB is durable: every commit is on the disk."""
    if kind == "sqlite":
        yield ""
        return
    server = MariaDB(options=("--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=1"), on_disk=True)
    try:
        yield server.fresh()
    finally:
        server.close()
