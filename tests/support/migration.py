"""Writes the next step of the migrations from what the modules declare: python -m tests.support.migration NAME

Read the step before you keep it: a column that was renamed looks like one that went and one that came. Add it to the
table in `runner/server/db/migrations/versions/__init__.py`, and say in its docstring what it brings.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import alembic.autogenerate.api as autogenerate
from alembic.autogenerate import produce_migrations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from runner.server.db import engine
from runner.server.db.schema import METADATA
from runner.server.db.versions import STEPS, known, run_steps

HEAD = '''"""{name}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    """From {before} to {revision}."""
    {body}
'''


def difference(connection: Connection) -> Any:
    """What would have to be done to the tables of *connection*, for them to be what the modules declare."""
    assert engine.Transaction  # importing it has imported every module with tables
    return produce_migrations(_context(connection), METADATA)


def _context(connection: Connection) -> MigrationContext:
    options = {"compare_type": True, "target_metadata": METADATA, "include_name": _is_ours}
    return MigrationContext.configure(connection, opts=options)


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name in METADATA.tables


@contextmanager
def migrated() -> Iterator[Connection]:
    """An SQLite database to which all steps were done."""
    with create_engine("sqlite://").connect() as connection:
        run_steps(connection)
        yield connection


def main(name: str) -> None:
    """Write the step *name*, if one is needed."""
    with migrated() as connection:
        script = difference(connection)
        if script.upgrade_ops.is_empty():
            print("no step is needed: the tables are what the migrations make")
            return
        body = autogenerate.render_python_code(script.upgrade_ops, migration_context=_context(connection))
    before = known()[-1]
    revision = f"{int(before) + 1:04d}"
    path = STEPS / f"v{revision}_{name}.py"
    text = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("#")).strip()
    path.write_text(HEAD.format(name=name.replace("_", " ").capitalize(), revision=revision, before=before, body=text))
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(path)], check=True)
    print(f"{path}: read it, say what it brings, and name it in {STEPS / '__init__.py'}")


if __name__ == "__main__":
    main(sys.argv[1])
