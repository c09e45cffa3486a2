"""Who is there: this WMS, and its caller."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from runner import __version__
from runner.server.routes.dependencies import Caller, Served
from telemetry.clock import utc_text

router = APIRouter(prefix="/api")


@router.get("/jobspan/info")
async def info(services: Served) -> Response:
    """Which WMS this is, and what time it has."""
    context = services.context
    return JSONResponse({"WMSID": context.wms_id, "Version": __version__, "Time": utc_text(context.now_ns())})


@router.get("/auth/userinfo")
async def userinfo(caller: Caller) -> Response:
    """Who the bearer of the token is."""
    return JSONResponse(
        {
            "sub": caller.subject,
            "vo": caller.vo,
            "dirac_group": caller.group,
            "policies": {},
            "properties": sorted(caller.roles),
            "preferred_username": caller.name,
        }
    )
