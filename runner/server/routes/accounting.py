"""Our own calls for accounting and for what this WMS witnessed."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from runner.server.models import AccountingRecords
from runner.server.routes.dependencies import Caller, JobNumber, PageNumber, PerPage, Served

router = APIRouter(prefix="/api/jobspan")


@router.post("/accounting")
def insert(body: AccountingRecords, caller: Caller, services: Served) -> Response:
    """Deliver accounting records; delivering one again changes nothing."""
    return JSONResponse({"Results": services.accounting.insert(caller, body.Records)})


@router.get("/accounting")
def records(
    caller: Caller, services: Served, job_id: JobNumber | None = None, page: PageNumber = 1, per_page: PerPage = 100
) -> Response:
    """The accounting record of each attempt."""
    return JSONResponse(services.accounting.records(caller, job_id, (page - 1) * per_page, per_page))


@router.get("/accounting/history")
def history(
    caller: Caller, services: Served, job_id: JobNumber | None = None, page: PageNumber = 1, per_page: PerPage = 100
) -> Response:
    """All records of each attempt, also those that another has superseded."""
    return JSONResponse(services.accounting.history(caller, job_id, (page - 1) * per_page, per_page))


@router.get("/witness")
def witness(
    caller: Caller, services: Served, job_id: JobNumber | None = None, page: PageNumber = 1, per_page: PerPage = 100
) -> Response:
    """What this WMS saw of each attempt, by its own clock."""
    return JSONResponse(services.accounting.witness(caller, job_id, (page - 1) * per_page, per_page))
