"""A payload's own telemetry until it is shipped: the key that lets it in, and the spool. Both in the control folder.

The key is a file with the secret of the job. Whoever puts something into the spool holds the lock of that file, and so
does whoever takes the key away: nothing comes in behind the end. The spool is a file of OTLP/JSON lines a signal.
"""

import fcntl
import json
import math
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from telemetry.outbox import Acknowledgements

SignalName: TypeAlias = Literal["traces", "logs"]
SIGNALS: tuple[SignalName, ...] = ("traces", "logs")
KEY = "payload_telemetry.json"
#: Who takes the spools, and the one name of an attempt's among their acknowledgements.
FILE_SINK, HTTP_SINK = "payload-otlp-file", "payload-otlp-http"
ITEM = "payload"
#: Between the name of an attempt's folder and its secret.
_MARK = "~"
#: Between two looks at a lock that somebody holds.
_LOOK_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class PayloadKey:
    """Whose telemetry it is that comes with *secret*. *since_utc_ns* is when that began; *hidden* is what the job has
    brought along that nobody else may see."""

    secret: str
    uid: str
    job_id: int
    attempt: int
    service_name: str
    since_utc_ns: int
    hidden: Sequence[str] = ()

    @classmethod
    def new(
        cls,
        *,
        uid: str,
        job_id: int,
        attempt: int,
        service_name: str,
        since_utc_ns: int,
        hidden: Sequence[str] = (),
    ) -> "PayloadKey":
        """With a secret of its own."""
        return cls(
            secret=secrets.token_urlsafe(32),
            uid=uid,
            job_id=job_id,
            attempt=attempt,
            service_name=service_name,
            since_utc_ns=since_utc_ns,
            hidden=hidden,
        )

    def token(self, control: Path) -> str:
        """What the payload shows: where its attempt is, and the secret."""
        return f"{control.parent.name}{_MARK}{self.secret}"


def split(token: str) -> tuple[str, str]:
    """The name of the attempt's folder in *token*, and the secret; empty ones if it is no such token."""
    name, _, secret = token.partition(_MARK)
    return name, secret


def issue(control: Path, key: PayloadKey) -> None:
    """From now on *key* lets telemetry in.

    Raises:
        OSError: it cannot be written down.
    """
    fd = os.open(control / KEY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(asdict(key), file)


@contextmanager
def held(control: Path, within_seconds: float = math.inf) -> Iterator[PayloadKey | None]:
    """The key of the attempt in *control*, which nobody takes away meanwhile; None: there is none, or no more.

    Raises:
        TimeoutError: somebody holds it for longer, such as an agent that was stopped.
    """
    try:
        fd = os.open(control / KEY, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    try:
        _lock(fd, within_seconds)
        yield _read(fd) if os.fstat(fd).st_nlink else None
    finally:
        os.close(fd)


def void(control: Path, within_seconds: float = math.inf) -> bool:
    """From now on nothing more comes in; whether that could be done in time. Idempotent."""
    try:
        with held(control, within_seconds):
            (control / KEY).unlink(missing_ok=True)
    except TimeoutError:
        return False
    return True


def spool(control: Path, signal: SignalName) -> Path:
    """The file of that signal."""
    return control / f"payload_{signal}.jsonl"


def has_spool(control: Path) -> bool:
    """Whether the payload in *control* has sent anything."""
    return any(spool(control, signal).exists() for signal in SIGNALS)


def owes(control: Path, sink: str) -> bool:
    """Whether there is a spool that *sink* has not settled."""
    return has_spool(control) and Acknowledgements(control, sink).outcome(ITEM) is None


def spooled_bytes(control: Path) -> int:
    """How much has come in."""
    return sum(path.stat().st_size for signal in SIGNALS if (path := spool(control, signal)).exists())


def _lock(fd: int, within_seconds: float) -> None:
    if within_seconds == math.inf:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    deadline, pause = time.monotonic() + within_seconds, threading.Event()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError("the key is held") from None
            pause.wait(_LOOK_SECONDS)
        else:
            return


def _read(fd: int) -> PayloadKey | None:
    try:
        return PayloadKey(**json.loads(os.read(fd, os.fstat(fd).st_size)))
    except (ValueError, TypeError):  # not written to its end, or by another version
        return None
