"""What a wrapper does itself when no agent lives on its folder: its metrics while it runs, its telemetry at the end."""

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import runner
from runner.compose.clients import METRICS_URL_FILE
from runner.compose.kinds import open_wms
from runner.config import Config
from runner.errors import ConfigError, UnavailableError
from runner.locks import FileLock, LockHeld, lock_holder
from runner.wms.client import WmsClient
from runner.wms.discovery import Announcement, MetricsTarget
from telemetry.clock import Clock
from telemetry.journal import read_journal

#: A job that is over by then is too short to be scraped, and has no endpoint.
FIRST_SECONDS = 5.0
#: The end of a job does not wait longer for a WMS that does not answer.
CALL_SECONDS = 2.0
LOCK = Path("agent", "agent.lock")
log = logging.getLogger("jobspan.wrapper")


@dataclass(frozen=True, kw_only=True)
class LoneJob:
    """The job of a wrapper that may be alone: its folder, the WMS, and who it is."""

    config: Config
    control: Path
    wms_url: str
    job_id: int
    stamp: str
    clock: Clock


class OwnMetrics(threading.Thread):
    """Serves /metrics with the gauges of one job, and tells the WMS where. Whatever fails costs the job nothing."""

    def __init__(self, job: LoneJob) -> None:
        super().__init__(name="own-metrics", daemon=True)
        self._job = job
        self._over = threading.Event()

    @classmethod
    def begin(cls, job: LoneJob) -> "OwnMetrics | None":
        """Begin, unless there is an agent or they are not wanted."""
        config = job.config
        if not config.job_wrapper.own_metrics or not config.job_agent.max_job_gauges or not is_alone(config):
            return None
        metrics = cls(job)
        metrics.start()
        return metrics

    def end(self) -> None:
        """The job is over."""
        self._over.set()
        self.join(2 * CALL_SECONDS)

    def run(self) -> None:
        """Until the job is over."""
        if self._over.wait(FIRST_SECONDS):
            return
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - telemetry never fails a job
            log.warning("the job has no metrics: %s", error)

    def _serve(self) -> None:
        from telemetry.live.exposition import MetricsServer, is_within_reach
        from telemetry.live.job_gauges import OneJob

        job, options = self._job, self._job.config.job_agent
        token = Path(options.metrics_token_file).read_text().strip() if options.metrics_token_file else ""
        metrics = OneJob(job.control, job.clock, version=runner.__version__, is_alone=lambda: is_alone(job.config))
        server = MetricsServer(metrics, host=options.metrics_host, token=token)
        server.start()
        path = job.control / METRICS_URL_FILE
        path.write_text(server.url + "\n")
        client = _pilot(job) if is_within_reach(options.metrics_host, job.wms_url) else None
        try:
            self._announced(client, server.port)
        finally:
            if client is not None:
                client.close()
            path.unlink(missing_ok=True)
            server.close()

    def _announced(self, client: WmsClient | None, port: int) -> None:
        """Until the job is over, in the list of the WMS."""
        job = self._job
        if client is None:
            self._over.wait()
            return
        site = job.config.site.name
        target = MetricsTarget(port=port, role="wrapper", stamp=job.stamp, site=site, job_id=job.job_id)
        announcement = Announcement(client, target)
        announcement.start()
        self._over.wait()
        announcement.stop()


def is_alone(config: Config) -> bool:
    """Whether no agent lives on the folder of *config*."""
    return lock_holder(config.folder / LOCK) is None


def ship_without_agent(config: Config, control: Path) -> None:
    """Where no agent lives on the folder, the wrapper ships its own telemetry: run by hand, the result is the same."""
    path = config.folder / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock.take(path)
    except LockHeld:
        return
    with lock:
        from runner.compose.shipping import payload_shipping, shipping
        from telemetry.ledger.builder import build

        shipping(config).ship(control, build(read_journal(control)))
        payload_shipping(config).ship(control)


def _pilot(job: LoneJob) -> WmsClient | None:
    """A client with a pilot's rights, which alone may say where metrics are; None where we have none."""
    if job.config.wms.dialect != "jobspan":
        return None
    config = replace(job.config, wms=replace(job.config.wms, timeout_seconds=CALL_SECONDS))
    try:
        return open_wms(config, job.wms_url).user("pilot")
    except (ConfigError, UnavailableError) as error:
        log.info("Prometheus will not find the job's metrics at the WMS: %s", error)
        return None
