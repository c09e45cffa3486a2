"""The process of the embedded WMS: one a folder, on loopback unless the configuration says otherwise."""

import contextlib
import ipaddress
import math
import os
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

import uvicorn
from sqlalchemy.exc import DBAPIError

from runner.config import Config, WmsConfig
from runner.errors import ConfigError
from runner.locks import FileLock, LockHeld
from runner.server.app import application, open_context
from runner.server.db.engine import upgrade
from runner.server.http import BoundedHttp
from runner.server.observer import SILENT, Observer
from runner.server.optimizing import OptimizerThreads
from runner.server.services.accounting_report import AccountingReport
from runner.server.services.context import ServiceContext
from runner.server.services.inventory import Inventory
from runner.server.services.job_cleaning_agent import JobCleaningAgent
from runner.server.services.revocations import LOOK_SECONDS, Revocations
from runner.server.services.stalled_job_agent import StalledJobAgent
from runner.server.settings import ServerSettings
from runner.server.tokens import Identity, Role
from runner.server.watch import Watch
from telemetry.clock import Clock

URL_FILE = "wms.url"
LOCK_FILE = "wms.lock"
BACKLOG = 256
#: A look at stalled jobs that is under way when the server is told to stop has so long.
WATCH_STOP_SECONDS = 3.0
ROLES = {
    "user": frozenset({Role.USER}),
    "pilot": frozenset({Role.PILOT}),
    "admin": frozenset({Role.USER, Role.ADMIN}),
    #: For Prometheus, which looks for its targets at /sd.
    "monitor": frozenset({Role.MONITOR}),
}


class ServerObserver(Observer, Protocol):
    """An observer that also wants to know, now and then, what there is in the databases."""

    def watching(self, inventory: Inventory) -> contextlib.AbstractContextManager[object]:
        """From the opening of the databases to their closing."""
        ...


class WmsServer(uvicorn.Server):
    """uvicorn, but it stops in order: signals only ask for it, long polls answer at once, other calls have a while."""

    def __init__(
        self, context: ServiceContext, announce: Callable[[], None], tls: ssl.SSLContext | None = None
    ) -> None:
        config = uvicorn.Config(
            application(context),
            http=BoundedHttp,
            loop="uvloop",
            log_config=None,
            access_log=False,  # presigned addresses would stand in it
            lifespan="off",
            timeout_graceful_shutdown=math.ceil(context.settings.shutdown_seconds),
            backlog=BACKLOG,
        )
        if tls is not None:
            config.load()  # it would make a context of its own otherwise
            config.ssl = tls
        super().__init__(config)
        self._context = context
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let long polls answer, then stop."""
        self._context.observer.stopping()
        self._context.close_bells()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for the end, and that is all: uvicorn would raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True


def serve(
    config: Config, clock: Clock, announce: Callable[[str], None], observer: ServerObserver | None = None
) -> None:
    """Serve the folder of *config* until SIGTERM or SIGINT. *announce* is called with the address, once it listens.

    *observer* is told of calls and transactions.

    Raises:
        ConfigError: another server has the folder, or the address cannot be listened on.
    """
    with running(config, clock, announce, observer) as server:
        server.run()


@contextlib.contextmanager
def running(
    config: Config, clock: Clock, announce: Callable[[str], None], observer: ServerObserver | None = None
) -> Iterator["ReadyServer"]:
    """A server that has folder, lock, tokens and socket, and only needs to be run.

    Raises:
        ConfigError: as for `serve`.
    """
    folder = config.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_lock(folder))
        tls = tls_context(config.wms)
        listener = stack.enter_context(_listen(config.wms.host, config.wms.port))
        _check_openness(listener, config.wms, tls)
        context = open_context(ServerSettings.from_config(config), clock, observer or SILENT)
        stack.callback(context.databases.close)
        if observer is not None:
            stack.enter_context(observer.watching(Inventory(context)))
        write_tokens(context, config.tokens_folder)
        context.mint.keys.when_changed(lambda: write_tokens(context, config.tokens_folder))
        url = _url(listener, config.wms.host, "https" if tls else "http")
        stack.callback((folder / URL_FILE).unlink, missing_ok=True)

        def listening() -> None:
            _write(folder / URL_FILE, url + "\n", 0o644)
            announce(url)

        yield ReadyServer(context, listener, listening, tls)


class ReadyServer:
    """A server that listens as soon as it is run."""

    def __init__(
        self,
        context: ServiceContext,
        listener: socket.socket,
        announce: Callable[[], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.context = context
        self._listener = listener
        self._server = WmsServer(context, announce, tls)
        self.watch = Watch(StalledJobAgent(context).look, context.settings.stalled_polling_seconds)
        self.cleaning = Watch(JobCleaningAgent(context).look, context.settings.cleaning_polling_seconds)
        self._revocations = Revocations(context)
        self._looking = Watch(self._revocations.load, LOOK_SECONDS)
        self._optimizers = OptimizerThreads(context)

    def run(self) -> None:
        """Serve until told to stop: by a signal, if this is the main thread, or by `stop`."""
        AccountingReport(self.context).fill()
        self._revocations.load()
        self._looking.start()
        self.watch.start()
        self.cleaning.start()
        self._optimizers.start()
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._looking.stop(WATCH_STOP_SECONDS)
            self._optimizers.stop(WATCH_STOP_SECONDS)
            self.cleaning.stop(WATCH_STOP_SECONDS)
            self.watch.stop(WATCH_STOP_SECONDS)

    def stop(self) -> None:
        """Ask for the end, from any thread."""
        self._server.should_exit = True


def migrate_database(config: Config) -> tuple[str, str]:
    """Bring the database of *config* to our version; the versions before and after.

    Raises:
        ConfigError: a server has the folder, or the database cannot be migrated.
    """
    config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _lock(config.folder):
        address = ServerSettings.from_config(config).database
        try:
            return upgrade(address)
        except DBAPIError as error:
            raise ConfigError(f"{address.shown}: cannot be migrated: {error.orig}") from error


def write_tokens(context: ServiceContext, folder: Path) -> None:
    """Write the tokens of the owner as user, pilot and administrator; each start renews them."""
    settings = context.settings
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, roles in ROLES.items():
        identity = Identity(settings.owner, settings.owner_group, settings.vo, roles)
        _write(folder / f"{name}.token", context.mint.login(identity, settings.login_token_seconds) + "\n", 0o600)


def _lock(folder: Path) -> FileLock:
    try:
        return FileLock.take(folder / LOCK_FILE)
    except LockHeld as error:
        raise ConfigError(f"another WMS serves {folder}; stop it, or choose another folder with --folder") from error


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. *host* is loopback by default; whoever writes another has chosen it."""
    family = socket.AF_INET6 if _is_address(host) and ":" in host else socket.AF_INET
    # The protocol is named, because asyncio sets TCP_NODELAY only then: without it each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(f"[WMS] Host and Port: cannot listen on {host} port {port}: {error}") from error
    return listener


def tls_context(wms: WmsConfig) -> ssl.SSLContext | None:
    """What `[WMS] TLSCert` and `TLSKey` ask for; None: no TLS. TLS 1.2 and later.

    Raises:
        ConfigError: they cannot be used.
    """
    if not wms.tls_cert:
        if wms.tls_key:
            raise ConfigError("[WMS] TLSKey needs TLSCert, the certificate that goes with it")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    certificate = Path(wms.tls_cert).expanduser()
    key = Path(wms.tls_key).expanduser() if wms.tls_key else None
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[WMS] TLSCert and TLSKey: cannot use {certificate} and {key or 'its key'}: {error}"
        ) from error
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal for one; a key with a password is refused instead."""
    return ""


def _check_openness(listener: socket.socket, wms: WmsConfig, tls: ssl.SSLContext | None) -> None:
    """Tokens and passwords do not go over a network in the clear, unless somebody wants just that."""
    host = listener.getsockname()[0]
    if tls is None and not wms.plain_http and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise ConfigError(
            f"[WMS] Host {wms.host} can be reached over the network, and without TLS tokens and passwords could be "
            "read there: give --tls-cert and --tls-key, or --plain-http if something before it has TLS"
        )


def _url(listener: socket.socket, name: str, scheme: str) -> str:
    """The address for clients: by *name* if that is one, because certificates have names."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what it was bound to, not what it binds to
        host = socket.gethostname()
    elif scheme == "https" and not _is_address(name):
        host = name
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _write(path: Path, text: str, mode: int) -> None:
    """Write *path* as a whole or not at all; never readable by more than *mode* allows."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    temporary.replace(path)
