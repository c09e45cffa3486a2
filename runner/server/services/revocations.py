"""Revocations: single tokens that count no more before their time is over.

With a refresh token its session ends. All others stand in the database until they would have ended by
themselves. Every process of the WMS knows them by heart, and looks each second for new ones, so that
verifying a token asks no database.
"""

from runner.server.db.auth_db import REVOKED
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import InvalidRequestError, UnauthenticatedError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.tokens import JTI, Identity
from telemetry.clock import NANOSECONDS

EVENT = "token revoked"
#: Another process has revoked a token at most so long before it is refused here.
LOOK_SECONDS = 1.0


class Revocations:
    """Revokes tokens of people, pilots and jobs."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def load(self) -> None:
        """Learn what others have revoked."""
        with self._context.databases.read() as transaction:
            self._context.mint.revoke(transaction.auth.revoked(self._context.now_ns()))

    def revoke(self, token: str, address: str, by: str = "its bearer") -> bool:
        """Revoke *token*, which its bearer shows; one that is none of ours, or over, is fine (RFC 7009)."""
        try:
            jti, expiry_ns, identity = self._context.mint.name(token)
        except UnauthenticatedError:
            return False
        if not jti:
            return False
        self._write(jti, expiry_ns, (identity.name, identity.vo), address, by)
        return True

    def revoke_by_id(self, identity: Identity, jti: str, address: str) -> None:
        """Revoke the token with the id *jti*, which nobody needs to have at hand.

        Raises:
            ForbiddenError: the caller is no administrator. InvalidRequestError: that is no id.
        """
        require(identity, Right.REVOKE_TOKEN, Relation.GENERAL)
        self.revoke_unseen(jti, identity.owner, address, f"administrator {identity.name}")

    def revoke_unseen(self, jti: str, user: tuple[str, str], address: str, by: str) -> None:
        """The same, for the operator. How long the token would have counted is not known: as long as any may.

        Raises:
            InvalidRequestError: that is no id.
        """
        if not JTI.fullmatch(jti):
            raise InvalidRequestError("the id of a token (jti) has 32 hexadecimal digits")
        with self._context.databases.write(durable=True) as transaction:
            row = transaction.auth.token(jti)
            if row is not None:
                self.end_session(transaction, row, address, f"revoked by {by}")
                return
        longest_ns = round(self._context.settings.longest_token_seconds * NANOSECONDS)
        self._write(jti, self._context.now_ns() + longest_ns, user, address, by)

    def end_session(
        self, transaction: Transaction, row: Row, address: str, reason: str, event: str = "session revoked"
    ) -> None:
        """End the session of the refresh token *row*, unless it is over."""
        if row["Status"] == REVOKED:
            return
        transaction.auth.revoke_session(row["SessionID"])
        detail = f"session {row['SessionID']}: {reason}"
        self._context.audit(transaction.auth, event, (row["UserName"], row["VO"]), address=address, detail=detail)

    def _write(self, jti: str, expiry_ns: int, user: tuple[str, str], address: str, by: str) -> None:
        with self._context.databases.write(durable=True) as transaction:
            if transaction.auth.revoke(jti, expiry_ns):
                self._context.audit(transaction.auth, EVENT, user, address=address, detail=f"token {jti}, by {by}")
        self._context.mint.revoke(frozenset({jti}))
