"""One HTTP call to the WMS: sent, bounded in time and size, and every failure one of our errors.

No message carries a token: they are made here from our own words, the server's `detail` (bounded,
our token masked) and the operating system's reason.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from runner.config import HttpConfig
from runner.errors import (
    ConfigError,
    FencedError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from runner.wms.clock_offset import ClockOffset
from runner.wms.tokens import TokenSource
from telemetry.clock import Clock, SystemClock

FENCED_HEADER = "Jobspan-Fenced"
#: More than any honest answer; a page of a thousand accounting records has about 2 MB.
LARGEST_ANSWER_BYTES = 64 << 20
LONGEST_DETAIL = 300
#: Refusals that repetition may overcome: no time, too early, too many.
TEMPORARY_STATUS_CODES = frozenset({408, 425, 429})


@dataclass(frozen=True)
class HttpCall:
    """A call that was made, for a sub-span. `status_code` is 0 when no answer came."""

    method: str
    template: str
    status_code: int
    start_boottime_ns: int
    end_boottime_ns: int
    error_type: str = ""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to ask. *template* is the path with `{id}` for numbers: it has few values, for spans."""

    method: str
    path: str
    template: str = ""
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: object = None
    #: Fields of a form, instead of a JSON body.
    form: Mapping[str, str] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Whether the same call twice is as good as once, so that it may be repeated after a reset.
    repeatable: bool = True
    #: How long the server itself may wait before it answers (long poll), on top of the timeout.
    patience_seconds: float = 0.0
    #: Status codes that are an answer and no error.
    answers: frozenset[int] = frozenset()
    authorized: bool = True


@dataclass(frozen=True)
class Answer:
    """What came back: `body` is parsed JSON, None when there is none."""

    status_code: int
    headers: Mapping[str, str]
    body: Any


class Transport:
    """Calls to one WMS. Safe from several threads; not across a fork.

    A call takes a session that is free, so that threads which call in turns share one connection.
    """

    def __init__(
        self,
        url: str,
        token: TokenSource | None,
        *,
        http: HttpConfig,
        timeout_seconds: float,
        observe: Callable[[HttpCall], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Nothing is sent yet.

        Raises:
            ConfigError: *url* is no address of a WMS, or carries a password.
        """
        self.url = checked_url(url)
        self.offset = ClockOffset()
        self._token = token
        self.http = http
        self.timeout_seconds = timeout_seconds
        self._observe = observe
        self._clock = clock or SystemClock()
        #: The `traceparent` of every call that names no other: the WMS's own spans of them belong to it.
        self.traceparent = ""
        self._mutex = threading.Lock()
        self._sessions: set[requests.Session] = set()
        self._free: list[requests.Session] = []
        #: Calls that may have had their effect, and whose answers were lost: what follows may be a copy.
        self.lost_answers = 0

    def call(self, request: Request) -> Answer:
        """Send *request* and return its answer.

        Raises:
            UnavailableError: no answer, or one that may be better later.
            RefusedError, FencedError, UnauthorizedError, NotFoundError: the WMS said no.
        """
        token = self._token.token() if self._token and request.authorized else ""
        try:
            return self._observed(request, token)
        except UnauthorizedError as error:
            if error.status_code != 401 or self._token is None or not self._token.renewed(token):
                raise
            return self._observed(request, self._token.token())

    def close(self) -> None:
        """Close all connections."""
        with self._mutex:
            sessions, self._sessions, self._free = self._sessions, set(), []
        for session in sessions:
            session.close()

    def _observed(self, request: Request, token: str) -> Answer:
        start = self._clock.boottime_ns()
        status_code, error_type = 0, ""
        try:
            response, content = self._exchange(request, token)
            status_code = response.status_code
            return self._judge(request, response, content, token)
        except UnavailableError as error:
            error_type = f"http_{status_code}" if status_code else _kind(error)
            raise
        except RefusedError as error:
            error_type = "fenced" if isinstance(error, FencedError) else f"http_{status_code}"
            raise
        finally:
            self.note(request.method, request.template or request.path, status_code, start, error_type)

    def note(self, method: str, template: str, status_code: int, start_boottime_ns: int, error_type: str) -> None:
        """Tell the observer of a call that ends now."""
        if self._observe:
            end = self._clock.boottime_ns()
            self._observe(HttpCall(method, template, status_code, start_boottime_ns, end, error_type))

    def _exchange(self, request: Request, token: str) -> tuple[requests.Response, bytes]:
        try:
            return self._send(request, token)
        except requests.ConnectionError as error:
            self._note_loss(error)
            # A kept-alive connection that the server has closed fails on its next use.
            if not request.repeatable or not _was_reset(error):
                raise unreachable(error, self.url) from error
        except requests.RequestException as error:
            self._note_loss(error)
            raise unreachable(error, self.url) from error
        except UnavailableError:  # an answer without end
            self.lost_answers += 1
            raise
        try:
            return self._send(request, token)
        except requests.RequestException as error:
            self._note_loss(error)
            raise unreachable(error, self.url) from error

    def _note_loss(self, error: requests.RequestException) -> None:
        """A call that failed with *error* may have arrived, unless there was not even a connection."""
        if isinstance(error, requests.ConnectTimeout):
            return
        if not isinstance(error, requests.ConnectionError) or _was_reset(error) or "timed out" in str(error):
            self.lost_answers += 1

    def _send(self, request: Request, token: str) -> tuple[requests.Response, bytes]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **request.headers}
        if self.traceparent:
            headers.setdefault("traceparent", self.traceparent)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        patience = self.timeout_seconds + request.patience_seconds
        sent = self._clock.utc_ns()
        with (
            self._session() as session,
            contextlib.closing(
                session.request(
                    request.method,
                    self.url + request.path,
                    params=dict(request.query),
                    data=_encoded(request.body) if request.form is None else dict(request.form),
                    headers=headers | ({"Content-Type": "application/json"} if request.body is not None else {}),
                    timeout=(self.timeout_seconds, patience),
                    allow_redirects=False,
                    stream=True,
                )
            ) as response,
        ):
            self._note_date(response, sent)
            return response, read_bounded(response, LARGEST_ANSWER_BYTES, patience)

    @contextlib.contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """A session for one call."""
        with self._mutex:
            session = self._free.pop() if self._free else None
        if session is None:
            session = new_session(self.http, self.url)
            with self._mutex:
                self._sessions.add(session)
        try:
            yield session
        finally:
            with self._mutex:
                if session in self._sessions:  # else we were closed meanwhile
                    self._free.append(session)

    def _note_date(self, response: requests.Response, sent_utc_ns: int) -> None:
        try:
            moment = parsedate_to_datetime(response.headers.get("Date", ""))
            self.offset.saw(int(moment.timestamp()), sent_utc_ns, self._clock.utc_ns())
        except (ValueError, TypeError, OverflowError):  # no or no sensible Date: then nothing is learnt
            return

    def _judge(self, request: Request, response: requests.Response, content: bytes, token: str) -> Answer:
        code = response.status_code
        if code >= 500 or code in TEMPORARY_STATUS_CODES:
            raise UnavailableError(
                f"the WMS at {self.url} cannot answer now (HTTP {code})", retry_after_seconds=_retry_after(response)
            )
        if 300 <= code < 400:
            raise UnavailableError(
                f"{self.url} sends us elsewhere (HTTP {code}); the address of the WMS ([WMS] URL) is not right"
            )
        body = self._json(response, content, required=code not in (204, 413, 414))
        if code < 300 or code in request.answers:
            return Answer(code, response.headers, body)
        detail = _detail(body, token)
        raise _refusal(code, FENCED_HEADER in response.headers, f"the WMS refused it (HTTP {code}): {detail}")

    def _json(self, response: requests.Response, content: bytes, *, required: bool) -> Any:
        if not required and not content:
            return None
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "application/problem+json"):
            if not required:
                return None
            raise UnavailableError(
                f"{self.url} answered with {kind or 'nothing that it names'} instead of JSON"
                f" (HTTP {response.status_code}); is that the WMS?"
            )
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UnavailableError(f"{self.url} answered with damaged JSON (HTTP {response.status_code})") from error


class NoAnswerError(UnavailableError):
    """The time for an answer is over."""


def unreachable(error: requests.RequestException, url: str) -> UnavailableError:
    """*error* of a call to *url* in our words."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return NoAnswerError(f"the WMS at {url} did not answer in time")
    return UnavailableError(f"cannot reach the WMS at {url}: {_reason(error)}")


def checked_url(url: str) -> str:
    """*url* without a slash at its end.

    Raises:
        ConfigError: it is no http address, or carries a user or password (which would also replace our token).
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        parts, valid = urlsplit(""), False
    if parts.username is not None or parts.password is not None:
        raise ConfigError("the address of the WMS must not carry a user or password; tokens are in files")
    if not valid or parts.query or parts.fragment:
        raise ConfigError(f"{url!r} is not the address of a WMS; it looks like http://host:port")
    return url.rstrip("/")


def new_session(http: HttpConfig, url: str) -> requests.Session:
    """A session that takes proxies and certificate authorities from *http* alone, and never a netrc."""
    session = requests.Session()
    session.trust_env = False
    if not _bypasses_proxy(urlsplit(url).hostname or "", http.proxies.get("no_proxy", "")):
        session.proxies = {scheme: proxy for scheme, proxy in http.proxies.items() if scheme != "no_proxy"}
    session.verify = http.ca_bundle or True
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def read_bounded(response: requests.Response, largest_bytes: int, patience_seconds: float) -> bytes:
    """The content, unless it is larger than *largest_bytes* or drips in for longer than *patience_seconds*.

    Raises:
        UnavailableError: it was.
    """
    deadline = time.monotonic() + patience_seconds
    parts, size = [], 0
    for part in response.iter_content(1 << 16):
        parts.append(part)
        size += len(part)
        if size > largest_bytes:
            raise UnavailableError(f"an answer of more than {largest_bytes} bytes; is that the WMS?")
        if time.monotonic() > deadline:
            raise NoAnswerError(f"the answer did not end within {patience_seconds:g} s")
    return b"".join(parts)


def _bypasses_proxy(host: str, no_proxy: str) -> bool:
    """Whether *host* is reached directly: a name or ending in *no_proxy* (comma separated), or loopback."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return True
    entries = [entry.strip().lstrip(".").lower() for entry in no_proxy.split(",") if entry.strip()]
    return any(entry == "*" or host == entry or host.endswith(f".{entry}") for entry in entries)


def _encoded(body: object) -> bytes | None:
    return None if body is None else json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def _was_reset(error: requests.ConnectionError) -> bool:
    words = str(error)
    return any(sign in words for sign in ("Connection aborted", "RemoteDisconnected", "Connection reset", "BrokenPipe"))


def _reason(error: BaseException) -> str:
    """The operating system's own words for *error*; they carry no address and no secret."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(seen) < 20:
        each = queue.pop(0)
        if not isinstance(each, BaseException) or each in seen:
            continue
        if isinstance(each, OSError) and each.strerror and not isinstance(each, requests.RequestException):
            return each.strerror
        seen.append(each)
        queue += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return type(error).__name__


def _kind(error: UnavailableError) -> str:
    return "timeout" if isinstance(error, NoAnswerError) else "connection"


def _retry_after(response: requests.Response) -> float | None:
    """The header's seconds, or the seconds until its date by the server's own clock."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        then = parsedate_to_datetime(value)
        now = parsedate_to_datetime(response.headers.get("Date", ""))
        return max(0.0, (then - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _detail(body: object, token: str) -> str:
    detail = body.get("detail", body) if isinstance(body, dict) else body
    words = detail if isinstance(detail, str) else json.dumps(detail)
    if token:
        words = words.replace(token, "***")
    words = "".join(each if each.isprintable() else " " for each in words)
    return words if len(words) <= LONGEST_DETAIL else f"{words[:LONGEST_DETAIL]}..."


def _refusal(code: int, fenced: bool, message: str) -> RefusedError:
    if code == 409 and fenced:
        return FencedError(message, status_code=code)
    kind = {401: UnauthorizedError, 403: UnauthorizedError, 404: NotFoundError}.get(code, RefusedError)
    return kind(message, status_code=code)
