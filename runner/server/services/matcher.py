"""Matcher: gives waiting jobs to free slots, each attempt once.

It looks at task queues, not at jobs: the queues that a slot can serve, in the order of shares and
priorities, and then takes the first job of the first one that has one left.
"""

import json
import logging
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from runner.job.description import from_mapping
from runner.job.matching import Requirements, SlotOffer
from runner.job.status import JobStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.db.site_mask_db import BANNED
from runner.server.models import MatchParams
from runner.server.services import job_states, shares
from runner.server.services.context import ServiceContext
from runner.server.services.job_manager import JobManager
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.job_states import Move
from runner.server.services.job_tokens import JobTokens
from runner.server.services.limiter import Limiter
from runner.server.services.offers import Offers, offer_of
from runner.server.services.task_queues import KnownQueues, requirements_of
from runner.server.tokens import Identity, JobClaims
from telemetry.clock import utc_text
from telemetry.identity import attempt_uid

ASSIGNED = "Assigned"
SOURCE = "Matcher"
#: So many queues, or jobs of one queue, are looked at before more are asked for: others may have taken the first ones.
TRIES = 20
#: So many queues are asked for by their numbers; with more it is quicker to look at all.
FEW = 200
#: Longest wait for jobs that were submitted just now to get where they can be found.
SETTLE_SECONDS = 1.0
#: With one of these the slot decides how many processors a job gets.
_OPEN = frozenset({"MinNumberOfProcessors", "MaxNumberOfProcessors", "WholeNode"})

log = logging.getLogger("jobspan.wms")

#: Queues, each with its first job.
FirstJobs: TypeAlias = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class _Asked:
    """A match call: the slot, what it offers, and since when it asks."""

    slot: MatchParams
    offer: SlotOffer
    start_ns: int


class Matcher:
    """Looks for the queue that is next, and gives its first job away."""

    def __init__(self, context: ServiceContext, tokens: JobTokens) -> None:
        self._context = context
        self._tokens = tokens
        self._limiter = Limiter(context)
        self._offers = Offers(context)
        self._queues = KnownQueues()
        self._manager = JobManager(context)

    def match(self, identity: Identity, slot: MatchParams) -> dict[str, Any] | None:
        """One job for *slot*, now; None when none fits.

        Raises:
            ForbiddenError: not a pilot.
        """
        require(identity, Right.MATCH, Relation.GENERAL)
        start_ns = self._context.now_ns()
        offer = offer_of(slot)
        self._offers.remember(identity, slot)
        if lost := self._lost(identity.vo, slot, offer, start_ns):
            return lost
        self._context.received.settle(SETTLE_SECONDS)
        asked = _Asked(slot, offer, start_ns)
        for job_type, queue_id, first_job in self._candidates(identity.vo, offer):
            if answer := self._take(queue_id, first_job, job_type, asked):
                return answer
        return None

    def _candidates(self, vo: str, offer: SlotOffer) -> Iterator[tuple[str, int, int]]:
        """The queues whose jobs may come here: their type, their number, their first job. The next one first."""
        with self._context.databases.read() as transaction:
            queues = self._queues.of(transaction, vo)
            fitting, wanted = self._queues.fitting(offer, queues), queues.wanted
            if not fitting or (offer.site and transaction.site_mask.status(offer.site) == BANNED):
                return
            filled = transaction.task_queues.filled(vo, fitting if len(fitting) < FEW else None)
            chosen = [each for each in filled if each.queue_id in fitting]
            matters = shares.needs_usage(wanted[each.queue_id] for each in chosen)
            in_use = transaction.task_queues.in_use(job_states.WITH_WRAPPER, vo) if matters else []
            classes = shares.ordered(chosen, wanted, in_use, self._context.settings.shares)
            if not classes:
                return
            urgency = dict(chosen)[classes[0][0]]
            found: FirstJobs | None = transaction.task_queues.first_jobs(classes[0], TRIES, urgency)
        for equals in classes:
            for queue_id, first_job in self._first_jobs(equals, found):
                yield wanted[queue_id].job_type, queue_id, first_job
            found = None

    def _first_jobs(self, queue_ids: list[int], found: FirstJobs | None) -> Iterator[tuple[int, int]]:
        """The queues that have jobs, each with its first one, oldest first; *found* are some that were looked for."""
        left, most = set(queue_ids), TRIES
        while left:
            if found is None:
                with self._context.databases.read() as transaction:
                    found = transaction.task_queues.first_jobs(left, most)
            yield from found
            if len(found) < most:
                return
            left.difference_update(queue_id for queue_id, _ in found)
            most, found = len(left), None

    def _lost(self, vo: str, slot: MatchParams, offer: SlotOffer, start_ns: int) -> dict[str, Any] | None:
        """An attempt whose match never arrived: the answer was lost, or its receiver died at once. Given again."""
        if slot.Holding is None:
            return None
        held = {(each.JobID, each.Attempt) for each in slot.Holding}
        stamps = {slot.PilotStamp, *slot.EarlierStamps}
        with self._context.databases.read() as transaction:
            given = transaction.attempts.given_to(stamps, JobStatus.MATCHED, ASSIGNED)
        for job_id, attempt in given:
            if (job_id, attempt) not in held and self._fits(vo, job_id, offer):
                with self._context.databases.write() as transaction:
                    row, known = transaction.jobs.get(job_id), transaction.attempts.get(job_id, attempt)
                    if row is not None and known is not None and _is_assigned(row, known):
                        transaction.attempts.change(job_id, attempt, {"PilotStamp": slot.PilotStamp})
                        transaction.pilots.move_job(job_id, attempt, slot.PilotStamp)
                        claims = JobClaims(job_id, attempt, known["Claim"])
                        return self._answer(transaction, row, claims, _Asked(slot, offer, start_ns))
        return None

    def _fits(self, vo: str, job_id: int, offer: SlotOffer) -> bool:
        with self._context.databases.read() as transaction:
            row = transaction.jobs.get(job_id)
            return row is not None and row["VO"] == vo and not requirements_of(transaction, row).unmet(offer)

    def _take(self, queue_id: int, first_job: int, job_type: str, asked: _Asked) -> dict[str, Any] | None:
        """Give the first job of the queue away; None when the queue is empty, or its jobs may not come here now."""
        slot, job_ids = asked.slot, [first_job]
        while job_ids:
            with self._context.databases.write() as transaction:
                self._limiter.hold(transaction, slot.Site, job_type)
                if self._limiter.refusal(transaction, slot.Site, job_type):
                    return None
                claimed = self._claim_one(transaction, job_ids, slot)
                if claimed is None:  # others were first: look again, where only one can write
                    job_ids = transaction.task_queues.waiting(queue_id, TRIES)
                    claimed = self._claim_one(transaction, job_ids, slot)
                if claimed is not None:
                    self._limiter.matched(transaction, slot.Site, job_type)
                    return self._answer(transaction, *claimed, asked)
        return None

    def _claim_one(
        self, transaction: Transaction, job_ids: Sequence[int], slot: MatchParams
    ) -> tuple[Row, JobClaims] | None:
        for row in filter(None, map(transaction.jobs.get, job_ids)):
            if row["Status"] == JobStatus.WAITING and (claims := self._claim(transaction, row, slot)):
                return row, claims
        return None

    def _claim(self, transaction: Transaction, row: Row, slot: MatchParams) -> JobClaims | None:
        """Make the job's attempt the slot's, unless another server was first.

        An attempt is handed out once. A job that waits in one that was (somebody has changed its row) gets the next:
        left where it is it would come first at every match.
        """
        now_ns = self._context.now_ns()
        job_id, attempt = int(row["JobID"]), job_states.current_attempt(row)
        if transaction.attempts.get(job_id, attempt, state_only=True) is not None:
            log.error("job %d waits in attempt %d, which was handed out before: it gets the next one", job_id, attempt)
            self._manager.put_back(transaction, row, counted=False)
            transaction.later.append(partial(self._context.received.put, [job_id]))
            return None
        claims = JobClaims(job_id, attempt, secrets.token_hex(16))
        changes = {"Site": slot.Site} if slot.Site else {}
        if not job_states.claim(transaction, row, Move(JobStatus.MATCHED, ASSIGNED, SOURCE, now_ns), changes):
            return None
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
                "Slot": json.dumps(slot.model_dump(include={"GridCE", "CEQueue", "CPUNormalizationFactor"})),
            }
        )
        transaction.pilots.assign_job(job_id, attempt, slot.PilotStamp, now_ns)
        return claims

    def _answer(self, transaction: Transaction, row: Row, claims: JobClaims, asked: _Asked) -> dict[str, Any]:
        job_id, attempt = claims.job_id, claims.attempt
        names = ("Owner", "OwnerGroup", "VO", "JobName", "JobGroup", "JobType", "SubmitTraceparent")
        return {
            "WMSID": self._context.wms_id,
            "JobID": job_id,
            "Attempt": attempt,
            "UID": attempt_uid(self._context.wms_id, job_id, attempt),
            "Claim": claims.claim,
            "Description": _granted(transaction.jobs.description(job_id), asked.offer),
            **{name: row[name] for name in names},
            **self._tokens.issue(row, claims),
            "Times": self._times(row, asked.start_ns),
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


def _granted(description: dict[str, Any], offer: SlotOffer) -> dict[str, Any]:
    """With the number of processors that a job gets which leaves it open."""
    if not _OPEN.isdisjoint(description):
        description["NumberOfProcessors"] = Requirements.of(from_mapping(description)).granted_processors(offer)
    return description
