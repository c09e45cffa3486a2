"""The sender: OTLP over HTTP, in protobuf, where accepted means accepted.

The SDK's exporter takes a redirect, a login page and a partial rejection for success. Here success
is a 200 with an OTLP content type whose `partial_success` was read and rejects nothing. What a
repetition cannot mend (4xx but 401, 408, 429; a rejection by the collector, which the
specification forbids to repeat) is dead; everything else is to be tried again.
"""

import gzip
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, Self, TypeAlias

import requests
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from telemetry.live.otlp import log_bytes, span_bytes
from telemetry.live.sdk import ReadableLogRecord, ReadableSpan

MOST_ANSWER_BYTES = 64 << 10
MOST_RETRY_AFTER_SECONDS = 300.0
LONGEST_DETAIL = 300
#: Of a header's value: shorter words are ordinary ones.
LEAST_SECRET_LENGTH = 8
_TRY_AGAIN = frozenset({401, 408, 429})
_PROTOBUF = "application/x-protobuf"
_JSON = "application/json"
_Answer: TypeAlias = ExportTraceServiceResponse | ExportLogsServiceResponse
_PACK: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 1),
    "deflate": lambda body: zlib.compress(body, 1),
}


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """What became of a batch. `rejected` counts the items that the collector refused in an otherwise good answer."""

    outcome: Literal["accepted", "retry", "dead"]
    detail: str = ""
    rejected: int = 0
    retry_after_seconds: float | None = None
    #: The batch may have arrived, and the answer was lost: another one may be a copy.
    unanswered: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where one signal goes, and how. *certificate* is a file of certificate authorities, *token_file* one with a
    bearer token, which is read again when the collector does not take it any more."""

    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token_file: str = ""
    timeout_seconds: float = 10.0
    compression: str = "gzip"
    certificate: str = ""
    client_certificate: str = ""
    client_key: str = ""
    proxies: Mapping[str, str] = field(default_factory=dict)


class OtlpHttp:
    """A collector, or two: each signal has its own target, and what has none is not sent. For one thread."""

    def __init__(self, *, traces: Target | None, logs: Target | None) -> None:
        self._doors: Mapping[str, tuple[_Door | None, type[_Answer]]] = {
            "traces": (_Door(traces) if traces else None, ExportTraceServiceResponse),
            "logs": (_Door(logs) if logs else None, ExportLogsServiceResponse),
        }

    @classmethod
    def at(cls, endpoint: str, **how: object) -> Self:
        """The collector at *endpoint*: `/v1/traces` and `/v1/logs` below it; *how* as in `Target`."""
        base = endpoint.rstrip("/")
        traces, logs = (Target(url=f"{base}/v1/{signal}", **how) for signal in ("traces", "logs"))  # type: ignore[arg-type]
        return cls(traces=traces, logs=logs)

    def send_spans(self, spans: Sequence[ReadableSpan]) -> SendResult:
        """Send *spans* as one request."""
        return self.send("traces", span_bytes(spans))

    def send_logs(self, logs: Sequence[ReadableLogRecord]) -> SendResult:
        """Send *logs* as one request."""
        return self.send("logs", log_bytes(logs))

    def send(self, signal: Literal["traces", "logs"], body: bytes) -> SendResult:
        """Send *body*: one export request in protobuf, or several that are joined. An empty one is not sent."""
        door, answer = self._doors[signal]
        return door.send(body, answer()) if door and body else SendResult(outcome="accepted")

    def close(self) -> None:
        """Close the connections."""
        for door, _ in self._doors.values():
            if door is not None:
                door.close()


class _Door:
    """One target, its connection, and what must not be quoted of it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pack = _PACK.get(target.compression)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.proxies.update(target.proxies)
        self._session.verify = target.certificate or True
        if target.client_certificate:
            key = target.client_key
            self._session.cert = (target.client_certificate, key) if key else target.client_certificate
        self._session.headers.update({"Content-Type": _PROTOBUF, "Accept": f"{_PROTOBUF}, {_JSON}"})
        if self._pack:
            self._session.headers["Content-Encoding"] = target.compression
        self._session.headers.update(target.headers)
        # a collector may quote what it was shown, with and without the scheme before it
        self._words = [word for _, value in target.headers for word in (value, *value.split())]
        self._token = ""

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def send(self, body: bytes, answer: _Answer) -> SendResult:
        """One request, and another one when a token had expired of which there is a new one."""
        if self._target.token_file and not self._token and not self._read_token():
            return SendResult(outcome="retry", detail="the file with the collector's token cannot be read, or is empty")
        packed = self._pack(body) if self._pack else body
        result, status = self._post(packed, answer)
        if status == 401 and self._target.token_file:
            refused = self._token
            if self._read_token() and self._token != refused:
                result, _ = self._post(packed, answer)
        return replace(result, detail=self._masked(result.detail))

    def _post(self, packed: bytes, answer: _Answer) -> tuple[SendResult, int]:
        """What became of it, and the status code; 0 without an answer."""
        deadline = time.monotonic() + self._target.timeout_seconds
        try:
            with self._session.post(
                self._target.url,
                data=packed,
                timeout=self._target.timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _bounded(response, deadline)
        except (requests.RequestException, TimeoutError, OSError) as error:
            # the class only: messages of requests quote URLs, which may carry a password
            detail = f"no answer from the collector: {type(error).__name__}"
            return SendResult(outcome="retry", detail=detail, unanswered=_may_have_arrived(error)), 0
        return _judge(response, content, answer), response.status_code

    def _read_token(self) -> bool:
        """Whether the file holds a token; it is sent from now on."""
        try:
            self._token = Path(self._target.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return False
        if self._token:
            self._session.headers["Authorization"] = f"Bearer {self._token}"
        return bool(self._token)

    def _masked(self, text: str) -> str:
        secrets = {word for word in (*self._words, self._token) if len(word) >= LEAST_SECRET_LENGTH}
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text[:LONGEST_DETAIL]


def _bounded(response: requests.Response, deadline: float) -> bytes:
    """The answer's first bytes; a collector that trickles is cut off at *deadline* (monotonic seconds)."""
    content = b""
    for chunk in response.iter_content(4096):
        content += chunk
        if len(content) > MOST_ANSWER_BYTES:
            raise TimeoutError("the answer does not end")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return content


def _may_have_arrived(error: Exception) -> bool:
    """Not so when there was not even a connection."""
    refused = isinstance(error, requests.ConnectionError) and "NewConnectionError" in repr(error)
    return not (refused or isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError))


def _judge(response: requests.Response, content: bytes, answer: _Answer) -> SendResult:
    status = response.status_code
    if status != 200:
        dead = 400 <= status < 500 and status not in _TRY_AGAIN
        return SendResult(
            outcome="dead" if dead else "retry",
            detail=f"the collector answered {status}",
            retry_after_seconds=_retry_after(response),
        )
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        if kind == _PROTOBUF:
            answer.ParseFromString(content)
        elif kind == _JSON:
            Parse(content or b"{}", answer, ignore_unknown_fields=True)
        else:
            return SendResult(outcome="retry", detail=f"200 with {kind or 'no content type'} is not a collector")
    except (DecodeError, ParseError, UnicodeDecodeError):
        return SendResult(outcome="retry", detail="200 with an answer that is not OTLP")
    partial = answer.partial_success
    if rejected := _rejected(answer):
        return SendResult(outcome="dead", detail=partial.error_message or "rejected", rejected=rejected)
    return SendResult(outcome="accepted", detail=partial.error_message)


def _rejected(answer: _Answer) -> int:
    if isinstance(answer, ExportTraceServiceResponse):
        return answer.partial_success.rejected_spans
    return answer.partial_success.rejected_log_records


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the collector asks us to wait: a number, or a date against its own Date header."""
    text = response.headers.get("Retry-After", "")
    try:
        if text.isdigit():
            seconds = float(text)
        else:
            now = parsedate_to_datetime(response.headers["Date"])
            seconds = (parsedate_to_datetime(text) - now).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_SECONDS)
