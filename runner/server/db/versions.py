"""The version of the tables: made when there are none, refused when it is not ours, upgraded on demand.

Each file of `migrations/versions` is one step, named by its number. A new database gets the tables
as the modules declare them, at once; a test holds that the steps lead to the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select, update

from runner.errors import ConfigError
from runner.server.db.schema import METADATA

STEPS = Path(__file__).with_name("migrations") / "versions"
#: A new database while its tables are being made; whoever finds it goes on with that.
BEGUN = "0000"
#: What a database without a version has: the first release wrote none.
FIRST = "0001"
_LOCK = "jobspan.schema"
_VERSIONS = MetaData()
_VERSION = Table("alembic_version", _VERSIONS, Column("version_num", String(32), primary_key=True))


def known() -> list[str]:
    """All versions, oldest first."""
    return sorted(path.name[1:5] for path in STEPS.glob("v[0-9]*.py"))


def prepare(connection: Connection) -> None:
    """Make the tables of an empty database, and see to it that those of any other are of our version.

    Raises:
        ConfigError: they are older or newer.
    """
    with _alone(connection):
        present = set(inspect(connection).get_table_names())
        if not present & {_VERSION.name, *METADATA.tables}:
            _VERSIONS.create_all(connection)
            connection.execute(insert(_VERSION), {"version_num": BEGUN})
            present = {_VERSION.name}
        version = _present(connection, present)
        if version == BEGUN:
            _make(connection)
        elif version != known()[-1]:
            raise ConfigError(_difference(version))


def check(connection: Connection) -> None:
    """Look at the version without changing anything.

    Raises:
        ConfigError: the tables are of another version, or are not there.
    """
    version = _present(connection, set(inspect(connection).get_table_names()))
    if version != known()[-1]:
        raise ConfigError(_difference(version))


def migrate(connection: Connection) -> tuple[str, str]:
    """Bring the tables to our version; the versions before and after.

    Raises:
        ConfigError: there are none, or they are newer.
    """
    with _alone(connection):
        present = set(inspect(connection).get_table_names())
        if not present & {_VERSION.name, *METADATA.tables}:
            raise ConfigError("the database is empty: there is nothing to migrate, and the WMS makes its tables itself")
        before = _present(connection, present)
        if before == BEGUN:
            _make(connection)
        elif before not in ("", *known()):
            raise ConfigError(_difference(before))
        elif not before:
            _adopt(connection)
        run_steps(connection)
    return before or "none", known()[-1]


def _make(connection: Connection) -> None:
    """All tables as the modules declare them; those that are there stay."""
    METADATA.create_all(connection)
    connection.execute(update(_VERSION), {"version_num": known()[-1]})


def _present(connection: Connection, tables: set[str]) -> str:
    """The version that is written down; empty when none is."""
    return str(connection.scalar(select(_VERSION.c.version_num)) or "") if _VERSION.name in tables else ""


def _difference(version: str) -> str:
    ours = known()[-1]
    if version in ("", *known()):
        written = f"version {version}" if version else "the first release"
        return (
            f"the database has the tables of {written}, this jobspan needs version {ours}; "
            "stop every WMS on it, make a copy of it, and run: jobspan wms migrate"
        )
    return f"the database has tables of version {version}, newer than this jobspan's {ours}; use the newer jobspan"


def _adopt(connection: Connection) -> None:
    """Take over a database that has no version: its tables, with the columns that came to them (all nullable)."""
    from runner.server.db.migrations.versions.v0001_first_release import TABLES

    TABLES.create_all(connection)
    inspector = inspect(connection)
    for table in TABLES.sorted_tables:
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name not in columns:
                kind = column.type.compile(connection.dialect)
                connection.exec_driver_sql(f'ALTER TABLE {table.name} ADD COLUMN "{column.name}" {kind}')
    _VERSIONS.create_all(connection)
    connection.execute(insert(_VERSION), {"version_num": FIRST})


def run_steps(connection: Connection) -> None:
    """Every step after the version that is written down; all of them on an empty database."""
    from alembic.operations import Operations  # 0.2 s, for migrations only
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(STEPS.parent, version_locations=[STEPS])

    def steps(revision: Any, _context: Any) -> Sequence[Any]:
        return script._upgrade_revs("head", revision)

    options = {"fn": steps, "target_metadata": METADATA, "render_as_batch": True}
    context = MigrationContext.configure(connection, opts=options)
    with Operations.context(context):
        context.run_migrations()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Nobody else changes the tables meanwhile; what was done is committed."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif dialect == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_lock(hashtext('{_LOCK}'))")
    elif connection.exec_driver_sql(f"SELECT GET_LOCK(LEFT(CONCAT('{_LOCK}.', DATABASE()), 64), 60)").scalar() != 1:
        raise ConfigError("another process changes the tables of the database, and does not end")
    try:
        yield
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    finally:
        if dialect == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_unlock(hashtext('{_LOCK}'))")
        elif dialect != "sqlite":
            connection.exec_driver_sql(f"SELECT RELEASE_LOCK(LEFT(CONCAT('{_LOCK}.', DATABASE()), 64))")
