"""Whether the server lives, and whether it can do its work; for load balancers, and without a token."""

import asyncio

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from runner.server.routes.dependencies import Served

router = APIRouter()
#: A database that does not answer at all must not keep the answer to the probe.
PATIENCE_SECONDS = 5.0


@router.get("/healthz")
async def live() -> Response:
    """The process answers: do not kill it."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def ready(services: Served) -> Response:
    """Whether calls can be served now: 200, or 503 and in words what is not ready."""
    try:
        checks = dict(await asyncio.wait_for(run_in_threadpool(services.health.checks), PATIENCE_SECONDS))
    except TimeoutError:
        checks = {"database": f"no answer within {PATIENCE_SECONDS:g} s"}
    is_ready = all(words == "ok" for words in checks.values())
    return JSONResponse({"Ready": is_ready, "Checks": checks}, 200 if is_ready else 503)
