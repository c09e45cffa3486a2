"""Service discovery for Prometheus: pilots say where their metrics are, and `GET /sd` lists it (http_sd)."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from runner.server.errors import InvalidRequestError
from runner.server.models import TargetParams, TargetPort
from runner.server.routes.dependencies import Caller, Served, address_of

router = APIRouter()
#: With these the server takes somebody's word for where a call comes from.
_FORWARDED = ("x-forwarded-for", "forwarded")


@router.post("/api/jobspan/targets")
def register(target: TargetParams, request: Request, caller: Caller, services: Served) -> Response:
    """List the metrics that the caller serves; to be said again before the time in the answer is over."""
    return JSONResponse({"Seconds": round(services.targets.register(caller, target, _peer(request)))})


@router.post("/api/jobspan/targets/remove")
def remove(target: TargetPort, request: Request, caller: Caller, services: Served) -> Response:
    """The caller serves none there any more."""
    services.targets.remove(caller, target.Port, _peer(request))
    return Response(status_code=204)


@router.get("/sd")
def targets(caller: Caller, services: Served) -> Response:
    """All metrics of agents and of wrappers without one, as Prometheus asks for them."""
    return JSONResponse(services.targets.listed(caller))


def _peer(request: Request) -> str:
    """Where the caller is, as the network says; not as a header says, which anybody can write.

    Raises:
        InvalidRequestError: the call came through a proxy.
    """
    if any(name in request.headers for name in _FORWARDED):
        raise InvalidRequestError("behind a proxy the WMS does not see where its callers are: use file_sd for them")
    return address_of(request)
