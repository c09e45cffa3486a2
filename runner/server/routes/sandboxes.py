"""Sandboxes: DiracX's calls, and the presigned addresses behind them (which need no token)."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.datastructures import UploadFile

from runner.server.errors import InvalidRequestError, InvalidValueError, TooLargeError
from runner.server.models import JobIDs, SandboxInfo
from runner.server.routes.dependencies import Caller, JobPath, Served
from runner.server.sandboxes.contents import Address
from runner.server.sandboxes.folder import DOWNLOAD, UPLOAD
from runner.server.settings import MULTIPART_OVERHEAD_BYTES

router = APIRouter()
#: Where presigned addresses lead.
STORE_PATH = "/api/jobspan/sandboxes"
MAX_FORM_FIELDS = 20
Permission = Annotated[str, Query(max_length=4096)]


@router.post("/api/jobs/sandbox")
def initiate_upload(info: SandboxInfo, request: Request, caller: Caller, services: Served) -> Response:
    """Ask for an address to which a sandbox can be uploaded."""
    pfn, address = services.sandbox_store.initiate_upload(caller, info)
    if address is None:
        return JSONResponse({"pfn": pfn, "url": None, "fields": {}})
    return JSONResponse({"pfn": pfn, "url": _url(request, "upload", address), "fields": dict(address.fields)})


@router.get("/api/jobs/sandbox")
def initiate_download(
    pfn: Annotated[str, Query(max_length=1024)], request: Request, caller: Caller, services: Served
) -> Response:
    """Ask for an address from which a sandbox can be downloaded."""
    address = services.sandbox_store.initiate_download(caller, pfn)
    url = download_address(request, address)
    return JSONResponse({"url": url, "expires_in": round(services.context.settings.presigned_seconds)})


@router.post(STORE_PATH)
async def upload(request: Request, permit: Permission, services: Served) -> Response:
    """Bring a sandbox: a form whose part `file` is the archive."""
    allowed = services.sandbox_store.permitted(UPLOAD, permit)
    if int(request.headers.get("content-length", "0")) > allowed.size_bytes + MULTIPART_OVERHEAD_BYTES:
        raise TooLargeError(f"the body is larger than the {allowed.size_bytes} bytes that were announced")
    async with request.form(max_files=1, max_fields=MAX_FORM_FIELDS) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequestError("the form has no file in its part `file`")
        await run_in_threadpool(services.sandbox_store.store, allowed, file.file)
    return Response(status_code=204)


@router.get(STORE_PATH)
def download(permit: Permission, services: Served) -> Response:
    """Fetch a sandbox."""
    allowed = services.sandbox_store.permitted(DOWNLOAD, permit)
    return FileResponse(services.sandbox_store.open_download(allowed), media_type="application/octet-stream")


@router.patch("/api/jobs/{job_id}/sandbox/output")
async def assign_output(job_id: JobPath, request: Request, caller: Caller, services: Served) -> Response:
    """Assign an output sandbox: the body is its name as a JSON string (or, as DiracX's client has it, bare)."""
    pfn = _pfn(await request.body())
    await run_in_threadpool(services.sandbox_store.assign_output, caller, job_id, pfn)
    return JSONResponse(None)


@router.get("/api/jobs/{job_id}/sandbox")
def sandboxes_of(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """Names of a job's sandboxes."""
    return JSONResponse(services.sandbox_store.of_job(caller, job_id))


@router.get("/api/jobs/{job_id}/sandbox/{sandbox_type}")
def sandboxes_of_type(
    job_id: JobPath, sandbox_type: Literal["input", "output"], caller: Caller, services: Served
) -> Response:
    """Names of a job's input or output sandboxes."""
    return JSONResponse(services.sandbox_store.of_job(caller, job_id)[sandbox_type.capitalize()])


@router.delete("/api/jobs/{job_id}/sandbox")
def unassign(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """Forget the sandboxes of a job."""
    services.sandbox_store.unassign(caller, [job_id])
    return JSONResponse(None)


@router.post("/api/jobs/sandbox/unassign")
def unassign_bulk(body: JobIDs, caller: Caller, services: Served) -> Response:
    """Forget the sandboxes of several jobs."""
    services.sandbox_store.unassign(caller, body.job_ids)
    return Response(status_code=204)


def download_address(request: Request, address: Address) -> str:
    """Where a browser or a program finds what *address* permits."""
    return _url(request, "download", address)


def _url(request: Request, route: str, address: Address) -> str:
    return address.url or str(request.url_for(route).include_query_params(permit=address.permit))


def _pfn(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidValueError("the name of a sandbox is text") from error
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if not isinstance(value, str):
        raise InvalidValueError("the body must be the name of a sandbox")
    return value
