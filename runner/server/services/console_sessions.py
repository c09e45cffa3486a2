"""Sessions of the web console: a random secret in a cookie, and here what it stands for.

A session ends with its time, when nobody has used it for a while, when its user logs out, changes his password, is
removed or leaves the group, and with the token behind it. The secret changes now and then; the one before it counts
until a browser has shown the new one, and a minute longer for calls that are under way. Whoever shows it after that
has copied it: the session is over.
"""

import secrets
from dataclasses import dataclass
from typing import Any

from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import ForbiddenError, TooManyAttemptsError, UnauthenticatedError
from runner.server.services.context import ServiceContext
from runner.server.services.passwords import digest_of
from runner.server.services.registry import ATTEMPTS_SECONDS, MOST_OF_ADDRESS, REFUSED, Proof, Registry
from runner.server.tokens import Identity, Role
from telemetry.clock import NANOSECONDS

#: A session lasts so long at most, and so long without anybody at the keyboard.
SESSION_SECONDS, IDLE_SECONDS = 12 * 3600, 3600
#: The secret is as old as this at most; the one before it counts for so long beside it.
ROTATION_SECONDS, OVERLAP_SECONDS = 900, 60
#: Use is written down so often.
TOUCH_SECONDS = 60
OPENED, ENDED, REUSED = "console login", "console logout", "reuse detected"


@dataclass(frozen=True)
class ConsoleSession:
    """Who is there, what his forms must carry, and the secret that his browser is to show from now on."""

    identity: Identity
    form_token: str
    #: Empty: it stays what it is.
    secret: str = ""


class ConsoleSessions:
    """Opens sessions, knows them again, and ends them."""

    def __init__(self, context: ServiceContext, registry: Registry) -> None:
        self._context = context
        self._registry = registry

    def log_in(self, proof: Proof, group: str) -> ConsoleSession:
        """A session for whoever proves with name and password, or one-time code, that he is in *group*.

        Raises:
            TooManyAttemptsError, UnauthenticatedError, ForbiddenError: it is not opened.
        """
        self._registry.prove(proof, group)
        settings = self._context.settings
        identity = Identity(proof.name.strip().lower(), group, settings.vo, settings.groups[group])
        return self._open(identity, proof.address, {})

    def log_in_with_token(self, token: str, address: str) -> ConsoleSession:
        """A session for the bearer of an access token, with the rights of the token and no longer than it.

        Raises:
            TooManyAttemptsError: this address has shown too many wrong ones. UnauthenticatedError: it is not good.
            ForbiddenError: it is a job's.
        """
        self._check_attempts(address)
        try:
            identity = self._context.mint.identify(token)
            jti, expiry_ns, _ = self._context.mint.name(token)
        except UnauthenticatedError:
            self._note(REFUSED, ("", self._context.settings.vo), address, "wrong token for the console")
            raise
        if identity.job is not None:
            raise ForbiddenError("the token of a job opens no session")
        more = {"TokenID": jti or "-", "Roles": "+".join(sorted(identity.roles)), "ExpiryTime": expiry_ns}
        return self._open(identity, address, more)

    def resume(self, secret: str, address: str, *, by_hand: bool = True) -> ConsoleSession:
        """The session whose secret a browser shows; *by_hand*: somebody is there, and not only his open page.

        Raises:
            UnauthenticatedError: there is none, or it is over.
        """
        digest, now_ns = digest_of(secret), self._context.now_ns()
        with self._context.databases.read() as transaction:
            row = transaction.console_sessions.get(digest)
            roles = self._roles(transaction, row) if row is not None else frozenset()
        if row is None:
            raise UnauthenticatedError("log in")
        if refusal := _refusal(row, digest, now_ns) or ("" if roles else "its rights were taken back"):
            self._end(row, address, refusal)
            raise UnauthenticatedError(f"the session is over: {refusal}")
        fresh = secrets.token_urlsafe(32) if _is_due(row, digest, now_ns) else ""
        changes = _changes(row, digest, fresh, now_ns, by_hand)
        if changes:
            with self._context.databases.write() as transaction:
                if not transaction.console_sessions.change_from(row["SessionID"], row["SecretHash"], changes):
                    fresh = ""  # another call of the same browser was faster
        identity = Identity(row["UserName"], row["GroupName"], row["VO"], roles)
        return ConsoleSession(identity, row["FormToken"], fresh)

    def log_out(self, secret: str, address: str) -> None:
        """End the session, if there is one."""
        with self._context.databases.read() as transaction:
            row = transaction.console_sessions.get(digest_of(secret))
        if row is not None:
            self._end(row, address, "logged out")

    def _open(self, identity: Identity, address: str, more: dict[str, Any]) -> ConsoleSession:
        now_ns, secret, form_token = self._context.now_ns(), secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        expiry_ns = min(now_ns + SESSION_SECONDS * NANOSECONDS, more.get("ExpiryTime", now_ns * 2))
        values = {
            "SessionID": secrets.token_hex(16),
            "SecretHash": digest_of(secret),
            "FormToken": form_token,
            "UserName": identity.name,
            "VO": identity.vo,
            "GroupName": identity.group,
            "Address": address[:64],
            "CreationTime": now_ns,
            "RotationTime": now_ns,
            "ShownTime": now_ns,  # there is no earlier secret, so that the first page has nothing to write down
            "LastTime": now_ns,
        }
        with self._context.databases.write(durable=True) as transaction:
            transaction.console_sessions.expire(now_ns)
            transaction.console_sessions.add({**values, **more, "ExpiryTime": expiry_ns})
            by = "token" if more else "password"
            detail = f"group {identity.group}, by {by}, session {values['SessionID']}"
            self._context.audit(transaction.auth, OPENED, identity.owner, address=address, detail=detail)
        return ConsoleSession(identity, form_token, secret)

    def _roles(self, transaction: Transaction, row: Row) -> frozenset[Role]:
        """What the session may at this moment; nothing when that was taken back."""
        if row["TokenID"]:
            is_revoked = row["TokenID"] in self._context.mint.revoked
            return frozenset() if is_revoked else frozenset(map(Role, filter(None, row["Roles"].split("+"))))
        if not self._registry.is_member(transaction, row["UserName"], row["VO"], row["GroupName"]):
            return frozenset()
        return self._context.settings.groups[row["GroupName"]]

    def _end(self, row: Row, address: str, reason: str) -> None:
        event = REUSED if reason == REUSED else ENDED
        with self._context.databases.write(durable=True) as transaction:
            if transaction.console_sessions.end(row["SessionID"]):
                detail = f"session {row['SessionID']}: {reason}"
                user = (row["UserName"], row["VO"])
                self._context.audit(transaction.auth, event, user, address=address, detail=detail)

    def _check_attempts(self, address: str) -> None:
        since = self._context.now_ns() - ATTEMPTS_SECONDS * NANOSECONDS
        with self._context.databases.read() as transaction:
            wrong = transaction.auth.count_entries(REFUSED, since, address=address)
        if wrong >= MOST_OF_ADDRESS:
            raise TooManyAttemptsError("too many wrong attempts; try again in a few minutes")

    def _note(self, event: str, user: tuple[str, str], address: str, detail: str) -> None:
        with self._context.databases.write() as transaction:
            self._context.audit(transaction.auth, event, user, address=address, detail=detail)


def _refusal(row: Row, digest: str, now_ns: int) -> str:
    """Why the session is over; "" if it is not."""
    if row["ExpiryTime"] <= now_ns:
        return "its time is up"
    if row["LastTime"] + IDLE_SECONDS * NANOSECONDS <= now_ns:
        return "nobody has used it for a while"
    is_replaced = digest != row["SecretHash"] and row["ShownTime"] is not None
    if is_replaced and row["ShownTime"] + OVERLAP_SECONDS * NANOSECONDS <= now_ns:
        return REUSED
    return ""


def _is_due(row: Row, digest: str, now_ns: int) -> bool:
    """Whether the browser is to get another secret: it has had this one for long, or never got it."""
    age_ns = now_ns - row["RotationTime"]
    is_lost = digest == row["EarlierHash"] and row["ShownTime"] is None
    return bool(age_ns > (OVERLAP_SECONDS if is_lost else ROTATION_SECONDS) * NANOSECONDS)


def _changes(row: Row, digest: str, fresh: str, now_ns: int, by_hand: bool) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if by_hand and now_ns - row["LastTime"] > TOUCH_SECONDS * NANOSECONDS:
        changes["LastTime"] = now_ns
    if fresh:
        rotated = {"SecretHash": digest_of(fresh), "EarlierHash": digest}
        return {**changes, **rotated, "RotationTime": now_ns, "ShownTime": None}
    if digest == row["SecretHash"] and row["ShownTime"] is None:
        changes["ShownTime"] = now_ns
    return changes
