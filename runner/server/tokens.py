"""Tokens: JWTs signed with the key of this WMS, for people, pilots and jobs; and presigned addresses.

Claims are DiracX's (`sub`, `vo`, `dirac_group`, `dirac_properties`, `preferred_username`). A job
token has none of the owner's properties, but the claim `jobspan`: WMSID, JobID, Attempt and the
random claim of the execution; its rights are those of that job only.
"""

import hashlib
import hmac
import os
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt

from runner.server.errors import FencedAttemptError, UnauthenticatedError
from telemetry.clock import NANOSECONDS, Clock

ALGORITHM = "HS256"
KEY_BYTES = 32
EXPIRED = "Invalid JWT: it has expired"
#: Of those seen last, so many need not be verified again.
VERIFIED_TOKENS = 1024


class Role(StrEnum):
    """What a token makes of its bearer: DIRAC's properties, and the job itself."""

    USER = "NormalUser"
    ADMIN = "JobAdministrator"
    PILOT = "GenericPilot"
    #: Has the rights of an owner on the jobs of the own group.
    SHARING = "JobSharing"
    #: Sees all jobs.
    MONITOR = "JobMonitor"
    #: Bans and allows sites.
    SITES = "SiteManager"
    JOB = "Job"


@dataclass(frozen=True)
class JobClaims:
    """The attempt, and the execution of it, that a job token stands for."""

    job_id: int
    attempt: int
    claim: str


@dataclass(frozen=True)
class Identity:
    """Who calls."""

    name: str
    group: str
    vo: str
    roles: frozenset[Role]
    job: JobClaims | None = None

    @property
    def owner(self) -> tuple[str, str]:
        """Name and virtual organisation: what makes a job one's own."""
        return self.name, self.vo

    @property
    def subject(self) -> str:
        """Subject of the token, as DiracX forms it."""
        return f"{self.vo}:{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.vo}/{self.name}')}"


class TokenMint:
    """Makes and reads tokens."""

    def __init__(self, key: bytes, wms_id: str, clock: Clock) -> None:
        self._tokens_key = hmac.digest(key, b"tokens", hashlib.sha256)
        self._addresses_key = hmac.digest(key, b"addresses", hashlib.sha256)
        self._wms_id = wms_id
        self._clock = clock
        #: A wrapper shows the same token in every call. (What is refused is not kept, and expiry is judged anew.)
        self._verified = lru_cache(VERIFIED_TOKENS)(self._verify)

    def login(self, identity: Identity, lifetime_seconds: float) -> str:
        """A token for a person or a pilot."""
        claims = self._claims(identity, lifetime_seconds)
        return jwt.encode(claims, self._tokens_key, algorithm=ALGORITHM)

    def job(self, owner: Identity, claims: JobClaims, lifetime_seconds: float) -> tuple[str, int]:
        """A token for one attempt of the *owner*'s job, and when it expires (nanoseconds since 1970)."""
        document = self._claims(Identity(owner.name, owner.group, owner.vo, frozenset()), lifetime_seconds)
        document["jobspan"] = {
            "wms_id": self._wms_id,
            "job_id": claims.job_id,
            "attempt": claims.attempt,
            "claim": claims.claim,
        }
        return jwt.encode(document, self._tokens_key, algorithm=ALGORITHM), document["exp"] * NANOSECONDS

    def identify(self, token: str) -> Identity:
        """Who the bearer of *token* is.

        Raises:
            UnauthenticatedError: not a token of this WMS, or its time is over.
        """
        return self._identity(self._read(token, self._tokens_key))

    def identify_for_renewal(self, token: str, grace_seconds: float) -> Identity:
        """The same, also for a job token whose time is over, for *grace_seconds* after its end.

        Raises:
            UnauthenticatedError: not a token of this WMS, or another than a job token and over.
            FencedAttemptError: a job token that is over for longer.
        """
        document = self._signed(token, self._tokens_key)
        identity = self._identity(document)
        over_ns = self._clock.utc_ns() - int(document["exp"]) * NANOSECONDS
        if over_ns >= 0 and identity.job is None:
            raise UnauthenticatedError(EXPIRED)
        if over_ns > grace_seconds * NANOSECONDS:
            raise FencedAttemptError("fenced: this job token ended too long ago to be renewed")
        return identity

    def _identity(self, document: Mapping[str, Any]) -> Identity:
        try:
            job = self._job_claims(document.get("jobspan"))
            known = frozenset(Role) - {Role.JOB}
            roles = frozenset(role for role in known if role in document["dirac_properties"])
            return Identity(
                name=str(document["preferred_username"]),
                group=str(document["dirac_group"]),
                vo=str(document["vo"]),
                roles=frozenset({Role.JOB}) if job else roles,
                job=job,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnauthenticatedError("Invalid JWT") from error

    def presign(self, purpose: str, values: Mapping[str, Any], lifetime_seconds: float) -> str:
        """A permission to do one thing, without any other token, for a short time."""
        document = {**values, "purpose": purpose, "exp": self._expiry(lifetime_seconds)}
        return jwt.encode(document, self._addresses_key, algorithm=ALGORITHM)

    def read_presigned(self, purpose: str, text: str) -> dict[str, Any]:
        """What was permitted.

        Raises:
            UnauthenticatedError: not signed by us, for another purpose, or expired.
        """
        document = self._read(text, self._addresses_key)
        if document.get("purpose") != purpose:
            raise UnauthenticatedError("the address was signed for another purpose")
        return document

    def _claims(self, identity: Identity, lifetime_seconds: float) -> dict[str, Any]:
        return {
            "jti": secrets.token_hex(16),
            "iss": f"jobspan:{self._wms_id}",
            "sub": identity.subject,
            "vo": identity.vo,
            "preferred_username": identity.name,
            "dirac_group": identity.group,
            "dirac_properties": sorted(identity.roles),
            "exp": self._expiry(lifetime_seconds),
        }

    def _expiry(self, lifetime_seconds: float) -> int:
        return self._clock.utc_ns() // NANOSECONDS + round(lifetime_seconds)

    def _read(self, token: str, key: bytes) -> dict[str, Any]:
        document = self._signed(token, key)
        if int(document["exp"]) * NANOSECONDS <= self._clock.utc_ns():
            raise UnauthenticatedError(EXPIRED)
        return document

    def _signed(self, token: str, key: bytes) -> dict[str, Any]:
        """What we have signed, whether its time is over or not."""
        try:
            document = dict(self._verified(token, key))
            int(document["exp"])
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise UnauthenticatedError("Invalid JWT") from error
        return document

    def _verify(self, token: str, key: bytes) -> dict[str, Any]:
        """What *token* says, which was signed with *key*, however long ago."""
        options: Any = {"verify_exp": False, "require": ["exp"]}  # expiry by our own clock
        document: dict[str, Any] = jwt.decode(token, key, algorithms=[ALGORITHM], options=options)
        return document

    def _job_claims(self, values: Any) -> JobClaims | None:
        if values is None:
            return None
        if values["wms_id"] != self._wms_id:
            raise ValueError("a job of another WMS")
        return JobClaims(int(values["job_id"]), int(values["attempt"]), str(values["claim"]))


def load_key(path: Path) -> bytes:
    """The secret in *path*; it is made, as a whole and readable by its owner only, if it is not there."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    return path.read_bytes()
