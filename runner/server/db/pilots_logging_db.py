"""PilotsLoggingDB: what pilots wrote about themselves, line by line."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Index, String, Table, Text, delete, insert, select

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

PILOTS_LOGGING = Table(
    "pilots_logging",
    METADATA,
    Column("SequenceID", Serial, primary_key=True, autoincrement=True),
    Column("PilotStamp", String(32), nullable=False),
    time_column("Time", nullable=False),  # by the pilot's own clock
    time_column("ArrivalTime", nullable=False),
    Column("Severity", String(16), nullable=False),
    Column("Source", String(64), nullable=False),
    Column("Message", Text, nullable=False),
    Index("pilots_logging_by_pilot", "PilotStamp", "Time", "SequenceID"),
    Index("pilots_logging_by_arrival", "ArrivalTime"),
    sqlite_autoincrement=True,
)


def add(connection: Connection, stamp: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Keep *entries* of the pilot *stamp*; each has Time, ArrivalTime (ns), Severity, Source and Message."""
    rows = [{"PilotStamp": stamp, **each} for each in entries]
    if rows:
        connection.execute(insert(PILOTS_LOGGING), rows)


def entries(connection: Connection, stamp: str, first: int = 0, count: int | None = None) -> list[Row]:
    """What the pilot *stamp* wrote, in the order of its own clock; *count* entries from *first* on."""
    query = (
        select(PILOTS_LOGGING)
        .where(PILOTS_LOGGING.c.PilotStamp == stamp)
        .order_by(PILOTS_LOGGING.c.Time, PILOTS_LOGGING.c.SequenceID)
        .offset(first)
        .limit(count)
    )
    return list(connection.execute(query).mappings())


def forget(connection: Connection, before_ns: int) -> int:
    """Remove what arrived before that moment; how much it was."""
    return connection.execute(delete(PILOTS_LOGGING).where(PILOTS_LOGGING.c.ArrivalTime < before_ns)).rowcount
