"""Who an attempt is, everywhere the same: UID, trace id, span ids. Pure.

All ids follow from the UID, so that whoever replays a journal renders the very spans that the
dead wrapper would have, and a second copy of anything is recognised as a copy.
"""

import hashlib
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

#: The name under which a user stands in what leaves the site.
UserName: TypeAlias = Callable[[str], str]

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED = 1
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: How a name looks that is none any more.
_PSEUDONYM = re.compile(r"hashed-[0-9a-f]{32}")


def attempt_uid(wms_id: str, job_id: int, attempt: int) -> str:
    """UID of one attempt: uuid5 of the WMS's random id and "JobID/Attempt"."""
    return str(uuid.uuid5(uuid.UUID(wms_id), f"{job_id}/{attempt}"))


def is_attempt_uid(text: str) -> bool:
    """Whether *text* may be an `attempt_uid`: no other system names its jobs so."""
    return _UID.fullmatch(text) is not None


def diracx_wms_id(issuer: str, vo: str) -> str:
    """WMSID of a DiracX server for one VO, which has none of its own: uuid5 of the issuer of its tokens and the VO."""
    return str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, issuer), vo))


def submission_uid(wms_id: str, job_id: int) -> str:
    """UID of a job's submission, which is a trace of its own; attempts link to it."""
    return str(uuid.uuid5(uuid.UUID(wms_id), f"{job_id}/submit"))


@lru_cache(maxsize=64)  # asked for with every span
def trace_id(uid: str) -> str:
    """32 hex digits: the first 16 bytes of sha256(UID)."""
    return hashlib.sha256(uid.encode()).digest()[:16].hex()


def span_id(uid: str, path: str, sequence: int = 0) -> str:
    """16 hex digits for the *sequence*-th span at *path* (such as ``job/execute``) of an attempt."""
    return hashlib.sha256(f"{uid}\n{path}\n{sequence}".encode()).digest()[:8].hex()


def pseudonym(key: bytes, name: str) -> str:
    """*name* as a keyed hash: the same wherever the key is the same, and of no use without it. Of one, itself."""
    if _PSEUDONYM.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(), key=hashlib.sha512(key).digest(), digest_size=16)
    return f"hashed-{digest.hexdigest()}"


def traceparent(trace: str, span: str) -> str:
    """W3C trace context, version 00, sampled."""
    return f"00-{trace}-{span}-01"


@dataclass(frozen=True)
class TraceContext:
    """A span of somebody else's, as a `traceparent` header names it."""

    trace_id: str
    span_id: str
    is_sampled: bool


def parse_traceparent(text: str) -> TraceContext | None:
    """What a W3C `traceparent` says; None if it is none (versions to come may say more, in this form)."""
    found = _TRACEPARENT.fullmatch(text)
    return TraceContext(found[1], found[2], bool(int(found[3], 16) & _SAMPLED)) if found else None
