"""The payload's own telemetry: through the door of the agent for all its jobs, or one of a wrapper that runs alone."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runner.compose.lone import is_alone
from runner.config import Config, secrets_of
from runner.redaction import Redactor
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.environment import service_name
from runner.wrapper.ports import TelemetryDoor
from telemetry.clock import Clock
from telemetry.live.payload_door import PayloadDoor, keep_port
from telemetry.live.payload_spool import PayloadKey, issue, void

if TYPE_CHECKING:
    from telemetry.live.payload_counts import PayloadCounts
    from telemetry.live.payload_desk import Desk

_AGENT = "agent"
#: In the agent's folder: where its door is. It stays there, so that the next agent takes the same port: payloads that
#: run on know no other, and their wrappers keep it for it.
ADDRESS = "payload-telemetry.url"
_VOID_SECONDS = 1.0
_log = logging.getLogger("jobspan.telemetry")


def open_node_door(config: Config, redact: Redactor, clock: Clock, counts: "PayloadCounts") -> PayloadDoor | None:
    """The agent's. None: it is not wanted, or there is no socket, or another agent has opened its own."""
    from runner.agent.folders import JobFolder  # a wrapper knows no agent

    agent = config.folder / _AGENT
    address = agent / ADDRESS
    if not is_alone(config):
        return None
    port = _port(_text(address))
    address.unlink(missing_ok=True)
    if not config.telemetry.payload_telemetry:
        return None

    def find(name: str) -> Path | None:
        folder = JobFolder.named(config.jobs_folder, name)
        return folder.control if folder else None

    try:
        door = PayloadDoor(partial(_desk, config, redact, clock, find, counts), port)
        agent.mkdir(mode=0o700, parents=True, exist_ok=True)
        address.write_text(door.url)
    except OSError as error:
        _log.warning("telemetry of payloads cannot be taken: %s", error.strerror)
        return None
    return door


class PayloadTelemetry:
    """The wrapper's part: a secret for its payload while that runs. Nothing that goes wrong here fails the job."""

    def __init__(
        self, config: Config, arguments: WrapperArguments, control: Path, *, redact: Redactor, clock: Clock
    ) -> None:
        self._config = config
        self._arguments = arguments
        self._control = control
        self._redact = redact
        self._clock = clock

    @contextlib.contextmanager
    def __call__(self) -> Iterator[TelemetryDoor | None]:
        """A door for the payload; None: there is none for it."""
        if not self._config.telemetry.payload_telemetry:
            yield None
            return
        with contextlib.ExitStack() as stack:
            door = None
            try:
                door = self._open(stack)
            except OSError as error:
                _log.warning("the payload cannot send telemetry: %s", error.strerror)
            yield door

    def _open(self, stack: contextlib.ExitStack) -> TelemetryDoor:
        control, arguments = self._control, self._arguments
        if not (url := self._url_of_agent(stack)):
            own = PayloadDoor(partial(_desk, self._config, self._redact, self._clock, self._find))
            stack.callback(own.close)
            url = own.url
        key = PayloadKey.new(
            uid=arguments.uid,
            job_id=arguments.job_id,
            attempt=arguments.attempt,
            service_name=service_name(arguments),
            since_utc_ns=self._clock.utc_ns(),
            hidden=Redactor(secrets_of(arguments.description.environment)).secrets,
        )
        self._redact.add(key.secret)
        issue(control, key)
        stack.callback(_void, control)
        return TelemetryDoor(url=url, token=key.token(control))

    def _url_of_agent(self, stack: contextlib.ExitStack) -> str:
        """Where the agent of this folder takes telemetry; empty: there is none, or it takes none, or its port is lost.

        While the payload runs the port stays that of our user, also when there is no agent: what the payload sends,
        and its secret, must not go to whoever would listen there then.
        """
        url = "" if is_alone(self._config) else _text(self._config.folder / _AGENT / ADDRESS)
        if url:
            try:
                stack.enter_context(keep_port(_port(url)))
            except OSError:
                return ""
        return url

    def _find(self, name: str) -> Path | None:
        return self._control if name == self._control.parent.name else None


def _port(url: str) -> int:
    try:
        return int(url.rpartition(":")[2])
    except ValueError:
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _void(control: Path) -> None:
    """The job waits for no agent that holds the key and is stopped: whoever ships does it."""
    with contextlib.suppress(OSError):
        void(control, _VOID_SECONDS)


def _desk(
    config: Config,
    redact: Callable[[str], str],
    clock: Clock,
    find: Callable[[str], Path | None],
    counts: "PayloadCounts | None" = None,
) -> "Desk":
    from telemetry.live.payload_counts import PayloadCounts
    from telemetry.live.payload_desk import Desk, Limits

    options = config.telemetry
    limits = Limits(
        requests_per_second=options.payload_telemetry_rate,
        items=options.payload_telemetry_items,
        total_bytes=options.payload_telemetry_bytes,
    )
    return Desk(
        find,
        limits=limits,
        mask=redact,
        clock=clock,
        service_name=options.service_name,
        counts=counts or PayloadCounts(),
    )
