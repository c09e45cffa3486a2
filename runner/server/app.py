"""The application: databases, services and routes put together."""

from fastapi import FastAPI
from sqlalchemy.exc import DatabaseError

from runner import __version__
from runner.errors import ConfigError
from runner.server.db.observed import ObservedDatabases
from runner.server.observer import SILENT, Observer
from runner.server.observing import Observing
from runner.server.routes import (
    about,
    accounting,
    catalog,
    details,
    failures,
    health,
    jobs,
    matching,
    pilots,
    requests,
    sandboxes,
)
from runner.server.routes.dependencies import Services
from runner.server.routes.last_resort import LastResort
from runner.server.routes.limits import BodyLimit
from runner.server.services.accounting import Accounting
from runner.server.services.context import ServiceContext
from runner.server.services.file_catalog import FileCatalog
from runner.server.services.file_status import FileStatus
from runner.server.services.health import Health
from runner.server.services.job_commands import JobCommands
from runner.server.services.job_manager import JobManager
from runner.server.services.job_monitoring import JobMonitoring
from runner.server.services.job_state_update import JobStateUpdate
from runner.server.services.job_tokens import JobTokens
from runner.server.services.matcher import Matcher
from runner.server.services.optimization_mind import OptimizationMind
from runner.server.services.pilots import PilotManager
from runner.server.services.requests import RequestService
from runner.server.services.sandbox_store import SandboxStore
from runner.server.settings import ServerSettings
from runner.server.tokens import TokenMint, load_key
from telemetry.clock import Clock


def open_context(settings: ServerSettings, clock: Clock, observer: Observer = SILENT) -> ServiceContext:
    """The WMS in the folder of *settings*; folder, key and databases are made if they are not there.

    *observer* is told of every transaction and every call.

    Raises:
        ConfigError: the database there cannot be used.
    """
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = load_key(settings.signing_key)
    try:
        databases = ObservedDatabases(settings.database)
        databases.observe = observer.transaction
        with databases.write(durable=True) as transaction:
            wms_id = transaction.system.wms_id()
    except DatabaseError as error:
        raise ConfigError(f"{settings.database}: cannot be used as a database: {error.orig}") from error
    mint = TokenMint(key, wms_id, clock)
    return ServiceContext(
        settings=settings, databases=databases, clock=clock, mint=mint, wms_id=wms_id, observer=observer
    )


def create_app(settings: ServerSettings, clock: Clock) -> FastAPI:
    """The WMS as an ASGI application; its services are `app.state.services`."""
    return application(open_context(settings, clock))


def application(context: ServiceContext) -> FastAPI:
    """The ASGI application over an open WMS. Jobs that an earlier server left half-way go on first."""
    optimizers = OptimizationMind(context)
    tokens = JobTokens(context)
    app = FastAPI(
        title="jobspan WMS", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.services = Services(
        context=context,
        job_manager=JobManager(context, optimizers),
        job_monitoring=JobMonitoring(context),
        job_state_update=JobStateUpdate(context),
        job_commands=JobCommands(context),
        job_tokens=tokens,
        matcher=Matcher(context, tokens),
        sandbox_store=SandboxStore(context),
        pilots=PilotManager(context),
        file_catalog=FileCatalog(context),
        accounting=Accounting(context),
        requests=RequestService(context),
        file_status=FileStatus(context),
        health=Health(context),
    )
    # In the order in which the calls of a job come most: a request is held against one route after the other.
    for module in (matching, accounting, jobs, sandboxes, about, pilots, details, catalog, requests, health):
        app.include_router(module.router)
    failures.install(app)
    app.add_middleware(LastResort)
    app.add_middleware(BodyLimit, settings=context.settings)
    app.add_middleware(Observing, observer=context.observer, clock=context.clock)
    optimizers.resume()
    return app
