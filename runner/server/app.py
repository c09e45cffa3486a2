"""The application: databases, services and routes put together."""

from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError

from runner import __version__
from runner.errors import ConfigError
from runner.server.db.observed import ObservedDatabases
from runner.server.db.opensearch_job_parameters import OpenSearchJobParameters
from runner.server.keys import KeyRing
from runner.server.observer import SILENT, Observer
from runner.server.observing import Observing
from runner.server.openapi import describe, operation_id
from runner.server.routes import (
    about,
    accounting,
    administration,
    auth,
    catalog,
    console_jobs,
    console_login,
    console_site,
    details,
    discovery,
    failures,
    health,
    jobs,
    login_pages,
    matching,
    orders,
    pilots,
    requests,
    sandboxes,
    well_known,
)
from runner.server.routes.dependencies import Services
from runner.server.routes.last_resort import LastResort
from runner.server.routes.limits import BodyLimit
from runner.server.routes.lines import Lines
from runner.server.routes.repeating import repeating
from runner.server.sandboxes.contents import Contents
from runner.server.sandboxes.folder import FolderContents
from runner.server.sandboxes.s3 import S3Contents
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
from runner.server.services.registry import Registry
from runner.server.services.requests import RequestService
from runner.server.services.revocations import Revocations
from runner.server.services.sandbox_store import SandboxStore
from runner.server.services.sessions import Sessions
from runner.server.services.targets import Targets
from runner.server.services.wms_administrator import WMSAdministrator
from runner.server.services.wms_utilities import WMSUtilities
from runner.server.settings import ServerSettings
from runner.server.tokens import TokenMint
from telemetry.clock import Clock

#: In the order in which the calls of a job come most: a request is held against one route after the other.
ROUTES = (
    matching,
    accounting,
    jobs,
    sandboxes,
    about,
    pilots,
    orders,
    details,
    catalog,
    requests,
    administration,
    discovery,
    well_known,
    auth,
    login_pages,
    console_login,
    console_jobs,
    console_site,
    health,
)


def open_context(settings: ServerSettings, clock: Clock, observer: Observer = SILENT) -> ServiceContext:
    """The WMS in the folder of *settings*; folder, key and databases are made if they are not there.

    *observer* is told of every transaction and every call.

    Raises:
        ConfigError: the database or the keys there cannot be used.
    """
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    earlier = settings.earlier_secret.read_bytes() if settings.earlier_secret.exists() else b""
    keys = KeyRing(settings.keys, clock, earlier_seconds=settings.longest_token_seconds if earlier else 0)
    address = settings.database
    try:
        parameters = OpenSearchJobParameters(settings.parameters_url) if settings.parameters_url else None
        databases = ObservedDatabases(address, settings.database_connections, parameters=parameters)
        databases.observe = observer.transaction
        wms_id = databases.repeated(lambda: _wms_id(databases))
    except DBAPIError as error:
        raise ConfigError(f"{address.shown}: cannot be used as a database: {error.orig}") from error
    mint = TokenMint(keys, wms_id, clock, earlier_secret=earlier)
    return ServiceContext(
        settings=settings,
        databases=databases,
        clock=clock,
        mint=mint,
        wms_id=wms_id,
        contents=_contents(settings, mint, wms_id),
        observer=observer,
    )


def _contents(settings: ServerSettings, mint: TokenMint, wms_id: str) -> Contents:
    if settings.bucket is not None:
        return S3Contents(settings.bucket, wms_id, settings.presigned_seconds)
    return FolderContents(settings.sandboxes, mint, settings.presigned_seconds)


def _wms_id(databases: ObservedDatabases) -> str:
    with databases.write(durable=True) as transaction:
        return transaction.system.wms_id()


def create_app(settings: ServerSettings, clock: Clock) -> FastAPI:
    """The WMS as an ASGI application; its services are `app.state.services`."""
    return application(open_context(settings, clock))


def application(context: ServiceContext) -> FastAPI:
    """The ASGI application over an open WMS."""
    app = FastAPI(
        title="jobspan WMS",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    services = _services(context)
    app.state.services = repeating(services) if context.is_shared else services
    app.state.lines = Lines.to_a_server() if context.is_shared else Lines.to_a_file()
    for module in ROUTES:
        app.include_router(module.router)
    failures.install(app)
    describe(app, [module.router for module in ROUTES])
    app.add_middleware(LastResort)
    app.add_middleware(BodyLimit, settings=context.settings)
    app.add_middleware(Observing, observer=context.observer, clock=context.clock)
    return app


def _services(context: ServiceContext) -> Services:
    tokens = JobTokens(context)
    registry = Registry(context)
    sessions = Sessions(context, registry)
    return Services(
        context=context,
        job_manager=JobManager(context),
        job_monitoring=JobMonitoring(context),
        job_traces=JobTraces(context),
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
        job_endings=JobEndings(context),
        explanations=Explanations(context),
        wms_administrator=WMSAdministrator(context),
        wms_utilities=WMSUtilities(context),
        pilots_logging=PilotsLogging(context),
        targets=Targets(context),
        accounting_report=AccountingReport(context),
        login_flows=LoginFlows(context, registry, sessions),
        sessions=sessions,
        console_sessions=ConsoleSessions(context, registry),
        revocations=Revocations(context),
        last_report=LastReport(context),
        live_peeks=LivePeeks(context),
        health=Health(context),
    )
