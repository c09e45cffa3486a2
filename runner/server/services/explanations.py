"""Why a job waits: for whom, and which of its demands no live agent meets."""

import json
from collections import Counter
from typing import Any

from runner.job.matching import Requirements, SlotOffer
from runner.job.status import FINAL_STATUSES, JobStatus
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.db.site_mask_db import BANNED
from runner.server.errors import UnknownObjectError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize
from runner.server.services.limiter import Limiter
from runner.server.services.offers import LIVE_SECONDS, read_offer
from runner.server.services.optimization_mind import ON_THEIR_WAY
from runner.server.services.task_queues import requirements_of
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS, utc_text

#: So many agents are told one by one.
MOST_AGENTS = 100


class Explanations:
    """Answers the question why a job does not run."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._limiter = Limiter(context)

    def why(self, identity: Identity, job_id: int) -> dict[str, Any]:
        """`Summary` is one sentence; `Unmet` has each demand that no live agent meets, `Agents` what stands
        against each of those that asked for jobs lately.

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.read() as transaction:
            row = authorize(transaction, identity, Right.READ_JOB, [job_id]).get(job_id)
            if row is None:
                raise UnknownObjectError(f"Job {job_id} not found")
            names = ("JobID", "Status", "MinorStatus", "ApplicationStatus")
            answer: dict[str, Any] = {**{name: row[name] for name in names}, "Unmet": [], "Agents": []}
            if row["Status"] != JobStatus.WAITING:
                return {**answer, "Summary": _elsewhere(row)}
            return answer | self._waiting(transaction, row)

    def _waiting(self, transaction: Transaction, row: Row) -> dict[str, Any]:
        wanted = requirements_of(transaction, row)
        since_ns = self._context.now_ns() - round(LIVE_SECONDS * NANOSECONDS)
        live = transaction.pilots.offers(row["VO"], since_ns)
        reasons: Counter[str] = Counter()
        agents: list[dict[str, Any]] = []
        against = 0
        for each in live:
            offer = read_offer(json.loads(each["Offer"]))
            found = self._against(transaction, wanted, offer)
            against += bool(found)
            reasons.update(found)
            if len(agents) < MOST_AGENTS:
                agents.append(_agent(each, offer, found))
        unmet = [reason for reason, count in reasons.items() if count == len(live)]
        before = 0
        if row["TaskQueueID"] is not None:
            queue = (row["TaskQueueID"], row["UserPriority"], row["JobID"])
            before = transaction.task_queues.count_before(*queue)
        summary = _summary(len(live), against, unmet, before)
        return {"Summary": summary, "Unmet": unmet, "Agents": agents, "JobsBefore": before}

    def _against(self, transaction: Transaction, wanted: Requirements, offer: SlotOffer) -> list[str]:
        found = wanted.unmet(offer)
        if transaction.site_mask.status(offer.site) == BANNED:
            found.append(f"site {offer.site} is banned")
        if limit := self._limiter.refusal(transaction, offer.site, wanted.job_type):
            found.append(limit)
        return found


def _summary(live: int, against: int, unmet: list[str], before: int) -> str:
    if not live:
        return f"waits for an agent: none has asked for jobs in the last {LIVE_SECONDS:.0f} s"
    agents = "the one agent that asks for jobs" if live == 1 else f"any of the {live} agents that ask for jobs"
    if against < live:
        turn = f"; {before} jobs of its queue come first" if before else ""
        return f"waits for its turn: {live - against} of {live} agents could run it{turn}"
    if unmet:
        return f"cannot run on {agents}: {'; '.join(unmet)}"
    return f"cannot run on {agents}, for different reasons"


def _elsewhere(row: Row) -> str:
    """The sentence for a job that does not wait for a slot."""
    status = JobStatus(row["Status"])
    if status in ON_THEIR_WAY:
        step = f", next is {row['MinorStatus']}" if status is JobStatus.CHECKING else ""
        return f"waits for the optimizers{step}"
    if status in FINAL_STATUSES:
        return f"does not wait: it is {status} ({row['MinorStatus']})"
    if status is JobStatus.RESCHEDULED:
        return "waits for its next attempt to be asked for"
    return f"does not wait: it is {status} at {row['Site']} ({row['MinorStatus']})"


def _agent(row: Row, offer: SlotOffer, found: list[str]) -> dict[str, Any]:
    return {
        "PilotStamp": row["PilotStamp"],
        "Site": offer.site,
        "LastAsked": utc_text(row["OfferTime"]),
        "Reasons": found,
    }
