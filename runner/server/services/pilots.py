"""PilotManager: which pilots there are, and what they say about themselves."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from runner.server.db import query
from runner.server.db.job_db import Row
from runner.server.db.pilot_agents_db import JOB_TO_PILOT, PILOTS
from runner.server.errors import ConflictError, ForbiddenError, InvalidRequestError
from runner.server.models import PilotMetadata, PilotRegistrationParams, SearchParams, SummaryParams
from runner.server.services.context import ServiceContext
from runner.server.services.job_monitoring import Page
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.pilots_logging import known_pilot
from runner.server.tokens import Identity
from telemetry.clock import utc_text

#: A job that ran in the pilot, as if it were a column of the pilot.
JOB_ID = JOB_TO_PILOT.c.JobID
PILOT_COLUMNS: query.Columns = dict(PILOTS.columns.items())
COLUMNS: query.Columns = {**PILOT_COLUMNS, "JobID": JOB_ID}
TIMES = ("SubmissionTime", "LastUpdateTime")


class PilotManager:
    """Registers pilots."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def register(self, identity: Identity, pilot: PilotRegistrationParams) -> None:
        """A new pilot.

        Raises:
            InvalidRequestError: of a virtual organisation that is not here. ForbiddenError: not of the caller's own.
            ConflictError: it exists.
        """
        require(identity, Right.MANAGE_PILOT, Relation.GENERAL)
        if pilot.vo != self._context.settings.vo:
            raise InvalidRequestError(f"there is no virtual organisation {pilot.vo} here")
        if pilot.vo != identity.vo:
            raise ForbiddenError("Pilots can only be registered for your own VO.")
        with self._context.databases.write() as transaction:
            if transaction.pilots.get(pilot.pilot_stamp) is not None:
                raise ConflictError(f"Pilot {pilot.pilot_stamp} exists already")
            now_ns = self._context.now_ns()
            transaction.pilots.add(
                {
                    "PilotStamp": pilot.pilot_stamp,
                    "VO": pilot.vo,
                    "GridType": pilot.grid_type,
                    "GridSite": pilot.grid_site,
                    "DestinationSite": pilot.destination_site,
                    "PilotJobReference": pilot.pilot_reference or pilot.pilot_stamp,
                    "Status": pilot.pilot_status,
                    "SubmissionTime": now_ns,
                    "LastUpdateTime": now_ns,
                }
            )

    def change(self, identity: Identity, changes: Mapping[str, PilotMetadata]) -> None:
        """Set what pilots say about themselves.

        Raises:
            UnknownObjectError: one of them is not registered, or of another VO; nothing is changed then.
        """
        require(identity, Right.MANAGE_PILOT, Relation.GENERAL)
        with self._context.databases.write() as transaction:
            for stamp, metadata in changes.items():
                known_pilot(transaction, identity, stamp)
                values = metadata.model_dump(exclude_none=True)
                transaction.pilots.change(stamp, {**values, "LastUpdateTime": self._context.now_ns()})

    def search(self, identity: Identity, wanted: SearchParams, first: int, count: int) -> Page:
        """Pilots that meet all conditions; a condition on JobID finds the pilots of a job.

        Raises:
            InvalidRequestError: an unknown column; distinct rows sorted by what they do not have.
        """
        require(identity, Right.SEARCH_PILOTS, Relation.GENERAL)
        names = list(dict.fromkeys(wanted.parameters or PILOTS.columns.keys()))
        chosen = [query.column(COLUMNS, name) for name in names]
        # The order is by columns that are asked for: PostgreSQL takes no others where rows are to be distinct.
        order = dict.fromkeys((*(spec.parameter for spec in wanted.sort), "PilotID"))
        hidden = [] if wanted.distinct else [query.column(COLUMNS, name).label(f"_{name}") for name in order]
        statement = select(*chosen, *hidden).select_from(PILOTS).where(PILOTS.c["VO"] == identity.vo)
        if "JobID" in {*names, *(spec.parameter for spec in wanted.search), *(spec.parameter for spec in wanted.sort)}:
            statement = statement.outerjoin(JOB_TO_PILOT, JOB_TO_PILOT.c.PilotStamp == PILOTS.c.PilotStamp)
        statement = query.filtered(statement, COLUMNS, wanted.search)
        if wanted.distinct:
            statement = query.distinct(statement, wanted.sort)
        else:
            statement = query.ordered(statement, COLUMNS, wanted.sort, "PilotID").distinct()
        with self._context.databases.read() as transaction:
            total, rows = query.search(transaction.connection, statement, first, count)
        return Page([_shown(row) for row in rows], first, total)

    def summary(self, identity: Identity, wanted: SummaryParams) -> list[dict[str, Any]]:
        """How many pilots there are of each combination of the grouping columns."""
        require(identity, Right.SEARCH_PILOTS, Relation.GENERAL)
        chosen = [query.column(PILOT_COLUMNS, name) for name in dict.fromkeys(wanted.grouping)]
        statement = select(*chosen, func.count().label("count")).where(PILOTS.c["VO"] == identity.vo)
        statement = query.filtered(statement, PILOT_COLUMNS, wanted.search).group_by(*chosen).order_by(*chosen)
        with self._context.databases.read() as transaction:
            return [_shown(row) for row in transaction.connection.execute(statement).mappings()]


def _shown(row: Row) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if not name.startswith("_")}
    return {name: utc_text(value) if name in TIMES else value for name, value in shown.items()}
