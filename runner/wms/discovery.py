"""Telling the WMS where our metrics are, again and again, so that Prometheus finds them at its /sd."""

import logging
import threading
from dataclasses import dataclass
from typing import Literal

from runner.backoff import Backoff
from runner.errors import JobspanError, UnavailableError
from runner.wms.operations import OperationCalls

#: It is said so often within the time for which the WMS remembers it: one call that is lost does no harm.
CALLS = 3
#: A WMS that does not want to know is asked again after so long: another may answer there by then.
REFUSED_SECONDS = 300.0
#: A call that is under way when all is over has so long.
LAST_CALL_SECONDS = 2.0
log = logging.getLogger("jobspan.discovery")


@dataclass(frozen=True, kw_only=True)
class MetricsTarget:
    """Metrics of this machine: their port, whose they are, and what Prometheus may want to know of them."""

    port: int
    role: Literal["agent", "wrapper"]
    stamp: str
    site: str = ""
    job_id: int = 0


class Announcement:
    """A thread that keeps *target* in the WMS's list."""

    def __init__(self, client: OperationCalls, target: MetricsTarget) -> None:
        """*client* has a pilot's rights."""
        self._client = client
        self._target = target
        self._backoff = Backoff(first_seconds=1.0, longest_seconds=60.0)
        self._is_listed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, reachable: bool = True) -> None:
        """Say it no more; and take it back, if the WMS is *reachable*."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LAST_CALL_SECONDS)
        if not (self._is_listed and reachable):
            return
        try:
            self._client.withdraw_metrics(self._target.port)
        except JobspanError as error:  # it is forgotten by itself
            log.info("the WMS does not hear that our metrics end: %s", error)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._ended.wait(self._announce())

    def _announce(self) -> float:
        """Say it once; when to say it again."""
        target = self._target
        try:
            seconds = self._client.announce_metrics(
                port=target.port, role=target.role, stamp=target.stamp, site=target.site, job_id=target.job_id
            )
        except UnavailableError as error:
            return self._backoff.failed(error.retry_after_seconds)
        except JobspanError as error:
            if not self._backoff.failures:
                log.info("Prometheus will not find our metrics at the WMS: %s", error)
            self._backoff.failed()
            return REFUSED_SECONDS
        self._backoff.succeeded()
        self._is_listed = True
        return seconds / CALLS
