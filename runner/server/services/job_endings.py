"""JobManager's other half: killing, deleting and removing jobs, many in one call, each with its own outcome."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus, is_allowed
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize_each
from runner.server.services.job_states import Move
from runner.server.tokens import Identity

SOURCE = "JobManager"
#: Others write between so many jobs.
BATCH = 100
#: What became of one job: words that refuse, or what it is now.
Outcome: TypeAlias = "str | dict[str, str]"
Ending: TypeAlias = Callable[[Transaction, Row], Outcome]


class JobEndings:
    """Ends jobs, and forgets them."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def kill(self, identity: Identity, job_ids: Sequence[int]) -> dict[str, Any]:
        """Jobs that are not over yet; a wrapper is told to stop.

        The answer has `success` and `failed`, by job: what it is now, or the reason.

        Raises:
            ForbiddenError: none of them is the caller's to kill.
        """
        return self._each(identity, Right.KILL, job_ids, self._kill)

    def delete(self, identity: Identity, job_ids: Sequence[int]) -> dict[str, Any]:
        """Jobs that are over, or have not begun; those with a wrapper are killed first."""
        return self._each(identity, Right.DELETE, job_ids, self._delete)

    def remove(self, identity: Identity, job_ids: Sequence[int]) -> dict[str, Any]:
        """Jobs that are over and accounted for: nothing is left of them but their accounting records."""
        return self._each(identity, Right.REMOVE, job_ids, self._remove)

    def _each(self, identity: Identity, right: Right, job_ids: Sequence[int], ending: Ending) -> dict[str, Any]:
        success: dict[str, Any] = {}
        failed: dict[str, Any] = {}
        wanted = list(dict.fromkeys(job_ids))
        with self._context.databases.read() as transaction:
            mine, refused = authorize_each(transaction, identity, right, wanted)
        failed |= {str(job_id): {"detail": reason} for job_id, reason in refused.items()}
        ids = list(mine)
        for first in range(0, len(ids), BATCH):
            with self._context.databases.write() as transaction:
                for job_id, row in transaction.jobs.get_many(ids[first : first + BATCH]).items():
                    outcome = ending(transaction, row)
                    if isinstance(outcome, str):
                        failed[str(job_id)] = {"detail": outcome}
                    else:
                        success[str(job_id)] = outcome
        self._context.commands_wait.ring()
        return {"success": success, "failed": failed}

    def _kill(self, transaction: Transaction, row: Row) -> Outcome:
        status = JobStatus(row["Status"])
        if status in FINAL_STATUSES or not is_allowed(status, JobStatus.KILLED):
            return f"a job that is {status} cannot be killed"
        now_ns, minor = self._context.now_ns(), MinorStatus.MARKED_FOR_TERMINATION
        is_with_wrapper = status in job_states.WITH_WRAPPER
        changes = {} if is_with_wrapper or row["EndExecTime"] is not None else {"EndExecTime": now_ns}
        self._become(transaction, row, JobStatus.KILLED, minor, changes)
        if is_with_wrapper:
            transaction.commands.order(row["JobID"], job_states.current_attempt(row), "Kill", now_ns)
        return {"Status": JobStatus.KILLED, "MinorStatus": minor}

    def _delete(self, transaction: Transaction, row: Row) -> Outcome:
        status = JobStatus(row["Status"])
        if status is JobStatus.DELETED:
            return "the job is Deleted already"
        if status in job_states.WITH_WRAPPER:
            outcome = self._kill(transaction, row)
            reason = "the job is with a wrapper: it is killed now; delete it when it has ended"
            return outcome if isinstance(outcome, str) else {**outcome, "Reason": reason}
        if not is_allowed(status, JobStatus.DELETED):
            return f"a job that is {status} cannot be deleted"
        minor = MinorStatus.CHECKING_ACCOUNTING
        self._become(transaction, row, JobStatus.DELETED, minor, {})
        return {"Status": JobStatus.DELETED, "MinorStatus": minor}

    def _remove(self, transaction: Transaction, row: Row) -> Outcome:
        job_id, status = int(row["JobID"]), JobStatus(row["Status"])
        if reason := not_removable(transaction, row):
            return reason
        transaction.remove_job(job_id)
        return {"Status": status, "MinorStatus": row["MinorStatus"]}

    def _become(
        self, transaction: Transaction, row: Row, status: JobStatus, minor: str, changes: dict[str, Any]
    ) -> None:
        now_ns = self._context.now_ns()
        job_states.move(transaction, row, Move(status, minor, SOURCE, now_ns), changes)
        job_states.follow_attempt(transaction, row, status, minor, now_ns=now_ns, claim=None)


def not_removable(transaction: Transaction, row: Row) -> str:
    """Why nothing may be forgotten of the job yet; empty when all may."""
    job_id = int(row["JobID"])
    if JobStatus(row["Status"]) not in FINAL_STATUSES:
        return f"a job that is {row['Status']} cannot be removed; kill or delete it first"
    if transaction.attempts.without_record(job_id):
        return "an attempt of the job is not accounted for yet"
    if transaction.requests.is_waited_for(job_id):
        return "the job has pending requests"
    return ""
