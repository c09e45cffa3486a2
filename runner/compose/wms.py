"""The embedded WMS's process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.compose.requests import open_executor
from runner.config import Config
from runner.errors import ConfigError
from telemetry.clock import SystemClock

#: An operation under way when the WMS is told to stop has so long; it is repeated later.
STOP_SECONDS = 5.0


def run_wms(config: Config, announce: Callable[[str], None] = print) -> int:
    """Serve until SIGTERM or SIGINT; *announce* gets the address once it answers. The exit code.

    Raises:
        ConfigError: the extra that brings the server is not installed.
    """
    with needs_server():
        from runner.server.serve import serve
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def listening(url: str) -> None:
        if config.wms.request_polling_time_seconds > 0:
            threads.append(_execute_requests(config, url, stop))
        announce(url)

    try:
        serve(config, SystemClock(), listening)
    finally:
        stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
    return 0


def migrate_wms(config: Config, announce: Callable[[str], None] = print) -> int:
    """Bring the database to the version of this jobspan; the exit code.

    Raises:
        ConfigError: a WMS runs on the folder, the database cannot be migrated, or the extra is not installed.
    """
    with needs_server():
        from runner.server.serve import migrate_database
    before, after = migrate_database(config)
    announce(f"the database has the tables of version {after}" + (f", it had {before}" if before != after else ""))
    return 0


@contextmanager
def needs_server() -> Iterator[None]:
    """Around an import of the server, which a worker node does not have.

    Raises:
        ConfigError: the extra that brings it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the embedded WMS needs {error.name}; install it with: pip install 'jobspan[wms]'"
        ) from error


def _execute_requests(config: Config, url: str, stop: threading.Event) -> threading.Thread:
    """A thread that executes the requests of jobs, over HTTP like any other executor."""

    def execute() -> None:
        with open_executor(config, url, stop=stop) as executor:
            executor.serve(config.wms.request_polling_time_seconds)

    thread = threading.Thread(target=execute, name="requests", daemon=True)
    thread.start()
    return thread
