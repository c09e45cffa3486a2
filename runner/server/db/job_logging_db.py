"""JobLoggingDB: every status that was ever reported, with its own time and the time of its arrival here."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, String, Table, insert, select

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

LOGGING = Table(
    "job_logging",
    METADATA,
    Column("SequenceID", Serial, primary_key=True, autoincrement=True),
    Column("JobID", Serial, nullable=False),
    Column("Status", String(32)),  # null: this record did not say
    Column("MinorStatus", String(128)),
    Column("ApplicationStatus", String(255)),
    time_column("StatusTime", nullable=False),
    time_column("ArrivalTime", nullable=False),
    Column("Source", String(32), nullable=False),
    Index("logging_by_job", "JobID", "StatusTime", "SequenceID"),
)
_ADD = insert(LOGGING)


class JobLoggingDB:
    """Logging info, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """New records."""
        values = [dict(row) for row in rows]
        if values:
            self._connection.execute(_ADD, values[0] if len(values) == 1 else values)

    def get(self, job_ids: Iterable[int]) -> dict[int, list[Row]]:
        """The records of *job_ids*, each job's by time and then by arrival."""
        wanted = list(job_ids)
        result: dict[int, list[Row]] = {job_id: [] for job_id in wanted}
        query = (
            select(LOGGING)
            .where(LOGGING.c.JobID.in_(wanted))
            .order_by(LOGGING.c.JobID, LOGGING.c.StatusTime, LOGGING.c.SequenceID)
        )
        for row in self._connection.execute(query).mappings():
            result[row["JobID"]].append(row)
        return result
