"""The console's pages of a site: nodes and their jobs, accounting, reconciliation."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from dashboards import console_site as shown
from runner.server.errors import InvalidRequestError, UnknownObjectError
from runner.server.models import ScalarSearchSpec, SearchParams, SortSpec, SummaryParams, VectorSearchSpec
from runner.server.routes.console import ROOT, ConsoleRoute, Visiting, part
from runner.server.routes.console_jobs import PER_PAGE, pager
from runner.server.routes.dependencies import Served
from runner.server.services.accounting_report import KEYS
from runner.server.services.job_states import WITH_WRAPPER
from telemetry.clock import NANOSECONDS

router = APIRouter(prefix=ROOT, route_class=ConsoleRoute, include_in_schema=False)
#: Of one pilot, so many jobs and messages at most.
MOST_JOBS, MOST_MESSAGES = 200, 500
DAY_NS = 86400 * NANOSECONDS
PageNumber = Annotated[int, Query(ge=1, le=1 << 20)]


@router.get("/pilots")
def pilots(visit: Visiting, services: Served, page: PageNumber = 1) -> Response:
    """Pilots, the newest first, and how many jobs each has now."""
    who = visit.identity
    newest = SearchParams(sort=[SortSpec(parameter="SubmissionTime", direction="desc")])
    found = services.pilots.search(who, newest, (page - 1) * PER_PAGE, PER_PAGE)
    with_wrapper = VectorSearchSpec(parameter="Status", operator="in", values=sorted(map(str, WITH_WRAPPER)))
    counting = SummaryParams(grouping=["PilotStamp"], search=[with_wrapper])
    running = {row["PilotStamp"]: row["count"] for row in services.job_monitoring.summary(who, counting)}
    rows = [{**row, "running": running.get(row["PilotStamp"], 0)} for row in found.rows]
    return visit.page("pilots", is_live=True, pilots=rows, **pager(found, page, _pilots_address))


@router.get("/pilots/{stamp}")
def pilot(stamp: Annotated[str, Path(max_length=32)], visit: Visiting, services: Served) -> Response:
    """One pilot: its jobs, and what it says."""
    who = visit.identity
    this = ScalarSearchSpec(parameter="PilotStamp", operator="eq", value=stamp)
    known = services.pilots.search(who, SearchParams(search=[this]), 0, 1).rows
    newest = SearchParams(search=[this], sort=[SortSpec(parameter="JobID", direction="desc")])
    jobs = services.job_monitoring.search(who, newest, 0, MOST_JOBS)
    if not known and not jobs.rows:
        raise UnknownObjectError(f"Pilot {stamp} not found")
    log = part(lambda: services.wms_utilities.pilot_logging_info(who, stamp, 0, MOST_MESSAGES))
    return visit.page(
        "pilot",
        is_live=True,
        stamp=stamp,
        about=shown.about_pilot(known[0] if known else {}),
        jobs=jobs.rows,
        log=log or [],
        extent=pager(jobs, 1, lambda **_: "")["extent"],
    )


@router.get("/accounting")
def accounting(
    visit: Visiting,
    services: Served,
    by: Annotated[str, Query(max_length=64)] = "Site",
    days: Annotated[int, Query(ge=1, le=366)] = 30,
) -> Response:
    """What was used in the last *days*."""
    if by not in KEYS:
        raise InvalidRequestError(f"accounting is not summed up by {by}")
    since_ns = services.context.now_ns() - days * DAY_NS
    sums = services.accounting_report.sums(visit.identity, {"start_ns": since_ns}, [by], None)
    return visit.page("accounting", rows=shown.usage_rows(sums, by), by=by, days=days, keys=list(KEYS))


@router.get("/reconciliation")
def reconciliation(visit: Visiting, services: Served) -> Response:
    """What the last report said."""
    found = services.last_report.reconciliation(visit.identity)
    report = shown.report_values(found) if found is not None else None
    return visit.page("reconciliation", report=report, place=services.last_report.place)


def _pilots_address(**query: Any) -> str:
    return f"{ROOT}/pilots?page={query['page']}"
