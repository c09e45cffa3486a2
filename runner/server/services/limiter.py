"""Limiter: how many jobs of a type are at a site, and how fast they come (RunningLimit and MatchingDelay of DIRAC)."""

import threading
from collections.abc import Mapping

from runner.server.db.engine import Transaction
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from telemetry.clock import NANOSECONDS

ANY_SITE = "*"


class Limiter:
    """Asked within the transaction that gives a job away, so that one process never exceeds a limit."""

    def __init__(self, context: ServiceContext) -> None:
        self._running = context.settings.running_limits
        self._delays = context.settings.matching_delays
        self._clock = context.clock
        self._mutex = threading.Lock()
        #: By site and limit, when this process last handed out such a job.
        self._matched: dict[tuple[str, str], int] = {}

    def refusal(self, transaction: Transaction, site: str, job_type: str) -> str:
        """Why no job of that type may go to *site* now; empty when one may."""
        for name, limit in _applying(self._running, site, job_type):
            counted = job_type if "/" in name else None
            running = transaction.task_queues.running_at(job_states.WITH_WRAPPER, site, counted)
            if running >= limit:
                what = f"jobs of type {job_type}" if counted else "jobs"
                return f"{running} {what} are at {site}, and RunningLimits allows {limit:g}"
        for name, seconds in _applying(self._delays, site, job_type):
            with self._mutex:
                last_ns = self._matched.get((site, name), 0)
            waited = (self._clock.boottime_ns() - last_ns) / NANOSECONDS
            if last_ns and waited < seconds:
                return f"a job was given to {site} {waited:.1f} s ago, and MatchingDelays asks for {seconds:g} s"
        return ""

    def matched(self, site: str, job_type: str) -> None:
        """A job of that type was given to *site*."""
        with self._mutex:
            for name, _ in _applying(self._delays, site, job_type):
                self._matched[site, name] = self._clock.boottime_ns()


def _applying(limits: Mapping[str, float], site: str, job_type: str) -> list[tuple[str, float]]:
    names = (site, ANY_SITE, f"{site}/{job_type}", f"{ANY_SITE}/{job_type}")
    return [(name, limits[name]) for name in names if name in limits]
