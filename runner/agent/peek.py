"""GET /jobs/<JobID>/peek: output of jobs on this node, for their owners and administrators.

Nothing is shown without a token that the WMS takes for the job: the agent cannot verify tokens itself,
so it asks the WMS with the caller's own, and remembers the answer for a moment. The lines come from the
wrapper, which has masked the secrets it knows; the agent masks its own. Control characters are the client's matter.

    stream=stdout|stderr|both   after_stdout=N   after_stderr=N   wait=SECONDS

With `after_...` only lines from that byte on come, and with `wait` the answer comes as soon as there is one.
"""

import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from runner.agent.folders import JobFolder
from runner.errors import JobspanError, NotFoundError, UnauthorizedError, UnavailableError
from runner.wrapper.control import ask
from runner.wrapper.peeking import STREAMS, kept_answer, positions

#: Asks the WMS whether a token may read a job: (token, job id) -> identifier of the WMS; raises if not.
MayRead: TypeAlias = Callable[[str, int], str]
#: How long a yes, and how long a no, of the WMS is remembered.
YES_SECONDS, NO_SECONDS = 15.0, 2.0
#: Callers and jobs that are remembered.
MOST_REMEMBERED = 1024
#: A caller may be so many looks ahead of his rate.
BURST = 8.0
#: Longest wait of one call, and how often the wrapper is asked meanwhile.
MOST_WAIT_SECONDS, LOOK_SECONDS = 5.0, 0.2
#: Waiting calls at one time: the rest of the server's threads are for the metrics.
MOST_WAITING = 4
WRAPPER_SECONDS = 2.0
_PATH = re.compile(r"/jobs/(\d{1,10})/peek")
_WANTED = {"stdout": ("stdout",), "stderr": ("stderr",), "both": STREAMS}
log = logging.getLogger("jobspan.agent")


class _Refused(Exception):
    """The call is answered with *status* and this text."""

    def __init__(self, status: str, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class _Known:
    """What is remembered of a caller and a job; times by the monotonic clock."""

    allowance: float = BURST
    counted_at: float = 0.0
    judged_until: float = 0.0
    wms_id: str = ""
    refusal: _Refused | None = None
    mutex: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class _Question:
    job_id: int
    streams: tuple[str, ...]
    after: Mapping[Any, int]
    wait_seconds: float


class PeekEndpoint:
    """The WSGI application; safe from several threads."""

    def __init__(
        self, jobs: Path, may_read: MayRead, *, redact: Callable[[str], str], requests_per_second: float
    ) -> None:
        """Show what runs below *jobs* to whom *may_read* allows it."""
        self._jobs = jobs
        self._may_read = may_read
        self._redact = redact
        self._rate = requests_per_second
        self._known: dict[tuple[bytes, int], _Known] = {}
        self._mutex = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_WAITING)
        self._pause = threading.Event()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one call with JSON."""
        status, headers = "200 OK", {}
        try:
            body: dict[str, Any] = self._answer(environ)
        except _Refused as refused:
            status, headers, body = refused.status, refused.headers, {"detail": str(refused)}
        except Exception as error:  # noqa: BLE001 - boundary of a request: the caller gets a 500, the agent goes on
            log.error("a peek failed: %r", error)
            status, body = "500 Internal Server Error", {"detail": "the agent's log says why"}
        content = json.dumps(body).encode()
        given = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        start_response(status, list({**given, **headers}.items()))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else content]

    def _answer(self, environ: WSGIEnvironment) -> dict[str, Any]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise _Refused("405 Method Not Allowed", "GET or HEAD only", Allow="GET, HEAD")
        found = _PATH.fullmatch(environ.get("PATH_INFO", ""))
        if found is None:
            raise _Refused("404 Not Found", "here is /jobs/<JobID>/peek")
        job_id = int(found[1])
        scheme, _, token = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.isascii() or not token.isprintable() or not token:
            raise _Refused("401 Unauthorized", "show the token of the job's owner", WWW_Authenticate="Bearer")
        known = self._caller(token, job_id)
        self._limit(known)
        wms_id = self._judge(known, token, job_id)
        question = _question(job_id, environ.get("QUERY_STRING", ""))
        folder = self._folder(job_id, wms_id)
        if not self._places.acquire(blocking=False):
            raise _Refused("429 Too Many Requests", "too many look at output here", Retry_After="1")
        try:
            return self._look(folder, question)
        finally:
            self._places.release()

    def _caller(self, token: str, job_id: int) -> _Known:
        key = hashlib.sha256(token.encode()).digest(), job_id
        with self._mutex:
            known = self._known.pop(key, None) or _Known(counted_at=time.monotonic())
            while len(self._known) >= MOST_REMEMBERED:  # the one that was heard of longest ago
                del self._known[next(iter(self._known))]
            self._known[key] = known
        return known

    def _limit(self, known: _Known) -> None:
        now = time.monotonic()
        with known.mutex:
            known.allowance = min(BURST, known.allowance + (now - known.counted_at) * self._rate)
            known.counted_at = now
            if known.allowance < 1:
                seconds = int((1 - known.allowance) / self._rate) + 1
                raise _Refused("429 Too Many Requests", "too many looks at this job", Retry_After=str(seconds))
            known.allowance -= 1

    def _judge(self, known: _Known, token: str, job_id: int) -> str:
        """The WMS's word on this caller and this job, of now or of a moment ago; no word is a no."""
        with known.mutex:
            if time.monotonic() >= known.judged_until:
                known.wms_id, known.refusal = "", None
                try:
                    known.wms_id = self._may_read(token, job_id)
                except JobspanError as error:
                    known.refusal = _refusal(error)
                known.judged_until = time.monotonic() + (NO_SECONDS if known.refusal else YES_SECONDS)
            if known.refusal is not None:
                refusal = known.refusal
                raise _Refused(refusal.status, str(refusal), **refusal.headers)
            return known.wms_id

    def _folder(self, job_id: int, wms_id: str) -> JobFolder:
        """The newest attempt of the job that is here; a folder may hold jobs of another WMS, with the same numbers."""
        for folder in reversed(JobFolder.of(self._jobs, job_id)):
            try:
                arguments = json.loads((folder.control / f"Wrapper_{job_id}.json").read_text())
            except (OSError, ValueError):  # not submitted yet, or being removed
                continue
            if arguments["Jobspan"]["WMSID"] == wms_id:
                return folder
        raise _Refused("404 Not Found", f"job {job_id} does not run here")

    def _look(self, folder: JobFolder, question: _Question) -> dict[str, Any]:
        deadline = time.monotonic() + question.wait_seconds
        while True:
            streams = self._streams(folder, question)
            is_news = any(each["lines"] or each["ended"] for each in streams.values())
            if is_news or time.monotonic() >= deadline:
                return {"JobID": question.job_id, "Attempt": folder.attempt, "Streams": streams}
            self._pause.wait(LOOK_SECONDS)

    def _streams(self, folder: JobFolder, question: _Question) -> dict[str, Any]:
        try:
            answer = ask(folder.control, {"command": "Peek", "after": question.after}, WRAPPER_SECONDS)
        except OSError:  # no wrapper, or none any more
            try:
                answer = kept_answer(folder.control, question.after)
            except (OSError, ValueError):
                answer = {}
        if not answer.get("accepted"):
            reason = answer.get("reason", "nothing of its output is here")
            raise _Refused("404 Not Found", f"job {question.job_id}: {reason}")
        found = {name: each for name, each in answer["streams"].items() if name in question.streams}
        if not found:
            raise _Refused("404 Not Found", "both streams of this job are in one file: stdout")
        for each in found.values():
            each["lines"] = [[at, self._redact(text)] for at, text in each["lines"]]
            each["open_line"] = self._redact(each["open_line"])
        return found


def _question(job_id: int, query: str) -> _Question:
    given = {name: values[-1] for name, values in parse_qs(query).items()}
    wanted = _WANTED.get(given.get("stream", "both"))
    numbers = {name: given[f"after_{name}"] for name in STREAMS if f"after_{name}" in given}
    try:
        if wanted is None:
            raise ValueError
        wait_seconds = float(given.get("wait", "0"))
        after = positions({name: int(number) for name, number in numbers.items()})
        if len(after) != len(numbers) or not wait_seconds >= 0:
            raise ValueError
    except ValueError:
        raise _Refused(
            "400 Bad Request", "stream is stdout, stderr or both; after_stdout, after_stderr and wait are numbers"
        ) from None
    return _Question(job_id, wanted, after, min(wait_seconds, MOST_WAIT_SECONDS))


def _refusal(error: JobspanError) -> _Refused:
    """What the WMS's no means for the caller. A WMS that is away means: not now."""
    if isinstance(error, UnauthorizedError) and error.status_code == 401:
        return _Refused("401 Unauthorized", "the WMS does not take this token", WWW_Authenticate="Bearer")
    if isinstance(error, NotFoundError):
        return _Refused("404 Not Found", "the WMS knows no such job")
    if isinstance(error, UnavailableError):
        return _Refused("503 Service Unavailable", "the WMS cannot be asked now", Retry_After="2")
    return _Refused("403 Forbidden", "the output of a job is its owner's and the administrators'")
