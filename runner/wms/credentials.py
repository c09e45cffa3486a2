"""What a login has given, in one file of mode 0600 that all our processes share, under one lock.

The file has the form of DiracX's own clients (`access_token`, `refresh_token`, `expires_on`), which
lock and rewrite it in the same way, so that it can be shared with them; and the address of the WMS
that it is for: a token is never shown to another.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.errors import ConfigError, UnauthorizedError, UnavailableError
from runner.wms.login import Tokens
from telemetry.clock import NANOSECONDS, Clock

#: A token that ends so soon is renewed before it is shown.
MARGIN_SECONDS = 30
LOCK_SECONDS = 30.0
_LOCK_PAUSE_SECONDS = 0.02
LARGEST_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """Tokens of one login, and the address of the WMS that has given them."""

    access_token: str
    refresh_token: str
    expires_on: int
    url: str

    @classmethod
    def of(cls, tokens: Tokens, url: str, clock: Clock) -> "Credentials":
        """*tokens* that were given just now."""
        expires_on = clock.utc_ns() // NANOSECONDS + tokens.expires_in_seconds
        return cls(tokens.access_token, tokens.refresh_token, expires_on, url)

    @classmethod
    def parse(cls, content: bytes) -> "Credentials | None":
        """What a file says; None if that are no credentials."""
        try:
            values = json.loads(content)
            refresh_token = str(values["refresh_token"] or "")
            found = cls(
                str(values["access_token"]), refresh_token, int(values["expires_on"]), str(values.get("url", ""))
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if found.access_token and found.access_token.isprintable() else None


class CredentialsToken:
    """A token source over such a file. *renew* exchanges a refresh token; the result is kept for everybody."""

    def __init__(self, path: Path, url: str, renew: Callable[[str], Tokens], clock: Clock) -> None:
        self._path = path
        self._url = url
        self._renew = renew
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._found: Credentials | None = None

    def token(self) -> str:
        """The token to show now.

        Raises:
            ConfigError: the file is gone, or is for another WMS. UnavailableError: it cannot be renewed now.
            UnauthorizedError: the login is over.
        """
        found = self._read()
        left = found.expires_on - self._clock.utc_ns() // NANOSECONDS
        if left <= MARGIN_SECONDS and found.refresh_token:
            self.renewed(found.access_token)
            found = self._read()
        return found.access_token

    def renewed(self, refused: str) -> bool:
        """Whether there is another token than the *refused* one: somebody else's, or a new one."""
        with _locked(self._path) as file:
            self._found, self._stamp = self._checked(file.read()), None
            if self._found.access_token != refused:
                return True
            if not self._found.refresh_token:
                return False
            try:
                tokens = self._renew(self._found.refresh_token)
            except UnauthorizedError as error:
                raise UnauthorizedError(
                    f"{error}; `jobspan login` begins anew", status_code=error.status_code
                ) from error
            self._found = Credentials.of(tokens, self._url, self._clock)
            file.write(self._found)
        return True

    def _read(self) -> Credentials:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}; `jobspan login` makes it") from error
        stamp = (status.st_mtime_ns, status.st_size)
        if self._found is None or stamp != self._stamp:
            with _locked(self._path) as file:
                self._found, self._stamp = self._checked(file.read()), stamp
        return self._found

    def _checked(self, content: bytes) -> Credentials:
        found = Credentials.parse(content)
        if found is None:
            raise ConfigError(f"{self._path} holds no login; `jobspan login` makes one")
        if found.url and found.url != self._url:
            raise ConfigError(f"{self._path} is a login at {found.url}, not at {self._url}")
        return found


def read_credentials(path: Path) -> Credentials | None:
    """The login in *path*; None if there is none."""
    try:
        with _locked(path) as file:
            return Credentials.parse(file.read())
    except ConfigError:
        return None


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Keep a login in *path*, instead of what is there. Only its owner can read it.

    Raises:
        ConfigError: it cannot be written. UnavailableError: another process keeps it locked.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path, make=True) as file:
        file.write(credentials)


def remove_credentials(path: Path) -> Credentials | None:
    """Forget the login in *path*; what it was."""
    found = read_credentials(path)
    path.unlink(missing_ok=True)
    return found


class _File:
    """The open and locked file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> bytes:
        """All of it."""
        return os.pread(self._fd, LARGEST_FILE_BYTES, 0)

    def write(self, credentials: Credentials) -> None:
        """Replace the content. In place, because whoever waits for the lock has this very file open."""
        values: dict[str, Any] = asdict(credentials)
        content = json.dumps(values).encode() + b"\n"
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, content, 0)
        os.fsync(self._fd)


@contextlib.contextmanager
def _locked(path: Path, *, make: bool = False) -> Iterator[_File]:
    """*path*, open and locked against our other processes and DiracX's clients."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if make else 0)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `jobspan login` makes it") from error
    try:
        if make:
            os.fchmod(fd, 0o600)
        _lock(fd, path)
        yield _File(fd)
    finally:
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    pause, deadline = threading.Event(), time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{path} is kept locked by another process") from error
            pause.wait(_LOCK_PAUSE_SECONDS)
        else:
            return
