"""What routes share: who calls, the services, and waiting for something to happen."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypeVar, cast

from fastapi import Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool

from runner.server.bells import Bell
from runner.server.errors import InvalidRequestError, UnauthenticatedError
from runner.server.services.accounting import Accounting
from runner.server.services.accounting_report import AccountingReport
from runner.server.services.console_sessions import ConsoleSessions
from runner.server.services.context import ServiceContext
from runner.server.services.explanations import Explanations
from runner.server.services.file_catalog import FileCatalog
from runner.server.services.file_status import FileStatus
from runner.server.services.health import Health
from runner.server.services.job_commands import JobCommands
from runner.server.services.job_endings import JobEndings
from runner.server.services.job_manager import JobManager
from runner.server.services.job_monitoring import JobMonitoring
from runner.server.services.job_state_update import JobStateUpdate
from runner.server.services.job_tokens import JobTokens
from runner.server.services.job_traces import JobTraces
from runner.server.services.last_report import LastReport
from runner.server.services.live_peeks import LivePeeks
from runner.server.services.login_flows import LoginFlows
from runner.server.services.matcher import Matcher
from runner.server.services.pilots import PilotManager
from runner.server.services.pilots_logging import PilotsLogging
from runner.server.services.requests import RequestService
from runner.server.services.revocations import Revocations
from runner.server.services.sandbox_store import SandboxStore
from runner.server.services.sessions import Sessions
from runner.server.services.targets import Targets
from runner.server.services.wms_administrator import WMSAdministrator
from runner.server.services.wms_utilities import WMSUtilities
from runner.server.tokens import Identity

T = TypeVar("T")
#: What another process of the same WMS did rings no bell here.
LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Services:
    """All services of one WMS."""

    context: ServiceContext
    job_manager: JobManager
    job_monitoring: JobMonitoring
    job_traces: JobTraces
    job_state_update: JobStateUpdate
    job_commands: JobCommands
    job_tokens: JobTokens
    matcher: Matcher
    sandbox_store: SandboxStore
    pilots: PilotManager
    file_catalog: FileCatalog
    accounting: Accounting
    requests: RequestService
    file_status: FileStatus
    job_endings: JobEndings
    explanations: Explanations
    wms_administrator: WMSAdministrator
    wms_utilities: WMSUtilities
    pilots_logging: PilotsLogging
    targets: Targets
    accounting_report: AccountingReport
    login_flows: LoginFlows
    sessions: Sessions
    console_sessions: ConsoleSessions
    revocations: Revocations
    last_report: LastReport
    live_peeks: LivePeeks
    health: Health


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


async def _caller(request: Request) -> Identity:
    return cast(Services, request.app.state.services).context.mint.identify(_token(request))


async def _renewing(request: Request) -> Identity:
    """Only the exchange of a job token for a fresh one also takes one whose time is over."""
    context = cast(Services, request.app.state.services).context
    return context.mint.identify_for_renewal(_token(request), context.settings.job_token_renewal_seconds)


#: Dependencies that want to know who calls.
AUTHENTICATING = (_caller, _renewing)


def _token(request: Request) -> str:
    header = request.headers.get("authorization")
    if header is None:
        raise UnauthenticatedError("Authorization header is missing")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise InvalidRequestError("Invalid authorization header")
    return token.strip()


def address_of(request: Request) -> str:
    """Where the caller is, as the network says."""
    return request.client.host if request.client else ""


def is_from_here(request: Request) -> bool:
    """Whether a form was sent by one of our own pages, as far as the browser says (RFC 6454: scheme://host)."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


Served: TypeAlias = Annotated[Services, Depends(_services)]
Caller: TypeAlias = Annotated[Identity, Depends(_caller)]
RenewingCaller: TypeAlias = Annotated[Identity, Depends(_renewing)]
PageNumber: TypeAlias = Annotated[int, Query(ge=1, le=1 << 31)]
PerPage: TypeAlias = Annotated[int, Query(ge=1, le=10_000)]
JobPath: TypeAlias = Annotated[int, Path(ge=0, lt=1 << 63)]
JobNumber: TypeAlias = Annotated[int, Query(ge=0, lt=1 << 63)]


async def poll(request: Request, bell: Bell, wait_seconds: float, look: Callable[[], T]) -> T:
    """What *look* finds, at once or after *bell* has rung; what it last found when the time is over.

    *look* runs in a thread. Whoever has gone meanwhile is not looked for: what it found would be lost.
    """
    loop = asyncio.get_running_loop()
    context = cast(Services, request.app.state.services).context
    settings = context.settings
    longest = LOOK_AGAIN_SECONDS if context.is_shared else settings.max_wait_seconds
    deadline = loop.time() + min(wait_seconds, settings.max_wait_seconds)
    while True:
        rung = bell.listen()  # before looking, so that no ring in between is missed
        found = await run_in_threadpool(look)
        left = deadline - loop.time()
        if found or left <= 0 or bell.is_closed:
            return found
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), min(left, longest))
        if await request.is_disconnected():
            return found
