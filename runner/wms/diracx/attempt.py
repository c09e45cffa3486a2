"""The calls of one attempt on a DiracX server.

DiracX binds no token to an attempt, so an attempt that is over could still report. Before whatever decides (Running,
the final statuses, the sandbox, the next attempt) the job's RescheduleCounter is compared with ours: best effort,
since nothing holds it still between the look and the call. The same look tells of a Kill that a lost answer to a
heartbeat has taken with it (DiracX says each only once), and no status is sent to a job that is Killed: DiracX
would write our minor status over it and queue another Kill.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from runner.errors import FencedError, UnavailableError
from runner.job.status import JobStatus
from runner.wms import answers
from runner.wms.diracx.client import DiracxClient, last_record_ns
from runner.wms.diracx.credentials import Credentials
from runner.wms.diracx.descriptions import Descriptions
from telemetry.clock import NANOSECONDS, utc_text
from telemetry.facts import Scalar

#: DiracX keeps every number of a heartbeat for ever, and refuses two of a name within a second.
NUMBERS_EVERY_NS = 60 * NANOSECONDS
STEP_NS = 2_000_000
GONE = frozenset({JobStatus.KILLED, JobStatus.DELETED})
#: Statuses that decide over the attempt; before one of them is sent it must still be ours.
DECISIVE = frozenset(
    {
        JobStatus.RUNNING, JobStatus.COMPLETING, JobStatus.COMPLETED, JobStatus.DONE, JobStatus.FAILED,
        JobStatus.RESCHEDULED,
    }
)  # fmt: skip
#: From these DiracX lets a job be Received again. From others its reschedule call counts, and changes nothing.
_BEFORE_RECEIVED = frozenset({JobStatus.RESCHEDULED, JobStatus.RUNNING})
_COLUMNS = ("JobID", "Status", "MinorStatus", "ApplicationStatus", "RescheduleCounter", "LastUpdateTime")


class DiracxAttemptClient(DiracxClient):
    """One attempt of one job, with the token of its owner."""

    def __init__(
        self, url: str, credentials: Credentials, descriptions: Descriptions, *, attempt: int, **options: Any
    ) -> None:
        """As a `DiracxClient`; *attempt* is RescheduleCounter + 1 of when it was taken."""
        super().__init__(url, credentials, descriptions, **options)
        self._credentials = credentials
        self._attempt = attempt
        self._numbers_sent_ns = -NUMBERS_EVERY_NS
        self._beat = threading.Lock()

    def renew_job_token(self, job_id: int, claim: str = "") -> tuple[str, int]:
        """DiracX has no tokens of jobs, and knows no claims: the owner's, as fresh as it is."""
        return self._credentials.token(), self._credentials.ends_utc_ns

    def set_statuses(
        self, job_id: int, updates: Mapping[str, Mapping[str, str]], *, force: bool = False
    ) -> answers.KeptStatus:
        """Report *updates*, unless the attempt is over or the job is Killed; what the server keeps.

        Raises:
            FencedError: the job is at another attempt.
        """
        if any(update.get("Status") in DECISIVE for update in updates.values()):
            now = self._look(job_id)
            if now.status in GONE:
                return now
        kept = super().set_statuses(job_id, updates, force=force)
        wanted = [updates[moment]["Status"] for moment in sorted(updates) if "Status" in updates[moment]]
        return kept if kept.status or not wanted else self._after_the_last(job_id, updates, wanted[-1], force=force)

    def _after_the_last(
        self, job_id: int, updates: Mapping[str, Mapping[str, str]], wanted: str, *, force: bool
    ) -> answers.KeptStatus:
        """The server has newer records than *updates*, and has only logged them. Unless it keeps what is *wanted* all
        the same (we repeat a call, or a heartbeat came before), they are said again, dated after its newest."""
        now = self._look(job_id)
        if now.status == wanted or now.status in GONE:
            return now
        last_ns = last_record_ns(self.row(job_id)) + NANOSECONDS  # it stands there in whole seconds
        dated = {utc_text(last_ns + n * STEP_NS): updates[each] for n, each in enumerate(sorted(updates), 1)}
        return super().set_statuses(job_id, dated, force=force)

    def heartbeat(self, job_id: int, values: Mapping[str, Scalar]) -> list[answers.JobCommand]:
        """Say that the job lives; its numbers at most once a minute. With them comes a look at what the job is.

        Raises:
            FencedError: the job is at another attempt.
        """
        with self._beat:
            now_ns = self._clock.boottime_ns()
            in_full = now_ns - self._numbers_sent_ns >= NUMBERS_EVERY_NS
            if not in_full:
                values = {name: value for name, value in values.items() if name == "StandardOutput"}
            commands = super().heartbeat(job_id, values)
            if in_full:
                self._numbers_sent_ns = now_ns
        if in_full and self._look(job_id).status in GONE and not commands:
            commands = [answers.JobCommand(job_id, "Kill", 0)]
        return commands

    def assign_output(self, job_id: int, pfn: str) -> None:
        """Make *pfn* the output sandbox of the job, which must still be at our attempt.

        Raises:
            FencedError: it is at another.
        """
        self._look(job_id)
        super().assign_output(job_id, pfn)

    def reschedule(self, job_ids: Sequence[int], *, preempted: bool = False) -> answers.Reschedulings:
        """Ask for the next attempt. DiracX counts every one, also the *preempted*.

        From Completing it lets no job back, and says nothing: only by way of Failed there is one.

        Raises:
            FencedError: the job is at another attempt.
            UnavailableError: the server does not let it go on that way now; it was asked for nothing.
        """
        for job_id in job_ids:
            if self._look(job_id).status not in {*_BEFORE_RECEIVED, *GONE}:
                self._make_reschedulable(job_id)
        return super().reschedule(job_ids, preempted=preempted)

    def _make_reschedulable(self, job_id: int) -> None:
        moments = (self.now_utc_ns() + number * STEP_NS for number in range(2))
        updates = {
            utc_text(moment): {"Status": str(status), "Source": "JobWrapper"}
            for moment, status in zip(moments, (JobStatus.FAILED, JobStatus.RESCHEDULED), strict=True)
        }
        kept = super().set_statuses(job_id, updates)
        if not kept.status and not self._after_the_last(job_id, updates, JobStatus.RESCHEDULED, force=False).status:
            raise UnavailableError(f"the WMS has only logged that job {job_id} is to be repeated, as if it were late")

    def _look(self, job_id: int) -> answers.KeptStatus:
        """What the server has, provided that the attempt is still ours.

        Raises:
            FencedError: it is not.
        """
        row = self.row(job_id, _COLUMNS)
        current = int(row.get("RescheduleCounter") or 0) + 1
        if current != self._attempt:
            raise FencedError(f"fenced: attempt {current} of job {job_id} is current", status_code=409)
        return answers.kept_status({name: row.get(name) for name in ("Status", "MinorStatus", "ApplicationStatus")})
