"""Connections and transactions: what a rule sees and changes, all or nothing.

SQLite has one writer at a time: writers begin IMMEDIATE and take turns within this process, because
SQLite's own queue is a back-off by sleeping (a plain server has a 99th percentile of 182 ms with 8
clients there). On a database server, writers lock the rows that they decide by: the row of a job
stands for everything that belongs to it. A deadlock that is left, and a lost connection, end a
transaction; `Databases.repeated` does the whole call again.
A `durable` transaction is on the disk when it returns (on SQLite it shares that sync with others of its
time); any other survives the death of the process, not of the machine (PostgreSQL: nor of its server;
MariaDB and MySQL: that is the server's setting).
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from runner.server.db.accounting_db import AccountingDB
from runner.server.db.accounting_type_db import AccountingTypeDB
from runner.server.db.address import DatabaseAddress
from runner.server.db.auth_db import AuthDB
from runner.server.db.connections import check_server, is_passing, open_engines
from runner.server.db.elastic_job_parameters_db import ElasticJobParametersDB
from runner.server.db.file_catalog_db import FileCatalogDB
from runner.server.db.file_status_db import FileStatusDB
from runner.server.db.guards_db import GuardsDB
from runner.server.db.job_attempts_db import JobAttemptsDB
from runner.server.db.job_commands_db import JobCommandsDB
from runner.server.db.job_db import JobDB
from runner.server.db.job_logging_db import JobLoggingDB
from runner.server.db.leases_db import LeasesDB
from runner.server.db.opensearch_job_parameters import LaterJobParameters, OpenSearchJobParameters
from runner.server.db.pilot_agents_db import PilotAgentsDB
from runner.server.db.pilots_logging_db import PilotsLoggingDB
from runner.server.db.registry_db import RegistryDB
from runner.server.db.removal import remove_job
from runner.server.db.requests_db import RequestsDB
from runner.server.db.sandbox_metadata_db import SandboxMetadataDB
from runner.server.db.shared_sync import SharedSync, WriteAheadLog
from runner.server.db.site_mask_db import SiteMaskDB
from runner.server.db.system_db import SystemDB
from runner.server.db.targets_db import TargetsDB
from runner.server.db.task_queue_db import TaskQueueDB
from runner.server.db.turn import Turn
from runner.server.db.versions import migrate, prepare

T = TypeVar("T")
#: So often a call is made when deadlocks, races or lost connections end it.
TRIES = 6
#: The pause before the second try; doubled by each, and never the same for two callers.
PAUSE_SECONDS = 0.01
CONNECTIONS = 20


class Transaction:
    """All databases, within one transaction; with *locks*, what is read by its number stays as it is until the end."""

    def __init__(
        self, connection: Connection, *, locks: bool = False, parameters: OpenSearchJobParameters | None = None
    ) -> None:
        self.connection = connection
        self._locks = locks
        self._parameters = parameters
        #: What is done when all has been committed.
        self.later: list[Callable[[], None]] = []

    @cached_property
    def jobs(self) -> JobDB:
        """Jobs and their descriptions."""
        return JobDB(self.connection, locks=self._locks)

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
    def parameters(self) -> ElasticJobParametersDB | LaterJobParameters:
        """Job parameters."""
        if self._parameters is not None:
            return LaterJobParameters(self._parameters, self.later)
        return ElasticJobParametersDB(self.connection)

    def remove_job(self, job_id: int) -> None:
        """Forget the job; what is kept of it elsewhere too, once this has been committed."""
        remove_job(self.connection, job_id)
        if self._parameters is not None:
            self.later.append(partial(self._parameters.forget, job_id))

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
    def guards(self) -> GuardsDB:
        """What is held while something is counted."""
        return GuardsDB(self.connection)

    @cached_property
    def requests(self) -> RequestsDB:
        """Combined requests."""
        return RequestsDB(self.connection, locks=self._locks)

    @cached_property
    def file_status(self) -> FileStatusDB:
        """What became of the files of productions."""
        return FileStatusDB(self.connection)

    @cached_property
    def accounting_types(self) -> AccountingTypeDB:
        """Sums over accounting records."""
        return AccountingTypeDB(self.connection)

    @cached_property
    def pilot_logs(self) -> PilotsLoggingDB:
        """What pilots say, and orders to stop."""
        return PilotsLoggingDB(self.connection)

    @cached_property
    def targets(self) -> TargetsDB:
        """Where metrics are served."""
        return TargetsDB(self.connection)

    @cached_property
    def task_queues(self) -> TaskQueueDB:
        """Where jobs wait, by what they ask for."""
        return TaskQueueDB(self.connection)

    @cached_property
    def site_mask(self) -> SiteMaskDB:
        """Which sites get jobs."""
        return SiteMaskDB(self.connection)

    @cached_property
    def auth(self) -> AuthDB:
        """Logins, sessions and the audit log."""
        return AuthDB(self.connection, locks=self._locks)

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

    def __init__(
        self,
        address: DatabaseAddress,
        connections: int = CONNECTIONS,
        *,
        parameters: OpenSearchJobParameters | None = None,
    ) -> None:
        """Open *address*, and make what is not there yet; of a server at most 2 x *connections* are used.

        *parameters*: where job parameters are kept instead.

        Raises:
            ConfigError: the database is of another version, or cannot hold our texts.
        """
        self._engines = open_engines(address, connections)
        self._is_sqlite = address.is_sqlite
        self._parameters = parameters
        self._turn: AbstractContextManager[None] = Turn() if address.is_sqlite else nullcontext()
        self._sync = SharedSync(WriteAheadLog(address.path).sync) if address.is_sqlite else None
        self._thread = threading.local()
        try:
            with self._engines.writing.connect() as connection:
                check_server(connection)
                connection.rollback()
                prepare(connection)
        except BaseException:
            self.close()
            raise

    @property
    def is_shared(self) -> bool:
        """Whether other processes may serve the same jobs."""
        return not self._is_sqlite

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A view of one moment; it never waits for writers."""
        with self._engines.reading.connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN")
            try:
                yield Transaction(connection, parameters=self._parameters)
            finally:
                connection.rollback()

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Transaction]:
        """Changes that happen all or not at all; *durable*: forced to the disk before this returns."""
        with self._turn, self._engines.writing.connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            elif not durable and connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            transaction = Transaction(connection, locks=True, parameters=self._parameters)
            try:
                yield transaction
            except BaseException:
                connection.rollback()
                raise
            self._thread.commits = self._commits() + 1  # before: nobody knows what became of one that fails
            connection.commit()
        if durable and self._sync is not None:
            self._sync.wait()
        for step in transaction.later:
            step()

    def repeated(self, call: Callable[[], T]) -> T:
        """The result of *call*, made again when an error that passes ends it before anything of it was committed."""
        for number in range(TRIES):
            before = self._commits()
            try:
                return call()
            except DBAPIError as error:
                if not is_passing(error) or self._commits() != before or number == TRIES - 1:
                    raise
            pause_seconds = PAUSE_SECONDS * (1 << number) * (0.5 + secrets.randbelow(1000) / 1000)
            threading.Event().wait(pause_seconds)
        raise AssertionError  # the last try returns or raises

    def close(self) -> None:
        """Let go of all connections."""
        self._engines.close()
        if self._parameters is not None:
            self._parameters.close()

    def _commits(self) -> int:
        """How many transactions this thread has ended with changes."""
        return int(getattr(self._thread, "commits", 0))


def upgrade(address: DatabaseAddress) -> tuple[str, str]:
    """Bring the tables at *address* to our version; the versions before and after.

    Raises:
        ConfigError: there are none, or they are newer.
    """
    engines = open_engines(address, 1)
    try:
        with engines.writing.connect() as connection:
            return migrate(connection)
    finally:
        engines.close()
