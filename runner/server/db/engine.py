"""Connections and transactions: one reader or writer at a time each, decided when it begins.

SQLite: WAL, so that readers never wait; writers begin IMMEDIATE and queue at a lock of this
process, because SQLite's own queue is a back-off by sleeping (a plain server has a 99th percentile
of 182 ms with 8 clients there). A `durable` transaction is on the disk when it returns; any other
survives the death of the process, not of the machine.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect

from runner.server.db.accounting_db import AccountingDB
from runner.server.db.auth_db import AuthDB
from runner.server.db.elastic_job_parameters_db import ElasticJobParametersDB
from runner.server.db.file_catalog_db import FileCatalogDB
from runner.server.db.file_status_db import FileStatusDB
from runner.server.db.job_attempts_db import JobAttemptsDB
from runner.server.db.job_commands_db import JobCommandsDB
from runner.server.db.job_db import JobDB
from runner.server.db.job_logging_db import JobLoggingDB
from runner.server.db.leases_db import LeasesDB
from runner.server.db.pilot_agents_db import PilotAgentsDB
from runner.server.db.registry_db import RegistryDB
from runner.server.db.requests_db import RequestsDB
from runner.server.db.sandbox_metadata_db import SandboxMetadataDB
from runner.server.db.schema import METADATA
from runner.server.db.system_db import SystemDB

BUSY_TIMEOUT_SECONDS = 10.0


class Transaction:
    """All databases, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @cached_property
    def jobs(self) -> JobDB:
        """Jobs and their descriptions."""
        return JobDB(self.connection)

    @cached_property
    def attempts(self) -> JobAttemptsDB:
        """Attempts of jobs."""
        return JobAttemptsDB(self.connection)

    @cached_property
    def commands(self) -> JobCommandsDB:
        """Commands for attempts."""
        return JobCommandsDB(self.connection)

    @cached_property
    def logging(self) -> JobLoggingDB:
        """History of statuses."""
        return JobLoggingDB(self.connection)

    @cached_property
    def parameters(self) -> ElasticJobParametersDB:
        """Job parameters."""
        return ElasticJobParametersDB(self.connection)

    @cached_property
    def pilots(self) -> PilotAgentsDB:
        """Pilots, and which job runs in which."""
        return PilotAgentsDB(self.connection)

    @cached_property
    def sandboxes(self) -> SandboxMetadataDB:
        """Sandboxes and the jobs that they belong to."""
        return SandboxMetadataDB(self.connection)

    @cached_property
    def accounting(self) -> AccountingDB:
        """Accounting records."""
        return AccountingDB(self.connection)

    @cached_property
    def catalog(self) -> FileCatalogDB:
        """Files and replicas."""
        return FileCatalogDB(self.connection)

    @cached_property
    def leases(self) -> LeasesDB:
        """Who does what must be done by one process only."""
        return LeasesDB(self.connection)

    @cached_property
    def requests(self) -> RequestsDB:
        """Combined requests."""
        return RequestsDB(self.connection)

    @cached_property
    def file_status(self) -> FileStatusDB:
        """What became of the files of productions."""
        return FileStatusDB(self.connection)

    @cached_property
    def auth(self) -> AuthDB:
        """Logins, sessions and the audit log."""
        return AuthDB(self.connection)

    @cached_property
    def registry(self) -> RegistryDB:
        """Users and their groups."""
        return RegistryDB(self.connection)

    @cached_property
    def system(self) -> SystemDB:
        """Facts about this WMS itself."""
        return SystemDB(self.connection)


class Databases:
    """The databases of one WMS."""

    def __init__(self, path: Path) -> None:
        """Open the file *path*, and make what is not there yet."""
        self._relaxed = _engine(path, "NORMAL")
        self._durable = _engine(path, "FULL")
        self._writer = threading.Lock()
        with self._durable.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            METADATA.create_all(connection)
            _add_columns(connection)
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A view of one moment; it never waits for writers."""
        with self._relaxed.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield Transaction(connection)
            finally:
                connection.rollback()

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Transaction]:
        """Changes that happen all or not at all; *durable*: forced to the disk before this returns."""
        engine = self._durable if durable else self._relaxed
        with self._writer, engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield Transaction(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def close(self) -> None:
        """Let go of all connections."""
        self._relaxed.dispose()
        self._durable.dispose()


def _add_columns(connection: Connection) -> None:
    """Give the tables of an earlier version the columns that were added since; those are always nullable."""
    inspector = inspect(connection)
    for table in METADATA.sorted_tables:
        present = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in present:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {kind}')


def _engine(path: Path, synchronous: str) -> Engine:
    engine = create_engine(
        f"sqlite+pysqlite:///{path}",
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        pool_size=8,
        max_overflow=56,
        hide_parameters=True,  # they would stand in logs
        pool_reset_on_return=None,  # every transaction above ends explicitly
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours: the driver would begin DEFERRED, and too late
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine
