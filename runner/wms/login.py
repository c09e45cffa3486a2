"""Logging in, as DiracX has it: the device flow of RFC 8628, tokens that are renewed, the end of a session."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.errors import ConfigError, RefusedError, UnavailableError
from runner.wms import checked
from runner.wms.transport import Answer, Request, Transport

#: The name of this program, for servers that know it; DiracX knows only the other one.
CLIENT_ID = "myDIRACClientID"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL_SECONDS = 5
LONGEST_FLOW_SECONDS = 3600
_TOKEN_PATH = "/api/auth/token"  # noqa: S105 - a path


@dataclass(frozen=True)
class DeviceFlow:
    """A login that waits for its user: what he enters where, and our own secret."""

    user_code: str
    device_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in_seconds: int
    interval_seconds: int


@dataclass(frozen=True)
class Tokens:
    """What a login gives."""

    access_token: str
    refresh_token: str
    expires_in_seconds: int


class LoginClient:
    """The calls of a login; *transport* needs no token."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def organisations(self) -> dict[str, list[str]]:
        """The virtual organisations that the WMS knows, with their groups, the default one first."""
        body = self._transport.call(Request(method="GET", path="/.well-known/dirac-metadata", authorized=False)).body
        found: dict[str, list[str]] = {}
        for name, info in checked.mapping(
            checked.mapping(body, "metadata").get("virtual_organizations"), "VOs"
        ).items():
            values = checked.mapping(info, "VO")
            default = str(values.get("default_group", ""))
            groups = [str(each) for each in checked.mapping(values.get("groups"), "groups")]
            found[str(name)] = [default, *sorted(set(groups) - {default})]
        return found

    def begin(self, vo: str, group: str = "") -> DeviceFlow:
        """Ask for a login in *vo*, in its default group unless another is named.

        Raises:
            RefusedError: there is no such VO or group.
        """
        scope = f"vo:{vo} group:{group}" if group else f"vo:{vo}"
        query = {"client_id": CLIENT_ID, "scope": scope}
        request = Request(method="POST", path="/api/auth/device", query=query, authorized=False, repeatable=False)
        body = checked.mapping(self._transport.call(request).body, "login")
        return DeviceFlow(
            user_code=_text(body, "user_code"),
            device_code=_text(body, "device_code"),
            verification_uri=_text(body, "verification_uri"),
            verification_uri_complete=_text(body, "verification_uri_complete"),
            expires_in_seconds=min(_number(body, "expires_in"), LONGEST_FLOW_SECONDS),
            interval_seconds=max(1, min(60, _number(body, "interval", DEFAULT_INTERVAL_SECONDS))),
        )

    def wait(self, flow: DeviceFlow, asked: Callable[[], None] = lambda: None) -> Tokens:
        """The tokens, once somebody has let us in; *asked* is called after each question.

        Raises:
            RefusedError: nobody has in time, or the login was refused.
        """
        pause = threading.Event()
        deadline = time.monotonic() + flow.expires_in_seconds
        while time.monotonic() < deadline:
            try:
                found = self._redeem(flow)
            except UnavailableError:  # the network, perhaps; the login waits
                found = None
            if found is not None:
                return found
            asked()
            pause.wait(flow.interval_seconds)
        raise RefusedError("nobody has entered the code in time; log in again")

    def renew(self, refresh_token: str) -> Tokens:
        """The next tokens of a session.

        Raises:
            UnauthorizedError: the session is over.
        """
        return _tokens(self._token(grant_type="refresh_token", refresh_token=refresh_token).body)

    def revoke(self, refresh_token: str) -> None:
        """End a session."""
        form = {"token": refresh_token, "client_id": CLIENT_ID, "token_type_hint": "refresh_token"}
        self._transport.call(Request(method="POST", path="/api/auth/revoke", form=form, authorized=False))

    def revoke_access(self, access_token: str) -> bool:
        """Revoke an access token; whether the WMS does that (a DiracX does not)."""
        form = {"token": access_token, "client_id": CLIENT_ID, "token_type_hint": "access_token"}
        refused = frozenset({400})
        request = Request(method="POST", path="/api/auth/revoke", form=form, answers=refused, authorized=False)
        return self._transport.call(request).status_code not in refused

    def _redeem(self, flow: DeviceFlow) -> Tokens | None:
        answer = self._token(frozenset({400}), grant_type=DEVICE_GRANT, device_code=flow.device_code)
        if answer.status_code != 400:
            return _tokens(answer.body)
        body = checked.mapping(answer.body, "refusal")
        if body.get("error") in ("authorization_pending", "slow_down"):
            return None
        raise RefusedError(f"the login was refused: {str(body.get('detail', body.get('error')))[:200]}")

    def _token(self, answers: frozenset[int] = frozenset(), **form: str) -> Answer:
        # Not repeated: a refresh token that is shown twice ends its session.
        request = Request(
            method="POST",
            path=_TOKEN_PATH,
            form={"client_id": CLIENT_ID, **form},
            answers=answers,
            authorized=False,
            repeatable=False,
        )
        return self._transport.call(request)


def only_organisation(known: Mapping[str, list[str]], wanted: str = "") -> str:
    """The VO to log in to: the one *wanted*, or the only one.

    Raises:
        ConfigError: there is no such one, or several to choose from.
    """
    if wanted in known or (not wanted and len(known) == 1):
        return wanted or next(iter(known))
    raise ConfigError(f"{'there is no VO ' + wanted if wanted else 'which VO?'} --vo takes one of {', '.join(known)}")


def _tokens(body: Any) -> Tokens:
    values = checked.mapping(body, "tokens")
    return Tokens(_text(values, "access_token"), str(values.get("refresh_token") or ""), _number(values, "expires_in"))


def _text(values: Mapping[str, Any], name: str) -> str:
    found = checked.text(values.get(name), name)
    if not found or not found.isprintable():
        raise checked.NonsenseError(f"{name} is empty, or cannot be shown")
    return found


def _number(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
    return checked.whole(values.get(name, default), name)
