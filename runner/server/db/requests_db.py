"""RequestsDB: combined requests and their operations, and who executes them now."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    select,
    update,
)

from runner.server.db.job_attempts_db import ATTEMPTS
from runner.server.db.job_db import JOBS, Row
from runner.server.db.schema import METADATA, Serial, for_decision, inserted_id, time_column

REQUESTS = Table(
    "requests",
    METADATA,
    Column("RequestID", Serial, primary_key=True, autoincrement=True),
    Column("RequestName", String(255), nullable=False),
    Column("JobID", Serial, nullable=False),
    Column("Attempt", Integer, nullable=False),
    Column("Checksum", String(64), nullable=False),  # of the content as it was put
    Column("Status", String(16), nullable=False),  # Waiting, Done, Failed
    Column("Failures", Integer, nullable=False, default=0),
    Column("Error", String(500), nullable=False, default=""),
    time_column("CreationTime", nullable=False),
    time_column("LastUpdateTime", nullable=False),
    time_column("NotBefore", nullable=False),
    Column("Claim", String(64)),
    time_column("LeaseUntil"),
    UniqueConstraint("JobID", "Attempt", "RequestName"),
    Index("requests_by_status", "Status", "NotBefore"),
    sqlite_autoincrement=True,
)
OPERATIONS = Table(
    "request_operations",
    METADATA,
    Column("RequestID", Serial, primary_key=True),
    Column("Position", Integer, primary_key=True),
    Column("Type", String(64), nullable=False),
    Column("Status", String(16), nullable=False),
    Column("Error", String(500), nullable=False, default=""),
    Column("Document", Text, nullable=False),
    time_column("DoneTime"),
)


class RequestsDB:
    """Requests, within one transaction. With *locks*, a request that was read is nobody else's until the end."""

    def __init__(self, connection: Connection, *, locks: bool = False) -> None:
        self._connection = connection
        self._locks = locks

    def add(self, attributes: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> int:
        """A new request with its *operations* (documents), all Waiting; its number."""
        number = inserted_id(self._connection.execute(insert(REQUESTS), dict(attributes)))
        rows = [
            {
                "RequestID": number,
                "Position": order,
                "Type": each["Type"],
                "Status": "Waiting",
                "Document": json.dumps(each),
            }
            for order, each in enumerate(operations, 1)
        ]
        self._connection.execute(insert(OPERATIONS), rows)
        return number

    def is_waited_for(self, job_id: int) -> bool:
        """Whether the job has a request that is not through."""
        query = select(REQUESTS.c.RequestID).where(REQUESTS.c.JobID == job_id, REQUESTS.c.Status == "Waiting").limit(1)
        return self._connection.scalar(query) is not None

    def get(self, request_id: int) -> Row | None:
        """One request."""
        query = for_decision(select(REQUESTS).where(REQUESTS.c.RequestID == request_id), self._locks)
        return self._connection.execute(query).mappings().first()

    def named(self, job_id: int, attempt: int, name: str) -> Row | None:
        """The request of that name of an attempt."""
        query = select(REQUESTS).where(
            REQUESTS.c.JobID == job_id, REQUESTS.c.Attempt == attempt, REQUESTS.c.RequestName == name
        )
        return self._connection.execute(query).mappings().first()

    def operations(self, request_id: int) -> list[Row]:
        """The operations of a request, in order."""
        query = select(OPERATIONS).where(OPERATIONS.c.RequestID == request_id).order_by(OPERATIONS.c.Position)
        return list(self._connection.execute(query).mappings())

    def due(self, now_ns: int, request_ids: list[int] | None, without: list[int]) -> Row | None:
        """A waiting request that nobody has a lease on, and whose attempt has ended: the one that waits longest.

        Of *request_ids* each is due whatever NotBefore says, and the failed ones too; those *without* are not.
        """
        query = (
            select(REQUESTS)
            .join(ATTEMPTS, (ATTEMPTS.c.JobID == REQUESTS.c.JobID) & (ATTEMPTS.c.Attempt == REQUESTS.c.Attempt))
            .where(ATTEMPTS.c.EndTime.is_not(None), REQUESTS.c.RequestID.not_in(without))
            .where(REQUESTS.c.LeaseUntil.is_(None) | (REQUESTS.c.LeaseUntil <= now_ns))
            .order_by(REQUESTS.c.NotBefore, REQUESTS.c.RequestID)
            .limit(1)
        )
        if request_ids is None:
            query = query.where(REQUESTS.c.Status == "Waiting", REQUESTS.c.NotBefore <= now_ns)
        else:
            query = query.where(REQUESTS.c.Status != "Done", REQUESTS.c.RequestID.in_(request_ids))
        number = REQUESTS.c.RequestID
        refused: list[int] = []
        while (found := self._connection.execute(query.where(number.not_in(refused))).first()) is not None:
            # Held by its number, and looked at again: another executor may have been first.
            held = for_decision(query.where(number == found.RequestID), self._locks, skip_taken=True)
            row = self._connection.execute(held).mappings().first()
            if row is not None:
                return row
            refused.append(int(found.RequestID))
        return None

    def change(self, request_id: int, changes: Mapping[str, Any]) -> None:
        """Set columns of a request."""
        self._connection.execute(update(REQUESTS).where(REQUESTS.c.RequestID == request_id), dict(changes))

    def change_operation(self, request_id: int, order: int, changes: Mapping[str, Any]) -> None:
        """Set columns of an operation."""
        statement = update(OPERATIONS).where(OPERATIONS.c.RequestID == request_id, OPERATIONS.c.Position == order)
        self._connection.execute(statement, dict(changes))

    def reopen(self, request_id: int) -> None:
        """What has failed for ever waits again."""
        statement = update(OPERATIONS).where(OPERATIONS.c.RequestID == request_id, OPERATIONS.c.Status == "Failed")
        self._connection.execute(statement, {"Status": "Waiting"})
        self.change(request_id, {"Status": "Waiting", "Failures": 0})

    def open_of_attempt(self, job_id: int, attempt: int) -> int:
        """How many requests of an attempt are not done."""
        query = select(func.count()).where(
            REQUESTS.c.JobID == job_id, REQUESTS.c.Attempt == attempt, REQUESTS.c.Status != "Done"
        )
        return int(self._connection.scalar(query) or 0)

    def listing(self, wanted: Mapping[str, Any], owner: tuple[str, str] | None, first: int, count: int) -> list[Row]:
        """Requests with the Owner of their job, in order; those with the *wanted* columns, or of one (owner, VO)."""
        query = (
            select(REQUESTS, JOBS.c.Owner)
            .join(JOBS, JOBS.c.JobID == REQUESTS.c.JobID)
            .order_by(REQUESTS.c.RequestID)
            .offset(first)
            .limit(count)
        )
        for name, value in wanted.items():
            query = query.where(REQUESTS.c[name] == value)
        if owner is not None:
            query = query.where(JOBS.c.Owner == owner[0], JOBS.c["VO"] == owner[1])
        return list(self._connection.execute(query).mappings())
