"""Sessions: what a login gives, how it is renewed, and how it ends.

A session is a chain of refresh tokens: each is exchanged once, for an access token and the next of
its chain. Whoever shows one a second time has copied it, or was copied from: that session ends, and
no other. Only a lost answer looks alike: for a minute, and as long as the next one has not been
shown, an exchange can be repeated, which ends the next one. Rights are those of the user's group at
the moment of the exchange.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from runner.server.db.auth_db import ACTIVE, REVOKED, USED
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import GrantError, UnauthenticatedError, UnknownObjectError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require, visible_owner
from runner.server.services.registry import Registry
from runner.server.services.revocations import Revocations
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS, utc_text

#: Programs that may ask for a login: DiracX's own clients, and ours. Public ones: they have no secret.
CLIENTS = ("myDIRACClientID", "jobspan")
LOST_ANSWER_SECONDS = 60
REUSED = "this refresh token was used before: perhaps somebody has copied it. The session is over, log in again"


@dataclass(frozen=True)
class Login:
    """Who has logged in, as what, through which program and from where."""

    name: str
    vo: str
    group: str
    client_id: str
    address: str


class Sessions:
    """Gives tokens for logins."""

    def __init__(self, context: ServiceContext, registry: Registry) -> None:
        self._context = context
        self._registry = registry
        self._revocations = Revocations(context)

    def open(self, transaction: Transaction, login: Login) -> dict[str, Any]:
        """A new session (`TokenResponse`)."""
        now_ns, session_id = self._context.now_ns(), secrets.token_hex(16)
        self._context.audit(
            transaction.auth,
            "session opened",
            (login.name, login.vo),
            address=login.address,
            detail=f"group {login.group}, client {login.client_id}, session {session_id}",
        )
        return self._grant(transaction, login, session_id, now_ns)

    def refresh(self, token: str, client_id: str, address: str) -> dict[str, Any]:
        """The next tokens of the session of the refresh token *token* (`TokenResponse`).

        Raises:
            UnauthenticatedError: not a good one, or the session is over.
        """
        check_client(client_id)
        jti = self._context.mint.read_refresh(token)
        with self._context.databases.write(durable=True) as transaction:
            row = transaction.auth.token(jti)
            refusal = self._refusal(transaction, row, client_id)
            if not refusal and row is not None:
                self._use(transaction, row)
                login = Login(row["UserName"], row["VO"], row["GroupName"], client_id, address)
                return self._grant(transaction, login, row["SessionID"], row["SessionTime"], jti)
            if row is not None:
                event = "reuse detected" if refusal == REUSED else "session revoked"
                self._revocations.end_session(transaction, row, address, refusal, event)
        raise UnauthenticatedError(refusal)

    def revoke(self, token: str, client_id: str, address: str) -> None:
        """End the session of a refresh token, or an access token; what is neither, or over, is fine (RFC 7009)."""
        check_client(client_id)
        try:
            jti = self._context.mint.read_refresh(token)
        except UnauthenticatedError:
            self._revocations.revoke(token, address)
            return
        with self._context.databases.write(durable=True) as transaction:
            row = transaction.auth.token(jti)
            if row is not None:
                self._revocations.end_session(transaction, row, address, "logged out")

    def listing(self, identity: Identity) -> list[dict[str, Any]]:
        """The sessions that the caller sees: his own, an administrator everybody's."""
        owner = visible_owner(identity, Right.READ_SESSIONS)
        with self._context.databases.read() as transaction:
            rows = transaction.auth.active_tokens(owner, self._context.now_ns())
        return [
            {
                "jti": row["JTI"],
                "status": row["Status"],
                "scope": f"vo:{row['VO']} group:{row['GroupName']}",
                "preferred_username": row["UserName"],
                "client_id": row["ClientID"],
                "session": row["SessionID"],
                "session_start": utc_text(row["SessionTime"]),
                "created": utc_text(row["CreationTime"]),
                "expires": utc_text(row["ExpiryTime"]),
            }
            for row in rows
        ]

    def revoke_by_id(self, identity: Identity, jti: str, address: str) -> None:
        """End the session of the refresh token named *jti*.

        Raises:
            ForbiddenError: somebody else's, or for all that the caller may know. UnknownObjectError: there is none.
        """
        with self._context.databases.write(durable=True) as transaction:
            row = transaction.auth.token(jti)
            own = row is not None and (row["UserName"], row["VO"]) == identity.owner
            require(identity, Right.REVOKE_SESSION, Relation.OWN if own else Relation.OTHER)
            if row is None:
                raise UnknownObjectError("there is no such refresh token")
            self._revocations.end_session(transaction, row, address, f"revoked by {identity.name}")

    def _use(self, transaction: Transaction, row: Row) -> None:
        """Exchanged once, or once more after a lost answer: then nobody has what that one has brought."""
        transaction.auth.use_token(row["JTI"])
        lost = transaction.auth.unused_successor(row)
        if lost is not None:
            transaction.auth.use_token(lost["JTI"])

    def _may_repeat(self, transaction: Transaction, row: Row) -> bool:
        successor = transaction.auth.unused_successor(row)
        return (
            successor is not None
            and self._context.now_ns() < successor["CreationTime"] + LOST_ANSWER_SECONDS * NANOSECONDS
        )

    def _grant(
        self, transaction: Transaction, login: Login, session_id: str, session_ns: int, predecessor: str = ""
    ) -> dict[str, Any]:
        settings, now_ns, jti = self._context.settings, self._context.now_ns(), secrets.token_hex(16)
        end_ns = session_ns + round(settings.session_seconds * NANOSECONDS)
        expiry_ns = min(now_ns + round(settings.refresh_token_seconds * NANOSECONDS), end_ns)
        transaction.auth.add_token(
            {
                "JTI": jti,
                "SessionID": session_id,
                "Status": ACTIVE,
                "UserName": login.name,
                "VO": login.vo,
                "GroupName": login.group,
                "ClientID": login.client_id,
                "Predecessor": predecessor,
                "SessionTime": session_ns,
                "CreationTime": now_ns,
                "ExpiryTime": expiry_ns,
            }
        )
        identity = Identity(login.name, login.group, login.vo, settings.groups[login.group])
        return {
            "access_token": self._context.mint.login(identity, settings.access_token_seconds, session=session_id),
            "expires_in": round(settings.access_token_seconds),
            "token_type": "Bearer",
            "refresh_token": self._context.mint.refresh(jti, expiry_ns // NANOSECONDS),
        }

    def _refusal(self, transaction: Transaction, row: Row | None, client_id: str) -> str:
        """Why this refresh token is not exchanged; "" if it is."""
        if row is None:
            return "Invalid JWT"
        if row["Status"] == USED and not self._may_repeat(transaction, row):
            return REUSED
        if row["Status"] == REVOKED or row["JTI"] in self._context.mint.revoked:
            return "this session is over; log in again"
        if row["ClientID"] != client_id:
            return "this refresh token is another program's"
        if row["ExpiryTime"] <= self._context.now_ns():
            return "Invalid JWT: it has expired"
        if not self._registry.is_member(transaction, row["UserName"], row["VO"], row["GroupName"]):
            return f"{row['UserName']} is not in group {row['GroupName']} any more"
        return ""


def check_client(client_id: str) -> None:
    """Go on only for a program that is known.

    Raises:
        GrantError: it is not.
    """
    if client_id not in CLIENTS:
        raise GrantError("invalid_client", f"the client_id is not known here; known are {', '.join(CLIENTS)}")
