"""Whether the server lives, and whether it can do its work; for load balancers, and without a token."""

import asyncio

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from runner.server.routes.dependencies import Served
from runner.server.services.health import PATIENCE_SECONDS

router = APIRouter()


@router.get("/healthz")
async def live() -> Response:
    """The process answers: do not kill it."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def ready(services: Served) -> Response:
    """Whether calls can be served now: 200, or 503 and in words what is not ready."""
    look = asyncio.ensure_future(run_in_threadpool(services.health.checks))
    await asyncio.wait({look}, timeout=PATIENCE_SECONDS)
    checks = look.result() if look.done() else services.health.last_checks()
    is_ready = all(words == "ok" for words in checks.values())
    return JSONResponse({"Ready": is_ready, "Checks": checks}, 200 if is_ready else 503)
