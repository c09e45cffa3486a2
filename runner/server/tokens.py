"""Tokens: JWTs signed with the keys of this WMS, for people, pilots and jobs; and presigned addresses.

Tokens are signed with Ed25519, so that others can verify them by the published keys; presigned
addresses, which only we read, with a secret (HS256). Tokens of versions before that were signed
with a secret too: where there were any, they are believed until they expire; none is made any more.

Claims are DiracX's (`sub`, `vo`, `dirac_group`, `dirac_properties`, `preferred_username`). A job
token has none of the owner's properties, but the claim `jobspan`: WMSID, JobID, Attempt and the
random claim of the execution; its rights are those of that job only. With the claim `jobspan_reader` instead a
token reads that job and does nothing else: the WMS shows it to agents whose word it wants, in place of a person's.
"""

import hashlib
import hmac
import re
import secrets
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jwt

from runner.server.errors import FencedAttemptError, UnauthenticatedError
from runner.server.keys import ALGORITHM, KeyRing, SigningKey
from telemetry.clock import NANOSECONDS, Clock

ADDRESS_ALGORITHM = EARLIER_ALGORITHM = "HS256"
EXPIRED = "Invalid JWT: it has expired"
REFRESH = "refresh"
#: The id of a token.
JTI = re.compile(r"[0-9a-f]{32}")
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
    #: Reads the one job that its token names, and nothing else.
    READER = "JobReader"


#: What nobody has by his group: tokens of their own kind give it.
OF_JOB_TOKENS = frozenset({Role.JOB, Role.READER})


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

    def __init__(self, keys: KeyRing, wms_id: str, clock: Clock, *, earlier_secret: bytes = b"") -> None:
        """*earlier_secret*: what earlier versions have signed with; empty: there were none."""
        self._earlier_key = hmac.digest(earlier_secret, b"tokens", hashlib.sha256) if earlier_secret else b""
        self.keys = keys
        self._wms_id = wms_id
        self._clock = clock
        self._verified = _Verified()
        #: Ids of tokens that count no more (`services.revocations`).
        self.revoked: frozenset[str] = frozenset()
        self._revoking = threading.Lock()
        keys.when_changed(self._verified.clear)

    @property
    def issuer(self) -> str:
        """Who signs: this WMS, wherever it listens."""
        return f"jobspan:{self._wms_id}"

    def login(self, identity: Identity, lifetime_seconds: float, *, session: str = "") -> str:
        """A token for a person or a pilot; *session*: the login that it is of."""
        claims = self._claims(identity, lifetime_seconds)
        return self._sign(claims | ({"sid": session} if session else {}))

    def refresh(self, jti: str, expires_seconds: int) -> str:
        """The token *jti* that can be exchanged for others, and for nothing else."""
        return self._sign({"jti": jti, "iss": self.issuer, "exp": expires_seconds, "purpose": REFRESH})

    def read_refresh(self, token: str) -> str:
        """Which token it is (jti) that somebody wants to exchange.

        Raises:
            UnauthenticatedError: not one of ours, or its time is over.
        """
        document = self._in_time(self._signed(token).document)
        if document.get("purpose") != REFRESH:
            raise UnauthenticatedError("Invalid JWT")
        return str(document["jti"])

    def job(self, owner: Identity, claims: JobClaims, lifetime_seconds: float) -> tuple[str, int]:
        """A token for one attempt of the *owner*'s job, and when it expires (nanoseconds since 1970)."""
        document = self._of_job("jobspan", owner, claims, lifetime_seconds)
        return self._sign(document), document["exp"] * NANOSECONDS

    def reader(self, visitor: Identity, claims: JobClaims, lifetime_seconds: float) -> str:
        """A token that reads the job of *claims* for a *visitor* who may."""
        return self._sign(self._of_job("jobspan_reader", visitor, claims, lifetime_seconds))

    def identify(self, token: str) -> Identity:
        """Who the bearer of *token* is.

        Raises:
            UnauthenticatedError: not a token of this WMS, or its time is over.
        """
        known = self._signed(token)
        self._in_time(known.document)
        self._check_revoked(known.document)
        return known.bearer

    def name(self, token: str) -> tuple[str, int, Identity]:
        """The id of *token*, when it ends (nanoseconds since 1970), and whom it names.

        Raises:
            UnauthenticatedError: not a token of this WMS.
        """
        known = self._signed(token)
        return str(known.document.get("jti", "")), int(known.document["exp"]) * NANOSECONDS, known.bearer

    def identify_for_renewal(self, token: str, grace_seconds: float) -> Identity:
        """The same, also for a job token whose time is over, for *grace_seconds* after its end.

        Raises:
            UnauthenticatedError: not a token of this WMS, or another than a job token and over.
            FencedAttemptError: a job token that is over for longer.
        """
        known = self._signed(token)
        self._check_revoked(known.document)
        identity = known.bearer
        over_ns = self._clock.utc_ns() - int(known.document["exp"]) * NANOSECONDS
        if over_ns >= 0 and identity.job is None:
            raise UnauthenticatedError(EXPIRED)
        if over_ns > grace_seconds * NANOSECONDS:
            raise FencedAttemptError("fenced: this job token ended too long ago to be renewed")
        return identity

    def _identity(self, document: Mapping[str, Any]) -> Identity | None:
        """Who bears what says *document*; None: it was not made to say so."""
        if "purpose" in document:
            return None
        try:
            reader = self._job_claims(document.get("jobspan_reader"))
            job = self._job_claims(document.get("jobspan")) or reader
            known = frozenset(Role) - OF_JOB_TOKENS
            roles = frozenset(role for role in known if role in document["dirac_properties"])
            return Identity(
                name=str(document["preferred_username"]),
                group=str(document["dirac_group"]),
                vo=str(document["vo"]),
                roles=frozenset({Role.READER if reader else Role.JOB}) if job else roles,
                job=job,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UnauthenticatedError("Invalid JWT") from error

    def presign(self, purpose: str, values: Mapping[str, Any], lifetime_seconds: float) -> str:
        """A permission to do one thing, without any other token, for a short time."""
        document = {**values, "purpose": purpose, "exp": self._expiry(lifetime_seconds)}
        return jwt.encode(document, self.keys.address_secret, algorithm=ADDRESS_ALGORITHM)

    def read_presigned(self, purpose: str, text: str) -> dict[str, Any]:
        """What was permitted.

        Raises:
            UnauthenticatedError: not signed by us, for another purpose, or expired.
        """
        document = self._in_time(_checked(text, self.keys.address_secret, ADDRESS_ALGORITHM))
        if document.get("purpose") != purpose:
            raise UnauthenticatedError("the address was signed for another purpose")
        return document

    def _claims(self, identity: Identity, lifetime_seconds: float) -> dict[str, Any]:
        return {
            "jti": secrets.token_hex(16),
            "iss": self.issuer,
            "sub": identity.subject,
            "vo": identity.vo,
            "preferred_username": identity.name,
            "dirac_group": identity.group,
            "dirac_properties": sorted(identity.roles),
            "exp": self._expiry(lifetime_seconds),
        }

    def _of_job(self, kind: str, who: Identity, claims: JobClaims, lifetime_seconds: float) -> dict[str, Any]:
        document = self._claims(Identity(who.name, who.group, who.vo, frozenset()), lifetime_seconds)
        named = {"job_id": claims.job_id, "attempt": claims.attempt, "claim": claims.claim}
        return {**document, kind: {"wms_id": self._wms_id, **named}}

    def _expiry(self, lifetime_seconds: float) -> int:
        return self._clock.utc_ns() // NANOSECONDS + round(lifetime_seconds)

    def _sign(self, document: dict[str, Any]) -> str:
        self.keys.refresh()
        key = self.keys.current
        token = jwt.encode(document, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})
        self._verified.add(token, _Known(document, key, self._identity(document)))
        return token

    def _signed(self, token: str) -> "_Known":
        """What we have signed, whether its time is over or not.

        Raises:
            UnauthenticatedError: it was not signed by us, or with a key that counts no more.
        """
        self.keys.refresh()
        known = self._verified.get(token)
        if known is not None and known.key is not None and self.keys.is_believed(known.key):
            return known
        key = self._key_of(token)
        if key is None:
            document = _checked(token, self._earlier_key, EARLIER_ALGORITHM)
            return _Known(document, None, self._identity(document))
        document = _checked(token, key.public, ALGORITHM)
        known = _Known(document, key, self._identity(document))
        self._verified.add(token, known)
        return known

    def _key_of(self, token: str) -> SigningKey | None:
        """The key that must have signed *token*: its header only chooses among ours. (None: the earlier secret.)"""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError) as error:
            raise UnauthenticatedError("Invalid JWT") from error
        if header.get("alg") == EARLIER_ALGORITHM and self._earlier_key and self.keys.are_earlier_believed:
            return None
        key = self.keys.get(str(header.get("kid")))
        if key is None:
            raise UnauthenticatedError(
                "Invalid JWT: it was signed with a key that is unknown here, or no longer counts"
            )
        return key

    def _in_time(self, document: dict[str, Any]) -> dict[str, Any]:
        if int(document["exp"]) * NANOSECONDS <= self._clock.utc_ns():
            raise UnauthenticatedError(EXPIRED)
        return document

    def revoke(self, jtis: frozenset[str]) -> None:
        """Accept tokens with these ids no more; of what several threads learn at one time nothing is lost."""
        with self._revoking:
            self.revoked |= jtis

    def _check_revoked(self, document: Mapping[str, Any]) -> None:
        if document.get("jti") in self.revoked:
            raise UnauthenticatedError("Invalid JWT: it was revoked")

    def _job_claims(self, values: Any) -> JobClaims | None:
        if values is None:
            return None
        if values["wms_id"] != self._wms_id:
            raise ValueError("a job of another WMS")
        return JobClaims(int(values["job_id"]), int(values["attempt"]), str(values["claim"]))


@dataclass(frozen=True)
class _Known:
    """What a token says, the key that signed it (None: the earlier secret), and whom it names, if it does."""

    document: dict[str, Any]
    key: SigningKey | None
    identity: Identity | None

    @property
    def bearer(self) -> Identity:
        """Whom it names.

        Raises:
            UnauthenticatedError: nobody; it was made for something else.
        """
        if self.identity is None:
            raise UnauthenticatedError("Invalid JWT")
        return self.identity


class _Verified:
    """What tokens say that were verified, or made, lately: a wrapper shows the same one in every call.

    What is refused is not kept, and expiry is judged anew each time. Keys that change clear it.
    """

    def __init__(self) -> None:
        self._documents: dict[str, _Known] = {}
        self._mutex = threading.Lock()

    def get(self, token: str) -> _Known | None:
        """What *token* says; None: it has not been verified."""
        return self._documents.get(token)

    def add(self, token: str, document: _Known) -> None:
        """Remember it, and forget the oldest when there are too many."""
        with self._mutex:
            self._documents[token] = document
            while len(self._documents) > VERIFIED_TOKENS:
                del self._documents[next(iter(self._documents))]

    def clear(self) -> None:
        """Forget all."""
        with self._mutex:
            self._documents = {}


def _checked(token: str, key: Any, algorithm: str) -> dict[str, Any]:
    """What *token* says, which was signed with *key*, however long ago."""
    options: Any = {"verify_exp": False, "require": ["exp"]}  # expiry by our own clock
    try:
        document: dict[str, Any] = jwt.decode(token, key, algorithms=[algorithm], options=options)
        int(document["exp"])
    except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as error:
        raise UnauthenticatedError("Invalid JWT") from error
    return document
