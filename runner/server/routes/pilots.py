"""/api/pilots: DiracX's dialect for pilots."""

from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse, Response

from runner.server.models import MAX_ITEMS, PilotMetadata, PilotRegistrationParams, SearchParams, Stamp, SummaryParams
from runner.server.routes.dependencies import Caller, PageNumber, PerPage, Served
from runner.server.routes.jobs import paged

router = APIRouter(prefix="/api/pilots")


@router.post("/")
def register(pilot: PilotRegistrationParams, caller: Caller, services: Served) -> Response:
    """Make a pilot known."""
    services.pilots.register(caller, pilot)
    return JSONResponse(None, 201)


@router.patch("/metadata")
def change(
    changes: Annotated[dict[Stamp, PilotMetadata], Body(max_length=MAX_ITEMS)], caller: Caller, services: Served
) -> Response:
    """Set what pilots say about themselves."""
    services.pilots.change(caller, changes)
    return Response(status_code=204)


@router.post("/search")
def search(
    caller: Caller,
    services: Served,
    wanted: SearchParams | None = None,
    page: PageNumber = 1,
    per_page: PerPage = 100,
) -> Response:
    """Find pilots."""
    return paged(services.pilots.search(caller, wanted or SearchParams(), (page - 1) * per_page, per_page), "pilots")


@router.post("/summary")
def summary(wanted: SummaryParams, caller: Caller, services: Served) -> Response:
    """Count pilots."""
    return JSONResponse(services.pilots.summary(caller, wanted))
