"""JobCleaningAgent: what nobody needs any more is forgotten, by age, as the configuration says.

Sandboxes that belong to no job, jobs that are over and accounted for (never their records), logs of
pilots, offers and metrics of agents that have gone, queues in which nobody waits. Each step is a transaction of
its own that looks again, so processes that clean at the same time do no harm; the lease only spares
them the work.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from runner.job.status import FINAL_STATUSES
from runner.server.db.job_db import Row
from runner.server.errors import StoreAwayError
from runner.server.sandboxes.contents import Sandbox
from runner.server.services.arrivals import note_arrival
from runner.server.services.context import ServiceContext
from runner.server.services.job_endings import not_removable
from telemetry.clock import NANOSECONDS

LEASE = "JobCleaningAgent"
#: Most jobs, or sandboxes, of one look.
MOST = 500
#: What an agent offered is forgotten after so long.
OFFER_SECONDS = 86400.0
#: An upload that was announced has begun and ended, or never will.
ANNOUNCED_SECONDS = 3600.0
log = logging.getLogger("jobspan.wms")


@dataclass(frozen=True)
class Cleaned:
    """How much one look has removed."""

    jobs: int = 0
    sandboxes: int = 0
    pilot_messages: int = 0
    task_queues: int = 0


class JobCleaningAgent:
    """One look at a time; `runner.server.watch` calls it."""

    def __init__(self, context: ServiceContext, *, most: int = MOST) -> None:
        """At most *most* jobs, and as many sandboxes, are looked at in one go."""
        self._context = context
        self._most = most
        self._holder = secrets.token_hex(16)
        self._looked_at = 0  # the JobID up to which the last look came; 0: through

    def look(self) -> Cleaned | None:
        """Clean once; None when another process does."""
        settings, now_ns = self._context.settings, self._context.now_ns()
        lease_ns = round(4 * settings.cleaning_polling_seconds * NANOSECONDS)
        with self._context.databases.write() as transaction:
            if not transaction.leases.take(LEASE, self._holder, now_ns, lease_ns):
                return None
        cleaned = Cleaned(
            jobs=self._jobs(settings.job_retention_seconds),
            pilot_messages=self._pilots(settings.pilot_log_retention_seconds),
            task_queues=self._queues(),
            sandboxes=self._sandboxes(settings.sandbox_retention_seconds),  # the last: their store may be away
        )
        for each in fields(cleaned):
            if count := getattr(cleaned, each.name):
                log.info("%s: %d %s removed", LEASE, count, each.name.replace("_", " "))
        return cleaned

    def _before(self, seconds: float) -> int:
        return self._context.now_ns() - round(seconds * NANOSECONDS)

    def _jobs(self, seconds: float) -> int:
        """Jobs that have been over for that time; 0: all are kept.

        Each look goes on where the last one came to, so that jobs of which nothing may be forgotten yet, however many,
        keep no other.
        """
        if not seconds:
            return 0
        before_ns = self._before(seconds)
        with self._context.databases.read() as transaction:
            ended = transaction.jobs.with_status(FINAL_STATUSES, before_ns)
        old = [job_id for job_id in ended if job_id > self._looked_at][: self._most]
        self._looked_at = old[-1] if len(old) == self._most else 0
        removed = 0
        for job_id in old:
            with self._context.databases.write() as transaction:
                row = transaction.jobs.get(job_id)
                if row is not None and row["LastUpdateTime"] <= before_ns and not not_removable(transaction, row):
                    transaction.remove_job(job_id)
                    removed += 1
        return removed

    def _sandboxes(self, seconds: float) -> int:
        """Sandboxes that have belonged to no job for that time, or were announced only."""
        before_ns = dict.fromkeys(self._never_brought(), self._before(ANNOUNCED_SECONDS))
        if seconds:
            with self._context.databases.read() as transaction:
                old = transaction.sandboxes.unassigned(self._before(seconds), self._most)
            before_ns |= dict.fromkeys(old, self._before(seconds))
        removed = 0
        for sandbox_id, before in before_ns.items():
            with self._context.databases.write(durable=True) as transaction:
                removed += transaction.sandboxes.remove_unassigned(sandbox_id, before)
        self._remove_contents()
        return removed

    def _never_brought(self) -> list[int]:
        """Those whose upload cannot come any more; of what has come, it is noted."""
        with self._context.databases.read() as transaction:
            announced = transaction.sandboxes.announced(self._before(ANNOUNCED_SECONDS), self._most)
        never = []
        for each in announced:
            with self._by_itself(each):
                if not note_arrival(self._context, each):
                    never.append(int(each["SBId"]))
        return never

    def _remove_contents(self) -> None:
        """Of what has no name any more: also what an earlier look could not remove, or was ended before it did."""
        with self._context.databases.read() as transaction:
            removed = transaction.sandboxes.removed(self._most)
        for each in removed:
            with self._by_itself(each):
                self._context.contents.remove([Sandbox.of(each)])
                with self._context.databases.write() as transaction:
                    transaction.sandboxes.forget(each["SBId"])

    @contextmanager
    def _by_itself(self, sandbox: Row) -> Iterator[None]:
        """What is in the way of this one is for the next look, and keeps no other; a store that is away ends it."""
        try:
            yield
        except OSError as error:
            log.warning("%s: the content of sandbox %d stays: %s", LEASE, sandbox["SBId"], error.strerror)
        except StoreAwayError:
            if self._context.contents.problem():
                raise
            log.warning("%s: the store refuses the content of sandbox %d alone", LEASE, sandbox["SBId"])

    def _pilots(self, seconds: float) -> int:
        with self._context.databases.write() as transaction:
            transaction.pilots.forget_offers(self._before(OFFER_SECONDS))
            transaction.targets.forget(self._before(0))
            return transaction.pilot_logs.forget(self._before(seconds)) if seconds else 0

    def _queues(self) -> int:
        with self._context.databases.write() as transaction:
            return transaction.task_queues.remove_empty()
