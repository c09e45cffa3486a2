"""JobUsageDB: what heartbeats said over time, thinned out, so that a job's page can draw it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Table,
    bindparam,
    func,
    insert,
    select,
)

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


def _given(name: str) -> ColumnElement[Any]:
    """What the new point has in the column *name*."""
    return bindparam(f"new_{name}", type_=USAGE.c[name].type)


_span = (
    select(func.min(USAGE.c.Time).label("First"), func.max(USAGE.c.Time).label("Last"))
    .where(USAGE.c.JobID == _given("JobID"), USAGE.c.Attempt == _given("Attempt"))
    .subquery()
)
_since_first, _since_last = _given("Time") - _span.c.First, _given("Time") - _span.c.Last
_far_enough = (_since_last >= _since_first / POINTS) & (_span.c.Last != _given("Time"))
#: Looked for and written in one statement: it comes with every heartbeat.
_ADD = insert(USAGE).from_select(
    USAGE.columns.keys(),
    select(*map(_given, USAGE.columns.keys())).select_from(_span).where(_span.c.Last.is_(None) | _far_enough),
)


class JobUsageDB:
    """Usage over time, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, job_id: int, attempt: int, now_ns: int, heartbeat: Mapping[str, Any]) -> None:
        """A point, unless the last one is too near for the age of the attempt."""
        names = ("CPUConsumed", "WallClockTime", "MemoryUsed", "OutputBytes")
        point = {"JobID": job_id, "Attempt": attempt, "Time": now_ns} | {name: heartbeat.get(name) for name in names}
        self._connection.execute(_ADD, {f"new_{name}": value for name, value in point.items()})

    def of_job(self, job_id: int) -> list[Row]:
        """All points, by attempt and time."""
        found = select(USAGE).where(USAGE.c.JobID == job_id).order_by(USAGE.c.Attempt, USAGE.c.Time)
        return list(self._connection.execute(found).mappings())
