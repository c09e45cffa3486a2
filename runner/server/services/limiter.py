"""Limiter: how many jobs of a type are at a site, and how fast they come (RunningLimit and MatchingDelay of DIRAC)."""

from collections.abc import Mapping

from runner.server.db.engine import Transaction
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from telemetry.clock import NANOSECONDS

ANY_SITE = "*"


class Limiter:
    """Asked within the transaction that gives a job away, which first holds what it counts."""

    def __init__(self, context: ServiceContext) -> None:
        self._running = context.settings.running_limits
        self._delays = context.settings.matching_delays
        self._now_ns = context.now_ns

    def hold(self, transaction: Transaction, site: str, job_type: str) -> None:
        """Until the transaction ends, nobody else gives away what the same limits are for."""
        for name in _applying({**self._running, **self._delays}, site, job_type):
            transaction.guards.hold(_guard(site, name))

    def refusal(self, transaction: Transaction, site: str, job_type: str) -> str:
        """Why no job of that type may go to *site* now; empty when one may."""
        for name, limit in _applying(self._running, site, job_type).items():
            counted = job_type if "/" in name else None
            running = transaction.task_queues.running_at(job_states.WITH_WRAPPER, site, counted)
            if running >= limit:
                what = f"jobs of type {job_type}" if counted else "jobs"
                return f"{running} {what} are at {site}, and RunningLimits allows {limit:g}"
        now_ns = self._now_ns()
        for name, seconds in _applying(self._delays, site, job_type).items():
            waited = (now_ns - transaction.guards.last_ns(_guard(site, name))) / NANOSECONDS
            if 0 <= waited < seconds:  # below zero: the clock was set back since
                return f"a job was given to {site} {waited:.1f} s ago, and MatchingDelays asks for {seconds:g} s"
        return ""

    def matched(self, transaction: Transaction, site: str, job_type: str) -> None:
        """A job of that type is given to *site* by the transaction, which holds the limits."""
        for name in _applying(self._delays, site, job_type):
            transaction.guards.note(_guard(site, name), self._now_ns())


def _guard(site: str, name: str) -> str:
    return f"limit {name} at {site}"


def _applying(limits: Mapping[str, float], site: str, job_type: str) -> dict[str, float]:
    """Those of the limits that are for that type at *site*, always in one order."""
    names = (site, ANY_SITE, f"{site}/{job_type}", f"{ANY_SITE}/{job_type}")
    return {name: limits[name] for name in names if name in limits}
