"""Our own calls of agents and wrappers: match, commands, job tokens, reports."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from runner.server.models import CommandIDs, CommandsParams, JobReportParams, MatchParams, TokenRequest
from runner.server.observing import told
from runner.server.routes.dependencies import Caller, JobPath, RenewingCaller, Served, poll
from runner.server.routes.jobs import status_update
from runner.server.routes.lines import in_line, lines_of
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.job_state_update import Report
from runner.server.services.job_tokens import with_claim

router = APIRouter(prefix="/api/jobspan")
#: The pilot was killed: it gets no more jobs, and ends.
STOP = {"Job": None, "Stop": True}


@router.post("/match")
async def match(slot: MatchParams, request: Request, caller: Caller, services: Served) -> Response:
    """Ask for a job, and wait for one."""
    require(caller, Right.MATCH, Relation.GENERAL)  # before it hears whether the pilot is to stop

    def look() -> dict[str, Any] | None:
        if services.pilots_logging.is_stopped(slot.PilotStamp):
            return STOP
        job = services.matcher.match(caller, slot)
        told(request).match = job["UID"] if job else ""
        return {"Job": job} if job else None

    found = await poll(request, services.context.jobs_wait, slot.WaitSeconds, look)
    return JSONResponse(found or {"Job": None})


@router.post("/commands")
async def commands(wanted: CommandsParams, request: Request, caller: Caller, services: Served) -> Response:
    """Ask for commands for the jobs of an agent, and wait for one."""

    def look() -> dict[str, Any]:
        found = services.job_commands.pending(caller, wanted.Jobs)
        if services.pilots_logging.is_stopped(wanted.PilotStamp):
            return {"Commands": found, "Stop": True}
        return {"Commands": found} if found else {}

    found = await poll(request, services.context.commands_wait, wanted.WaitSeconds, look)
    return JSONResponse(found or {"Commands": []})


@router.post("/commands/ack")
def acknowledge(body: CommandIDs, caller: Caller, services: Served) -> Response:
    """The wrappers know: do not repeat these commands."""
    services.job_commands.acknowledge(caller, body.CommandIDs)
    return Response(status_code=204)


@router.post("/jobs/{job_id}/token")
def renew_token(
    job_id: JobPath, caller: RenewingCaller, services: Served, wanted: TokenRequest | None = None
) -> Response:
    """A fresh job token for the bearer of the present one, or of one that is over."""
    claim = wanted.Claim if wanted else None
    return JSONResponse(services.job_tokens.renew(caller, job_id, claim))


@router.post("/jobs/{job_id}/report")
async def report(
    job_id: JobPath, said: JobReportParams, request: Request, caller: Caller, services: Served
) -> Response:
    """Statuses, parameters and heartbeat in one call; a claim that is new to the token gives one with it."""
    told(request).heartbeats = int(said.Heartbeat is not None)
    updates = [status_update(job_id, *each) for each in said.Statuses.items()]
    bearer = with_claim(caller, said.Claim)
    parts = Report(updates, said.Parameters, said.Heartbeat)
    answer = await in_line(lines_of(request).reports, lambda: services.job_state_update.report(bearer, job_id, parts))
    if bearer != caller:
        answer |= services.job_tokens.name(bearer)
    return JSONResponse(answer)
