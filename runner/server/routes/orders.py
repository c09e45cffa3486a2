"""Our own calls that end jobs or start them anew, many at once, each with its own outcome."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from runner.server.models import JobIDs
from runner.server.routes.dependencies import Caller, Served

router = APIRouter(prefix="/api/jobspan/jobs")


@router.post("/kill")
def kill(body: JobIDs, caller: Caller, services: Served) -> Response:
    """End jobs that are not over yet."""
    return JSONResponse(services.job_endings.kill(caller, body.job_ids))


@router.post("/delete")
def delete(body: JobIDs, caller: Caller, services: Served) -> Response:
    """Put jobs away that are over or have not begun."""
    return JSONResponse(services.job_endings.delete(caller, body.job_ids))


@router.post("/remove")
def remove(body: JobIDs, caller: Caller, services: Served) -> Response:
    """Forget jobs that are over, but for their accounting."""
    return JSONResponse(services.job_endings.remove(caller, body.job_ids))


@router.post("/reset")
def reset(body: JobIDs, caller: Caller, services: Served) -> Response:
    """A new attempt for each of the jobs, as if they had had none that counts."""
    return JSONResponse(services.job_manager.reset(caller, body.job_ids))
