"""The owner's token for a DiracX server: a credentials file as DiracX's own command line writes it.

`{"access_token", "refresh_token", "expires_on"}`. The file is shared by all processes of the owner's, the official
client among them. A refresh token that rotates may be used once, and DiracX revokes all tokens of a user whose old
one comes again: ours exchange it one at a time, under a lock beside the file, and look first whether another one
has. A file with nothing but a token in it will do as well.
"""

import fcntl
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from runner.config import HttpConfig
from runner.errors import ConfigError, UnavailableError
from runner.wms import checked
from runner.wms.connections import Connections, HTTPError, read_bounded
from runner.wms.tokens import write_secret
from telemetry.clock import NANOSECONDS, Clock

#: DiracX's name for command lines.
CLIENT_ID = "myDIRACClientID"
REFRESH_PATH = "/api/auth/token"
#: With less life than this a token is exchanged; as in the official client.
FRESH_SECONDS = 300
#: After an exchange that has failed.
PAUSE_SECONDS = 30
LARGEST_ANSWER_BYTES = 1 << 20
log = logging.getLogger("jobspan.wms")


@dataclass(frozen=True)
class _Credentials:
    access_token: str
    refresh_token: str = ""
    #: Seconds since 1970; None: the file does not say.
    expires_on: int | None = None
    #: The server that has given them, as `jobspan login` notes it; the official client does not.
    url: str = ""


class Credentials:
    """Implements `runner.wms.tokens.TokenSource`. Safe from several threads and processes."""

    def __init__(self, path: Path, url: str, *, http: HttpConfig, timeout_seconds: float, clock: Clock) -> None:
        self.path = path
        self._url = url
        self._http = http
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._mutex = threading.Lock()
        self._next_try_ns = 0

    def token(self) -> str:
        """The access token; exchanged for a new one when it is about to end.

        Raises:
            ConfigError: no file, or no token in it.
        """
        found = self._read()
        if found.expires_on is None or found.expires_on - self._now() > FRESH_SECONDS:
            return found.access_token
        return self._exchanged(found.access_token).access_token

    def renewed(self, refused: str) -> bool:
        """Whether there is another token than the *refused* one, if need be after an exchange."""
        found = self._read()
        if found.access_token == refused:
            found = self._exchanged(refused)
        return found.access_token != refused

    @property
    def ends_utc_ns(self) -> int:
        """When the present token ends; a guess where the file does not say."""
        found = self._read()
        return (found.expires_on or self._now() + FRESH_SECONDS * 4) * NANOSECONDS

    def _exchanged(self, old: str) -> _Credentials:
        """The credentials after *old*: those that another process has got, else new ones; *old* if there are none."""
        with self._mutex, self.path.with_name(f"{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self._read()
            if found.access_token != old or not found.refresh_token:
                return found
            if self._clock.boottime_ns() < self._next_try_ns:
                return found
            try:
                new = replace(self._refreshed(found.refresh_token), url=found.url)
            except (HTTPError, UnavailableError, ValueError) as error:
                # Not now, or never more: the old token serves as long as it may.
                log.warning("the token of DiracX cannot be exchanged: %s", type(error).__name__)
                self._next_try_ns = self._clock.boottime_ns() + PAUSE_SECONDS * NANOSECONDS
                return found
            self._write(new)
            return new

    def _refreshed(self, refresh_token: str) -> _Credentials:
        """What DiracX gives for *refresh_token*.

        Raises:
            HTTPError, UnavailableError, ValueError: nothing.
        """
        form = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": refresh_token}
        timeout_seconds = self._timeout_seconds
        with (
            Connections(self._http, self._url) as connections,
            connections.call(
                "POST",
                self._url + REFRESH_PATH,
                body=urlencode(form).encode(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                connect_seconds=timeout_seconds,
                answer_seconds=timeout_seconds,
            ) as response,
        ):
            if response.status != 200:
                raise UnavailableError(f"HTTP {response.status}")
            answer = checked.mapping(json.loads(read_bounded(response, LARGEST_ANSWER_BYTES, timeout_seconds)), "token")
        return _Credentials(
            checked.text(answer.get("access_token"), "access_token"),
            checked.optional_text(answer.get("refresh_token"), "refresh_token") or refresh_token,
            self._now() + checked.whole(answer.get("expires_in"), "expires_in"),
        )

    def _read(self) -> _Credentials:
        try:
            with self.path.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                text = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise ConfigError(
                f"no token in {self.path} ({reason}); log in with `jobspan login` or `dirac login`, or set TokenFile"
            ) from error
        try:
            found = _parsed(text)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self.path} holds no credentials of DiracX") from error
        if not found.access_token or not found.access_token.isprintable():
            raise ConfigError(f"{self.path} holds no token")
        if found.url and found.url != self._url:
            raise ConfigError(f"{self.path} is a login at {found.url}, not at {self._url}")
        return found

    def _write(self, new: _Credentials) -> None:
        document = {
            "access_token": new.access_token,
            "refresh_token": new.refresh_token or None,
            "expires_on": new.expires_on,
            **({"url": new.url} if new.url else {}),
        }
        write_secret(self.path, json.dumps(document), durable=True)

    def _now(self) -> int:
        return self._clock.utc_ns() // NANOSECONDS


def _parsed(text: str) -> _Credentials:
    if not text.startswith("{"):
        return _Credentials(text)
    document = json.loads(text)
    expires_on = document.get("expires_on")
    return _Credentials(
        str(document["access_token"]),
        str(document.get("refresh_token") or ""),
        int(expires_on) if expires_on is not None else None,
        str(document.get("url") or ""),
    )


def default_path(environment: Mapping[str, str]) -> Path:
    """Where DiracX's own command line keeps its credentials."""
    named = environment.get("DIRACX_CREDENTIALS_PATH")
    return Path(named) if named else Path(environment.get("HOME", os.sep)) / ".cache" / "diracx" / "credentials.json"
