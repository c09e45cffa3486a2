"""JobCommands: what attempts are told to do, until somebody acknowledges it."""

from collections.abc import Iterable

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    insert,
    select,
    update,
)

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

COMMANDS = Table(
    "job_commands",
    METADATA,
    Column("CommandID", Serial, primary_key=True, autoincrement=True),
    Column("JobID", Serial, nullable=False),
    Column("Attempt", Integer, nullable=False),
    Column("Command", String(32), nullable=False),
    time_column("OrderTime", nullable=False),
    time_column("AcknowledgeTime"),
    UniqueConstraint("JobID", "Attempt", "Command"),
    sqlite_autoincrement=True,
)
_PENDING = (
    select(COMMANDS)
    .where(COMMANDS.c.JobID.in_(bindparam("job_ids", expanding=True)), COMMANDS.c.AcknowledgeTime.is_(None))
    .order_by(COMMANDS.c.CommandID)
)


class JobCommandsDB:
    """Commands, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def order(self, job_id: int, attempt: int, command: str, now_ns: int) -> None:
        """Tell an attempt to do something; telling it twice is the same."""
        present = select(COMMANDS.c.CommandID).where(
            COMMANDS.c.JobID == job_id, COMMANDS.c.Attempt == attempt, COMMANDS.c.Command == command
        )
        if self._connection.scalar(present) is None:
            values = {"JobID": job_id, "Attempt": attempt, "Command": command, "OrderTime": now_ns}
            self._connection.execute(insert(COMMANDS), values)

    def pending(self, job_ids: Iterable[int]) -> list[Row]:
        """Commands for *job_ids* that nobody has acknowledged, oldest first."""
        return list(self._connection.execute(_PENDING, {"job_ids": list(job_ids)}).mappings())

    def get(self, command_ids: Iterable[int]) -> list[Row]:
        """Those of *command_ids* that exist."""
        query = select(COMMANDS).where(COMMANDS.c.CommandID.in_(list(command_ids)))
        return list(self._connection.execute(query).mappings())

    def acknowledge(self, command_id: int, now_ns: int) -> None:
        """It has been taken: never repeat it."""
        statement = update(COMMANDS).where(COMMANDS.c.CommandID == command_id, COMMANDS.c.AcknowledgeTime.is_(None))
        self._connection.execute(statement, {"AcknowledgeTime": now_ns})

    def close_attempt(self, job_id: int, attempt: int, now_ns: int) -> None:
        """The attempt has ended: nothing is left to be told."""
        statement = update(COMMANDS).where(
            COMMANDS.c.JobID == job_id, COMMANDS.c.Attempt == attempt, COMMANDS.c.AcknowledgeTime.is_(None)
        )
        self._connection.execute(statement, {"AcknowledgeTime": now_ns})
