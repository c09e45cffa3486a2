"""The database in which everything is compared: DuckDB, within its limits."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb

from telemetry.reconcile.settings import Engine

Row = tuple[Any, ...]


class Workbench:
    """One connection. Tables live in memory as far as the limit allows, then in the engine's folder."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, engine: Engine) -> None:
        self._connection = connection
        self.engine = engine

    def run(self, statement: str) -> None:
        """Execute *statement*."""
        self._connection.execute(statement)

    def rows(self, query: str) -> list[Row]:
        """All rows of *query*; for results that are small."""
        return self._connection.execute(query).fetchall()

    def stream(self, query: str, size: int = 1000) -> Iterator[Row]:
        """The rows of *query*, however many, *size* of them at a time; others may be asked for meanwhile."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(size):
                yield from rows

    def one(self, query: str) -> Row:
        """The only row of *query*."""
        (row,) = self.rows(query)
        return row

    def value(self, query: str) -> Any:
        """The only value of *query*."""
        return self.one(query)[0]

    def columns(self, relation: str) -> dict[str, str]:
        """Columns of *relation* (a table, or something that can stand after FROM), and their types."""
        return {str(each[0]): str(each[1]) for each in self.rows(f"DESCRIBE SELECT * FROM {relation}")}


@contextmanager
def open_workbench(engine: Engine) -> Iterator[Workbench]:
    """A fresh database; what it has spilled is removed with it."""
    engine.folder.mkdir(parents=True, exist_ok=True)
    options: Mapping[str, str | int | bool] = {
        "memory_limit": engine.memory,
        "threads": engine.threads,
        "temp_directory": str(engine.folder / "spill"),
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=dict(options)) as connection:
        # After opening: an extension that comes with the library, and is loaded then, has the first.
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        yield Workbench(connection, engine)
