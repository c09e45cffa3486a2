"""AccountingDB: records of attempts as they were sent, by UID, witness and revision."""

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVarTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    update,
)

from runner.server.db.job_db import JOBS, Row
from runner.server.db.schema import METADATA, Serial, inserted_id, time_column

Rest = TypeVarTuple("Rest")
#: From the first moment on, before the second one, in nanoseconds; None: without that bound.
Span: TypeAlias = tuple[int | None, int | None]
EVER: Span = (None, None)

RECORDS = Table(
    "accounting_records",
    METADATA,
    Column("RecordID", Serial, primary_key=True, autoincrement=True),
    Column("UID", String(36), nullable=False),
    Column("RecordedBy", String(16), nullable=False),
    Column("Revision", Integer, nullable=False),
    Column("JobID", Serial, nullable=False),
    Column("Attempt", Integer, nullable=False),
    Column("Digest", String(64), nullable=False),
    Column("Body", Text, nullable=False),
    time_column("ArrivalTime", nullable=False),
    Column("Duplicates", Integer, nullable=False, default=0),
    Column("IsCurrent", Integer, nullable=False),  # 1 for the one that counts among those of its UID
    UniqueConstraint("UID", "RecordedBy", "Revision"),
    Index("records_by_job", "JobID", "Attempt"),
)
CONFLICTS = Table(
    "accounting_conflicts",
    METADATA,
    Column("ConflictID", Serial, primary_key=True, autoincrement=True),
    Column("UID", String(36), nullable=False),
    Column("JobID", Serial, nullable=False),
    Column("Digest", String(64), nullable=False),
    Column("Body", Text, nullable=False),
    Column("Detail", String(255), nullable=False),
    time_column("ArrivalTime", nullable=False),
    UniqueConstraint("UID", "Digest"),
    Index("conflicts_by_job", "JobID"),
)


class AccountingDB:
    """Accounting records, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of_uid(self, uid: str) -> list[Row]:
        """All records of one attempt."""
        return list(self._connection.execute(select(RECORDS).where(RECORDS.c["UID"] == uid)).mappings())

    def add(self, attributes: Mapping[str, Any]) -> int:
        """A new record; its number."""
        return inserted_id(self._connection.execute(insert(RECORDS), dict(attributes)))

    def set_current(self, record_id: int, current: bool) -> None:
        """Whether it counts."""
        statement = update(RECORDS).where(RECORDS.c.RecordID == record_id)
        self._connection.execute(statement, {"IsCurrent": int(current)})

    def count_duplicate(self, record_id: int) -> None:
        """The same record came once more."""
        statement = update(RECORDS).where(RECORDS.c.RecordID == record_id)
        self._connection.execute(statement.values(Duplicates=RECORDS.c.Duplicates + 1))

    def add_conflict(self, attributes: Mapping[str, Any]) -> None:
        """A record that was refused for one of its name; the same body again is the same conflict."""
        mine = (CONFLICTS.c["UID"] == attributes["UID"], CONFLICTS.c.Digest == attributes["Digest"])
        if self._connection.scalar(select(CONFLICTS.c.ConflictID).where(*mine)) is None:
            self._connection.execute(insert(CONFLICTS), dict(attributes))

    def conflicts(self, job_id: int | None, owner: tuple[str, str] | None, count: int) -> list[Row]:
        """The first refused records, in the order of their arrival."""
        query = visible(select(CONFLICTS), CONFLICTS, job_id, owner).order_by(CONFLICTS.c.ConflictID).limit(count)
        return list(self._connection.execute(query).mappings())

    def history(
        self, job_id: int | None, owner: tuple[str, str] | None, first: int, count: int, ended: Span = EVER
    ) -> list[Row]:
        """All records of attempts that *ended* then, those that do not count too, by job, attempt and arrival."""
        query = visible(select(RECORDS), RECORDS, job_id, owner)
        if any(each is not None for each in ended):
            columns = METADATA.tables["accounting_type_job"].c
            query = query.join(columns.RecordID.table, columns.RecordID == RECORDS.c.RecordID)
            query = within(query, columns.EndTime, ended)
        query = query.order_by(RECORDS.c.JobID, RECORDS.c.Attempt, RECORDS.c.RecordID).offset(first).limit(count)
        return list(self._connection.execute(query).mappings())

    def current(self, job_id: int | None, owner: tuple[str, str] | None, first: int, count: int) -> list[str]:
        """Bodies of the records that count, by job and attempt."""
        query = visible(select(RECORDS.c.Body), RECORDS, job_id, owner).where(RECORDS.c.IsCurrent == 1)
        query = query.order_by(RECORDS.c.JobID, RECORDS.c.Attempt, RECORDS.c.UID).offset(first).limit(count)
        return [str(body) for body in self._connection.scalars(query)]

    def totals(self, job_id: int | None, owner: tuple[str, str] | None) -> tuple[int, int]:
        """How many records are superseded, and how many copies came."""
        sums = select(func.count() - func.sum(RECORDS.c.IsCurrent), func.sum(RECORDS.c.Duplicates))
        query = visible(sums, RECORDS, job_id, owner)
        superseded, duplicates = self._connection.execute(query).one()
        return int(superseded or 0), int(duplicates or 0)


def visible(query: Select[*Rest], table: Table, job_id: int | None, owner: tuple[str, str] | None) -> Select[*Rest]:
    """*query* of the rows of *table* that belong to a job, and to an owner (name, VO)."""
    query = query.select_from(table)
    if job_id is not None:
        query = query.where(table.c.JobID == job_id)
    if owner is not None:
        query = query.join(JOBS, JOBS.c.JobID == table.c.JobID)
        # A record of another WMS may have the number of a job of ours: it is nobody's here.
        query = query.where(table.c["UID"].in_(select(METADATA.tables["job_attempts"].c["UID"])))
        query = query.where(JOBS.c.Owner == owner[0], JOBS.c["VO"] == owner[1])
    return query


def within(query: Select[*Rest], moment: ColumnElement[Any], span: Span) -> Select[*Rest]:
    """*query* of rows with a *moment* in *span*."""
    start, end = span
    if start is not None:
        query = query.where(moment >= start)
    return query if end is None else query.where(moment < end)
