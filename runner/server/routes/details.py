"""Our own calls that read one job: parameters, peek, description."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from runner.server.routes.dependencies import Caller, JobPath, Served

router = APIRouter(prefix="/api/jobspan/jobs/{job_id}")


@router.get("/parameters")
def parameters(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """The job's parameters."""
    return JSONResponse(services.job_monitoring.parameters(caller, job_id))


@router.get("/peek")
def peek(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """The last lines of the job's output."""
    return JSONResponse(services.job_monitoring.peek(caller, job_id))


@router.get("/description")
def description(job_id: JobPath, caller: Caller, services: Served) -> Response:
    """The job's description."""
    return JSONResponse(services.job_monitoring.description(caller, job_id))
