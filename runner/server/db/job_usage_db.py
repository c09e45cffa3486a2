"""JobUsageDB: what heartbeats said over time, thinned out, so that a job's page can draw it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Double, Integer, Table, bindparam, func, insert, select

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial

USAGE = Table(
    "job_usage",
    METADATA,
    Column("JobID", Serial, primary_key=True, autoincrement=False),
    Column("Attempt", Integer, primary_key=True, autoincrement=False),
    Column("Time", BigInteger, primary_key=True, autoincrement=False),
    Column("CPUConsumed", Double),
    Column("WallClockTime", Double),
    Column("MemoryUsed", Double),
    Column("OutputBytes", BigInteger),
)
#: The older an attempt, the further apart its points: some 150 for each factor of e, 600 for a week.
POINTS = 150
_ADD = insert(USAGE)
_SPAN = select(func.min(USAGE.c.Time), func.max(USAGE.c.Time)).where(
    USAGE.c.JobID == bindparam("job_id"), USAGE.c.Attempt == bindparam("attempt")
)


class JobUsageDB:
    """Usage over time, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job_id: int, attempt: int, now_ns: int, heartbeat: Mapping[str, Any]) -> None:
        """A point, unless the last one is too near for the age of the attempt."""
        first, last = self._connection.execute(_SPAN, {"job_id": job_id, "attempt": attempt}).one()
        if (last is not None and (now_ns - last) * POINTS < now_ns - first) or last == now_ns:
            return
        names = ("CPUConsumed", "WallClockTime", "MemoryUsed", "OutputBytes")
        point = {"JobID": job_id, "Attempt": attempt, "Time": now_ns}
        self._connection.execute(_ADD, point | {name: heartbeat.get(name) for name in names})

    def of_job(self, job_id: int) -> list[Row]:
        """All points, by attempt and time."""
        found = select(USAGE).where(USAGE.c.JobID == job_id).order_by(USAGE.c.Attempt, USAGE.c.Time)
        return list(self._connection.execute(found).mappings())
