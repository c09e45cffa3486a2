"""The process of the embedded WMS: one a folder, on loopback unless the configuration says otherwise."""

import contextlib
import ipaddress
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Protocol

import uvicorn

from runner.config import Config
from runner.errors import ConfigError
from runner.locks import FileLock, LockHeld
from runner.server.app import application, open_context
from runner.server.observer import SILENT, Observer
from runner.server.services.context import ServiceContext
from runner.server.services.inventory import Inventory
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
}


class ServerObserver(Observer, Protocol):
    """An observer that also wants to know, now and then, what there is in the databases."""

    def watching(self, inventory: Inventory) -> contextlib.AbstractContextManager[object]:
        """From the opening of the databases to their closing."""
        ...


class WmsServer(uvicorn.Server):
    """uvicorn, but it stops in order: signals only ask for it, long polls answer at once, other calls have a while."""

    def __init__(self, context: ServiceContext, announce: Callable[[], None]) -> None:
        config = uvicorn.Config(
            application(context),
            log_config=None,
            access_log=False,  # presigned addresses would stand in it
            lifespan="off",
            timeout_graceful_shutdown=math.ceil(context.settings.shutdown_seconds),
            backlog=BACKLOG,
        )
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
        listener = stack.enter_context(_listen(config.wms.host, config.wms.port))
        context = open_context(ServerSettings.from_config(config), clock, observer or SILENT)
        stack.callback(context.databases.close)
        if observer is not None:
            stack.enter_context(observer.watching(Inventory(context)))
        write_tokens(context, config.tokens_folder)
        url = _url(listener)
        stack.callback((folder / URL_FILE).unlink, missing_ok=True)

        def listening() -> None:
            _write(folder / URL_FILE, url + "\n", 0o644)
            announce(url)

        yield ReadyServer(context, listener, listening)


class ReadyServer:
    """A server that listens as soon as it is run."""

    def __init__(self, context: ServiceContext, listener: socket.socket, announce: Callable[[], None]) -> None:
        self.context = context
        self._listener = listener
        self._server = WmsServer(context, announce)
        self.watch = Watch(StalledJobAgent(context).look, context.settings.stalled_polling_seconds)

    def run(self) -> None:
        """Serve until told to stop: by a signal, if this is the main thread, or by `stop`."""
        self.watch.start()
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self.watch.stop(WATCH_STOP_SECONDS)

    def stop(self) -> None:
        """Ask for the end, from any thread."""
        self._server.should_exit = True


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
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what it was bound to, not what it binds to
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _write(path: Path, text: str, mode: int) -> None:
    """Write *path* as a whole or not at all; never readable by more than *mode* allows."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    temporary.replace(path)
