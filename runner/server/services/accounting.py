"""Accounting: records of attempts, counted once however often they arrive; and what the WMS saw itself."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runner.job.status import FINAL_STATUSES
from runner.server.db.accounting_db import EVER, Span
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import ForbiddenError
from runner.server.services import job_states
from runner.server.services.accounting_report import add_type
from runner.server.services.context import ServiceContext
from runner.server.services.estimates import End, estimate
from runner.server.services.job_policy import Right, authorize, visible_owner
from runner.server.services.unicode import is_sendable
from runner.server.tokens import Identity, JobClaims
from telemetry.clock import utc_text
from telemetry.identity import attempt_uid
from telemetry.ledger.record import InvalidRecord, Record, RecordKey

DUPLICATE = "duplicate"
OTHER_BODY = "the same record is here with another body"
NEVER_HANDED_OUT = "this WMS never handed out an attempt with that UID, JobID and Attempt"
OTHER_EXECUTION = "another execution of this attempt was the first to report Running"
#: More are never honest; each answer has them all.
MOST_CONFLICTS = 100


class Accounting:
    """The WMS's ledger of attempts, and its witness."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def insert(self, identity: Identity, bodies: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Take records; for each whether it is new, a copy, or in conflict. On the disk when this returns.

        An attempt that was fenced off may still send its own record.

        Raises:
            ForbiddenError: a job token sends a record of another attempt.
        """
        read = [_read(body) for body in bodies]
        with self._context.databases.write(durable=True) as transaction:
            for body in bodies:
                self._check_rights(transaction, identity, body)
            results = [
                _result(body, "conflict", record)
                if isinstance(record, str)
                else self._insert(transaction, record, identity.job)
                for body, record in zip(bodies, read, strict=True)
            ]
        self._context.observer.copies("accounting", sum(each["Outcome"] == DUPLICATE for each in results))
        return results

    def records(self, identity: Identity, job_id: int | None, first: int, count: int) -> dict[str, Any]:
        """The record of each attempt that counts, how many others there are, and what was refused for its name."""
        owner = visible_owner(identity, Right.READ_RECORDS)
        with self._context.databases.read() as transaction:
            bodies = transaction.accounting.current(job_id, owner, first, count)
            superseded, duplicates = transaction.accounting.totals(job_id, owner)
            conflicts = transaction.accounting.conflicts(job_id, owner, MOST_CONFLICTS)
        return {
            "Records": [json.loads(body) for body in bodies],
            "Superseded": superseded,
            "Duplicates": duplicates,
            "Conflicts": [json.loads(row["Body"]) for row in conflicts],
        }

    def history(
        self, identity: Identity, job_id: int | None, first: int, count: int, ended: Span = EVER
    ) -> dict[str, Any]:
        """All records of attempts that *ended* then: also those that a better witness has superseded."""
        owner = visible_owner(identity, Right.READ_RECORDS)
        with self._context.databases.read() as transaction:
            rows = transaction.accounting.history(job_id, owner, first, count, ended)
        return {"History": [_historical(row) for row in rows]}

    def witness(
        self, identity: Identity, job_id: int | None, first: int, count: int, ended: Span = EVER
    ) -> dict[str, Any]:
        """What this WMS saw of each attempt that *ended* then, itself, by its own clock."""
        owner = visible_owner(identity, Right.READ_WITNESS)
        with self._context.databases.read() as transaction:
            rows = transaction.attempts.listing(job_id, owner, first, count, ended)
        return {"Attempts": [_witnessed(row) for row in rows]}

    def _check_rights(self, transaction: Transaction, identity: Identity, body: Mapping[str, Any]) -> None:
        job_id = body.get("JobID")
        known = job_id if isinstance(job_id, int) and 0 <= job_id < 1 << 63 else 0
        authorize(transaction, identity, Right.INSERT_RECORD, [known], fenced=False)
        claims = identity.job
        if claims and body.get("UID") != attempt_uid(self._context.wms_id, claims.job_id, claims.attempt):
            raise ForbiddenError("a job token may send the records of its own attempt only")

    def _insert(self, transaction: Transaction, record: Record, claims: JobClaims | None) -> dict[str, Any]:
        key, now_ns = record.key, self._context.now_ns()
        attempt = transaction.attempts.by_uid(key.uid)
        if reason := self._refusal(transaction, record, attempt, claims):
            return _result(record, "conflict", reason)
        present = transaction.accounting.of_uid(key.uid)
        for row in present:
            if _key(row) == key:
                if row["Digest"] != record.body_digest():
                    _keep_conflict(transaction, record, OTHER_BODY, now_ns)
                    return _result(record, "conflict", OTHER_BODY)
                transaction.accounting.count_duplicate(row["RecordID"])
                return _result(record, DUPLICATE, "")
        _store(transaction, record, present, now_ns)
        if attempt:
            self._attempt_ended(transaction, attempt, now_ns)
        return _result(record, "inserted", "")

    def _refusal(self, transaction: Transaction, record: Record, attempt: Row | None, claims: JobClaims | None) -> str:
        """Why *record* is not that of *attempt*; empty when it may be."""
        if attempt is None:
            return "" if self._is_foreign(record, claims) else NEVER_HANDED_OUT
        if (attempt["JobID"], attempt["Attempt"]) != (record["JobID"], record["Attempt"]):
            return NEVER_HANDED_OUT
        if claims is None or attempt["RunningClaim"] in (None, claims.claim):
            return ""
        if record["PayloadStarted"] is not False:  # one that was fenced off in time has used nothing of note
            _keep_conflict(transaction, record, OTHER_EXECUTION, self._context.now_ns())
        return OTHER_EXECUTION

    def _is_foreign(self, record: Record, claims: JobClaims | None) -> bool:
        """Whether it is of another WMS, for which this one keeps the accounting: a DiracX server has none.

        Its UID must be the one that follows from that WMS's id. A job token never speaks for another WMS.
        """
        wms_id = record.text("WMSID")
        if claims is not None or wms_id == self._context.wms_id:
            return False
        try:
            return record.key.uid == attempt_uid(wms_id, record.integer("JobID"), record.integer("Attempt"))
        except ValueError:  # no UUID
            return False

    def _attempt_ended(self, transaction: Transaction, attempt: Row, now_ns: int) -> None:
        """A record is made when nothing of the attempt runs any more."""
        job_id, number = attempt["JobID"], attempt["Attempt"]
        if attempt["EndTime"] is None:
            transaction.attempts.change(job_id, number, {"EndTime": now_ns})
        transaction.commands.close_attempt(job_id, number, now_ns)
        row = transaction.jobs.get(job_id)
        if row is not None and job_states.current_attempt(row) == number:
            is_over = row["EndExecTime"] is None and row["Status"] in FINAL_STATUSES
            transaction.jobs.change(job_id, {"AccountedFlag": True} | ({"EndExecTime": now_ns} if is_over else {}))
            job_states.confirm_kill(transaction, row, now_ns=now_ns, source="Accounting")


def book_estimate(transaction: Transaction, wms_id: str, job: Row, attempt: Row, end: End, now_ns: int) -> bool:
    """Write the WMS's own record of *attempt*, if there is none at all; whether it did.

    The attempt stays open: its wrapper may come back, and whatever it brings supersedes this.
    """
    if transaction.accounting.of_uid(attempt["UID"]):
        return False
    description = transaction.jobs.description(job["JobID"])
    _store(transaction, estimate(wms_id, job, attempt, description, end, now_ns=now_ns), (), now_ns)
    if job_states.current_attempt(job) == attempt["Attempt"]:
        transaction.jobs.change(job["JobID"], {"AccountedFlag": True})
    return True


def _store(transaction: Transaction, record: Record, present: Sequence[Row], now_ns: int) -> None:
    counts = next((row for row in present if row["IsCurrent"]), None)
    wins = counts is None or record.key.rank > _key(counts).rank
    if counts is not None and wins:
        transaction.accounting.set_current(counts["RecordID"], current=False)
    add_type(transaction, transaction.accounting.add({**_columns(record, now_ns), "IsCurrent": int(wins)}), record)


def _columns(record: Record, now_ns: int) -> dict[str, Any]:
    return {
        "UID": record.key.uid,
        "RecordedBy": record.key.recorded_by,
        "Revision": record.key.revision,
        "JobID": record["JobID"],
        "Attempt": record["Attempt"],
        "Digest": record.body_digest(),
        "Body": record.canonical(),
        "ArrivalTime": now_ns,
    }


def _keep_conflict(transaction: Transaction, record: Record, detail: str, now_ns: int) -> None:
    """What is refused is kept beside the ledger, or nobody could find out what went wrong."""
    names = ("UID", "JobID", "Digest", "Body", "ArrivalTime")
    columns = _columns(record, now_ns)
    transaction.accounting.add_conflict({**{name: columns[name] for name in names}, "Detail": detail})


def _historical(row: Row) -> dict[str, Any]:
    return {
        "Record": json.loads(row["Body"]),
        "ArrivalTime": utc_text(row["ArrivalTime"]),
        "IsCurrent": bool(row["IsCurrent"]),
        "Duplicates": row["Duplicates"],
    }


def _read(body: Mapping[str, Any]) -> Record | str:
    if not is_sendable(body):
        return "not a record: it has text that is not valid Unicode, or numbers that are not finite"
    try:
        return Record(body)
    except InvalidRecord as error:
        return f"not a record: {error}"


def _key(row: Row) -> RecordKey:
    return RecordKey(row["UID"], row["RecordedBy"], row["Revision"])


def _result(record: Mapping[str, Any], outcome: str, detail: str) -> dict[str, Any]:
    name = {key: record.get(key) for key in ("UID", "RecordedBy", "Revision")}
    return {**name, "Outcome": outcome, "Detail": detail}


def _witnessed(row: Row) -> dict[str, Any]:
    names = ("UID", "JobID", "Attempt", "Status", "MinorStatus", "PilotStamp", "Owner")
    times = {name: utc_text(row[name]) if row[name] is not None else None for name in ("RunningTime", "EndTime")}
    heartbeat = json.loads(row["LastHeartbeat"]) if row["LastHeartbeat"] else {}
    shown = {name: heartbeat.get(name) for name in ("CPUConsumed", "WallClockTime", "Time")} if heartbeat else None
    return {**{name: row[name] for name in names}, **times, "LastHeartbeat": shown}
