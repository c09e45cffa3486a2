"""The embedded WMS's process."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from runner.compose.logs import Form, log_to_stderr
from runner.compose.notify import READY, notify
from runner.compose.requests import open_executor
from runner.config import Config
from runner.errors import ConfigError
from runner.redaction import Redactor
from telemetry.clock import SystemClock

#: An operation under way when the WMS is told to stop has so long; it is repeated later.
STOP_SECONDS = 5.0
#: Idle threads of the pool need a moment to notice.
LINGER_SECONDS = 0.5
_log = logging.getLogger("jobspan.wms")


def run_wms(
    config: Config, announce: Callable[[str], None] = print, *, log_format: Form = "text", verbose: bool = False
) -> int:
    """Serve until SIGTERM or SIGINT; *announce* gets the address once it answers. The exit code.

    Raises:
        ConfigError: the extra that brings the server is not installed.
    """
    with needs_server():
        from runner.compose.wms_telemetry import WmsTelemetry
        from runner.server.serve import serve
    redact = Redactor.of(config)
    log_to_stderr(redact, log_format, marks=_marks)
    if verbose:
        logging.getLogger("jobspan").setLevel(logging.DEBUG)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # that it starts and stops we say ourselves
    stop = threading.Event()
    threads: list[threading.Thread] = []
    telemetry = WmsTelemetry(config)

    def listening(url: str) -> None:
        for path in config.tokens_folder.glob("*.token"):  # each start renews them
            redact.add(path.read_text())
        if config.wms.request_polling_time_seconds > 0:
            threads.append(_execute_requests(config, url, stop))
        _log.info("serves %s at %s, metrics at %s", config.folder, url, telemetry.url)
        announce(url)
        notify(config.environment, READY)

    try:
        serve(config, SystemClock(), listening, telemetry)
    finally:
        stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
    return _ended()


def _ended() -> int:
    """The exit code; calls that did not end in time must not keep the process."""
    deadline = time.monotonic() + LINGER_SECONDS
    left = [each for each in threading.enumerate() if each is not threading.main_thread() and not each.daemon]
    for each in left:
        each.join(max(0.0, deadline - time.monotonic()))
    left = [each for each in left if each.is_alive()]
    if left:
        _log.warning("ends with %d calls that did not end in time; what they began is undone", len(left))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # at the interpreter's own end it would wait for these threads
    _log.info("has ended in order")
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


def _marks() -> Mapping[str, str]:
    """What a log line belongs to."""
    from runner.server.observer import present_call

    ids = present_call()
    return {} if ids is None else {"request_id": ids.request_id, "trace_id": ids.trace_id, "span_id": ids.span_id}


def _execute_requests(config: Config, url: str, stop: threading.Event) -> threading.Thread:
    """A thread that executes the requests of jobs, over HTTP like any other executor."""

    def execute() -> None:
        with open_executor(config, url, stop=stop) as executor:
            executor.serve(config.wms.request_polling_time_seconds)

    thread = threading.Thread(target=execute, name="requests", daemon=True)
    thread.start()
    return thread
