"""The keys that sign tokens: Ed25519, one signs, older ones are still believed for a while.

They lie in one file, `keys.json`, as JSON Web Keys (RFC 8037) with their private part, beside the
secret behind presigned addresses. The file is replaced as a whole, and read again when it has
changed: a server need not be told of a rotation.
"""

import base64
import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from runner.errors import ConfigError
from telemetry.clock import NANOSECONDS, Clock

log = logging.getLogger("jobspan.wms")

ALGORITHM = "EdDSA"
SECRET_BYTES = 32
_PUBLIC = ("kty", "crv", "alg", "use", "kid", "x")


@dataclass(frozen=True)
class SigningKey:
    """One key. `until_seconds` (since 1970) is when tokens signed by it are refused; None: it is the one that signs."""

    kid: str
    private: Ed25519PrivateKey
    until_seconds: int | None = None

    @classmethod
    def new(cls) -> "SigningKey":
        """A random key."""
        return cls(secrets.token_hex(8), Ed25519PrivateKey.generate())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "SigningKey":
        """The key of a private JSON Web Key; ValueError or KeyError if it is none."""
        private = Ed25519PrivateKey.from_private_bytes(_decoded(document["d"]))
        until = document["until"]
        return cls(str(document["kid"]), private, None if until is None else int(until))

    @property
    def public(self) -> Ed25519PublicKey:
        """What verifies."""
        return self.private.public_key()

    def to_document(self) -> dict[str, Any]:
        """As a private JSON Web Key."""
        x, d = self.public.public_bytes_raw(), self.private.private_bytes_raw()
        public = dict(zip(_PUBLIC, ("OKP", "Ed25519", ALGORITHM, "sig", self.kid, _encoded(x)), strict=True))
        return {**public, "d": _encoded(d), "until": self.until_seconds}


@dataclass(frozen=True)
class KeyFile:
    """All that the file says. Tokens of versions before it (HS256) are believed until `earlier_until_seconds`."""

    keys: tuple[SigningKey, ...]
    address_secret: bytes
    earlier_until_seconds: int = 0

    @classmethod
    def new(cls, earlier_until_seconds: int) -> "KeyFile":
        """Random keys."""
        return cls((SigningKey.new(),), secrets.token_bytes(SECRET_BYTES), earlier_until_seconds)

    @classmethod
    def read(cls, path: Path) -> "KeyFile":
        """What stands in *path*.

        Raises:
            ConfigError: no keys, or something else.
        """
        try:
            document = json.loads(path.read_bytes())
            keys = tuple(SigningKey.from_document(each) for each in document["keys"])
            found = cls(keys, _decoded(document["address_secret"]), int(document["earlier_until"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: it holds no keys for tokens ({type(error).__name__})") from error
        if sum(key.until_seconds is None for key in keys) != 1 or len(found.address_secret) < SECRET_BYTES:
            raise ConfigError(f"{path}: exactly one key must sign, and the secret must be long enough")
        return found

    def write(self, path: Path, *, only_if_absent: bool = False) -> None:
        """Replace *path*, on the disk and mode 0600; *only_if_absent*: or leave it to who was faster."""
        document = {
            "keys": [key.to_document() for key in self.keys],
            "address_secret": _encoded(self.address_secret),
            "earlier_until": self.earlier_until_seconds,
        }
        _write_secret(path, json.dumps(document, indent=1).encode() + b"\n", only_if_absent=only_if_absent)

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return next(key for key in self.keys if key.until_seconds is None)


class KeyRing:
    """The keys of one WMS, as they stand in the file now."""

    def __init__(self, path: Path, clock: Clock, *, earlier_seconds: float = 0.0) -> None:
        """Read *path*; it is made if it is not there, and then believes earlier tokens for *earlier_seconds*.

        Raises:
            ConfigError: it is there, and holds no keys.
        """
        self._path = path
        self._name = str(path)
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        if not path.exists():
            KeyFile.new(self._after(earlier_seconds) if earlier_seconds else 0).write(path, only_if_absent=True)
        self._stamp = _stamp(path)
        self._file = KeyFile.read(path)

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Call *tell* whenever the file has been found changed."""
        self._listeners.append(tell)

    def refresh(self) -> None:
        """Read the file again if it has changed; else this is one `stat`. Damaged, it is left aside."""
        stamp = _stamp(self._name)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._file = KeyFile.read(self._path)
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
            return
        for tell in self._listeners:
            tell()

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._file.current

    @property
    def address_secret(self) -> bytes:
        """What signs presigned addresses."""
        return self._file.address_secret

    @property
    def are_earlier_believed(self) -> bool:
        """Whether tokens of versions before the published keys count still."""
        return self._clock.utc_ns() < self._file.earlier_until_seconds * NANOSECONDS

    def get(self, kid: str) -> SigningKey | None:
        """The key *kid*, unless its time is over."""
        return next((key for key in self._file.keys if key.kid == kid and self.is_believed(key)), None)

    def is_believed(self, key: SigningKey) -> bool:
        """Whether what *key* has signed counts now."""
        return key.until_seconds is None or self._clock.utc_ns() < key.until_seconds * NANOSECONDS

    def jwks(self) -> dict[str, Any]:
        """The public keys that are believed, as a JSON Web Key Set."""
        documents = [key.to_document() for key in self._file.keys if self.is_believed(key)]
        return {"keys": [{name: each[name] for name in _PUBLIC} for each in documents]}

    def rotate(self, overlap_seconds: float) -> str:
        """A new key signs from now on; those before are believed for *overlap_seconds*. The name of the new one.

        Keys whose time is over are forgotten. Without overlap presigned addresses end too.
        """
        self.refresh()
        until, new = self._after(overlap_seconds), SigningKey.new()
        kept = [
            SigningKey(key.kid, key.private, min(until, key.until_seconds or until))
            for key in self._file.keys
            if self.is_believed(key) and overlap_seconds > 0
        ]
        secret = self.address_secret if overlap_seconds > 0 else secrets.token_bytes(SECRET_BYTES)
        earlier = min(self._file.earlier_until_seconds, until)
        KeyFile((new, *kept), secret, earlier).write(self._path)
        self.refresh()
        return new.kid

    def _after(self, seconds: float) -> int:
        return self._clock.utc_ns() // NANOSECONDS + round(seconds)


def _stamp(path: Path | str) -> tuple[int, int]:
    """What changes with the file; (0, 0) if it is not there."""
    try:
        status = os.stat(path)  # with each call: a Path's own costs more
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def _write_secret(path: Path, content: bytes, *, only_if_absent: bool = False) -> None:
    """Replace *path* as a whole, on the disk and mode 0600; *only_if_absent*: or leave it to who was faster."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        if only_if_absent:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
