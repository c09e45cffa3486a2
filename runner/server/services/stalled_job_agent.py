"""StalledJobAgent: jobs of which nothing is heard any more.

As in DIRAC, a job without a sign of life becomes Stalled, and Failed with a Kill when that lasts;
a match that nobody took up is taken back, and a job that stays Rescheduled is put back. Beyond
DIRAC, every attempt that is over gets a record: an estimate, when nobody has brought a better one.

Silence counts only while this process was there to listen: not while it was stopped or the
machine was suspended, nor across a step of the clock. Every step looks at its job again in the
transaction that changes it, so processes that look at the same time do no harm; the lease only
spares them the work.
"""

import logging
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TypeAlias

from runner.errors import JobspanError
from runner.job.status import JobStatus, MinorStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.services import job_states
from runner.server.services.accounting import book_estimate
from runner.server.services.context import ServiceContext
from runner.server.services.estimates import End, last_sign_ns
from runner.server.services.job_manager import JobManager
from runner.server.services.job_states import Move
from telemetry.clock import NANOSECONDS, Clock

SOURCE = "StalledJobAgent"
LEASE = "StalledJobAgent"
#: In these a wrapper should be heard of.
_HEARD = frozenset({JobStatus.RUNNING, JobStatus.COMPLETING})
STALLED, MATCH_LOST, RECORD_LOST = "stalled", "match_lost", "record_lost"
#: Clocks that disagree by more have been set, or the process was not running.
_STEP_NS = 5 * NANOSECONDS
#: Changes a job that was last heard of before the moment given, if that is still so.
Step: TypeAlias = Callable[[Transaction, Row, Row, int], bool]
log = logging.getLogger("jobspan.wms")


@dataclass(frozen=True)
class Looked:
    """How many jobs (estimates: attempts) one look has changed."""

    stalled: int = 0
    failed: int = 0
    taken_back: int = 0
    put_back: int = 0
    estimated: int = 0


class Attendance:
    """Since when this process has listened without a gap."""

    def __init__(self, clock: Clock, longest_gap_seconds: float) -> None:
        self._clock = clock
        self._gap_ns = round(longest_gap_seconds * NANOSECONDS)
        self._utc_ns, self._boot_ns = clock.utc_ns(), clock.boottime_ns()
        self._since_ns = self._utc_ns

    def since_ns(self) -> int:
        """The moment, by the wall clock as it is now. To be asked at every look."""
        utc_ns, boot_ns = self._clock.utc_ns(), self._clock.boottime_ns()
        elapsed_ns = boot_ns - self._boot_ns
        was_set = abs(utc_ns - self._utc_ns - elapsed_ns) > _STEP_NS
        if was_set or elapsed_ns > self._gap_ns:
            self._since_ns = utc_ns
        self._utc_ns, self._boot_ns = utc_ns, boot_ns
        return self._since_ns


class StalledJobAgent:
    """One look at all jobs at a time; `runner.server.watch` calls it."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._manager = JobManager(context)
        self._holder = secrets.token_hex(16)
        period_seconds = context.settings.stalled_polling_seconds
        self._lease_ns = round(4 * period_seconds * NANOSECONDS)
        self._attendance = Attendance(context.clock, 3 * period_seconds)

    def look(self) -> Looked | None:
        """Look once; None when another process does."""
        since_ns, now_ns = self._attendance.since_ns(), self._context.now_ns()
        with self._context.databases.write() as transaction:
            if not transaction.leases.take(LEASE, self._holder, now_ns, self._lease_ns):
                return None
        return _Look(self._context, self._manager, since_ns, now_ns).all()


class _Look:
    """The steps of one look."""

    def __init__(self, context: ServiceContext, manager: JobManager, since_ns: int, now_ns: int) -> None:
        self._context = context
        self._manager = manager
        self._since_ns = since_ns
        self._now_ns = now_ns

    def all(self) -> Looked:
        """Every job makes one step at most. What is taken back and estimated later comes from what stood before."""
        settings = self._context.settings
        fail_before = self._before(settings.failed_time_seconds)
        failed = self._each(self._silent({JobStatus.STALLED}, fail_before), self._fail)
        stalled = self._each(self._silent(_HEARD, self._before(settings.stalled_time_seconds)), self._mark)
        matched = self._silent({JobStatus.MATCHED}, self._before(settings.matched_time_seconds))
        taken = self._each(matched, self._take_back)
        left = self._each(self._left_rescheduled(), self._put_back)
        looked = Looked(stalled, failed, taken, left, self._estimate(fail_before))
        if failed:
            self._context.commands_wait.ring()
        for each in fields(looked):
            if count := getattr(looked, each.name):
                log.warning("%s: %d %s", SOURCE, count, each.name.replace("_", " "))
        return looked

    def _before(self, seconds: float) -> int:
        """Signs of life before this moment are too old; 0 as long as we have not listened for that time."""
        moment_ns = self._now_ns - round(seconds * NANOSECONDS)
        return moment_ns if self._since_ns <= moment_ns else 0

    def _silent(self, statuses: Collection[str], before_ns: int) -> list[tuple[int, int]]:
        if not before_ns:
            return []
        with self._context.databases.read() as transaction:
            return [(job_id, before_ns) for job_id in transaction.attempts.silent(statuses, before_ns)]

    def _left_rescheduled(self) -> list[tuple[int, int]]:
        before_ns = self._before(self._context.settings.rescheduled_time_seconds)
        if not before_ns:
            return []
        with self._context.databases.read() as transaction:
            return [(job_id, before_ns) for job_id in transaction.jobs.with_status({JobStatus.RESCHEDULED})]

    def _each(self, jobs: list[tuple[int, int]], step: Step) -> int:
        """Take *step* for each job in a transaction of its own; how many it has changed."""
        changed = 0
        for job_id, before_ns in jobs:
            is_changed = False
            with _by_itself(job_id), self._context.databases.write() as transaction:
                row = transaction.jobs.get(job_id)
                attempt = transaction.attempts.get(job_id, job_states.current_attempt(row)) if row is not None else None
                is_changed = row is not None and attempt is not None and step(transaction, row, attempt, before_ns)
            if is_changed and step in (self._take_back, self._put_back):
                self._context.received.put([job_id])
            changed += is_changed
        return changed

    def _mark(self, transaction: Transaction, row: Row, attempt: Row, before_ns: int) -> bool:
        if row["Status"] not in _HEARD or last_sign_ns(attempt) >= before_ns:
            return False
        self._move(transaction, row, JobStatus.STALLED, row["MinorStatus"])
        return True

    def _fail(self, transaction: Transaction, row: Row, attempt: Row, before_ns: int) -> bool:
        """Failed, with an order to stop for the case that the wrapper comes back, and an estimate of what it used."""
        if row["Status"] != JobStatus.STALLED or last_sign_ns(attempt) >= before_ns:
            return False
        minor = MinorStatus.STALLED_PILOT_NOT_RUNNING
        transaction.jobs.change(row["JobID"], {"EndExecTime": last_sign_ns(attempt)})
        self._move(transaction, row, JobStatus.FAILED, minor)
        transaction.commands.order(row["JobID"], attempt["Attempt"], "Kill", self._now_ns)
        book_estimate(
            transaction, self._context.wms_id, row, attempt, End(JobStatus.FAILED, minor, STALLED), self._now_ns
        )
        return True

    def _take_back(self, transaction: Transaction, row: Row, attempt: Row, before_ns: int) -> bool:
        """The answer to the match was lost, or its agent has died: nobody is to blame, so it is not counted."""
        if row["Status"] != JobStatus.MATCHED or last_sign_ns(attempt) >= before_ns:
            return False
        self._manager.put_back(transaction, row, counted=False)
        end = End(JobStatus.RESCHEDULED, MinorStatus.JOB_RESCHEDULED, MATCH_LOST)
        book_estimate(transaction, self._context.wms_id, row, attempt, end, self._now_ns)
        return True

    def _put_back(self, transaction: Transaction, row: Row, _attempt: Row, before_ns: int) -> bool:
        """Whoever said Rescheduled has not asked for the next attempt. Beyond the maximum the job is Failed."""
        if row["Status"] != JobStatus.RESCHEDULED or row["LastStatusTime"] >= before_ns:
            return False
        self._manager.put_back(transaction, row, counted=True)
        return True

    def _estimate(self, before_ns: int) -> int:
        """Records for attempts that are over, of which nobody has brought one."""
        if not before_ns:
            return 0
        with self._context.databases.read() as transaction:
            wanted = transaction.attempts.unaccounted(job_states.WITH_WRAPPER, before_ns)
        made = 0
        for job_id, number in wanted:
            with _by_itself(job_id), self._context.databases.write() as transaction:
                row, attempt = transaction.jobs.get(job_id), transaction.attempts.get(job_id, number)
                if row is None or attempt is None or last_sign_ns(attempt) >= before_ns:
                    continue
                end = End(attempt["Status"], attempt["MinorStatus"], RECORD_LOST)
                made += book_estimate(transaction, self._context.wms_id, row, attempt, end, self._now_ns)
        return made

    def _move(self, transaction: Transaction, row: Row, status: JobStatus, minor: str) -> None:
        job_states.move(transaction, row, Move(status, minor, SOURCE, self._now_ns))
        job_states.take_from_wrapper(transaction, row, status, minor)


@contextmanager
def _by_itself(job_id: int) -> Iterator[None]:
    """What stands in the rows of one job ends its own step and no other's; the next look tries again.

    A record that cannot be, a description that an earlier version took in: users have a say in all of these. What
    the database itself says goes for every job, and ends the look.
    """
    try:
        yield
    except (JobspanError, LookupError, TypeError, ValueError) as error:
        log.error("%s: job %d is left as it is: %s: %s", SOURCE, job_id, type(error).__name__, error)
