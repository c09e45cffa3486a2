"""PilotsLoggingDB: what pilots say about themselves, line by line, and what they are told."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, String, Table, Text, delete, insert, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

LOGS = Table(
    "pilots_logging",
    METADATA,
    Column("LogID", Serial, primary_key=True, autoincrement=True),
    Column("PilotStamp", String(32), nullable=False),
    time_column("MessageTime", nullable=False),
    time_column("ArrivalTime", nullable=False),
    Column("Severity", String(16), nullable=False),
    Column("Source", String(64), nullable=False),
    Column("Message", Text, nullable=False),
    Index("logs_of_pilot", "PilotStamp", "LogID"),
    Index("pilot_logs_by_arrival", "ArrivalTime"),
)
STOPS = Table(
    "pilot_stops",
    METADATA,
    Column("PilotStamp", String(32), primary_key=True),
    Column("Author", String(64), nullable=False),
    time_column("OrderTime", nullable=False),
    time_column("TakenTime"),
)


class PilotsLoggingDB:
    """Logs of pilots, and orders to stop, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """New messages."""
        if values := [dict(row) for row in rows]:
            self._connection.execute(insert(LOGS), values)

    def of_pilot(self, stamp: str, first: int = 0, count: int = 10_000) -> list[Row]:
        """What the pilot said, in the order of arrival."""
        query = select(LOGS.c.MessageTime, LOGS.c.Severity, LOGS.c.Source, LOGS.c.Message)
        query = query.where(LOGS.c.PilotStamp == stamp).order_by(LOGS.c.LogID).offset(first).limit(count)
        return list(self._connection.execute(query).mappings())

    def forget(self, before_ns: int) -> int:
        """Remove what arrived before that moment; how many messages there were."""
        return self._connection.execute(delete(LOGS).where(LOGS.c.ArrivalTime < before_ns)).rowcount

    def order_stop(self, stamp: str, author: str, now_ns: int) -> None:
        """Tell the pilot to stop; telling it twice is the same."""
        if self._connection.scalar(select(STOPS.c.PilotStamp).where(STOPS.c.PilotStamp == stamp)) is None:
            values = {"PilotStamp": stamp, "Author": author, "OrderTime": now_ns}
            self._connection.execute(insert(STOPS), values)

    def is_stopped(self, stamp: str) -> bool:
        """Whether the pilot was told to stop."""
        return self._connection.scalar(select(STOPS.c.PilotStamp).where(STOPS.c.PilotStamp == stamp)) is not None

    def take_stop(self, stamp: str, now_ns: int) -> None:
        """The pilot knows."""
        mine = (STOPS.c.PilotStamp == stamp, STOPS.c.TakenTime.is_(None))
        self._connection.execute(update(STOPS).where(*mine), {"TakenTime": now_ns})
