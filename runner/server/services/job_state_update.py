"""JobStateUpdate: statuses, heartbeats with commands, parameters."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import ATTRIBUTES, Row
from runner.server.errors import InvalidRequestError, InvalidValueError, UnknownObjectError
from runner.server.models import HeartbeatData
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize
from runner.server.services.job_states import Move
from runner.server.services.state_machine import Folded, Present, Rules, Update, fold
from runner.server.services.unicode import is_sendable, sendable
from runner.server.tokens import Identity
from telemetry.clock import utc_text

#: Most characters kept of a peek; the end is what one wants to see.
PEEK_CHARACTERS = 1 << 20
MAX_PARAMETER_CHARACTERS = 64 << 10
MAX_PARAMETERS = 500
#: Parameters that are numbers for every reader, whatever a client writes.
NUMBERS = frozenset({"CPUNormalizationFactor", "NormCPUTime(s)", "TotalCPUTime(s)", "Memory(MB)", "PayloadPID"})
PEEK = "StandardOutput"


@dataclass(frozen=True)
class Report:
    """What a wrapper says at one moment: statuses, parameters, perhaps a heartbeat."""

    updates: list[Update]
    parameters: Mapping[str, Any]
    heartbeat: HeartbeatData | None


class JobStateUpdate:
    """Takes what wrappers, agents and people report about jobs."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def set_status(
        self, identity: Identity, updates: Mapping[int, list[Update]], *, force: bool = False
    ) -> dict[str, Any]:
        """Fold *updates* into their jobs; for each job what it is afterwards (`SetJobStatusReturn`).

        Raises:
            UnknownObjectError: none of the jobs exists.
        """
        for job_id, several in updates.items():
            if not several:
                raise InvalidValueError(f"there is no update for job {job_id}")
        right = Right.FORCE_STATUS if force else Right.SET_STATUS
        rules = Rules(forced=force, by_wrapper=identity.job is not None)
        success: dict[str, Any] = {}
        ordered, copies = False, 0
        with self._context.databases.write() as transaction:
            now_ns = self._context.now_ns()
            rows = authorize(transaction, identity, right, updates, state_only=True)
            for job_id, row in rows.items():
                claim = identity.job.claim if identity.job else None
                status = _Status(transaction, row, now_ns, claim)
                success[str(job_id)], kill = status.take(updates[job_id], rules)
                ordered |= kill
                copies += status.copies
        self._context.observer.copies("status", copies)
        failed = {str(job_id): {"detail": "Not found"} for job_id in updates if job_id not in rows}
        if not success:
            raise UnknownObjectError({"success": success, "failed": failed})
        if ordered:
            self._context.commands_wait.ring()
        return {"success": success, "failed": failed}

    def heartbeat(self, identity: Identity, beats: Mapping[int, HeartbeatData]) -> list[dict[str, Any]]:
        """Take heartbeats; the commands that wait for these jobs, again and again until acknowledged.

        Raises:
            UnknownObjectError: one of the jobs does not exist; nothing is taken then.
        """
        with self._context.databases.write() as transaction:
            now_ns = self._context.now_ns()
            rows = authorize(transaction, identity, Right.HEARTBEAT, beats, state_only=True)
            _all_known(beats, rows)
            for job_id, data in beats.items():
                claim = identity.job.claim if identity.job else None
                _take_heartbeat(transaction, rows[job_id], data, now_ns, claim)
            return _commands(transaction, beats)

    def report(self, identity: Identity, job_id: int, said: Report) -> dict[str, Any]:
        """Take all that a wrapper says at one moment, as the three calls above in this order would, or nothing.

        The answer: `Kept`, the status that the job has afterwards, and the `Commands` that wait for it.

        Raises:
            UnknownObjectError, InvalidRequestError, InvalidValueError: as the calls above.
        """
        parameters, attributes = _parameters(said.parameters)
        claim = identity.job.claim if identity.job else None
        with self._context.databases.write() as transaction:
            now_ns = self._context.now_ns()
            rows = authorize(transaction, identity, Right.REPORT, [job_id], state_only=True)
            _all_known([job_id], rows)
            kept, ordered, copies = None, False, 0
            if said.updates:
                rules = Rules(forced=False, by_wrapper=identity.job is not None)
                status = _Status(transaction, rows[job_id], now_ns, claim)
                kept, ordered = status.take(said.updates, rules)
                copies = status.copies
            transaction.parameters.set_job_parameters(job_id, parameters, now_ns)
            transaction.jobs.change(job_id, attributes)
            if said.heartbeat is not None:
                rows = transaction.jobs.get_many([job_id], state_only=True) if said.updates else rows
                _take_heartbeat(transaction, rows[job_id], said.heartbeat, now_ns, claim)
            if identity.job is not None and not said.updates and said.heartbeat is None:  # else it is signed already
                transaction.attempts.sign(job_id, identity.job.attempt, now_ns)
            commands = _commands(transaction, [job_id])
        self._context.observer.copies("status", copies)
        if ordered:
            self._context.commands_wait.ring()
        return {"Kept": kept, "Commands": commands}

    def set_metadata(self, identity: Identity, metadata: Mapping[int, Mapping[str, Any]]) -> None:
        """Set job parameters; of the attributes only Site may be set.

        Raises:
            UnknownObjectError: one of the jobs does not exist. InvalidRequestError: another attribute.
            InvalidValueError: too long, or not a number where one must be.
        """
        checked = {job_id: _parameters(values) for job_id, values in metadata.items()}
        with self._context.databases.write() as transaction:
            now_ns = self._context.now_ns()
            rows = authorize(transaction, identity, Right.SET_METADATA, metadata, state_only=True)
            _all_known(metadata, rows)
            for job_id, (parameters, attributes) in checked.items():
                transaction.parameters.set_job_parameters(job_id, parameters, now_ns)
                transaction.jobs.change(job_id, attributes)
                if identity.job is not None:
                    transaction.attempts.sign(job_id, identity.job.attempt, now_ns)


class _Status:
    """The status updates of one call for one job."""

    def __init__(self, transaction: Transaction, row: Row, now_ns: int, claim: str | None) -> None:
        self._transaction = transaction
        self._row = row
        self._now_ns = now_ns
        self._claim = claim
        number = job_states.current_attempt(row)
        self._attempt = transaction.attempts.get(row["JobID"], number, state_only=True)
        #: Updates that were here before.
        self.copies = 0

    def take(self, updates: list[Update], rules: Rules) -> tuple[dict[str, Any], bool]:
        """The answer for this job, and whether a command was ordered."""
        row = self._row
        if self._attempt is not None:
            rules = replace(rules, handed_out=self._attempt["Attempt"])
        folded = fold(self._present(), self._completed(updates), arrival_ns=self._now_ns, policy=rules)
        if folded.late and self._claim is not None:
            history = self._transaction.logging.get([row["JobID"]])[row["JobID"]]
            self.copies = sum(any(_is_of(update, line) for line in history) for update in folded.late)
        job_states.log(self._transaction, row["JobID"], folded.records, self._now_ns)
        changes = self._changes(folded)
        self._transaction.jobs.change(row["JobID"], changes)
        ordered = False
        if folded.accepted:
            self._follow(folded)
            ordered = self._order_kill(folded)
        self._remember_report(folded)
        return self._answer(folded, changes), ordered

    def _present(self) -> Present:
        """A wrapper's reports are ordered among themselves by its own clock; all others by the whole history."""
        row, reported_ns = self._row, self._row["LastStatusTime"]
        if self._claim is not None:
            reported_ns = (self._attempt["LastReportTime"] if self._attempt else None) or 0
        return Present(
            JobStatus(row["Status"]), row["MinorStatus"], row["ApplicationStatus"], reported_ns, row["LastStatusTime"]
        )

    def _completed(self, updates: list[Update]) -> list[Update]:
        """An order to kill that gives no reason has DIRAC's."""
        marked = MinorStatus.MARKED_FOR_TERMINATION
        return [
            Update(each.time_ns, each.status, marked, each.application, each.source)
            if each.status is JobStatus.KILLED and each.minor is None and self._row["Status"] != JobStatus.KILLED
            else each
            for each in updates
        ]

    def _changes(self, folded: Folded) -> dict[str, Any]:
        after = folded.present
        changes: dict[str, Any] = {}
        if after.logged_ns != self._row["LastStatusTime"]:
            changes["LastStatusTime"] = after.logged_ns
        if not folded.accepted:
            return changes
        changes |= {
            "Status": after.status,
            "MinorStatus": after.minor,
            "ApplicationStatus": after.application,
            "LastUpdateTime": self._now_ns,
        }
        for update, time_ns in folded.accepted:
            if update.source.startswith("Job") or update.source == "Heartbeat":
                changes["HeartBeatTime"] = max(time_ns, self._row["HeartBeatTime"] or 0)
            if update.status is JobStatus.RUNNING and self._row["StartExecTime"] is None:
                changes.setdefault("StartExecTime", time_ns)
            if self._ends(update.status):
                changes.setdefault("EndExecTime", time_ns)
        return changes

    def _ends(self, status: JobStatus | None) -> bool:
        """A killed job that is with a wrapper ends later: when its accounting record arrives."""
        before = JobStatus(self._row["Status"])
        if status not in FINAL_STATUSES or self._row["EndExecTime"] is not None or before is JobStatus.KILLED:
            return False
        return status is not JobStatus.KILLED or before not in job_states.WITH_WRAPPER

    def _follow(self, folded: Folded) -> None:
        if self._attempt is None:  # the job was not handed out
            return
        after = folded.present
        steps = [(after.status, after.minor)]
        if after.status is not JobStatus.RUNNING and any(u.status is JobStatus.RUNNING for u, _ in folded.accepted):
            steps.insert(0, (JobStatus.RUNNING, after.minor))  # started and ended within one call
        for status, minor in steps:
            job_states.move_attempt(
                self._transaction, self._attempt, status, minor, now_ns=self._now_ns, claim=self._claim
            )

    def _order_kill(self, folded: Folded) -> bool:
        before, after = JobStatus(self._row["Status"]), folded.present.status
        if after is not JobStatus.KILLED or before not in job_states.WITH_WRAPPER:
            return False
        attempt = job_states.current_attempt(self._row)
        self._transaction.commands.order(self._row["JobID"], attempt, "Kill", self._now_ns)
        return True

    def _remember_report(self, folded: Folded) -> None:
        if self._claim is None:
            return
        changes = {"LastSignTime": self._now_ns}
        if folded.in_time:
            changes["LastReportTime"] = folded.present.reported_ns
        self._transaction.attempts.change(self._row["JobID"], job_states.current_attempt(self._row), changes)

    def _answer(self, folded: Folded, changes: Mapping[str, Any]) -> dict[str, Any]:
        after = folded.present
        said = [update for update, _ in folded.accepted]
        # A wrapper learns in any case what the job is now: also if it repeats a call whose answer was lost.
        told = self._claim is not None
        answer: dict[str, Any] = {
            "Status": after.status if told or folded.in_time else None,
            "MinorStatus": after.minor if told or any(each.minor is not None for each in said) else None,
            "ApplicationStatus": (
                after.application if told or any(each.application is not None for each in said) else None
            ),
        }
        for name in ("HeartBeatTime", "StartExecTime", "EndExecTime", "LastUpdateTime"):
            answer[name] = utc_text(changes[name]) if name in changes else None
        return answer | ({"Reason": folded.reason} if folded.reason else {})


def _is_of(update: Update, line: Row) -> bool:
    """Whether *line* of the history is of *update*: of its moment, or with its words, as no future moment is kept."""
    said = (("Status", update.status), ("MinorStatus", update.minor), ("ApplicationStatus", update.application))
    is_same = line["StatusTime"] == update.time_ns or all(text in (None, line[name]) for name, text in said)
    return is_same and str(line["Source"]).startswith(update.source[:28])


def _take_heartbeat(transaction: Transaction, row: Row, data: HeartbeatData, now_ns: int, claim: str | None) -> None:
    job_id = row["JobID"]
    values = data.model_dump(exclude_none=True)
    peek = values.pop(PEEK, None)
    if peek is not None:
        transaction.parameters.set_job_parameters(job_id, {PEEK: sendable(peek[-PEEK_CHARACTERS:])}, now_ns)
    heartbeat = {**values, "Time": utc_text(now_ns)} if values else None
    transaction.attempts.sign(job_id, job_states.current_attempt(row), now_ns, heartbeat)
    if heartbeat is not None:
        transaction.usage.add(job_id, job_states.current_attempt(row), now_ns, values)
    changes: dict[str, Any] = {"HeartBeatTime": now_ns}
    if row["Status"] not in (JobStatus.MATCHED, JobStatus.STALLED):
        transaction.jobs.change(job_id, changes)
        return
    if row["StartExecTime"] is None:
        changes["StartExecTime"] = now_ns
    running, minor = JobStatus.RUNNING, row["MinorStatus"]
    job_states.move(transaction, row, Move(running, minor, "Heartbeat", now_ns), changes)
    job_states.follow_attempt(transaction, row, running, minor, now_ns=now_ns, claim=claim)


def _commands(transaction: Transaction, job_ids: Iterable[int]) -> list[dict[str, Any]]:
    """What waits for the current attempts of these jobs, as the dialect has it."""
    waiting = transaction.commands.pending(job_ids)
    rows = transaction.jobs.get_many((command["JobID"] for command in waiting), state_only=True)
    return [
        {
            "job_id": command["JobID"],
            "command": command["Command"],
            "arguments": job_states.kill_reason(rows[command["JobID"]]),
            "command_id": command["CommandID"],
        }
        for command in waiting
        if command["Attempt"] == job_states.current_attempt(rows[command["JobID"]])
    ]


def _all_known(wanted: Iterable[int], rows: Mapping[int, Row]) -> None:
    for job_id in wanted:
        if job_id not in rows:
            raise UnknownObjectError(f"Job {job_id} not found")


def _parameters(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Job parameters and job attributes of one `JobMetaData`."""
    if len(values) > MAX_PARAMETERS:
        raise InvalidValueError(f"{len(values)} parameters in one call, at most {MAX_PARAMETERS} are taken")
    parameters: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for name, value in values.items():
        if name == "Site":
            attributes[name] = _site(value)
        elif name in ATTRIBUTES:
            raise InvalidRequestError(f"Job attribute {name} cannot be modified through this endpoint")
        elif name != "timestamp" and value is not None:
            parameters[name] = _parameter(name, value)
    return parameters, attributes


def _site(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 100:
        raise InvalidValueError("Site must be a text of at most 100 characters")
    return value


def _parameter(name: str, value: Any) -> Any:
    if not is_sendable([name, value]):
        raise InvalidValueError(f"parameter {name[:80]!a} is not valid Unicode, or not finite")
    if len(name) > 255 or len(str(value)) > MAX_PARAMETER_CHARACTERS:
        raise InvalidValueError(f"parameter {name[:80]} is longer than {MAX_PARAMETER_CHARACTERS} characters")
    if name not in NUMBERS:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidValueError(f"parameter {name} must be a number, not {str(value)[:80]!r}") from error
    if not math.isfinite(number):
        raise InvalidValueError(f"parameter {name} must be finite")
    return int(number) if number.is_integer() else number
