"""ElasticJobParametersDB: whatever a job says about itself, by name. A table here, behind the original's interface."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, String, Table, Text, select

from runner.server.db.dialects import upsert
from runner.server.db.schema import METADATA, Serial, now_ns, time_column
from telemetry.clock import SystemClock

PARAMETERS = Table(
    "job_parameters",
    METADATA,
    Column("JobID", Serial, primary_key=True, autoincrement=False),
    Column("Name", String(255), primary_key=True),
    Column("Value", Text, nullable=False),
    time_column("Time", nullable=False),
)


class ElasticJobParametersDB:
    """Job parameters, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def set_job_parameter(self, job_id: int, name: str, value: Any) -> None:
        """Set one parameter, now."""
        self.set_job_parameters(job_id, {name: value}, now_ns(SystemClock()))

    def set_job_parameters(self, job_id: int, values: Mapping[str, Any], at_ns: int) -> None:
        """Set parameters; the last value of a name counts."""
        if not values:
            return
        rows = [
            {"JobID": job_id, "Name": name, "Value": json.dumps(value), "Time": at_ns} for name, value in values.items()
        ]
        statement = upsert(PARAMETERS, self._connection.dialect.name)
        self._connection.execute(statement, rows[0] if len(rows) == 1 else rows)

    def get_job_parameters(self, job_id: int, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Parameters of a job; all of them unless *names* says which."""
        return {name: value for name, (value, _) in self.with_times(job_id, names).items()}

    def with_times(self, job_id: int, names: Iterable[str] | None = None) -> dict[str, tuple[Any, int]]:
        """The same, each with the time when it was set."""
        query = select(PARAMETERS).where(PARAMETERS.c.JobID == job_id).order_by(PARAMETERS.c.Name)
        if names is not None:
            query = query.where(PARAMETERS.c.Name.in_(list(names)))
        return {row.Name: (json.loads(row.Value), row.Time) for row in self._connection.execute(query)}
