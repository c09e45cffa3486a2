"""Job tokens: what an attempt shows in its owner's place."""

from dataclasses import replace
from typing import Any

from runner.server.db.job_db import Row
from runner.server.errors import FencedAttemptError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize
from runner.server.tokens import Identity, JobClaims
from telemetry.clock import utc_text


class JobTokens:
    """Hands out job tokens."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def issue(self, row: Row, claims: JobClaims) -> dict[str, Any]:
        """A token for one attempt, with subject and group of the job's owner."""
        return self._issue(Identity(row["Owner"], row["OwnerGroup"], row["VO"], frozenset()), claims)

    def name(self, execution: Identity) -> dict[str, Any]:
        """A token with the claim under which *execution* has just been heard, by a call that the fence let through.

        It need not be looked up again: a job token is its owner's, and the fence judges it at each call.
        """
        assert execution.job is not None  # noqa: S101 - only job tokens have a claim
        return self._issue(execution, execution.job)

    def _issue(self, owner: Identity, claims: JobClaims) -> dict[str, Any]:
        token, expires_ns = self._context.mint.job(owner, claims, self._context.settings.job_token_seconds)
        return {"JobToken": token, "JobTokenExpires": utc_text(expires_ns)}

    def renew(self, identity: Identity, job_id: int, claim: str | None) -> dict[str, Any]:
        """A fresh token for the bearer of one whose attempt and execution are still the current ones.

        It may have expired: a node that was cut off still has statuses to deliver. It is the fence,
        not the age of a token, that keeps an attempt out which has been replaced.

        *claim*: this execution's own. When an attempt is executed twice, the first that reports
        Running under its claim fences off the other.

        Raises:
            ForbiddenError: not a token of that job. FencedAttemptError: the attempt is over.
        """
        bearer = with_claim(identity, claim)
        with self._context.databases.write() as transaction:
            try:
                row = authorize(transaction, bearer, Right.RENEW_TOKEN, [job_id])[job_id]
            except FencedAttemptError:  # a second execution, with the token of the first: it is told when it reports
                row = authorize(transaction, identity, Right.RENEW_TOKEN, [job_id])[job_id]
            assert bearer.job is not None  # noqa: S101 - the policy gives this right to job tokens only
            transaction.attempts.sign(job_id, bearer.job.attempt, self._context.now_ns())
        return self.issue(row, bearer.job)


def with_claim(identity: Identity, claim: str | None) -> Identity:
    """*identity* as the execution *claim* of its attempt, if it names one.

    Nobody but that execution knows the claim, so whoever names it is the one that reported Running under it.
    """
    if identity.job is None or not claim:
        return identity
    return replace(identity, job=replace(identity.job, claim=claim))
