"""Our own calls for combined requests and for the statuses of files."""

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from runner.server.models import Claimed, ClaimParams, FileStatuses, OperationReport
from runner.server.routes.dependencies import Caller, JobNumber, PageNumber, PerPage, Served

router = APIRouter(prefix="/api/jobspan")
RequestPath: TypeAlias = Annotated[int, Path(ge=0, lt=1 << 63)]
OrderPath: TypeAlias = Annotated[int, Path(ge=1, lt=1 << 31)]
Status: TypeAlias = Annotated[Literal["Waiting", "Done", "Failed"] | None, Query()]


@router.post("/requests")
def put(document: dict[str, Any], caller: Caller, services: Served) -> Response:
    """Hand in the request of one's own attempt; the same once more is the same."""
    number, is_new = services.requests.put(caller, document)
    return JSONResponse({"RequestID": number}, 201 if is_new else 200)


@router.get("/requests")
def listing(
    caller: Caller,
    services: Served,
    job_id: JobNumber | None = None,
    status: Status = None,
    page: PageNumber = 1,
    per_page: PerPage = 100,
) -> Response:
    """Requests, the oldest first."""
    wanted = {name: value for name, value in (("JobID", job_id), ("Status", status)) if value is not None}
    return JSONResponse(services.requests.listing(caller, wanted, (page - 1) * per_page, per_page))


@router.post("/requests/claim")
def claim(body: ClaimParams, caller: Caller, services: Served) -> Response:
    """Take a request that is due, for oneself alone."""
    return JSONResponse({"Request": services.requests.claim(caller, body.RequestIDs, body.Without)})


@router.get("/requests/{request_id}")
def get(request_id: RequestPath, caller: Caller, services: Served) -> Response:
    """One request with its operations."""
    return JSONResponse(services.requests.get(caller, request_id))


@router.post("/requests/{request_id}/renew")
def renew(request_id: RequestPath, body: Claimed, caller: Caller, services: Served) -> Response:
    """Keep the claim on a request for another lease."""
    services.requests.renew(caller, request_id, body.Claim)
    return JSONResponse(None)


@router.post("/requests/{request_id}/operations/{order}")
def report(
    request_id: RequestPath, order: OrderPath, body: OperationReport, caller: Caller, services: Served
) -> Response:
    """Say what became of an operation."""
    status = services.requests.report(caller, request_id, order, body.model_dump())
    return JSONResponse({"Status": status})


@router.post("/file-status")
def set_file_status(body: FileStatuses, caller: Caller, services: Served) -> Response:
    """Take a file report; the same once more changes nothing."""
    return JSONResponse({"Changed": services.file_status.set(caller, body)})


@router.get("/file-status")
def file_status(
    caller: Caller, services: Served, job_id: JobNumber | None = None, page: PageNumber = 1, per_page: PerPage = 100
) -> Response:
    """What became of the files of productions."""
    wanted = {} if job_id is None else {"JobID": job_id}
    return JSONResponse({"Files": services.file_status.listing(caller, wanted, (page - 1) * per_page, per_page)})
