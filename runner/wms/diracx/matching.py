"""The agent's calls on a DiracX server, which has no matcher and no queue of commands for pilots.

In production jobs of DiracX are still matched by DIRAC's Matcher. Here they are named: the agent takes each of them,
as its owner, by moving it from Received over Checking and Waiting to Matched. Nothing keeps another agent from doing
the same, so a job is to be named to one agent only.
"""

import logging
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.errors import JobspanError, RefusedError
from runner.job.description import JobDescription
from runner.job.status import FINAL_STATUSES, JobStatus
from runner.wms import answers, checked
from runner.wms.diracx.attempt import GONE, STEP_NS
from runner.wms.diracx.client import DiracxClient, last_record_ns
from runner.wms.diracx.credentials import Credentials
from runner.wms.diracx.descriptions import Descriptions
from telemetry.clock import NANOSECONDS, parse_utc, utc_text
from telemetry.identity import attempt_uid

SOURCE = "JobAgent"
#: Whoever has this property makes pilots known, those of the own virtual organisation.
PILOT = "GenericPilot"
log = logging.getLogger("jobspan.agent")
ASSIGNED = "Assigned"
#: How often the server is asked whether a running job was killed.
COMMANDS_SECONDS = 5.0
_PATHS: Mapping[str, tuple[JobStatus, ...]] = {
    JobStatus.RECEIVED: (JobStatus.CHECKING, JobStatus.WAITING, JobStatus.MATCHED),
    JobStatus.CHECKING: (JobStatus.WAITING, JobStatus.MATCHED),
    JobStatus.WAITING: (JobStatus.MATCHED,),
}
_COLUMNS = (
    "JobID", "Status", "MinorStatus", "RescheduleCounter", "SubmissionTime", "JobName", "JobGroup", "JobType", "Owner",
    "OwnerGroup", "VO", "LoggingInfo",
)  # fmt: skip


class DiracxAgentClient(DiracxClient):
    """What the agent asks for its jobs."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        descriptions: Descriptions,
        *,
        jobs: Mapping[int, JobDescription],
        **options: Any,
    ) -> None:
        """As a `DiracxClient`; *jobs* are to be run, by number."""
        super().__init__(url, credentials, descriptions, **options)
        self._credentials = credentials
        self._jobs = dict(jobs)
        #: Those that were taken here.
        self._ours: set[int] = set()
        self._pause = threading.Event()
        self._told: set[int] = set()
        #: Under which the server knows this agent as a pilot; empty: it does not.
        self._stamp = ""

    def match(self, offer: Mapping[str, object], wait_seconds: float) -> answers.MatchedJob | None:
        """The next of the named jobs that may be run; None when there is none now.

        Raises:
            RefusedError: the server does not let us have it.
        """
        rows = self.rows(list(self._jobs), _COLUMNS) if self._jobs else {}
        for job_id in [each for each in self._jobs if each not in rows or rows[each]["Status"] in FINAL_STATUSES]:
            log.info("job %d: %s", job_id, rows[job_id]["Status"] if job_id in rows else "there is no such job")
            del self._jobs[job_id]
        for job_id in self._jobs:
            if rows[job_id]["Status"] in _PATHS:
                return self._take(job_id, rows[job_id])
            if job_id not in self._ours:
                log.warning("job %d cannot be taken: it is %s", job_id, rows[job_id]["Status"])
        self._pause.wait(wait_seconds)
        return None

    def commands(self, stamp: str, jobs: Sequence[tuple[int, int]], wait_seconds: float) -> list[answers.Command]:
        """Kill, for those of *jobs* that are Killed. A look at the jobs loses no Kill, as a heartbeat's answer may."""
        rows = self.rows([job_id for job_id, _ in jobs], ("JobID", "Status", "RescheduleCounter"))
        found = [
            answers.Command(_command_id(job_id, attempt), job_id, attempt, "Kill")
            for job_id, attempt in jobs
            if _command_id(job_id, attempt) not in self._told and _is_killed(rows.get(job_id), attempt)
        ]
        if not found:
            self._pause.wait(max(wait_seconds, COMMANDS_SECONDS))
        return found

    def acknowledge_commands(self, command_ids: Sequence[int]) -> None:
        """They were carried out: not given out again. DiracX is told by the wrapper's heartbeat."""
        self._told.update(command_ids)

    def register_pilot(self, stamp: str, *, vo: str, reference: str, site: str) -> None:
        """Introduce this agent, if the group of the jobs' owner may run pilots, too; *vo* is that of the token.

        Raises:
            UnauthorizedError: the server does not take our token. RefusedError: it is no pilot's.
        """
        user = self.userinfo()
        if PILOT not in checked.items(user.get("properties"), "properties"):
            what = f"agent {stamp} has the token of a job's owner without {PILOT}, and is no pilot of DiracX"
            raise RefusedError(what, status_code=403)
        super().register_pilot(stamp, vo=checked.text(user.get("vo"), "vo"), reference=reference, site=site)
        self._stamp = stamp

    def add_pilot_log(self, stamp: str, messages: Sequence[Mapping[str, object]]) -> None:
        """DiracX keeps none: the lines are on standard error."""

    def _name_job(self, job_id: int) -> None:
        """Tell which job the pilot has; that is for people, so that it stops nothing when it fails."""
        try:
            self.update_pilot(self._stamp, {"CurrentJobID": job_id})
        except JobspanError as error:
            log.warning("the server does not hear that the pilot has job %d: %s", job_id, error)

    def _take(self, job_id: int, row: Mapping[str, Any]) -> answers.MatchedJob:
        description = self._jobs[job_id]
        start_ns = max(self.now_utc_ns(), last_record_ns(row) + STEP_NS)
        steps = _PATHS[row["Status"]]
        times = [start_ns + number * STEP_NS for number in range(len(steps))]
        kept = self.set_statuses(job_id, _updates(steps, times))
        if not kept.status:  # dated before the last record, which is shown to the second only
            times = [each + NANOSECONDS for each in times]
            kept = self.set_statuses(job_id, _updates(steps, times))
        if kept.status != JobStatus.MATCHED:
            raise RefusedError(f"job {job_id} cannot be taken: it is {kept.status or 'in the future'}")
        self._ours.add(job_id)
        self._descriptions.keep(job_id, description)
        if self._stamp:
            self._name_job(job_id)
        return self._matched(job_id, row, description, times)

    def _matched(
        self, job_id: int, row: Mapping[str, Any], description: JobDescription, times: Sequence[int]
    ) -> answers.MatchedJob:
        attempt = int(row.get("RescheduleCounter") or 0) + 1
        submitted_ns = min(parse_utc(str(row["SubmissionTime"])), times[0])
        waiting_ns = times[-2] if len(times) > 1 else last_record_ns(row)
        return answers.MatchedJob(
            wms_id=self.wms_id,
            job_id=job_id,
            attempt=attempt,
            uid=attempt_uid(self.wms_id, job_id, attempt),
            claim=secrets.token_hex(16),
            description=description.to_mapping(),
            owner=str(row["Owner"]),
            owner_group=str(row["OwnerGroup"]),
            vo=str(row["VO"]),
            job_name=str(row.get("JobName") or ""),
            job_group=str(row.get("JobGroup") or ""),
            job_type=str(row.get("JobType") or ""),
            job_token=self._credentials.token(),
            submit_start_utc_ns=submitted_ns,
            submit_end_utc_ns=submitted_ns,
            waiting_utc_ns=max(waiting_ns, submitted_ns),
            match_start_utc_ns=times[-1],
            match_end_utc_ns=times[-1],
            submit_traceparent="",
            previous_uid=attempt_uid(self.wms_id, job_id, attempt - 1) if attempt > 1 else "",
        )


def _updates(steps: Iterable[JobStatus], times: Iterable[int]) -> dict[str, dict[str, str]]:
    minors = {JobStatus.MATCHED: {"MinorStatus": ASSIGNED}}
    return {
        utc_text(moment): {"Status": str(status), **minors.get(status, {}), "Source": SOURCE}
        for moment, status in zip(times, steps, strict=True)
    }


def _is_killed(row: Mapping[str, Any] | None, attempt: int) -> bool:
    return row is not None and row["Status"] in GONE and int(row.get("RescheduleCounter") or 0) + 1 == attempt


def _command_id(job_id: int, attempt: int) -> int:
    return job_id << 16 | attempt
