"""Connections: how each kind of database is set up, and which of its errors pass.

SQLite: WAL, so that readers never wait. A commit survives the death of the process; that of the machine
only after a sync (`shared_sync`).
MariaDB, MySQL, PostgreSQL: writers run at READ COMMITTED and lock the rows that they decide by;
readers see one moment (REPEATABLE READ). Times are whole numbers, so sessions' zones do not matter.
"""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError

from runner.errors import ConfigError
from runner.server.db.address import DatabaseAddress

BUSY_TIMEOUT_SECONDS = 10.0
CONNECT_SECONDS = 5
LOCK_SECONDS = 10
STATEMENT_SECONDS = 60
#: Proxies and servers drop connections that are idle for long.
RECYCLE_SECONDS = 1800
#: A connection that has worked so lately is taken as it is. Any other is asked first whether its server is still there:
#: to ask for every transaction would be one more way there and back.
FRESH_SECONDS = 5.0
_LAST_USE = "jobspan.last_use"
#: The longest text that GROUP_CONCAT makes; what is beyond it would be cut without a word.
LONGEST_LIST_BYTES = 1 << 24

_MYSQL_SESSION = (
    f"SET SESSION innodb_lock_wait_timeout = {LOCK_SECONDS}, group_concat_max_len = {LONGEST_LIST_BYTES}, "
    "sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
)
_CONNECT = {
    "pymysql": {
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": STATEMENT_SECONDS,
        "write_timeout": STATEMENT_SECONDS,
        "init_command": _MYSQL_SESSION,
    },
    "psycopg": {
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "jobspan",
        "options": f"-c lock_timeout={LOCK_SECONDS}s -c statement_timeout={STATEMENT_SECONDS}s -c timezone=UTC",
    },
}
#: Deadlock, lock wait timeout, and a row that changed since a snapshot was taken; a key that somebody else just made.
_MYSQL_PASSING = frozenset({1213, 1205, 1020})
_MYSQL_TAKEN = 1062
#: Serialization failure, deadlock, lock not available; unique violation.
_POSTGRESQL_PASSING = frozenset({"40001", "40P01", "55P03"})
_POSTGRESQL_TAKEN = "23505"


@dataclass(frozen=True)
class Engines:
    """Pools of connections: for looking, and for changes."""

    reading: Engine
    writing: Engine

    def close(self) -> None:
        """Let go of all connections."""
        for engine in (self.reading, self.writing):
            engine.dispose()


def open_engines(address: DatabaseAddress, connections: int) -> Engines:
    """Pools for *address*, on a server of at most *connections* each for looking and for changes."""
    if address.is_sqlite:
        both = _sqlite(address)
        return Engines(both, both)
    writing = _server(address, "READ COMMITTED", connections)
    return Engines(_server(address, "REPEATABLE READ", connections), writing)


def is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is tried again: a deadlock, a race, a lost connection."""
    if error.connection_invalidated:
        return True
    state, number = getattr(error.orig, "sqlstate", None), _number(error)
    if isinstance(error, IntegrityError):
        return state == _POSTGRESQL_TAKEN or number == _MYSQL_TAKEN
    return state in _POSTGRESQL_PASSING or number in _MYSQL_PASSING


def check_server(connection: Connection) -> None:
    """A PostgreSQL database must hold any text, and sort it as the other databases do.

    Raises:
        ConfigError: it does not.
    """
    if connection.dialect.name != "postgresql":
        return
    found = connection.exec_driver_sql(
        "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
    ).one()
    if found[0] != "UTF8" or found[1].partition(".")[0] not in ("C", "POSIX"):
        raise ConfigError(
            f"the PostgreSQL database has encoding {found[0]} and collation {found[1]}; make it with: "
            "CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        )


def _number(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _server(address: DatabaseAddress, isolation: Any, connections: int) -> Engine:
    engine = create_engine(
        address.url,
        isolation_level=isolation,
        connect_args=_CONNECT[address.url.get_driver_name()],
        pool_size=connections,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_SECONDS,
        pool_recycle=RECYCLE_SECONDS,
        pool_reset_on_return=None,  # every transaction ends explicitly
        hide_parameters=True,  # they would stand in logs
    )

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info[_LAST_USE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _check(connection: Any, record: Any, _proxy: Any) -> None:
        last = record.info.get(_LAST_USE)  # none: it was made just now
        if last is None or time.monotonic() - last < FRESH_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:  # each driver has errors of its own; none of them is swallowed
            raise InvalidatePoolError from error  # the server was started again: all connections are made anew

    return engine


def _sqlite(address: DatabaseAddress) -> Engine:
    engine = create_engine(
        address.url,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        pool_size=8,
        max_overflow=56,
        hide_parameters=True,
        pool_reset_on_return=None,  # every transaction ends explicitly
    )

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours: the driver would begin DEFERRED, and too late
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine
