"""JobManager: submission and rescheduling."""

import re
from collections.abc import Sequence
from typing import Any

from runner.errors import DescriptionError
from runner.job.description import JobDescription, from_mapping, parse
from runner.job.parametric import expand
from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus, is_allowed
from runner.server.db.engine import Transaction
from runner.server.db.job_db import ATTRIBUTES, TIMES, Row
from runner.server.errors import InvalidRequestError
from runner.server.services import job_states
from runner.server.services.arrivals import note_arrivals
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, authorize, authorize_general, require
from runner.server.services.job_states import Move
from runner.server.services.state_machine import Record
from runner.server.services.unicode import is_sendable
from runner.server.tokens import Identity
from telemetry.clock import utc_text

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
SOURCE = "JobManager"


class JobManager:
    """Takes jobs in, and takes them back."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def submit(self, identity: Identity, texts: Sequence[str], *, traceparent: str = "") -> list[dict[str, Any]]:
        """New jobs, all or none (`list[InsertedJob]`). *traceparent* is the caller's trace context, kept if valid.

        Raises:
            InvalidRequestError: a description is wrong, asks for what does not exist, or there are too many.
        """
        require(identity, Right.SUBMIT, Relation.GENERAL)
        start_ns = self._context.now_ns()
        most = self._context.settings.max_jobs_per_call
        if not texts:
            raise InvalidRequestError("there is no job description in the call")
        if len(texts) > most:
            raise InvalidRequestError(f"Normal user cannot submit more than {most} jobs at once")
        descriptions = [each for number, text in enumerate(texts, 1) for each in self._checked(text, number)]
        if len(descriptions) > len(texts) != 1:
            raise InvalidRequestError("You cannot submit parametric jobs in a bulk fashion")
        trace = traceparent if _TRACEPARENT.fullmatch(traceparent) else ""
        named = {name for each in descriptions for name in each.input_sandbox if name.startswith("SB:")}
        if named:
            note_arrivals(self._context, [name.partition("|")[2] for name in named])
        with self._context.databases.write(durable=True) as transaction:
            authorize_general(transaction, identity, Right.SUBMIT)
            inserted = [self._insert(transaction, identity, each, start_ns, trace) for each in descriptions]
            end_ns = self._context.now_ns()
            for job in inserted:
                transaction.jobs.change(job["JobID"], {"SubmitEnd": end_ns})
        self._context.received.put(job["JobID"] for job in inserted)
        return inserted

    def reschedule(self, identity: Identity, job_ids: Sequence[int], *, preempted: bool) -> dict[str, Any]:
        """A new attempt for each of the jobs. Those *preempted* do not count against MaxRescheduling.

        Raises:
            InvalidRequestError: for none of them; says for each why.
        """
        return self._again(identity, Right.RESCHEDULE, job_ids, preempted)

    def reset(self, identity: Identity, job_ids: Sequence[int]) -> dict[str, Any]:
        """The same, as if the jobs had never been rescheduled before: all of MaxRescheduling is theirs again.

        Raises:
            InvalidRequestError: as above.
        """
        return self._again(identity, Right.RESET, job_ids, preempted=False)

    def _again(self, identity: Identity, right: Right, job_ids: Sequence[int], preempted: bool) -> dict[str, Any]:
        success: dict[str, Any] = {}
        failed: dict[str, Any] = {}
        with self._context.databases.write() as transaction:
            rows = authorize(transaction, identity, right, job_ids)
            for job_id in dict.fromkeys(job_ids):
                row = rows.get(job_id)
                if row is not None and right is Right.RESET:
                    transaction.jobs.change(job_id, {"PreemptedCounter": row["RescheduleCounter"]})
                    row = transaction.jobs.get(job_id)
                by_wrapper = identity.job is not None
                refusal = (
                    "Not found" if row is None else self._refusal(transaction, row, preempted, by_wrapper=by_wrapper)
                )
                if refusal or row is None:
                    failed[str(job_id)] = {"detail": refusal, **_kept(transaction.jobs.get(job_id))}
                else:
                    success[str(job_id)] = self._reschedule(transaction, row, preempted)
        if success:
            self._context.received.put(int(job_id) for job_id in success)
        if failed:  # one of them may have been given up while it runs
            self._context.commands_wait.ring()
        answer = {"failed": failed, "success": success}
        if failed and not success:
            raise InvalidRequestError(answer)
        return answer

    def put_back(self, transaction: Transaction, row: Row, *, counted: bool) -> bool:
        """A new attempt by the WMS's own decision; False if the job has had all of its attempts, and is Failed now."""
        if self._refusal(transaction, row, preempted=not counted, by_wrapper=False):
            return False
        self._reschedule(transaction, row, preempted=not counted)
        return True

    def _checked(self, text: str, number: int) -> list[JobDescription]:
        """What *text*, the description with that number, stands for: a job, or several if it is parametric."""
        source = f"description {number}"
        try:
            given = parse(text, source=source)
            descriptions = expand(given, self._context.settings.max_parametric_jobs, source=source)
        except DescriptionError as error:
            raise InvalidRequestError(str(error)) from error
        for description in descriptions:
            self._check(description, source)
        return descriptions

    def _check(self, description: JobDescription, source: str) -> None:
        if not is_sendable(description.to_mapping()):
            raise InvalidRequestError(f"{source}: it has text that is not valid Unicode")
        known = self._context.settings.storage_elements
        for element in description.output_se:
            if element not in known:
                raise InvalidRequestError(
                    f"{source}: OutputSE: there is no storage element {element} here; known are {', '.join(known)}"
                )

    def _insert(
        self, transaction: Transaction, identity: Identity, given: JobDescription, start_ns: int, trace: str
    ) -> dict[str, Any]:
        now_ns = self._context.now_ns()
        attributes: dict[str, Any] = {
            "Owner": identity.name,
            "OwnerGroup": identity.group,
            "VO": identity.vo,
            "Site": _site(given),
            "UserPriority": 1 if given.priority is None else given.priority,
            "SubmissionTime": now_ns,
            "LastUpdateTime": now_ns,
            "LastStatusTime": now_ns,
            "Status": JobStatus.RECEIVED,
            "MinorStatus": MinorStatus.JOB_ACCEPTED,
            "VerifiedFlag": True,
            "SubmitStart": start_ns,
            "SubmitEnd": now_ns,
            "SubmitTraceparent": trace,
        }
        job_id = transaction.jobs.add(attributes)
        description = given.with_job_id(job_id)
        self._check_sandboxes(transaction, identity, description)
        texts = {"JobName": description.job_name, "JobGroup": description.job_group, "JobType": description.job_type}
        transaction.jobs.change(job_id, {name: value for name, value in texts.items() if value})
        transaction.jobs.set_description(job_id, description.to_mapping())
        record = Record(JobStatus.RECEIVED, MinorStatus.JOB_ACCEPTED, "Unknown", now_ns, SOURCE)
        job_states.log(transaction, job_id, (record,), now_ns)
        return {
            "JobID": job_id,
            "Status": JobStatus.RECEIVED,
            "MinorStatus": MinorStatus.JOB_ACCEPTED,
            "TimeStamp": utc_text(now_ns),
        }

    def _check_sandboxes(self, transaction: Transaction, identity: Identity, description: JobDescription) -> None:
        for name in description.input_sandbox:
            if not name.startswith("SB:"):
                continue
            sandbox = transaction.sandboxes.get(name.partition("|")[2])
            if sandbox is None or (sandbox["Owner"], sandbox["VO"]) != identity.owner or not sandbox["Stored"]:
                raise InvalidRequestError(f"InputSandbox: {name} is not among your stored sandboxes; upload it first")

    def _refusal(self, transaction: Transaction, row: Row, preempted: bool, *, by_wrapper: bool) -> str:
        """Why the job cannot be rescheduled. Beyond the maximum a job that could go on fails, as in DIRAC."""
        status = JobStatus(row["Status"])
        # DIRAC's rescheduleJob forces it: outputs that cannot be stored now are a reason to try again.
        is_possible = is_allowed(status, JobStatus.RESCHEDULED) or is_allowed(status, JobStatus.RECEIVED)
        if not is_possible and status is not JobStatus.COMPLETING:
            return f"a job that is {status} cannot be rescheduled"
        most = self._context.settings.max_rescheduling
        if preempted or row["RescheduleCounter"] - row["PreemptedCounter"] < most:
            return ""
        if status not in FINAL_STATUSES:
            self._give_up(transaction, row, is_running=status in job_states.WITH_WRAPPER and not by_wrapper)
        return f"Maximum number of reschedules exceeded ({most})"

    def _give_up(self, transaction: Transaction, row: Row, *, is_running: bool) -> None:
        """Failed, as in DIRAC; but a job that is running is ordered to stop, and ends when its record arrives."""
        now_ns, minor = self._context.now_ns(), MinorStatus.MAXIMUM_OF_RESCHEDULINGS
        changes = {} if is_running else {"EndExecTime": now_ns}
        job_states.move(transaction, row, Move(JobStatus.FAILED, minor, SOURCE, now_ns), changes)
        if is_running:
            job_states.take_from_wrapper(transaction, row, JobStatus.FAILED, minor)
            transaction.commands.order(row["JobID"], job_states.current_attempt(row), "Kill", now_ns)
        else:
            job_states.follow_attempt(transaction, row, JobStatus.FAILED, minor, now_ns=now_ns, claim=None)

    def _reschedule(self, transaction: Transaction, row: Row, preempted: bool) -> dict[str, Any]:
        now_ns, job_id = self._context.now_ns(), row["JobID"]
        minor = MinorStatus.JOB_RESCHEDULED
        status = JobStatus(row["Status"])
        if status is not JobStatus.RESCHEDULED and status not in FINAL_STATUSES:
            # Taken away from a wrapper that has not said Rescheduled itself: its attempt ends here.
            job_states.take_from_wrapper(transaction, row, JobStatus.RESCHEDULED, minor)
        transaction.commands.close_attempt(job_id, job_states.current_attempt(row), now_ns)
        changes = {
            "RescheduleCounter": row["RescheduleCounter"] + 1,
            "PreemptedCounter": row["PreemptedCounter"] + int(preempted),
            "RescheduleTime": now_ns,
            "StartExecTime": None,
            "EndExecTime": None,
            "WaitingTime": None,
            "ApplicationStatus": "Unknown",
            "Site": _site(from_mapping(transaction.jobs.description(job_id))),
        }
        job_states.move(transaction, row, Move(JobStatus.RECEIVED, minor, SOURCE, now_ns), changes)
        after = transaction.jobs.get(job_id)
        assert after is not None, job_id  # noqa: S101 - it was changed just now
        answer = {name: after[name] for name in ATTRIBUTES if name not in TIMES}
        answer |= {name: utc_text(after[name]) if after[name] is not None else None for name in TIMES}
        return answer | {"InputData": ""}


def _site(description: JobDescription) -> str:
    """The site where the job wants to run, before a match says where it does."""
    if len(description.sites) == 1:
        return description.sites[0][:100]
    return "Multiple" if description.sites else "ANY"


def _kept(row: Row | None) -> dict[str, str]:
    """What a job is that was not rescheduled: beyond the maximum it has just failed."""
    return {name: row[name] for name in ("Status", "MinorStatus")} if row is not None else {}
