"""Our own calls for the file catalogue."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from runner.server.models import LookupParams, Registration, ReplicaName
from runner.server.routes.dependencies import Caller, Served

router = APIRouter(prefix="/api/jobspan/catalog")


@router.post("/lookup")
def lookup(wanted: LookupParams, caller: Caller, services: Served) -> Response:
    """Find replicas of files."""
    return JSONResponse(services.file_catalog.lookup(caller, wanted.LFNs, wanted.Catalog))


@router.post("/register")
def register(file: Registration, caller: Caller, services: Served) -> Response:
    """Make a replica known."""
    return JSONResponse(None, 201 if services.file_catalog.register(caller, file) else 200)


@router.post("/remove")
def remove(replica: ReplicaName, caller: Caller, services: Served) -> Response:
    """Forget a replica, of which another one must be there."""
    services.file_catalog.remove(caller, replica)
    return JSONResponse(None)
