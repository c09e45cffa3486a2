"""Logins of programs: by device code (RFC 8628), or by a redirection of the browser with PKCE (RFC 7636, 8252)."""

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.errors import GrantError, TooManyAttemptsError, UnknownObjectError
from runner.server.services.context import ServiceContext
from runner.server.services.passwords import digest_of, new_code, plain_code
from runner.server.services.registry import ATTEMPTS_SECONDS, Proof, Registry
from runner.server.services.sessions import Login, Sessions, check_client
from telemetry.clock import NANOSECONDS

FLOW_SECONDS = 600
#: A code that a browser carries back is exchanged at once, or never.
CODE_SECONDS = 60
USER_CODE_GROUPS = 2
#: Logins under way: so many at most, and so many from one address.
MOST_FLOWS, MOST_FLOWS_OF_ADDRESS = 1000, 50
MOST_UNKNOWN_CODES = 20
UNKNOWN_CODE = "unknown code"
AUDIT_SECONDS = 400 * 86400
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Redirection:
    """Where a browser is to go afterwards, and what it carries."""

    uri: str
    state: str
    challenge: str


class LoginFlows:
    """Logins from the moment a program asks for one to the tokens that it gets."""

    def __init__(self, context: ServiceContext, registry: Registry, sessions: Sessions) -> None:
        self._context = context
        self._registry = registry
        self._sessions = sessions

    def initiate_device(self, client_id: str, scope: str, address: str) -> tuple[str, str]:
        """A new login for a program without a browser: the code for its user, and the secret for itself.

        Raises:
            GrantError: an unknown program, VO or group. TooManyAttemptsError: too many logins are under way.
        """
        user_code, device_code = new_code(USER_CODE_GROUPS), secrets.token_urlsafe(32)
        self._initiate(client_id, scope, address, {"UserCode": user_code, "SecretHash": digest_of(device_code)})
        return user_code, device_code

    def initiate_redirection(self, client_id: str, scope: str, address: str, back: Redirection) -> str:
        """A new login for a program that waits on loopback for the browser: the code of its page.

        Raises:
            GrantError: as above, or the address is not on loopback. TooManyAttemptsError: as above.
        """
        check_client(client_id)
        if not is_loopback(back.uri):
            raise GrantError("invalid_request", "redirect_uri must be http on loopback")
        if not _CHALLENGE.fullmatch(back.challenge):
            raise GrantError("invalid_request", "code_challenge must be the S256 of a code_verifier")
        user_code = new_code(4)
        more = {"RedirectURI": back.uri, "State": back.state, "Challenge": back.challenge}
        flow = {"UserCode": user_code, "SecretHash": digest_of(secrets.token_hex(32)), **more}
        self._initiate(client_id, scope, address, flow)
        return user_code

    def asked(self, user_code: str, address: str) -> Row:
        """The login that waits for somebody with that code.

        Raises:
            UnknownObjectError: there is none. TooManyAttemptsError: this address has guessed too often.
        """
        since = self._context.now_ns() - ATTEMPTS_SECONDS * NANOSECONDS
        with self._context.databases.write() as transaction:
            if transaction.auth.count_entries(UNKNOWN_CODE, since, address=address) >= MOST_UNKNOWN_CODES:
                raise TooManyAttemptsError("too many unknown codes; try again in a few minutes")
            flow = self._waiting(transaction, user_code)
            if flow is None:
                vo = self._context.settings.vo
                self._context.audit(transaction.auth, UNKNOWN_CODE, ("", vo), address=address, detail="")
        if flow is None:
            raise UnknownObjectError("this code is not known, was used, or its time is over")
        return flow

    def approve(self, user_code: str, proof: Proof) -> str:
        """Let the login with that code go on as whoever *proof* is of; where the browser goes then ("": nowhere).

        Raises:
            UnknownObjectError, TooManyAttemptsError, UnauthenticatedError, ForbiddenError: it does not go on.
        """
        flow = self.asked(user_code, proof.address)
        self._registry.prove(proof, flow["GroupName"])
        changes: dict[str, Any] = {"UserName": proof.name.strip().lower()}
        back, code = str(flow["RedirectURI"]), secrets.token_urlsafe(32)
        if back:
            expiry_ns = self._context.now_ns() + CODE_SECONDS * NANOSECONDS
            changes |= {"SecretHash": digest_of(code), "ExpiryTime": expiry_ns}
        with self._context.databases.write(durable=True) as transaction:
            if self._waiting(transaction, user_code) is None:  # somebody else was faster
                raise UnknownObjectError("this code is not known, was used, or its time is over")
            transaction.auth.change_flow(flow["FlowID"], changes)
        return f"{back}{'&' if '?' in back else '?'}{urlencode({'code': code, 'state': flow['State']})}" if back else ""

    def redeem_device(self, device_code: str, client_id: str, address: str) -> dict[str, Any]:
        """Tokens for a login that was approved (`TokenResponse`).

        Raises:
            GrantError: not yet, too late, or there is no such login.
        """
        check_client(client_id)
        with self._context.databases.write(durable=True) as transaction:
            flow = self._redeemable(transaction, device_code, client_id, by_redirection=False)
            return self._redeem(transaction, flow, address)

    def redeem_redirection(
        self, code: str, client_id: str, redirect_uri: str, verifier: str, address: str
    ) -> dict[str, Any]:
        """Tokens for what the browser has brought (`TokenResponse`).

        Raises:
            GrantError: it is not what was given, not for this program, or too late.
        """
        check_client(client_id)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        with self._context.databases.write(durable=True) as transaction:
            flow = self._redeemable(transaction, code, client_id, by_redirection=True)
            same = hmac.compare_digest(challenge, flow["Challenge"]) and redirect_uri == flow["RedirectURI"]
            if same:
                return self._redeem(transaction, flow, address)
            transaction.auth.end_flow(flow["FlowID"])
        raise GrantError("invalid_grant", "code_verifier or redirect_uri is not that of the request")

    def _initiate(self, client_id: str, scope: str, address: str, flow: dict[str, Any]) -> None:
        check_client(client_id)
        vo, group = self._scope(scope)
        now_ns = self._context.now_ns()
        given = {"ClientID": client_id, "VO": vo, "GroupName": group, "Address": address}
        with self._context.databases.write() as transaction:
            transaction.auth.expire(now_ns, now_ns - AUDIT_SECONDS * NANOSECONDS)
            of_address = transaction.auth.count_flows(address)
            if of_address >= MOST_FLOWS_OF_ADDRESS or transaction.auth.count_flows() >= MOST_FLOWS:
                raise TooManyAttemptsError("too many logins are under way; try again in a few minutes")
            transaction.auth.add_flow({**flow, **given, "ExpiryTime": now_ns + FLOW_SECONDS * NANOSECONDS})

    def _scope(self, scope: str) -> tuple[str, str]:
        """VO and group of a scope such as "vo:local group:local_user property:NormalUser"."""
        asked: dict[str, list[str]] = {"vo": [], "group": [], "property": []}
        for word in scope.split():
            kind, _, value = word.partition(":")
            if kind not in asked or not value:
                raise GrantError("invalid_scope", f"scope is vo:NAME group:NAME property:NAME, not {word[:64]!r}")
            asked[kind].append(value)
        settings = self._context.settings
        if asked["vo"] != [settings.vo]:
            raise GrantError("invalid_scope", f"scope must name one VO; known is {settings.vo}")
        groups = asked["group"] or [next(iter(settings.groups))]
        if len(groups) > 1 or groups[0] not in settings.groups:
            raise GrantError("invalid_scope", f"scope names one group at most; known are {', '.join(settings.groups)}")
        missing = set(asked["property"]) - settings.groups[groups[0]]
        if missing:
            raise GrantError("invalid_scope", f"group {groups[0]} does not give {', '.join(sorted(missing))[:100]}")
        return settings.vo, groups[0]

    def _waiting(self, transaction: Transaction, user_code: str) -> Row | None:
        code = plain_code(user_code)
        flow = transaction.auth.flow(user_code=code) if code else None
        is_waiting = flow is not None and flow["UserName"] is None and flow["ExpiryTime"] > self._context.now_ns()
        return flow if is_waiting else None

    def _redeemable(self, transaction: Transaction, secret: str, client_id: str, *, by_redirection: bool) -> Row:
        flow = transaction.auth.flow(secret_hash=digest_of(secret))
        if flow is None or flow["ClientID"] != client_id or bool(flow["RedirectURI"]) != by_redirection:
            raise GrantError("invalid_grant", "there is no such login, or it has given its tokens already")
        if flow["ExpiryTime"] <= self._context.now_ns():
            raise GrantError("expired_token", "the time to log in is over; begin again")
        if flow["UserName"] is None:
            raise GrantError("authorization_pending", "nobody has entered the code yet")
        if not self._registry.is_member(transaction, flow["UserName"], flow["VO"], flow["GroupName"]):
            raise GrantError("invalid_grant", f"{flow['UserName']} is not in group {flow['GroupName']} any more")
        return flow

    def _redeem(self, transaction: Transaction, flow: Row, address: str) -> dict[str, Any]:
        transaction.auth.end_flow(flow["FlowID"])
        login = Login(flow["UserName"], flow["VO"], flow["GroupName"], flow["ClientID"], address)
        return self._sessions.open(transaction, login)


def is_loopback(uri: str) -> bool:
    """Whether only a program on the browser's own machine can be there (RFC 8252, section 7.3)."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
        plain = parts.scheme == "http" and not parts.fragment and parts.username is None and parts.port != 0
        return plain and uri.isprintable() and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
