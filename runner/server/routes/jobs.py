"""/api/jobs: DiracX's dialect for submission, status and search."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request
from fastapi.responses import JSONResponse, Response

from runner.server.errors import InvalidRequestError
from runner.server.models import (
    MAX_ITEMS,
    HeartbeatData,
    JobID,
    JobIDs,
    JobStatusUpdate,
    SearchParams,
    StatusUpdates,
    SummaryParams,
)
from runner.server.observing import told
from runner.server.routes.dependencies import Caller, PageNumber, PerPage, Served
from runner.server.routes.lines import in_line, lines_of
from runner.server.services.job_monitoring import Page
from runner.server.services.state_machine import Update
from telemetry.clock import parse_utc
from telemetry.identity import submission_uid

router = APIRouter(prefix="/api/jobs")
#: Moments outside are mistakes, and would not fit into 64 bits of nanoseconds.
FIRST_YEAR, LAST_YEAR = 1970, 2200
#: Submissions that the span of their call links to; a call may make a thousand.
MOST_LINKS = 32
#: Bodies that say something of each of many jobs.
MANY = Body(max_length=MAX_ITEMS)


@router.post("/jdl")
async def submit(
    texts: list[str], request: Request, caller: Caller, services: Served, traceparent: Annotated[str, Header()] = ""
) -> Response:
    """Submit jobs: descriptions in JDL, JSON or YAML."""

    def submitted() -> Response:
        inserted = services.job_manager.submit(caller, texts, traceparent=traceparent)
        told(request).submissions = tuple(
            submission_uid(services.context.wms_id, each["JobID"]) for each in inserted[:MOST_LINKS]
        )
        return JSONResponse(inserted, 201)

    return await in_line(lines_of(request).submissions, submitted)


@router.patch("/status")
async def set_status(
    updates: Annotated[StatusUpdates, MANY],
    request: Request,
    caller: Caller,
    services: Served,
    force: bool = False,
) -> Response:
    """Report statuses, by job and time."""
    folded = {job_id: [status_update(job_id, *each) for each in several.items()] for job_id, several in updates.items()}
    line = lines_of(request).reports
    return JSONResponse(await in_line(line, lambda: services.job_state_update.set_status(caller, folded, force=force)))


@router.patch("/heartbeat")
async def heartbeat(
    beats: Annotated[dict[JobID, HeartbeatData], MANY], request: Request, caller: Caller, services: Served
) -> Response:
    """Report that jobs live; the answer has the commands for them."""
    told(request).heartbeats = len(beats)
    line = lines_of(request).reports
    return JSONResponse(await in_line(line, lambda: services.job_state_update.heartbeat(caller, beats)))


@router.patch("/metadata")
def set_metadata(metadata: Annotated[dict[JobID, dict[str, Any]], MANY], caller: Caller, services: Served) -> Response:
    """Set job parameters."""
    services.job_state_update.set_metadata(caller, metadata)
    return Response(status_code=204)


@router.post("/reschedule")
def reschedule(body: JobIDs, caller: Caller, services: Served, preempted: bool = False) -> Response:
    """A new attempt for each of the jobs."""
    return JSONResponse(services.job_manager.reschedule(caller, body.job_ids, preempted=preempted))


@router.post("/search")
async def search(
    request: Request,
    caller: Caller,
    services: Served,
    wanted: SearchParams | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 100,
) -> Response:
    """Find jobs."""

    def found() -> Response:
        rows = services.job_monitoring.search(caller, wanted or SearchParams(), (page - 1) * per_page, per_page)
        return paged(rows, "jobs")

    return await in_line(lines_of(request).searches, found)


@router.post("/summary")
def summary(wanted: SummaryParams, caller: Caller, services: Served) -> Response:
    """Count jobs."""
    return JSONResponse(services.job_monitoring.summary(caller, wanted))


def paged(page: Page, unit: str) -> Response:
    """A page of rows: 200 when it is all, 206 with its range when it is not, 416 beyond the end."""
    if page.first and page.first >= page.total:
        return JSONResponse([], 416, {"Content-Range": f"{unit} */{page.total}"})
    if len(page.rows) == page.total:
        return JSONResponse(page.rows)
    last = page.first + len(page.rows) - 1
    return JSONResponse(page.rows, 206, {"Content-Range": f"{unit} {page.first}-{last}/{page.total}"})


def status_update(job_id: int, moment: datetime, update: JobStatusUpdate) -> Update:
    """*update* of the moment *moment*, which must be in UTC."""
    if moment.tzinfo is None:
        raise InvalidRequestError(f"Timestamp {moment} is not timezone aware for job {job_id}")
    if moment.utcoffset() != UTC.utcoffset(None):
        raise InvalidRequestError(f"Datetime must be in UTC, got {moment.isoformat()} for job {job_id}")
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidRequestError(f"Timestamp {moment.isoformat()} for job {job_id} is no possible time")
    time_ns = parse_utc(moment.isoformat())
    return Update(time_ns, update.Status, update.MinorStatus, update.ApplicationStatus, update.Source)
