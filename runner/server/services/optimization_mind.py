"""OptimizationMind: takes received jobs through the optimizers, and puts them where the matcher finds them.

Each step leaves DIRAC's status: Checking, with the name of the step that comes next as minor status.
What stands there is all that has to outlive the process: a job goes on at the step that it names.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.errors import DescriptionError
from runner.job.description import from_mapping
from runner.job.status import JobStatus, MinorStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_states import Move
from runner.server.services.optimizers import JOB_PATH, JOB_SCHEDULING, JobUnderWay, Optimizers, Verdict, following
from runner.server.services.task_queues import queue_of

PILOT_AGENT_SUBMISSION = "Pilot Agent Submission"
log = logging.getLogger("jobspan.wms")
ON_THEIR_WAY = (JobStatus.RECEIVED, JobStatus.CHECKING)


@dataclass
class _Course:
    """How far a job got, to be written at once."""

    row: Row
    description: Mapping[str, Any]
    steps: list[tuple[JobStatus, str, str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    hold_seconds: float = 0.0
    is_slow: bool = False


@dataclass(frozen=True)
class Advanced:
    """Jobs that are not through: those that wait for a slow step, and those to be looked at again, with the time."""

    slow: list[int]
    held: dict[int, float]


class OptimizationMind:
    """Brings received jobs to Waiting, or to Failed with the reason."""

    def __init__(self, context: ServiceContext) -> None:
        """
        Raises:
            ConfigError: the configuration names an optimizer that is not installed.
        """
        self._context = context
        self._optimizers = Optimizers(context)

    def advance(self, job_ids: Sequence[int], *, slowly: bool = False) -> Advanced:
        """Take these jobs as far as they get; up to steps that are not ours, unless *slowly*."""
        with self._context.databases.read() as transaction:
            found = [(row, transaction.jobs.description(row["JobID"])) for row in _under_way(transaction, job_ids)]
        courses = [self._course(row, description, slowly) for row, description in found]
        with self._context.databases.write() as transaction:
            for course in courses:
                self._write(transaction, course)
        if courses:
            self._context.jobs_wait.ring()
        held = {int(each.row["JobID"]): each.hold_seconds for each in courses if each.hold_seconds}
        return Advanced([int(each.row["JobID"]) for each in courses if each.is_slow], held)

    def give_up(self, job_id: int, error: Exception) -> None:
        """No step can do anything with the job, which is Failed from now on: for what *error* says."""
        with self._context.databases.write() as transaction:
            for row in _under_way(transaction, [job_id]):
                course = _Course(row, {})
                cause = f"{type(error).__name__}: {str(error)!a}"
                _stop(course, JOB_PATH, Verdict(MinorStatus.ILLEGAL_JOB_JDL, cause))
                self._write(transaction, course)
                log.error("job %d cannot be optimized and fails: %s", job_id, cause)

    def left(self, older_than_ns: int) -> list[int]:
        """Jobs of which nobody has said anything since that moment, and which are not through."""
        with self._context.databases.read() as transaction:
            return transaction.jobs.with_status(ON_THEIR_WAY, older_than_ns)

    def adopt(self) -> int:
        """Give a queue to jobs that wait without one: those of a WMS before there were queues; how many there were."""
        with self._context.databases.read() as transaction:
            strays = transaction.task_queues.strays()
        for job_id in strays:
            with self._context.databases.write() as transaction:
                row = transaction.jobs.get(job_id)
                if row is None or row["Status"] != JobStatus.WAITING:
                    continue
                try:
                    queue_id = queue_of(transaction, row, transaction.jobs.description(job_id))
                except DescriptionError as error:
                    log.error("job %d has no queue, and gets none: %s", job_id, error)
                    continue
                transaction.jobs.change(job_id, {"TaskQueueID": queue_id})
        return len(strays)

    def _course(self, row: Row, description: Mapping[str, Any], slowly: bool) -> _Course:
        """Let the steps look at the job, one after the other."""
        course = _Course(row, description)
        parsed = from_mapping(description)
        job = JobUnderWay(int(row["JobID"]), row["Owner"], row["OwnerGroup"], row["VO"], parsed)
        begun = str(row["MinorStatus"]) if row["Status"] == JobStatus.CHECKING else ""
        steps = following(self._optimizers.path(parsed), begun)
        if begun != steps[0][0]:
            course.steps.append((JobStatus.CHECKING, steps[0][0], JOB_PATH))
        for step, after in steps:
            if not slowly and not self._optimizers.is_ours(step):
                course.is_slow = True
                return course
            verdict = self._optimizers.look(step, job)
            course.verdicts.append(verdict)
            if verdict.minor or verdict.hold_seconds:
                _stop(course, step, verdict)
                return course
            if after is not None:
                course.steps.append((JobStatus.CHECKING, after, step))
        course.steps.append((JobStatus.WAITING, PILOT_AGENT_SUBMISSION, JOB_SCHEDULING))
        return course

    def _write(self, transaction: Transaction, course: _Course) -> None:
        """Write what came of it, unless somebody has given the job another status or attempt meanwhile."""
        job_id, now_ns = int(course.row["JobID"]), self._context.now_ns()
        row = transaction.jobs.get(job_id)
        names = ("Status", "MinorStatus", "RescheduleCounter")
        if row is None or any(row[name] != course.row[name] for name in names):
            return
        changes = dict(course.changes)
        for verdict in course.verdicts:
            transaction.parameters.set_job_parameters(job_id, verdict.parameters, now_ns)
            for sandbox_id in verdict.sandboxes:
                transaction.sandboxes.assign(sandbox_id, job_id, "Input")
        status = course.steps[-1][0] if course.steps else None
        if status is JobStatus.WAITING:
            queue_id = queue_of(transaction, row, course.description, course.verdicts[-1].sites)
            changes |= {"TaskQueueID": queue_id, "WaitingTime": now_ns}
        elif status is JobStatus.FAILED:
            changes["EndExecTime"] = now_ns
        if not course.steps:
            transaction.jobs.change(job_id, {**changes, "LastUpdateTime": now_ns})
            return
        moves = [Move(each, minor[:128], source, now_ns) for each, minor, source in course.steps]
        job_states.walk(transaction, row, moves, changes)


def _stop(course: _Course, step: str, verdict: Verdict) -> None:
    if verdict.minor:
        course.steps.append((JobStatus.FAILED, verdict.minor, step))
        course.changes["ApplicationStatus"] = verdict.cause[:255]
    else:
        course.changes["ApplicationStatus"] = f"On Hold: {verdict.cause}"[:255]
        course.hold_seconds = verdict.hold_seconds


def _under_way(transaction: Transaction, job_ids: Sequence[int]) -> list[Row]:
    rows = transaction.jobs.get_many(dict.fromkeys(job_ids))
    return [row for row in rows.values() if row["Status"] in ON_THEIR_WAY]
