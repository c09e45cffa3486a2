"""Our own calls for those who run a site or a WMS: the site mask, the logs of pilots, and their end."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from runner.server.models import PilotMessages, SiteChange
from runner.server.routes.dependencies import Caller, JobPath, PageNumber, PerPage, Served

router = APIRouter(prefix="/api/jobspan")
StampPath: TypeAlias = Annotated[str, Path(min_length=1, max_length=32)]


@router.get("/sites")
def sites(caller: Caller, services: Served) -> Response:
    """Every site of which somebody has said whether it gets jobs."""
    return JSONResponse({"Sites": services.wms_administrator.mask(caller)})


@router.get("/sites/history")
def site_history(
    caller: Caller, services: Served, site: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """Who said what of one site, or of all, and when."""
    return JSONResponse({"History": services.wms_administrator.history(caller, site)})


@router.post("/sites/ban")
def ban(change: SiteChange, caller: Caller, services: Served) -> Response:
    """Give a site no more jobs."""
    services.wms_administrator.ban(caller, change.Site, change.Comment)
    return Response(status_code=204)


@router.post("/sites/allow")
def allow(change: SiteChange, caller: Caller, services: Served) -> Response:
    """Give a site jobs again."""
    services.wms_administrator.allow(caller, change.Site, change.Comment)
    return Response(status_code=204)


@router.get("/jobs/{job_id}/pilot")
def pilot_of(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """The pilot of a job, and what it has said."""
    return JSONResponse(services.wms_utilities.pilot_output(caller, job_id))


@router.get("/jobs/{job_id}/why")
def why(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """Why a job does not run."""
    return JSONResponse(services.explanations.why(caller, job_id))


@router.post("/pilots/{stamp}/log")
def add_log(stamp: StampPath, body: PilotMessages, caller: Caller, services: Served) -> Response:
    """Take lines of a pilot's log."""
    services.pilots_logging.add(caller, stamp, body.Messages)
    return Response(status_code=204)


@router.get("/pilots/{stamp}/log")
def log_of(
    stamp: StampPath, caller: Caller, services: Served, page: PageNumber = 1, per_page: PerPage = 1000
) -> Response:
    """What a pilot has said, in the order of arrival."""
    first = (page - 1) * per_page
    return JSONResponse({"Log": services.wms_utilities.pilot_logging_info(caller, stamp, first, per_page)})


@router.post("/pilots/{stamp}/kill")
def kill_pilot(stamp: StampPath, caller: Caller, services: Served) -> Response:
    """Tell a pilot to stop."""
    services.wms_utilities.kill_pilot(caller, stamp)
    return Response(status_code=204)
