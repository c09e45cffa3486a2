"""Registry: users, their groups and passwords, and the proof that somebody is one of them. Deny by default."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runner.server.db.auth_db import AuthDB
from runner.server.db.engine import Transaction
from runner.server.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    InvalidValueError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UnknownObjectError,
)
from runner.server.services.context import ServiceContext
from runner.server.services.passwords import (
    MOST_PASSWORD_CHARACTERS,
    digest_of,
    hash_password,
    is_password,
    new_code,
    plain_code,
)
from runner.server.services.revocations import Revocations
from runner.server.settings import NAME
from telemetry.clock import NANOSECONDS

LEAST_PASSWORD_CHARACTERS = 10
LOGIN_CODE_SECONDS = 900
LOGIN_CODE_GROUPS = 3
#: Wrong proofs within this time: so many by one name from one address, from one address, and by one name from anywhere.
ATTEMPTS_SECONDS = 300
MOST_OF_BOTH, MOST_OF_ADDRESS, MOST_OF_NAME = 5, 20, 50
REFUSED, APPROVED = "login refused", "login approved"


@dataclass(frozen=True)
class Proof:
    """What somebody shows: a name, and a password or one-time code; and where he does so from."""

    name: str
    secret: str
    address: str


class Registry:
    """Knows who may log in."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._vo = context.settings.vo

    def add(self, name: str, groups: Sequence[str], password: str | None) -> None:
        """A new user; without a *password* he logs in with one-time codes only.

        Raises:
            InvalidValueError: the name or the password will not do. ConflictError: there is one of that name.
            InvalidRequestError: there is no such group.
        """
        if not NAME.fullmatch(name):
            raise InvalidValueError(f"{name!r} is no name for a user: small letters, digits, dots, dashes")
        self._check_groups(groups)
        kept = _kept(password)
        with self._context.databases.write(durable=True) as transaction:
            if transaction.registry.user(name, self._vo) is not None:
                raise ConflictError(f"there is a user {name} already")
            transaction.registry.add_user(name, self._vo, kept, self._context.now_ns())
            transaction.registry.set_groups(name, self._vo, groups)
            self._note(transaction.auth, "user added", name, f"groups: {', '.join(groups)}")

    def set_groups(self, name: str, groups: Sequence[str]) -> None:
        """Other groups for a user; sessions in those that he has left cannot be renewed.

        Raises:
            UnknownObjectError: no such user. InvalidRequestError: no such group.
        """
        self._check_groups(groups)
        with self._context.databases.write(durable=True) as transaction:
            self._known(transaction, name)
            transaction.registry.set_groups(name, self._vo, groups)
            self._note(transaction.auth, "groups set", name, f"groups: {', '.join(groups)}")

    def set_password(self, name: str, password: str | None) -> None:
        """Another password, or none; all sessions of the user end.

        Raises:
            UnknownObjectError: no such user. InvalidValueError: the password will not do.
        """
        kept = _kept(password)
        with self._context.databases.write(durable=True) as transaction:
            self._known(transaction, name)
            transaction.registry.set_password(name, self._vo, kept)
            transaction.auth.revoke_user(name, self._vo)
            self._note(transaction.auth, "password set", name, "")

    def remove(self, name: str) -> None:
        """Forget a user; all sessions of his end.

        Raises:
            UnknownObjectError: no such user.
        """
        with self._context.databases.write(durable=True) as transaction:
            self._known(transaction, name)
            transaction.registry.remove_user(name, self._vo)
            transaction.auth.revoke_user(name, self._vo)
            self._note(transaction.auth, "user removed", name, "")

    def end_sessions(self, name: str) -> int:
        """End all sessions of a user; how many there were."""
        with self._context.databases.write(durable=True) as transaction:
            count = transaction.auth.revoke_user(name, self._vo)
            self._note(transaction.auth, "sessions revoked", name, f"{count}, by the operator")
        return count

    def users(self) -> list[dict[str, Any]]:
        """All users, without their hashes."""
        with self._context.databases.read() as transaction:
            rows = transaction.registry.users(self._vo)
        return [
            {"UserName": row["UserName"], "Groups": row["Groups"], "Password": row["PasswordHash"] is not None}
            for row in rows
        ]

    def login_code(self, name: str) -> str:
        """A code that lets *name* log in once, within a quarter of an hour.

        Raises:
            UnknownObjectError: no such user.
        """
        code = new_code(LOGIN_CODE_GROUPS)
        expiry_ns = self._context.now_ns() + LOGIN_CODE_SECONDS * NANOSECONDS
        with self._context.databases.write(durable=True) as transaction:
            self._known(transaction, name)
            transaction.registry.add_code(digest_of(code), name, self._vo, expiry_ns)
            self._note(transaction.auth, "login code made", name, "")
        return code

    def revoke_token(self, text: str) -> str:
        """Revoke a token, given as it is or by its id; the id. Of a refresh token the session ends.

        Raises:
            UnauthenticatedError: a token that is none of this WMS. InvalidRequestError: neither token nor id.
        """
        revocations = Revocations(self._context)
        if "." in text:
            try:
                text = self._context.mint.read_refresh(text)
            except UnauthenticatedError:
                jti = self._context.mint.name(text)[0]
                revocations.revoke(text, "", "the operator")
                return jti
        revocations.revoke_unseen(text, ("", self._vo), "", "the operator")
        return text

    def audit(self, limit: int) -> list[dict[str, Any]]:
        """The newest entries of the audit log, the newest first."""
        with self._context.databases.read() as transaction:
            return [dict(row) for row in transaction.auth.entries(limit)]

    def prove(self, proof: Proof, group: str) -> None:
        """Go on only if *proof* is good, for a user who is in *group*.

        An attempt counts as refused before it is looked at, so that many at once are no way around the limit.

        Raises:
            TooManyAttemptsError: so many were wrong lately that this one is not looked at.
            UnauthenticatedError: it is wrong, whatever of it. ForbiddenError: not in that group.
        """
        name = proof.name.strip().lower()[:64]
        with self._context.databases.write() as transaction:
            self._check_attempts(transaction.auth, name, proof.address)
            entry = self._note(transaction.auth, REFUSED, name, "wrong name, password or code", proof.address)
            user = transaction.registry.user(name, self._vo)
        right = is_password(proof.secret, user["PasswordHash"] if user is not None else None)
        with self._context.databases.write(durable=True) as transaction:
            code = plain_code(proof.secret)
            if not right and code and user is not None:
                now_ns = self._context.now_ns()
                right = transaction.registry.take_code(digest_of(code), name, self._vo, now_ns)
            allowed = right and group in transaction.registry.groups_of(name, self._vo)
            if right:
                detail = f"group {group}" if allowed else f"not in group {group}"
                transaction.auth.change_entry(
                    entry, {"Event": APPROVED if allowed else "group refused", "Detail": detail}
                )
        if not right:
            raise UnauthenticatedError("wrong name, password or code")
        if not allowed:
            raise ForbiddenError(f"{name} is not in group {group}")

    def is_member(self, transaction: Transaction, name: str, vo: str, group: str) -> bool:
        """Whether the user is there, and in a group that is there."""
        return group in self._context.settings.groups and group in transaction.registry.groups_of(name, vo)

    def _check_attempts(self, auth: AuthDB, name: str, address: str) -> None:
        since = self._context.now_ns() - ATTEMPTS_SECONDS * NANOSECONDS
        both = auth.count_entries(REFUSED, since, address=address, name=name)
        by_address = auth.count_entries(REFUSED, since, address=address)
        if both >= MOST_OF_BOTH or by_address >= MOST_OF_ADDRESS:
            raise TooManyAttemptsError("too many wrong attempts; try again in a few minutes")
        if auth.count_entries(REFUSED, since, name=name) >= MOST_OF_NAME:
            raise TooManyAttemptsError("too many wrong attempts for this name; try again in a few minutes")

    def _check_groups(self, groups: Sequence[str]) -> None:
        known = self._context.settings.groups
        missing = [group for group in groups if group not in known]
        if missing:
            raise InvalidRequestError(f"there is no group {missing[0]}; [WMS] Groups has {', '.join(known)}")

    def _known(self, transaction: Transaction, name: str) -> None:
        if transaction.registry.user(name, self._vo) is None:
            raise UnknownObjectError(f"there is no user {name}")

    def _note(self, auth: AuthDB, event: str, name: str, detail: str, address: str = "") -> int:
        return self._context.audit(auth, event, (name, self._vo), address=address, detail=detail)


def _kept(password: str | None) -> str | None:
    if password is None:
        return None
    if not LEAST_PASSWORD_CHARACTERS <= len(password) <= MOST_PASSWORD_CHARACTERS:
        raise InvalidValueError(f"a password has {LEAST_PASSWORD_CHARACTERS} to {MOST_PASSWORD_CHARACTERS} characters")
    return hash_password(password)
