"""RequestService: combined requests of jobs, taken once, executed by one executor at a time.

An executor *claims* a request: it gets a lease, and only the holder of the claim may report what
became of an operation. The operations of a request are executed in order, each until it is done.
When the last request of an attempt is done, a job that is Completed / Pending Requests becomes
Done / "Requests done", in the same transaction; nobody else can make that step.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from runner.errors import PermanentJobError
from runner.job.requests import ACCOUNTING, FORWARD_DISET, CombinedRequest, read_request
from runner.job.status import JobStatus, MinorStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import ConflictError, InvalidRequestError, UnknownObjectError
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize, authorize_general, visible_owner
from runner.server.services.job_states import Move
from runner.server.services.unicode import is_sendable
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS, utc_text
from telemetry.identity import attempt_uid

WAITING, DONE, FAILED = "Waiting", "Done", "Failed"
SOURCE = "RequestExecutor"
LONGEST_PAUSE_SECONDS = 3600.0
LONGEST_ERROR = 500
_TIMES = ("CreationTime", "LastUpdateTime", "NotBefore", "LeaseUntil")


class RequestService:
    """Takes requests, hands them to executors, and ends the jobs that wait for them."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def put(self, identity: Identity, document: Mapping[str, Any]) -> tuple[int, bool]:
        """Take a request of the caller's attempt; its number, and whether it is new. On the disk on return.

        Raises:
            InvalidRequestError: it is none, or names what does not exist here.
            ConflictError: there is one of this name with other operations.
        """
        request = _read(document)
        with self._context.databases.write(durable=True) as transaction:
            authorize(transaction, identity, Right.PUT_REQUEST, [request.job_id])
            assert identity.job is not None  # noqa: S101 - the policy gives this right to job tokens only
            self._check(request, identity.job.attempt)
            number, is_new = self._take(transaction, request, identity.job.attempt)
        self._context.observer.copies("request", int(not is_new))
        return number, is_new

    def listing(self, identity: Identity, wanted: Mapping[str, Any], first: int, count: int) -> dict[str, Any]:
        """The requests that the caller may see."""
        owner = visible_owner(identity, Right.READ_REQUESTS)
        with self._context.databases.read() as transaction:
            rows = transaction.requests.listing(wanted, owner, first, count)
        return {"Requests": [_shown(row) for row in rows]}

    def get(self, identity: Identity, request_id: int) -> dict[str, Any]:
        """One request with its operations.

        Raises:
            UnknownObjectError: there is none.
        """
        with self._context.databases.read() as transaction:
            row = transaction.requests.get(request_id)
            # Whoever may not see all cannot tell a request of others from one that does not exist.
            authorize(transaction, identity, Right.READ_REQUESTS, [row["JobID"] if row else 0])
            if row is None:
                raise UnknownObjectError(f"Request {request_id} not found")
            return _shown(row) | {"Operations": _operations(transaction, request_id)}

    def claim(self, identity: Identity, request_ids: list[int] | None, without: list[int]) -> dict[str, Any] | None:
        """A request that is due, for the caller alone until its lease ends; None when there is none.

        Those named by *request_ids* are due at once, also when they have failed for ever; those of
        *without* the caller has tried already.
        """
        with self._context.databases.write() as transaction:
            authorize_general(transaction, identity, Right.RUN_REQUESTS)
            now_ns = self._context.now_ns()
            row = transaction.requests.due(now_ns, request_ids, without)
            if row is None:
                return None
            number = row["RequestID"]
            if row["Status"] == FAILED:
                transaction.requests.reopen(number)
            claim = secrets.token_hex(16)
            transaction.requests.change(number, {"Claim": claim, "LeaseUntil": self._lease_end(now_ns)})
            claimed = transaction.requests.get(number)
            assert claimed is not None  # noqa: S101 - it was changed just now
            return _shown(claimed) | {
                "Claim": claim,
                "LeaseSeconds": self._context.settings.request_lease_seconds,
                "Operations": _operations(transaction, number),
            }

    def renew(self, identity: Identity, request_id: int, claim: str) -> None:
        """The holder of *claim* is still at it.

        Raises:
            ConflictError: the claim is over.
        """
        with self._context.databases.write() as transaction:
            authorize_general(transaction, identity, Right.RUN_REQUESTS)
            self._held(transaction, request_id, claim)
            transaction.requests.change(request_id, {"LeaseUntil": self._lease_end(self._context.now_ns())})

    def report(self, identity: Identity, request_id: int, order: int, report: Mapping[str, str]) -> str:
        """What became of an operation: Done, Retry (later) or Failed (for ever); the request's status then.

        *report* has Claim, Outcome and Error. Saying again that an operation is done changes nothing.

        Raises:
            ConflictError: the claim is over, or an operation before it is not done.
        """
        with self._context.databases.write(durable=True) as transaction:
            authorize_general(transaction, identity, Right.RUN_REQUESTS)
            operations = {each["Position"]: each for each in transaction.requests.operations(request_id)}
            if order not in operations:
                raise UnknownObjectError(f"Operation {order} of request {request_id} not found")
            if operations[order]["Status"] == DONE:
                row = transaction.requests.get(request_id)
                return str(row["Status"]) if row else DONE
            row = self._held(transaction, request_id, report["Claim"])
            if order != min(number for number, each in operations.items() if each["Status"] != DONE):
                raise ConflictError(f"operation {order} of request {request_id} is not the next one")
            if report["Outcome"] == DONE:
                return self._done(transaction, row, order, is_last=order == max(operations))
            return self._not_done(transaction, row, order, report)

    def _take(self, transaction: Transaction, request: CombinedRequest, attempt: int) -> tuple[int, bool]:
        operations = [each.to_mapping() for each in request.operations]
        checksum = hashlib.sha256(json.dumps(operations, sort_keys=True).encode()).hexdigest()
        present = transaction.requests.named(request.job_id, attempt, request.name)
        if present is not None:
            if present["Checksum"] != checksum:
                raise ConflictError(f"request {request.name} is here with other operations")
            return int(present["RequestID"]), False
        now_ns = self._context.now_ns()
        attributes = {
            "RequestName": request.name,
            "JobID": request.job_id,
            "Attempt": attempt,
            "Checksum": checksum,
            "Status": WAITING,
            "CreationTime": now_ns,
            "LastUpdateTime": now_ns,
            "NotBefore": now_ns + round(request.delay_seconds * NANOSECONDS),
        }
        return transaction.requests.add(attributes, operations), True

    def _check(self, request: CombinedRequest, attempt: int) -> None:
        settings = self._context.settings
        for each in request.operations:
            for kind, names, known in (
                ("storage element", (each.source_se, each.target_se), settings.storage_elements),
                ("catalogue", (each.catalog,), settings.catalogs),
            ):
                unknown = [name for name in names if name and name not in known]
                if unknown:
                    raise InvalidRequestError(f"{each.type}: there is no {kind} {unknown[0]} here")
            if each.type == FORWARD_DISET and each.arguments.get("Call") == ACCOUNTING:
                uid = attempt_uid(self._context.wms_id, request.job_id, attempt)
                if any(record.get("UID") != uid for record in each.arguments.get("Records", ())):
                    raise InvalidRequestError("a request may account for its own attempt only")

    def _held(self, transaction: Transaction, request_id: int, claim: str) -> Row:
        row = transaction.requests.get(request_id)
        if row is None or row["Claim"] is None or not secrets.compare_digest(row["Claim"], claim):
            raise ConflictError(f"request {request_id} is not, or no longer, yours")
        return row

    def _done(self, transaction: Transaction, row: Row, order: int, *, is_last: bool) -> str:
        number, now_ns = row["RequestID"], self._context.now_ns()
        done = {"Status": DONE, "Error": "", "DoneTime": now_ns}
        transaction.requests.change_operation(number, order, done)
        changes: dict[str, Any] = {"LastUpdateTime": now_ns, "Failures": 0, "Error": ""}
        if not is_last:
            transaction.requests.change(number, changes | {"LeaseUntil": self._lease_end(now_ns)})
            return WAITING
        transaction.requests.change(number, changes | {"Status": DONE, "Claim": None, "LeaseUntil": None})
        _finish_job(transaction, row["JobID"], row["Attempt"], now_ns)
        return DONE

    def _not_done(self, transaction: Transaction, row: Row, order: int, report: Mapping[str, str]) -> str:
        number, now_ns, failures = row["RequestID"], self._context.now_ns(), row["Failures"] + 1
        settings = self._context.settings
        is_dead = report["Outcome"] == FAILED or failures >= settings.request_tries
        error = report["Error"][:LONGEST_ERROR]
        status = FAILED if is_dead else WAITING
        pause = min(LONGEST_PAUSE_SECONDS, settings.request_retry_seconds * float(1 << min(failures - 1, 30)))
        transaction.requests.change_operation(number, order, {"Status": status, "Error": error})
        transaction.requests.change(
            number,
            {
                "Status": status,
                "Failures": failures,
                "Error": error,
                "LastUpdateTime": now_ns,
                "NotBefore": now_ns + round(pause * NANOSECONDS),
                "Claim": None,
                "LeaseUntil": None,
            },
        )
        return status

    def _lease_end(self, now_ns: int) -> int:
        return now_ns + round(self._context.settings.request_lease_seconds * NANOSECONDS)


def _finish_job(transaction: Transaction, job_id: int, attempt: int, now_ns: int) -> None:
    """A job that waited for its requests, and has none left, is Done. The cause of a failed one stands."""
    row = transaction.jobs.get(job_id)
    if row is None or job_states.current_attempt(row) != attempt:
        return
    if transaction.requests.open_of_attempt(job_id, attempt):
        return
    if (row["Status"], row["MinorStatus"]) != (JobStatus.COMPLETED, MinorStatus.PENDING_REQUESTS):
        return
    status, minor = JobStatus.DONE, MinorStatus.REQUESTS_DONE
    job_states.move(transaction, row, Move(status, minor, SOURCE, now_ns))
    job_states.follow_attempt(transaction, row, status, minor, now_ns=now_ns, claim=None)


def _read(document: Mapping[str, Any]) -> CombinedRequest:
    if not is_sendable(document):
        raise InvalidRequestError("the request has text that is not valid Unicode, or numbers that are not finite")
    try:
        request = read_request(document)
    except PermanentJobError as error:
        raise InvalidRequestError(str(error)) from error
    if not request.name or not request.operations:
        raise InvalidRequestError("invalid request: it needs a RequestName and Operations")
    return request


def _shown(row: Row) -> dict[str, Any]:
    names = ("RequestID", "RequestName", "JobID", "Attempt", "Status", "Failures", "Error", "Owner")
    shown = {name: row[name] for name in names if name in row}
    return shown | {name: utc_text(row[name]) if row[name] is not None else None for name in _TIMES}


def _operations(transaction: Transaction, request_id: int) -> list[dict[str, Any]]:
    return [
        {"Order": each["Position"], "Status": each["Status"], "Error": each["Error"], **json.loads(each["Document"])}
        for each in transaction.requests.operations(request_id)
    ]
