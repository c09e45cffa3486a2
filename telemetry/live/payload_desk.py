"""Who may hand in telemetry of a payload, how much of it, and what becomes of it. Safe from several threads."""

import hashlib
import hmac
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from telemetry.clock import Clock
from telemetry.live.call_shipper import Allowance
from telemetry.live.lines import append_line, complete_lines
from telemetry.live.otlp import NotOtlp
from telemetry.live.otlp_received import LOGS, TRACES, Received, Signal, Terms, answer, items_in, receive
from telemetry.live.payload_counts import PayloadCounts
from telemetry.live.payload_spool import PayloadKey, held, split, spool, spooled_bytes

#: The control folder of an attempt, by the name of its folder; None: there is none.
Find: TypeAlias = Callable[[str], Path | None]
#: Calls of one job at one time.
MOST_CALLS = 4
#: Bodies of a job that are remembered: one that comes again, because its answer was lost, is not taken twice.
MOST_REMEMBERED = 64
#: Jobs that are remembered.
MOST_JOBS = 1024
FULL_DISK_SECONDS = 10
SIGNALS = {"/v1/traces": TRACES, "/v1/logs": LOGS}
_log = logging.getLogger(__name__)


class Refused(Exception):
    """The call is answered with *status* and this text."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """For each job."""

    requests_per_second: float
    items: int
    total_bytes: int


@dataclass
class _Job:
    """What is known of a job that sends. *used_bytes* counts all that was read for it, also what was refused then."""

    control: Path
    uid: str
    allowance: Allowance
    used_bytes: int
    items: int
    seen: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_REMEMBERED))
    places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MOST_CALLS))
    mutex: threading.Lock = field(default_factory=threading.Lock)
    told: set[int] = field(default_factory=set)

    def tell(self, status: int, text: str) -> None:
        """To the log, what was refused with *status*: once, however often it comes."""
        if status not in self.told:
            self.told.add(status)
            _log.warning("%s: of the telemetry of its payload was refused: %s", self.control.parent.name, text)


class Desk:
    """Takes the telemetry of the payloads whose control folders *find* knows."""

    def __init__(
        self,
        find: Find,
        *,
        limits: Limits,
        mask: Callable[[str], str],
        clock: Clock,
        service_name: str,
        counts: PayloadCounts,
    ) -> None:
        """*mask* hides secrets; *service_name* is that of the site's own telemetry, which no payload may bear."""
        self.counts = counts
        self._find = find
        self._limits = limits
        self._mask = mask
        self._clock = clock
        self._service_name = service_name
        self._jobs: dict[str, _Job] = {}
        self._mutex = threading.Lock()
        #: One at a time: a payload that sends much must not keep the agent from its work.
        self._working = threading.Lock()

    @contextmanager
    def call(self, path: str, authorization: str) -> Iterator["Call"]:
        """Judge a call by its head: whose it is, and whether he may call now.

        Raises:
            Refused: no such path, no valid secret, or too many calls.
        """
        if path == "/v1/metrics":
            raise Refused(
                404, "metrics of payloads are not taken: set OTEL_METRICS_EXPORTER=none, or send spans and logs"
            )
        if (signal := SIGNALS.get(path)) is None:
            raise Refused(404, "here are /v1/traces and /v1/logs")
        job = self._identify(authorization)
        if not job.places.acquire(blocking=False):
            raise Refused(429, "too many calls of this job at one time", Retry_After="1")
        try:
            with job.mutex:
                may_call = job.allowance.take()
            if not may_call:
                pause = str(max(1, math.ceil(1 / self._limits.requests_per_second)))
                raise Refused(429, "too many calls of this job in one second", Retry_After=pause)
            if job.used_bytes >= self._limits.total_bytes or job.items >= self._limits.items:
                raise Refused(413, "this job has used up what it may send")
            yield Call(self, job, signal)
        except Refused as refused:
            job.tell(refused.status, str(refused))
            raise
        finally:
            job.places.release()

    def take(self, job: _Job, signal: Signal, body: bytes, content_type: str) -> bytes:
        """Put what *body* holds into the spool, and answer; on disk on return. A body that came before is known.

        Raises:
            Refused: it is not OTLP, the job has ended, or there is no room.
        """
        digest = hashlib.sha256(signal.name.encode() + body).digest()
        with job.mutex, self._working:
            if digest in job.seen:
                self.counts.again()
                return answer(signal, Received(line=b"", items=0), content_type)
            job.used_bytes += len(body)
            self.counts.read(signal.name, len(body))
            if job.used_bytes > self._limits.total_bytes:
                raise Refused(413, "this job has used up what it may send")
            with held(job.control) as key:
                if key is None or key.uid != job.uid:
                    raise Refused(401, "the job has ended", WWW_Authenticate="Bearer")
                received = self._receive(job, key, signal, body, content_type)
                self._keep(job, signal, received)
            if received.rejected:
                job.tell(200, received.reason)
            job.items += received.items
            job.seen.append(digest)
            self.counts.taken(signal.name, items=received.items, refused=received.rejected)
        return answer(signal, received, content_type)

    def _receive(self, job: _Job, key: PayloadKey, signal: Signal, body: bytes, content_type: str) -> Received:
        def mask(text: str) -> str:
            for secret in (key.secret, *key.hidden):
                text = text.replace(secret, "***")
            return self._mask(text)

        terms = Terms(
            key=key,
            now_utc_ns=self._clock.utc_ns(),
            room=self._limits.items - job.items,
            mask=mask,
            service_name=self._service_name,
        )
        try:
            return receive(signal, body, content_type, terms)
        except NotOtlp as error:
            raise Refused(400, str(error)) from error

    def _keep(self, job: _Job, signal: Signal, received: Received) -> None:
        if not received.line:
            return
        try:
            append_line(spool(job.control, signal.name), received.line)
        except OSError as error:
            why = f"there is no room for it now: {error.strerror}"
            raise Refused(503, why, Retry_After=str(FULL_DISK_SECONDS)) from error

    def _identify(self, authorization: str) -> _Job:
        scheme, _, token = authorization.partition(" ")
        name, secret = split(token.strip())
        control = self._find(name) if scheme.lower() == "bearer" and secret else None
        if control is not None:
            with held(control) as key:
                if key is not None and hmac.compare_digest(key.secret.encode(), secret.encode()):
                    return self._known(name, control, key)
        raise Refused(401, "this is no job's secret, or the job has ended", WWW_Authenticate="Bearer")

    def _known(self, name: str, control: Path, key: PayloadKey) -> _Job:
        with self._mutex:
            job = self._jobs.pop(name, None)
            if job is None or job.uid != key.uid:  # an agent before us may have taken something
                job = _Job(
                    control=control,
                    uid=key.uid,
                    allowance=Allowance(self._limits.requests_per_second, time.monotonic),
                    used_bytes=spooled_bytes(control),
                    items=sum(_spooled_items(control, signal) for signal in SIGNALS.values()),
                )
            while len(self._jobs) >= MOST_JOBS:  # the one that was heard of longest ago
                del self._jobs[next(iter(self._jobs))]
            self._jobs[name] = job
            return job


@dataclass(frozen=True)
class Call:
    """One that may be heard: its body is to be read."""

    desk: Desk
    job: _Job
    signal: Signal

    def take(self, body: bytes, content_type: str) -> bytes:
        """See `Desk.take`."""
        return self.desk.take(self.job, self.signal, body, content_type)


def _spooled_items(control: Path, signal: Signal) -> int:
    return sum(items_in(signal, line) for _, line in complete_lines(spool(control, signal.name)))
