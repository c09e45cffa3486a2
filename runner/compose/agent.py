"""The agent's process: spawner first, then everything that needs threads."""

import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import runner
from runner.agent.job_agent import AgentParts, JobAgent
from runner.agent.outbox import AGENT_FOLDER, SETTLED, expired
from runner.agent.peek import PeekEndpoint
from runner.compose.clients import METRICS_URL_FILE, Jobs
from runner.compose.kinds import Wms, open_wms
from runner.compose.logs import Form, log_to_stderr
from runner.compose.notify import READY, notify
from runner.compose.payload_telemetry import open_node_door
from runner.compose.records import Records
from runner.compose.shipping import payload_shipping, shipping
from runner.computing.inprocess import InProcessComputingElement
from runner.computing.spawners import InterpreterSpawner, Spawner
from runner.computing.zygote import ZygoteSpawner
from runner.config import Config
from runner.errors import ConfigError
from runner.process.linux import harden
from runner.redaction import Redactor
from runner.wrapper.template import write_wrapper
from telemetry.clock import SystemClock
from telemetry.journal import is_written, read_journal
from telemetry.ledger.builder import build, record_of
from telemetry.live.exposition import ExposureRefused, MetricsServer, is_within_reach
from telemetry.live.metrics import JobMetrics, SelfStatus
from telemetry.live.payload_counts import PayloadCounts
from telemetry.live.payload_shipping import PayloadShipper
from telemetry.live.reading import Reader
from telemetry.live.shipper import Shipper
from telemetry.measure.delegation import make_room
from telemetry.outbox import AcknowledgementsTally

log = logging.getLogger("jobspan.agent")
#: What a wrapper needs, loaded once by the zygote.
PRELOADED = ("runner.compose.wrapper",)


class NodeTelemetry:
    """Everything that watches the jobs of a node: metrics, their endpoint, the OTLP shipper."""

    def __init__(self, config: Config, clock: SystemClock, peek: PeekEndpoint, counts: PayloadCounts) -> None:
        """Load the durable counters, then open the endpoint, with *peek* beside the metrics, *counts* among them.

        Raises:
            ConfigError: an address beyond loopback without a token file.
        """
        self._shipper = Shipper(shipping(config), build, jobs_folder=config.jobs_folder)
        self._payloads = PayloadShipper(payload_shipping(config), config.jobs_folder)
        self._metrics = JobMetrics(
            config.folder / "agent" / "counters.jsonl",
            clock,
            version=runner.__version__,
            status=self._status,
            job_gauges=config.job_agent.max_job_gauges,
        )
        self._tally = AcknowledgementsTally(config.jobs_folder)
        self._agent_folder = config.folder / AGENT_FOLDER
        self._shortage: Mapping[str, str] = {}
        self._counts = counts
        self._slots = config.job_agent.slots
        #: Ended attempts of which the WMS has not taken everything.
        self._owed = {
            control
            for control in config.jobs_folder.glob("*/control")
            if not (control / SETTLED).exists() and not is_written(control, "wrapper")
        }
        for ended in self._metrics.rescan(config.jobs_folder):
            self._metrics.attempt_ended(ended, record_of(read_journal(ended)))
        self._url_file = config.folder / METRICS_URL_FILE
        self._server = _metrics_server(config, self._metrics, peek)
        self._reader = Reader(self._metrics.look)
        self._reader.start()
        self._server.start()
        self._shipper.start()
        self._payloads.start()
        self._url_file.write_text(self._server.url + "\n")

    @property
    def url(self) -> str:
        """Where /metrics is."""
        return self._server.url

    @property
    def port(self) -> int:
        """Its port."""
        return self._server.port

    def on_attempt_started(self, control: Path) -> None:
        """Follow the journal of a new attempt."""
        self._metrics.follow(control)

    def on_room(self, shortage: Mapping[str, str]) -> None:
        """Show why no job is taken."""
        self._shortage = shortage

    def on_attempt_ended(self, control: Path) -> None:
        """Correct the counters by the record, and ship what the journal tells."""
        self._owed.add(control)
        self._metrics.attempt_ended(control, record_of(read_journal(control)))
        self._shipper.submit(control)
        self._payloads.submit(control)

    def _status(self) -> SelfStatus:
        self._tally.look()
        return SelfStatus(
            spool_pending={**self._shipper.pending(), **self._payloads.pending()},
            owed_to_wms=self._owed_to_wms(),
            dead=self._tally.dead,
            copies=self._tally.copies,
            expired=expired(self._agent_folder),
            shortage=self._shortage,
            slots=self._slots,
            payload_telemetry=self._counts.now(),
        )

    def _owed_to_wms(self) -> int:
        for control in list(self._owed):
            if (control / SETTLED).exists() or not control.is_dir():
                self._owed.discard(control)
        return len(self._owed)

    def close(self) -> None:
        """Ship the rest, then close the endpoint."""
        self._payloads.stop(0.0)  # told first, so that the two end at one time
        self._shipper.stop(10.0)
        self._payloads.stop(1.0)
        self._url_file.unlink(missing_ok=True)
        self._reader.stop()
        self._server.close()


def run_agent(
    config: Config,
    *,
    drain: bool = False,
    jobs: Jobs | None = None,
    announce: Callable[[str], None] = print,
    log_format: Form = "text",
) -> int:
    """Take jobs until told to stop, or with *drain* until there are none; the exit code.

    *jobs* are those to take from a WMS that matches none.
    """
    room = make_room()  # first, so that the zygote is in the same place
    spawner: Spawner = ZygoteSpawner(PRELOADED) if config.job_agent.warm_start else InterpreterSpawner()
    clock = SystemClock()
    harden()
    redact = Redactor.of(config)
    log_to_stderr(redact, log_format)
    if room.lacking:
        log.info("%s", room.lacking)
    wms = open_wms(config)
    client = wms.agent(jobs or {})
    peek = PeekEndpoint(
        config.jobs_folder,
        partial(_may_read, wms),
        redact=redact,
        requests_per_second=config.job_agent.peek_rate,
    )
    counts = PayloadCounts()
    telemetry = NodeTelemetry(config, clock, peek, counts)
    parts = AgentParts(
        client=client,
        job_client=lambda folder: wms.attempt(folder.control, folder.attempt),
        computing_element=InProcessComputingElement(spawner, slots=config.job_agent.slots),
        observer=telemetry,
        records=Records(keeper=wms.accounting),
        write_wrapper=write_wrapper,
        metrics_port=telemetry.port if _is_found(config, wms.url) else None,
    )
    agent = JobAgent(config, parts, clock, drain=drain)
    door = open_node_door(config, redact, clock, counts)
    announce(f"agent for {urlsplit(wms.url).netloc} with {config.job_agent.slots} slots, metrics at {telemetry.url}")
    sys.stdout.flush()
    notify(config.environment, READY)
    try:
        return agent.run()
    finally:
        if door is not None:
            door.close()
        room.give_back()


def _is_found(config: Config, url: str) -> bool:
    """Whether Prometheus can find our metrics by the WMS at *url*."""
    return config.wms.dialect == "jobspan" and is_within_reach(config.job_agent.metrics_host, url)


def _may_read(wms: Wms, token: str, job_id: int) -> str:
    """Ask the WMS whether *token* may read *job_id*; the WMS's identifier. Its secret is not ours to verify with.

    Raises:
        RefusedError, UnauthorizedError, NotFoundError: it may not. UnavailableError: no answer.
    """
    client = wms.visitor(token)
    try:
        client.check_may_read(job_id)
        return str(client.info()["WMSID"])
    finally:
        client.close()


def _metrics_server(config: Config, metrics: JobMetrics, peek: PeekEndpoint) -> MetricsServer:
    options = config.job_agent
    token = Path(options.metrics_token_file).read_text().strip() if options.metrics_token_file else ""
    try:
        return MetricsServer(metrics, host=options.metrics_host, port=options.metrics_port, token=token, jobs=peek)
    except ExposureRefused as error:
        raise ConfigError(f"[JobAgent] MetricsHost: {error}; set MetricsTokenFile") from error
