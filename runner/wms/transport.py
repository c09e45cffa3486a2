"""One HTTP call to the WMS: sent, bounded in time and size, and every failure one of our errors.

No message carries a token: they are made here from our own words, the server's `detail` (bounded,
our token masked) and the operating system's reason.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

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
from runner.wms.connections import (
    Connections,
    HTTPError,
    NoAnswerError,
    Response,
    may_have_arrived,
    read_bounded,
    unreachable,
    was_reset,
)
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
    """Calls to one WMS. Safe from several threads; not across a fork."""

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
        self._connections = Connections(http, self.url)
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
        self._connections.close()

    def _observed(self, request: Request, token: str) -> Answer:
        start = self._clock.boottime_ns()
        status_code, error_type = 0, ""
        try:
            response, content = self._exchange(request, token)
            status_code = response.status
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

    def _exchange(self, request: Request, token: str) -> tuple[Response, bytes]:
        try:
            return self._send(request, token)
        except HTTPError as error:
            self._note_loss(error)
            # A kept-alive connection that the server has closed fails on its next use.
            if not request.repeatable or not was_reset(error):
                raise unreachable(error, self.url) from error
        except UnavailableError:  # an answer without end
            self.lost_answers += 1
            raise
        try:
            return self._send(request, token)
        except HTTPError as error:
            self._note_loss(error)
            raise unreachable(error, self.url) from error

    def _note_loss(self, error: HTTPError) -> None:
        if may_have_arrived(error):
            self.lost_answers += 1

    def _send(self, request: Request, token: str) -> tuple[Response, bytes]:
        headers = {"Accept": "application/json", **request.headers}
        if self.traceparent:
            headers.setdefault("traceparent", self.traceparent)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        body, kind = _encoded(request)
        if kind:
            headers["Content-Type"] = kind
        query = f"?{urlencode(request.query)}" if request.query else ""
        patience = self.timeout_seconds + request.patience_seconds
        sent = self._clock.utc_ns()
        with self._connections.call(
            request.method,
            f"{self.url}{request.path}{query}",
            body=body,
            headers=headers,
            connect_seconds=self.timeout_seconds,
            answer_seconds=patience,
        ) as response:
            self._note_date(response, sent)
            return response, read_bounded(response, LARGEST_ANSWER_BYTES, patience)

    def _note_date(self, response: Response, sent_utc_ns: int) -> None:
        try:
            moment = parsedate_to_datetime(response.headers.get("Date", ""))
            self.offset.saw(int(moment.timestamp()), sent_utc_ns, self._clock.utc_ns())
        except (ValueError, TypeError, OverflowError):  # no or no sensible Date: then nothing is learnt
            return

    def _judge(self, request: Request, response: Response, content: bytes, token: str) -> Answer:
        code = response.status
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

    def _json(self, response: Response, content: bytes, *, required: bool) -> Any:
        if not required and not content:
            return None
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "application/problem+json"):
            if not required:
                return None
            raise UnavailableError(
                f"{self.url} answered with {kind or 'nothing that it names'} instead of JSON"
                f" (HTTP {response.status}); is that the WMS?"
            )
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise UnavailableError(f"{self.url} answered with damaged JSON (HTTP {response.status})") from error


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


def _encoded(request: Request) -> tuple[bytes | None, str]:
    """The body of *request*, and what it is."""
    if request.form is not None:
        return urlencode(request.form).encode(), "application/x-www-form-urlencoded"
    if request.body is None:
        return None, ""
    return json.dumps(request.body, allow_nan=False, separators=(",", ":")).encode(), "application/json"


def _kind(error: UnavailableError) -> str:
    return "timeout" if isinstance(error, NoAnswerError) else "connection"


def _retry_after(response: Response) -> float | None:
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
