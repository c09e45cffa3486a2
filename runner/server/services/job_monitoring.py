"""JobMonitoring: what can be read about jobs."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from runner.job.description import from_mapping
from runner.job.status import FINAL_STATUSES, JobStatus, is_allowed
from runner.server.db import query
from runner.server.db.engine import Transaction
from runner.server.db.job_attempts_db import ATTEMPTS
from runner.server.db.job_db import ATTRIBUTES, JOBS, TIMES, Row
from runner.server.errors import UnknownObjectError
from runner.server.models import SearchParams, SummaryParams
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, allowed_on, authorize, authorize_general
from runner.server.services.job_state_update import PEEK
from runner.server.tokens import Identity
from telemetry.clock import utc_text

LOGGING_INFO = "LoggingInfo"
#: The pilot of the newest attempt, as if it were a column of the job.
PILOT_STAMP = (
    select(ATTEMPTS.c.PilotStamp)
    .where(ATTEMPTS.c.JobID == JOBS.c.JobID)
    .order_by(ATTEMPTS.c.Attempt.desc())
    .limit(1)
    .scalar_subquery()
    .label("PilotStamp")
)
COLUMNS: query.Columns = {**{name: JOBS.c[name] for name in ATTRIBUTES}, "PilotStamp": PILOT_STAMP}
#: What can be asked for a job from its page, and in which statuses that can do anything.
_ORDERS: dict[Right, Callable[[JobStatus], bool]] = {
    Right.KILL: lambda status: status not in FINAL_STATUSES and is_allowed(status, JobStatus.KILLED),
    Right.RESCHEDULE: lambda status: (
        is_allowed(status, JobStatus.RESCHEDULED) or is_allowed(status, JobStatus.RECEIVED)
    ),
}


@dataclass(frozen=True)
class Page:
    """Some of *total* rows, *first* of them being the first."""

    rows: list[dict[str, Any]]
    first: int
    total: int


@dataclass(frozen=True)
class Overview:
    """Some jobs, and how many there are in each status, also in those that are not asked for."""

    page: Page
    counts: Mapping[str, int]


class JobMonitoring:
    """Answers questions about jobs."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def search(self, identity: Identity, wanted: SearchParams, first: int, count: int) -> Page:
        """Jobs that meet all conditions; with `LoggingInfo` among the parameters also their history.

        Raises:
            InvalidRequestError: an unknown column; distinct rows sorted by what they do not have.
        """
        names = [name for name in wanted.parameters or ATTRIBUTES if name != LOGGING_INFO]
        with_history = LOGGING_INFO in (wanted.parameters or ())
        is_by_job = with_history or not wanted.distinct
        chosen = [query.column(COLUMNS, name) for name in dict.fromkeys(names)]
        with self._context.databases.read() as transaction:
            authorize_general(transaction, identity, Right.SEARCH)
            if is_by_job:
                chosen.append(JOBS.c.JobID.label("_id"))
            statement = query.filtered(select(*chosen), COLUMNS, wanted.search).where(JOBS.c["VO"] == identity.vo)
            if is_by_job:
                statement = query.ordered(statement, COLUMNS, wanted.sort, "JobID")
            else:
                statement = query.distinct(statement, wanted.sort)
            total, rows = query.search(transaction.connection, statement, first, count)
            histories = transaction.logging.get(row["_id"] for row in rows) if with_history else {}
        result = []
        for row in rows:
            shown = {name: _shown(name, row[name]) for name in names}
            result.append(shown | ({LOGGING_INFO: history(histories[row["_id"]])} if with_history else {}))
        return Page(result, first, total)

    def overview(
        self, identity: Identity, wanted: SearchParams, statuses: Collection[str] | None, first: int, count: int
    ) -> Overview:
        """Jobs that meet all conditions and are in one of *statuses*, if given; and all that meet them, by status.

        They are gone through once, for the counts: how many rows there are in all follows from these.

        Raises:
            InvalidRequestError: an unknown column.
        """
        names = tuple(dict.fromkeys(wanted.parameters or ATTRIBUTES))
        status, mine = JOBS.c.Status, JOBS.c["VO"] == identity.vo
        counting = query.filtered(select(status, func.count()), COLUMNS, wanted.search).where(mine).group_by(status)
        statement = select(*(query.column(COLUMNS, name) for name in names))
        statement = query.filtered(statement, COLUMNS, wanted.search).where(mine)
        if statuses is not None:
            statement = statement.where(status.in_(statuses))
        statement = query.ordered(statement, COLUMNS, wanted.sort, "JobID").offset(first).limit(count)
        with self._context.databases.read() as transaction:
            authorize_general(transaction, identity, Right.SEARCH)
            counts = {str(name): int(number) for name, number in transaction.connection.execute(counting)}
            rows = transaction.connection.execute(statement).mappings().all()
        total = sum(number for name, number in counts.items() if statuses is None or name in statuses)
        return Overview(Page([{name: _shown(name, row[name]) for name in names} for row in rows], first, total), counts)

    def summary(self, identity: Identity, wanted: SummaryParams) -> list[dict[str, Any]]:
        """How many jobs there are of each combination of the grouping columns."""
        chosen = [query.column(COLUMNS, name) for name in dict.fromkeys(wanted.grouping)]
        statement = select(*chosen, func.count().label("count")).select_from(JOBS).where(JOBS.c["VO"] == identity.vo)
        statement = query.filtered(statement, COLUMNS, wanted.search).group_by(*chosen).order_by(*chosen)
        with self._context.databases.read() as transaction:
            authorize_general(transaction, identity, Right.SEARCH)
            rows = transaction.connection.execute(statement).mappings().all()
        return [{name: _shown(name, value) for name, value in row.items()} for row in rows]

    def job(self, identity: Identity, job_id: int) -> dict[str, Any]:
        """One job: its `Attributes`, its `LoggingInfo`, and what the caller `May` ask for now (kill, reschedule).

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.read() as transaction:
            row = self._readable(transaction, identity, job_id)
            past = transaction.logging.get([job_id])[job_id]
        status = JobStatus(row["Status"])
        may = [right for right in allowed_on(identity, _ORDERS, row) if _ORDERS[right](status)]
        attributes = {name: _shown(name, row[name]) for name in ATTRIBUTES}
        return {"Attributes": attributes, LOGGING_INFO: history(past), "May": may}

    def parameters(self, identity: Identity, job_id: int) -> dict[str, Any]:
        """The job's parameters, but for the peek.

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.read() as transaction:
            self._readable(transaction, identity, job_id)
            found = transaction.parameters.get_job_parameters(job_id)
        return {name: value for name, value in found.items() if name != PEEK}

    def peek(self, identity: Identity, job_id: int) -> dict[str, Any]:
        """The last lines of the job's output, and when they came.

        Raises:
            UnknownObjectError: there is no such job, or it has not sent any.
        """
        with self._context.databases.read() as transaction:
            self._readable(transaction, identity, job_id)
            found = transaction.parameters.with_times(job_id, [PEEK])
        if PEEK not in found:
            raise UnknownObjectError(f"job {job_id} has not sent any output yet")
        text, moment = found[PEEK]
        return {"Time": utc_text(moment), PEEK: text}

    def usage(self, identity: Identity, job_id: int) -> list[dict[str, Any]]:
        """What heartbeats said over time, by attempt; `Time` in nanoseconds since 1970.

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.read() as transaction:
            self._readable(transaction, identity, job_id)
            return [dict(row) for row in transaction.usage.of_job(job_id)]

    def description(self, identity: Identity, job_id: int) -> dict[str, Any]:
        """The job's description, as a mapping and as JDL.

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.read() as transaction:
            self._readable(transaction, identity, job_id)
            mapping = transaction.jobs.description(job_id)
        return {"Description": mapping, "JDL": from_mapping(mapping).to_jdl()}

    def _readable(self, transaction: Transaction, identity: Identity, job_id: int) -> Row:
        row = authorize(transaction, identity, Right.READ_JOB, [job_id]).get(job_id)
        if row is None:
            raise UnknownObjectError(f"Job {job_id} not found")
        return row


def history(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Logging info as the dialect shows it: what a record did not say is as it was before."""
    result: list[dict[str, Any]] = []
    last = {name: _first(rows, name) for name in ("Status", "MinorStatus", "ApplicationStatus")}
    for row in rows:
        last |= {name: row[name] for name in last if row[name] is not None}
        times = {name: utc_text(row[name]) for name in ("StatusTime", "ArrivalTime")}
        result.append({**last, **times, "Source": row["Source"]})
    return result


def _first(rows: Iterable[Row], name: str) -> str:
    """What the oldest record that says anything says; a late record may come before it."""
    return next((str(row[name]) for row in rows if row[name] is not None), "Unknown")


def _shown(name: str, value: Any) -> Any:
    return utc_text(value) if name in TIMES and value is not None else value
