"""OptimizationMind: what a job goes through between Received and Waiting, as steps in process.

JobPath chooses the steps, JobSanity looks at the job itself, InputData at its files, JobScheduling
puts it where the matcher finds it. Each step leaves DIRAC's status: Checking, with the name of the
step that comes next as minor status.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from runner.job.description import JobDescription, from_mapping
from runner.job.status import JobStatus, MinorStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.services import job_states
from runner.server.services.context import ServiceContext

JOB_PATH, JOB_SANITY, INPUT_DATA, JOB_SCHEDULING = "JobPath", "JobSanity", "InputData", "JobScheduling"
PILOT_AGENT_SUBMISSION = "Pilot Agent Submission"


@dataclass(frozen=True)
class Rejection:
    """A step found that the job cannot run."""

    minor: str
    cause: str


class OptimizationMind:
    """Brings received jobs to Waiting, or to Failed with the reason."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._steps: Mapping[str, Callable[[Transaction, int, JobDescription], Rejection | None]] = {
            JOB_SANITY: self._job_sanity,
            INPUT_DATA: self._input_data,
        }

    def optimize(self, job_ids: Sequence[int]) -> None:
        """Take these jobs as far as they get; each in a transaction of its own."""
        for job_id in job_ids:
            with self._context.databases.write() as transaction:
                row = transaction.jobs.get(job_id)
                if row is not None and row["Status"] in (JobStatus.RECEIVED, JobStatus.CHECKING):
                    self._optimize(transaction, row)
        self._context.jobs_wait.ring()

    def resume(self) -> None:
        """Go on with the jobs that a server left on their way when it ended."""
        with self._context.databases.read() as transaction:
            left = transaction.jobs.with_status((JobStatus.RECEIVED, JobStatus.CHECKING))
        self.optimize(left)

    def _optimize(self, transaction: Transaction, row: Row) -> None:
        job_id = row["JobID"]
        description = from_mapping(transaction.jobs.description(job_id))
        path = [JOB_SANITY, *([INPUT_DATA] if description.input_data else []), JOB_SCHEDULING]
        self._move(transaction, job_id, JobStatus.CHECKING, path[0], JOB_PATH)
        for step, following in itertools.pairwise(path):
            rejection = self._steps[step](transaction, job_id, description)
            if rejection is not None:
                self._reject(transaction, job_id, rejection, step)
                return
            self._move(transaction, job_id, JobStatus.CHECKING, following, step)
        moment = self._move(transaction, job_id, JobStatus.WAITING, PILOT_AGENT_SUBMISSION, JOB_SCHEDULING)
        transaction.jobs.change(job_id, {"WaitingTime": moment})

    def _move(self, transaction: Transaction, job_id: int, status: JobStatus, minor: str, source: str) -> int:
        row = transaction.jobs.get(job_id)
        assert row is not None, job_id  # noqa: S101 - it was there when this transaction began
        return job_states.move(transaction, row, job_states.Move(status, minor, source, self._context.now_ns()))

    def _reject(self, transaction: Transaction, job_id: int, rejection: Rejection, step: str) -> None:
        now_ns = self._context.now_ns()
        transaction.jobs.change(job_id, {"ApplicationStatus": rejection.cause[:255], "EndExecTime": now_ns})
        self._move(transaction, job_id, JobStatus.FAILED, rejection.minor, step)

    def _job_sanity(self, transaction: Transaction, job_id: int, description: JobDescription) -> Rejection | None:
        """The input sandboxes must be there, and belong to this job from now on."""
        for name in description.input_sandbox:
            if not name.startswith("SB:"):
                continue
            sandbox = transaction.sandboxes.get(name.partition("|")[2])
            if sandbox is None or not sandbox["Stored"]:
                return Rejection(MinorStatus.FAILED_DOWNLOADING_INPUT_SANDBOX, f"{name} is not stored here")
            transaction.sandboxes.assign(sandbox["SBId"], job_id, "Input")
        return None

    def _input_data(self, transaction: Transaction, job_id: int, description: JobDescription) -> Rejection | None:
        """Every file must be known to the master catalogue, with a replica."""
        catalog = self._context.settings.catalogs[0]
        known = transaction.catalog.files(catalog, description.input_data)
        missing = [lfn for lfn in description.input_data if lfn not in known]
        if not missing:
            return None
        names = ",".join(missing)
        transaction.parameters.set_job_parameters(job_id, {"MissingLFNs": names}, self._context.now_ns())
        return Rejection(MinorStatus.INPUT_DATA_NOT_AVAILABLE, f"not in {catalog}: {names}")
