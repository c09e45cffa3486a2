"""JobDB: the attributes of every job under DIRAC's names, and its description."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    RowMapping,
    String,
    Table,
    Text,
    bindparam,
    insert,
    select,
    update,
)

from runner.server.db.schema import METADATA, Serial, for_decision, inserted_id, time_column

Row: TypeAlias = RowMapping

JOBS = Table(
    "jobs",
    METADATA,
    Column("JobID", Serial, primary_key=True, autoincrement=True),
    Column("JobType", String(32), nullable=False, default="User"),
    Column("JobGroup", String(32), nullable=False, default="00000000"),
    Column("Site", String(100), nullable=False, default="ANY"),
    Column("JobName", String(128), nullable=False, default="Unknown"),
    Column("Owner", String(64), nullable=False),
    Column("OwnerGroup", String(128), nullable=False),
    Column("VO", String(64), nullable=False),
    time_column("SubmissionTime", nullable=False),
    time_column("RescheduleTime"),
    time_column("LastUpdateTime"),
    time_column("StartExecTime"),
    time_column("HeartBeatTime"),
    time_column("EndExecTime"),
    Column("Status", String(32), nullable=False),
    Column("MinorStatus", String(128), nullable=False),
    Column("ApplicationStatus", String(255), nullable=False, default="Unknown"),
    Column("UserPriority", Integer, nullable=False, default=1),
    Column("RescheduleCounter", Integer, nullable=False, default=0),
    Column("VerifiedFlag", Boolean, nullable=False, default=False),
    Column("AccountedFlag", Boolean, nullable=False, default=False),
    # Beyond DIRAC's attributes, and not on the dialect's wire:
    Column("PreemptedCounter", Integer, nullable=False, default=0),
    time_column("LastStatusTime", nullable=False),  # newest record of any kind in the logging info
    time_column("SubmitStart", nullable=False),
    time_column("SubmitEnd", nullable=False),
    time_column("WaitingTime"),
    Column("SubmitTraceparent", String(64), nullable=False, default=""),
    Column("TaskQueueID", Serial),  # where it waits, or has waited last
    Index("jobs_by_queue", "Status", "TaskQueueID", "UserPriority", "JobID"),
    Index("jobs_in_use", "Status", "Site", "JobType", "VO", "OwnerGroup", "Owner"),
    Index("jobs_of_owner", "Owner", "VO", "Status", "JobID"),
    sqlite_autoincrement=True,
)
DESCRIPTIONS = Table(
    "job_descriptions",
    METADATA,
    Column("JobID", Serial, primary_key=True, autoincrement=False),
    Column("Description", Text, nullable=False),
)
#: What the dialect shows of a job, in DiracX's order.
ATTRIBUTES = tuple(JOBS.columns.keys()[:21])
TIMES = frozenset(name for name in ATTRIBUTES if name.endswith("Time"))

#: What decides about a job's status. It is read with every report, and each column costs a driver in Python its time.
STATE = (
    JOBS.c.JobID, JOBS.c.Owner, JOBS.c.OwnerGroup, JOBS.c["VO"], JOBS.c.Status, JOBS.c.MinorStatus,
    JOBS.c.ApplicationStatus, JOBS.c.RescheduleCounter, JOBS.c.LastStatusTime, JOBS.c.StartExecTime,
    JOBS.c.EndExecTime, JOBS.c.HeartBeatTime,
)  # fmt: skip
_ONE, _STATE = (select(*columns).where(JOBS.c.JobID == bindparam("job_id")) for columns in (JOBS.columns, STATE))
_LOCKED, _LOCKED_STATE = for_decision(_ONE, True), for_decision(_STATE, True)
_ADD, _DESCRIBE = insert(JOBS), insert(DESCRIPTIONS)
_CHANGE = update(JOBS).where(JOBS.c.JobID == bindparam("of_job"))
_DESCRIPTION = select(DESCRIPTIONS.c.Description).where(DESCRIPTIONS.c.JobID == bindparam("job_id"))


class JobDB:
    """Jobs, within one transaction. With *locks*, a job that was read is nobody else's until the end."""

    def __init__(self, connection: Connection, *, locks: bool = False) -> None:
        self._connection = connection
        self._locks = locks

    def add(self, attributes: Mapping[str, Any]) -> int:
        """A new job; its JobID."""
        return inserted_id(self._connection.execute(_ADD, dict(attributes)))

    def get(self, job_id: int, *, state_only: bool = False) -> Row | None:
        """All columns of one job; or those of `STATE`."""
        one, locked = (_STATE, _LOCKED_STATE) if state_only else (_ONE, _LOCKED)
        return self._connection.execute(locked if self._locks else one, {"job_id": job_id}).mappings().first()

    def get_many(self, job_ids: Iterable[int], *, state_only: bool = False) -> dict[int, Row]:
        """Those of *job_ids* that exist; always in the order of their numbers, so that callers never wait in a ring."""
        found = ((job_id, self.get(job_id, state_only=state_only)) for job_id in sorted(set(job_ids)))
        return {job_id: row for job_id, row in found if row is not None}

    def change(self, job_id: int, changes: Mapping[str, Any]) -> None:
        """Set columns of one job."""
        if changes:
            self._connection.execute(_CHANGE, {**changes, "of_job": job_id})

    def change_from(self, job_id: int, status: str, changes: Mapping[str, Any]) -> bool:
        """Set columns of one job if it still has that *status*; whether it had. Of many callers one succeeds."""
        statement = update(JOBS).where(JOBS.c.JobID == job_id, JOBS.c.Status == status)
        return self._connection.execute(statement, dict(changes)).rowcount == 1

    def with_status(self, statuses: Iterable[str], unchanged_since_ns: int | None = None) -> list[int]:
        """JobIDs of all jobs in one of *statuses*; only of those that have not changed since that moment, if given."""
        query = select(JOBS.c.JobID).where(JOBS.c.Status.in_(list(statuses))).order_by(JOBS.c.JobID)
        if unchanged_since_ns is not None:
            query = query.where(JOBS.c.LastUpdateTime <= unchanged_since_ns)
        return [int(job_id) for job_id in self._connection.scalars(query)]

    def set_description(self, job_id: int, description: Mapping[str, Any]) -> None:
        """Keep the description of a new job, as DIRAC keys."""
        values = {"JobID": job_id, "Description": json.dumps(description)}
        self._connection.execute(_DESCRIBE, values)

    def description(self, job_id: int) -> dict[str, Any]:
        """The description of a job; empty when there is no such job."""
        text = self._connection.scalar(_DESCRIPTION, {"job_id": job_id})
        return dict(json.loads(text)) if text else {}
