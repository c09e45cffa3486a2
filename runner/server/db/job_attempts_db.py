"""Attempts of jobs: who runs each, and what this WMS itself saw of it, by its own clock."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, String, Table, Text, bindparam, func, insert, select, update

from runner.server.db.accounting_db import EVER, RECORDS, Span, within
from runner.server.db.job_db import JOBS, Row
from runner.server.db.schema import METADATA, Serial, time_column

ATTEMPTS = Table(
    "job_attempts",
    METADATA,
    Column("JobID", Serial, primary_key=True, autoincrement=False),
    Column("Attempt", Integer, primary_key=True, autoincrement=False),
    Column("UID", String(36), nullable=False, unique=True),
    Column("Claim", String(64), nullable=False),  # of the job token that was handed out with the match
    Column("RunningClaim", String(64)),  # of the execution that first reported Running
    Column("PilotStamp", String(32), nullable=False),
    Column("Status", String(32), nullable=False),
    Column("MinorStatus", String(128), nullable=False),
    time_column("MatchTime", nullable=False),
    time_column("RunningTime"),  # arrival of Running
    time_column("EndTime"),  # arrival of the end
    time_column("LastReportTime"),  # of the wrapper's newest status, by the wrapper's own clock
    Column("LastHeartbeat", Text),
    time_column("LastSignTime"),  # arrival of whatever came last from its agent or wrapper
    Column("Slot", Text),  # what the match said of the slot: CE, queue, factor
    Index("attempts_by_pilot", "PilotStamp"),
)
_last_sign = func.coalesce(ATTEMPTS.c.LastSignTime, ATTEMPTS.c.RunningTime, ATTEMPTS.c.MatchTime)
#: What decides about a report: see `job_db.STATE`.
STATE = (
    ATTEMPTS.c.JobID, ATTEMPTS.c.Attempt, ATTEMPTS.c.Status, ATTEMPTS.c.MinorStatus, ATTEMPTS.c.RunningClaim,
    ATTEMPTS.c.RunningTime, ATTEMPTS.c.EndTime, ATTEMPTS.c.LastReportTime,
)  # fmt: skip
_ONE, _STATE = (
    select(*columns).where(ATTEMPTS.c.JobID == bindparam("job_id"), ATTEMPTS.c.Attempt == bindparam("attempt"))
    for columns in (ATTEMPTS.columns, STATE)
)
_CHANGE = update(ATTEMPTS).where(ATTEMPTS.c.JobID == bindparam("of_job"), ATTEMPTS.c.Attempt == bindparam("of_attempt"))
_has_record = select(RECORDS.c.RecordID).where(RECORDS.c["UID"] == ATTEMPTS.c["UID"]).exists()


class JobAttemptsDB:
    """Attempts, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, attributes: Mapping[str, Any]) -> None:
        """A new attempt, made by its match."""
        self._connection.execute(insert(ATTEMPTS), dict(attributes))

    def get(self, job_id: int, attempt: int, *, state_only: bool = False) -> Row | None:
        """One attempt, or what `STATE` has of it; None if that attempt was never matched."""
        statement = _STATE if state_only else _ONE
        return self._connection.execute(statement, {"job_id": job_id, "attempt": attempt}).mappings().first()

    def by_uid(self, uid: str) -> Row | None:
        """The attempt with the id *uid*."""
        return self._connection.execute(select(ATTEMPTS).where(ATTEMPTS.c["UID"] == uid)).mappings().first()

    def given_to(self, stamps: Collection[str], status: str, minor_status: str) -> list[tuple[int, int]]:
        """The attempts (job, attempt) that went to pilots with *stamps* and have come no further than that."""
        query = (
            select(ATTEMPTS.c.JobID, ATTEMPTS.c.Attempt)
            .where(ATTEMPTS.c.PilotStamp.in_(list(stamps)))
            .where(ATTEMPTS.c.Status == status, ATTEMPTS.c.MinorStatus == minor_status)
            .order_by(ATTEMPTS.c.JobID)
        )
        return [(row.JobID, row.Attempt) for row in self._connection.execute(query)]

    def change(self, job_id: int, attempt: int, changes: Mapping[str, Any]) -> None:
        """Set columns of one attempt."""
        if changes:
            self._connection.execute(_CHANGE, {**changes, "of_job": job_id, "of_attempt": attempt})

    def sign(self, job_id: int, attempt: int, now_ns: int, heartbeat: Mapping[str, Any] | None = None) -> None:
        """Its agent or wrapper was heard of just now; *heartbeat* is the newest of the attempt, to be kept."""
        kept = {} if heartbeat is None else {"LastHeartbeat": json.dumps(heartbeat)}
        self.change(job_id, attempt, {**kept, "LastSignTime": now_ns})

    def silent(self, statuses: Collection[str], before_ns: int) -> list[int]:
        """JobIDs of jobs in one of *statuses* whose current attempt was last heard of before that moment."""
        query = (
            select(JOBS.c.JobID)
            .join(ATTEMPTS, (ATTEMPTS.c.JobID == JOBS.c.JobID) & (ATTEMPTS.c.Attempt == JOBS.c.RescheduleCounter + 1))
            .where(JOBS.c.Status.in_(list(statuses)), _last_sign < before_ns)
            .order_by(JOBS.c.JobID)
        )
        return [int(job_id) for job_id in self._connection.scalars(query)]

    def matched_and_silent(self, attempts: Collection[tuple[int, int]], before_ns: int) -> list[tuple[int, int]]:
        """Those of *attempts* (JobID, Attempt) that have not got beyond their match, without a sign since then."""
        query = select(ATTEMPTS.c.JobID, ATTEMPTS.c.Attempt).where(
            ATTEMPTS.c.JobID.in_({job_id for job_id, _ in attempts}),
            ATTEMPTS.c.Status == "Matched",
            func.coalesce(ATTEMPTS.c.LastSignTime, 0) < before_ns,
        )
        found = [(int(row.JobID), int(row.Attempt)) for row in self._connection.execute(query)]
        return [each for each in found if each in attempts]

    def unaccounted(self, open_statuses: Collection[str], before_ns: int) -> list[tuple[int, int]]:
        """(JobID, Attempt) of attempts that are over, without any record, and of which nobody has spoken since.

        *open_statuses*: in these a job is still with the wrapper of its current attempt.
        """
        is_open = (ATTEMPTS.c.Attempt == JOBS.c.RescheduleCounter + 1) & JOBS.c.Status.in_(list(open_statuses))
        query = (
            select(ATTEMPTS.c.JobID, ATTEMPTS.c.Attempt)
            .join(JOBS, JOBS.c.JobID == ATTEMPTS.c.JobID)
            .where(~_has_record, ~is_open, _last_sign < before_ns, func.coalesce(ATTEMPTS.c.EndTime, 0) < before_ns)
            .order_by(ATTEMPTS.c.JobID, ATTEMPTS.c.Attempt)
        )
        return [(int(row.JobID), int(row.Attempt)) for row in self._connection.execute(query)]

    def without_record(self, job_id: int) -> list[int]:
        """Attempts of the job of which nobody has brought a record."""
        query = select(ATTEMPTS.c.Attempt).where(ATTEMPTS.c.JobID == job_id, ~_has_record)
        return [int(attempt) for attempt in self._connection.scalars(query)]

    def previous_uid(self, job_id: int, attempt: int) -> str:
        """UID of the last attempt before *attempt*; empty when there was none."""
        if attempt == 1:
            return ""
        query = (
            select(ATTEMPTS.c.UID)
            .where(ATTEMPTS.c.JobID == job_id, ATTEMPTS.c.Attempt < attempt)
            .order_by(ATTEMPTS.c.Attempt.desc())
            .limit(1)
        )
        return self._connection.scalar(query) or ""

    def listing(
        self, job_id: int | None, owner: tuple[str, str] | None, first: int, count: int, ended: Span = EVER
    ) -> list[Row]:
        """Attempts that *ended* then with the Owner of their job, in order; of one job or one (owner, VO), if given."""
        query = (
            select(ATTEMPTS, JOBS.c.Owner)
            .join(JOBS, JOBS.c.JobID == ATTEMPTS.c.JobID)
            .order_by(ATTEMPTS.c.JobID, ATTEMPTS.c.Attempt)
            .offset(first)
            .limit(count)
        )
        if job_id is not None:
            query = query.where(ATTEMPTS.c.JobID == job_id)
        query = within(query, ATTEMPTS.c.EndTime, ended)
        if owner is not None:
            query = query.where(JOBS.c.Owner == owner[0], JOBS.c["VO"] == owner[1])
        return list(self._connection.execute(query).mappings())
