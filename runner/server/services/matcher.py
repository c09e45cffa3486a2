"""Matcher: gives waiting jobs to free slots, each attempt once."""

import secrets
from functools import lru_cache
from typing import Any

from runner.job.description import JobDescription, from_mapping
from runner.job.matching import SlotOffer, unmet
from runner.job.status import JobStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.models import MatchParams
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.job_states import Move
from runner.server.services.job_tokens import JobTokens
from runner.server.tokens import Identity, JobClaims
from telemetry.clock import utc_text
from telemetry.identity import attempt_uid

ASSIGNED = "Assigned"
SOURCE = "Matcher"
PAGE = 100


class Matcher:
    """Looks for the most urgent, then the oldest job that fits."""

    def __init__(self, context: ServiceContext, tokens: JobTokens) -> None:
        self._context = context
        self._tokens = tokens
        #: Descriptions never change; looking at many waiting jobs again and again must be cheap.
        self._described = lru_cache(maxsize=10_000)(self._read_description)

    def match(self, identity: Identity, slot: MatchParams) -> dict[str, Any] | None:
        """One job for *slot*, now; None when none fits.

        Raises:
            ForbiddenError: not a pilot.
        """
        require(identity, Right.MATCH, Relation.GENERAL)
        start_ns = self._context.now_ns()
        offer = SlotOffer(
            site=slot.Site,
            computing_element=slot.GridCE,
            queue=slot.CEQueue,
            platform=slot.Platform,
            tags=frozenset(slot.Tags),
            processors=slot.Processors,
        )
        if lost := self._lost(slot, offer, start_ns):
            return lost
        after: tuple[int, int] | None = None
        while page := self._waiting(after):
            for _, job_id in page:
                if not unmet(self._described(job_id), offer) and (answer := self._take(job_id, slot, start_ns)):
                    return answer
            after = page[-1]
        return None

    def _waiting(self, after: tuple[int, int] | None) -> list[tuple[int, int]]:
        with self._context.databases.read() as transaction:
            return transaction.jobs.waiting(after, PAGE)

    def _read_description(self, job_id: int) -> JobDescription:
        with self._context.databases.read() as transaction:
            return from_mapping(transaction.jobs.description(job_id))

    def _lost(self, slot: MatchParams, offer: SlotOffer, start_ns: int) -> dict[str, Any] | None:
        """An attempt whose match never arrived: the answer was lost, or its receiver died at once. Given again."""
        if slot.Holding is None:
            return None
        held = {(each.JobID, each.Attempt) for each in slot.Holding}
        stamps = {slot.PilotStamp, *slot.EarlierStamps}
        with self._context.databases.read() as transaction:
            given = transaction.attempts.given_to(stamps, JobStatus.MATCHED, ASSIGNED)
        for job_id, attempt in given:
            if (job_id, attempt) not in held and not unmet(self._described(job_id), offer):
                with self._context.databases.write() as transaction:
                    row, known = transaction.jobs.get(job_id), transaction.attempts.get(job_id, attempt)
                    if row is not None and known is not None and _is_assigned(row, known):
                        transaction.attempts.change(job_id, attempt, {"PilotStamp": slot.PilotStamp})
                        transaction.pilots.move_job(job_id, attempt, slot.PilotStamp)
                        claims = JobClaims(job_id, attempt, known["Claim"])
                        return self._answer(transaction, row, claims, start_ns)
        return None

    def _take(self, job_id: int, slot: MatchParams, start_ns: int) -> dict[str, Any] | None:
        """Give the job away, unless somebody else was first: it is looked at again where only one can write."""
        with self._context.databases.write() as transaction:
            row = transaction.jobs.get(job_id)
            if row is None or row["Status"] != JobStatus.WAITING:
                return None
            return self._assign(transaction, row, slot, start_ns)

    def _assign(self, transaction: Transaction, row: Row, slot: MatchParams, start_ns: int) -> dict[str, Any]:
        now_ns = self._context.now_ns()
        job_id, attempt = int(row["JobID"]), job_states.current_attempt(row)
        claims = JobClaims(job_id, attempt, secrets.token_hex(16))
        changes = {"Site": slot.Site} if slot.Site else {}
        job_states.move(transaction, row, Move(JobStatus.MATCHED, ASSIGNED, SOURCE, now_ns), changes)
        transaction.attempts.add(
            {
                "JobID": job_id,
                "Attempt": attempt,
                "UID": attempt_uid(self._context.wms_id, job_id, attempt),
                "Claim": claims.claim,
                "PilotStamp": slot.PilotStamp,
                "Status": JobStatus.MATCHED,
                "MinorStatus": ASSIGNED,
                "MatchTime": now_ns,
            }
        )
        transaction.pilots.assign_job(job_id, attempt, slot.PilotStamp, now_ns)
        return self._answer(transaction, row, claims, start_ns)

    def _answer(self, transaction: Transaction, row: Row, claims: JobClaims, start_ns: int) -> dict[str, Any]:
        job_id, attempt = claims.job_id, claims.attempt
        names = ("Owner", "OwnerGroup", "VO", "JobName", "JobGroup", "JobType", "SubmitTraceparent")
        return {
            "WMSID": self._context.wms_id,
            "JobID": job_id,
            "Attempt": attempt,
            "UID": attempt_uid(self._context.wms_id, job_id, attempt),
            "Claim": claims.claim,
            "Description": transaction.jobs.description(job_id),
            **{name: row[name] for name in names},
            **self._tokens.issue(row, claims),
            "Times": self._times(row, start_ns),
            "PreviousUID": transaction.attempts.previous_uid(job_id, attempt),
        }

    def _times(self, row: Row, start_ns: int) -> dict[str, str]:
        waiting_ns = row["WaitingTime"] or row["SubmitEnd"]
        moments = {
            "SubmitStart": row["SubmitStart"],
            "SubmitEnd": row["SubmitEnd"],
            "Waiting": waiting_ns,
            "MatchStart": max(start_ns, waiting_ns),  # a slot may have waited before the job did
            "MatchEnd": max(self._context.now_ns(), start_ns, waiting_ns),
        }
        return {name: utc_text(moment) for name, moment in moments.items()}


def _is_assigned(row: Row, attempt: Row) -> bool:
    """Whether the attempt is the job's present one, and nobody has reported about it since its match."""
    present = row["Status"] == JobStatus.MATCHED and job_states.current_attempt(row) == attempt["Attempt"]
    return present and (attempt["Status"], attempt["MinorStatus"]) == (JobStatus.MATCHED, ASSIGNED)
