"""The sender: OTLP over HTTP, in protobuf, where accepted means accepted.

The SDK's exporter takes a redirect, a login page and a partial rejection for success. Here success
is a 200 with an OTLP content type whose `partial_success` was read and rejects nothing. What a
repetition cannot mend (4xx but 401, 408, 429; a rejection by the collector, which the
specification forbids to repeat) is dead; everything else is to be tried again.
"""

import gzip
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import unquote

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


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """What became of a batch. `rejected` counts the items that the collector refused in an otherwise good answer."""

    outcome: Literal["accepted", "retry", "dead"]
    detail: str = ""
    rejected: int = 0
    retry_after_seconds: float | None = None
    #: The batch may have arrived, and the answer was lost: another one may be a copy.
    unanswered: bool = False


class OtlpHttp:
    """A collector at *endpoint* (`/v1/traces` and `/v1/logs` are added). For one thread.

    *headers* are "name=value" with percent-encoded values, as in OTEL_EXPORTER_OTLP_HEADERS;
    *certificate* is a file of certificate authorities.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Sequence[str] = (),
        certificate: str = "",
        proxies: Mapping[str, str] | None = None,
        timeout_seconds: float = 10.0,
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.proxies.update(proxies or {})
        self._session.verify = certificate or True
        self._session.headers.update(
            {"Content-Type": _PROTOBUF, "Content-Encoding": "gzip", "Accept": f"{_PROTOBUF}, {_JSON}"}
        )
        pairs = [_header(item) for item in headers]
        self._session.headers.update(pairs)
        # a collector may quote what it was shown, with and without the scheme before it
        words = [word for _, value in pairs for word in (value, *value.split())]
        self._secrets = sorted({word for word in words if len(word) >= LEAST_SECRET_LENGTH}, key=len, reverse=True)

    def send_spans(self, spans: Sequence[ReadableSpan]) -> SendResult:
        """Send *spans* as one request."""
        return self._send("/v1/traces", span_bytes(spans), ExportTraceServiceResponse())

    def send_logs(self, logs: Sequence[ReadableLogRecord]) -> SendResult:
        """Send *logs* as one request."""
        return self._send("/v1/logs", log_bytes(logs), ExportLogsServiceResponse())

    def send(self, signal: Literal["traces", "logs"], body: bytes) -> SendResult:
        """Send *body*: one export request in protobuf, or several that are joined."""
        answer = ExportTraceServiceResponse() if signal == "traces" else ExportLogsServiceResponse()
        return self._send(f"/v1/{signal}", body, answer)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(
        self, path: str, body: bytes, answer: ExportTraceServiceResponse | ExportLogsServiceResponse
    ) -> SendResult:
        deadline = time.monotonic() + self._timeout_seconds
        try:
            with self._session.post(
                self._endpoint + path,
                data=gzip.compress(body, 5),
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _bounded(response, deadline)
        except (requests.RequestException, TimeoutError, OSError) as error:
            # the class only: messages of requests quote URLs, which may carry a password
            detail = f"no answer from the collector: {type(error).__name__}"
            return SendResult(outcome="retry", detail=detail, unanswered=_may_have_arrived(error))
        result = _judge(response, content, answer)
        return replace(result, detail=self._masked(result.detail))

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:LONGEST_DETAIL]


def _header(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name.strip(), unquote(value.strip())


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


def _judge(
    response: requests.Response, content: bytes, answer: ExportTraceServiceResponse | ExportLogsServiceResponse
) -> SendResult:
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


def _rejected(answer: ExportTraceServiceResponse | ExportLogsServiceResponse) -> int:
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
