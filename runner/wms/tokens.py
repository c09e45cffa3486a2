"""Bearer tokens: files that somebody may renew while we run."""

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Protocol

from runner.errors import ConfigError, FencedError, RefusedError
from telemetry.clock import NANOSECONDS, Clock

#: In the control folder of an attempt.
TOKEN_FILE = "job.token"  # noqa: S105 - the name of a file
#: Beside the token: the name under which an execution reports, from before it does until it has a token of that name.
CLAIM_FILE = "job.claim"
#: Taken for the life of a token that does not tell its end.
UNKNOWN_LIFE_SECONDS = 1200


class TokenSource(Protocol):
    """Where a client gets its token from."""

    def token(self) -> str:
        """The token to show now."""
        ...

    def renewed(self, refused: str) -> bool:
        """Whether there is another token now than the *refused* one."""
        ...


class FileToken:
    """A token in a file, read again whenever the file has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._token = ""

    def token(self) -> str:
        """The file's content.

        Raises:
            ConfigError: no such file, or an empty one.
        """
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                self._token, self._stamp = self.path.read_text().strip(), stamp
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise ConfigError(f"no token in {self.path} ({reason}); is the WMS set up in this folder?") from error
        if not self._token or not self._token.isprintable():
            raise ConfigError(f"{self.path} holds no token")
        return self._token

    def renewed(self, refused: str) -> bool:
        """Look into the file again."""
        self._stamp = None
        return self.token() != refused


class FixedToken:
    """A token that is what it is."""

    def __init__(self, value: str) -> None:
        self._value = value

    def token(self) -> str:
        """The token."""
        return self._value

    def renewed(self, refused: str) -> bool:
        """Never."""
        return refused != self._value


class RenewsJobTokens(Protocol):
    """The one call of the WMS client that the keeper needs."""

    def renew_job_token(self, job_id: int, claim: str = "") -> tuple[str, int]:
        """A new token for *job_id* and its end, UTC nanoseconds; with *claim*, one of that execution."""
        ...


class JobTokenKeeper:
    """Keeps `job.token` of a control folder fresh: renewed when less than half of its life is left."""

    def __init__(self, client: RenewsJobTokens, path: Path, job_id: int, clock: Clock) -> None:
        self._client = client
        self._path = path
        self._job_id = job_id
        self._clock = clock
        self._renew_at_boottime_ns: int | None = None
        self._claim_path = path.with_name(CLAIM_FILE)
        self._is_naming = False

    def will_claim(self, claim: str) -> None:
        """This process is about to report under *claim*. Should it die before it has `adopt`ed the token of that,
        whoever speaks for the attempt next must know it: the WMS may have bound the attempt to it."""
        self._is_naming = True
        if not self._claim_path.exists():  # one that has died here before us had perhaps reported under its own
            write_secret(self._claim_path, claim, durable=True)

    def keep(self) -> None:
        """Renew the token if it is time, or if it is not the one of the execution that reported.

        Raises:
            UnavailableError: not now; FencedError: the attempt is over.
        """
        if not self._is_naming:
            self.take_up_claim()
        if self._renew_at_boottime_ns is None:
            self._renew_at_boottime_ns = self._due(self._path.read_text().strip())
        if self._clock.boottime_ns() < self._renew_at_boottime_ns:
            return
        try:
            token, _ = self._client.renew_job_token(self._job_id)
        except FencedError:
            raise
        except RefusedError:  # too late, or a WMS that does not renew: the old one serves as long as it may
            self._renew_at_boottime_ns = self._clock.boottime_ns() + 60 * NANOSECONDS
            return
        self.adopt(token)

    def adopt(self, token: str) -> None:
        """Show *token* from now on."""
        write_secret(self._path, token)
        self._claim_path.unlink(missing_ok=True)
        self._renew_at_boottime_ns = self._due(token)

    def distrust(self) -> None:
        """The WMS has refused the token, whatever our clock says about its life: renew it next time."""
        self._renew_at_boottime_ns = self._clock.boottime_ns()

    def take_up_claim(self) -> None:
        """Get the token of the execution that reported, if the answer with it was lost.

        Raises: as `keep`.
        """
        if not self._claim_path.exists():
            return
        try:
            token, _ = self._client.renew_job_token(self._job_id, self._claim_path.read_text().strip())
        except FencedError:
            raise
        except RefusedError as error:
            if error.status_code == 404:  # a WMS that knows no claims
                self._claim_path.unlink(missing_ok=True)
        else:
            self.adopt(token)

    def _due(self, token: str) -> int:
        end_ns = _expiry_ns(token)
        left_ns = end_ns - self._clock.utc_ns() if end_ns else UNKNOWN_LIFE_SECONDS * NANOSECONDS
        if left_ns <= 0:  # it can still be exchanged for a fresh one
            return self._clock.boottime_ns()
        return self._clock.boottime_ns() + max(left_ns // 2, NANOSECONDS)


def write_secret(path: Path, content: str, *, durable: bool = False) -> None:
    """Replace *path* by *content*, mode 0600, in one step: a reader sees the old or the new one.

    *durable*: forced to the disk on return.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:  # half a secret, on a disk that runs full, is an error
        file.write(content.encode() + b"\n")
        file.flush()
        if durable:
            os.fdatasync(fd)
    temporary.rename(path)


def _expiry_ns(token: str) -> int:
    """When a JWT ends (its `exp`), unverified: it only tells when to renew. 0 if it does not say."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return int(claims["exp"]) * NANOSECONDS
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error):
        return 0
