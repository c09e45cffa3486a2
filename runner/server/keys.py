"""The keys that sign tokens: Ed25519, one signs, older ones are still believed for a while.

They lie in one file, `keys.json`, as JSON Web Keys (RFC 8037) with their private part. The file is
replaced as a whole, and read again when it has changed: a server need not be told of a rotation.
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


class KeyRing:
    """The keys of one WMS, as they stand in the file now."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read *path*; a first key is made if it is not there.

        Raises:
            ConfigError: it is there, and holds no keys.
        """
        self._path = path
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, SigningKey] = {}
        self._listeners: list[Callable[[], None]] = []
        if not path.exists():
            _write(path, [SigningKey.new()], only_if_absent=True)
        self.refresh()

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Call *tell* whenever the file has been found changed."""
        self._listeners.append(tell)

    def refresh(self) -> None:
        """Read the file again if it has changed; else this is one `stat`."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        earlier, self._stamp = self._stamp, stamp
        try:
            self._keys = {key.kid: key for key in read_keys(self._path)}
        except ConfigError as error:
            if not self._keys:
                raise
            log.error("the keys stay as they were: %s", error)
            return
        for tell in self._listeners if earlier else ():
            tell()

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return next(key for key in self._keys.values() if key.until_seconds is None)

    def get(self, kid: str) -> SigningKey | None:
        """The key *kid*, unless its time is over."""
        key = self._keys.get(kid)
        return key if key is not None and self.is_believed(key) else None

    def jwks(self) -> dict[str, Any]:
        """The public keys that are believed, as a JSON Web Key Set."""
        return {
            "keys": [
                {name: value for name, value in key.to_document().items() if name in _PUBLIC}
                for key in self._keys.values()
                if self.is_believed(key)
            ]
        }

    def rotate(self, overlap_seconds: float) -> str:
        """A new key signs from now on; those before are believed for *overlap_seconds*. The name of the new one.

        Keys whose time is over are forgotten.
        """
        self.refresh()
        now = self._clock.utc_ns() // NANOSECONDS
        until = now + round(overlap_seconds)
        new = SigningKey.new()
        kept = [
            SigningKey(key.kid, key.private, min(until, key.until_seconds or until))
            for key in self._keys.values()
            if self.is_believed(key) and until > now
        ]
        _write(self._path, [new, *kept])
        self.refresh()
        return new.kid

    def is_believed(self, key: SigningKey) -> bool:
        """Whether what *key* has signed counts now."""
        return key.until_seconds is None or self._clock.utc_ns() < key.until_seconds * NANOSECONDS


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with the file; (0, 0) if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino


def read_keys(path: Path) -> list[SigningKey]:
    """The keys in *path*.

    Raises:
        ConfigError: it holds none, or something else.
    """
    try:
        keys = [SigningKey.from_document(each) for each in json.loads(path.read_bytes())["keys"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: it holds no keys for tokens ({type(error).__name__})") from error
    if sum(key.until_seconds is None for key in keys) != 1:
        raise ConfigError(f"{path}: exactly one key must sign")
    return keys


def load_secret(path: Path) -> bytes:
    """The secret in *path*; it is made, as a whole and readable by its owner only, if it is not there."""
    if not path.exists():
        _write_secret(path, secrets.token_bytes(SECRET_BYTES), only_if_absent=True)
    return path.read_bytes()


def renew_secret(path: Path) -> None:
    """Another secret in *path*; what the old one signed counts no more once it is read."""
    _write_secret(path, secrets.token_bytes(SECRET_BYTES))


def _write(path: Path, keys: list[SigningKey], *, only_if_absent: bool = False) -> None:
    document = {"keys": [key.to_document() for key in keys]}
    _write_secret(path, json.dumps(document, indent=1).encode() + b"\n", only_if_absent=only_if_absent)


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
