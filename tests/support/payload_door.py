"""A door for telemetry of payloads, open for one attempt, and what may be sent through it."""

import gzip
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.identity import span_id, trace_id
from telemetry.live import payload_http
from telemetry.live.lines import complete_lines
from telemetry.live.otlp import SpanValue, spans_of
from telemetry.live.payload_counts import PayloadCounts
from telemetry.live.payload_desk import Desk, Limits
from telemetry.live.payload_door import PayloadDoor
from telemetry.live.payload_spool import PayloadKey, issue, spool
from tests.support.attempts import uid_of

SECRET = "correct-horse-battery"
#: What the job brings along.
OWN_SECRET = "own-horse-battery"
LIMITS = Limits(requests_per_second=1000.0, items=1000, total_bytes=1 << 20)
DEADLINE_SECONDS = 20.0


@dataclass
class Answer:
    """What the door said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of an answer to a call in JSON."""
        return json.loads(self.body)


@dataclass
class Doorway:
    """The open door, and the attempt that may use it."""

    door: PayloadDoor
    control: Path
    key: PayloadKey
    counts: PayloadCounts

    @property
    def token(self) -> str:
        """What lets the attempt's payload in."""
        return self.key.token(self.control)

    def post(self, path: str, body: bytes, token: str | None = None, **headers: str) -> Answer:
        """One call, in JSON unless *headers* say otherwise ("Content_Type")."""
        given = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, body, given)

    def call(self, method: str, path: str, body: Any, headers: Mapping[str, str], **how: Any) -> Answer:
        """Any call."""
        address = self.door.url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=DEADLINE_SECONDS)
        try:
            connection.request(method, path, body, dict(headers), **how)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def send(self, *spans: Mapping[str, Any], **resource: Any) -> Answer:
        """*spans* in JSON."""
        return self.post("/v1/traces", traces(*spans, **resource))

    def spans(self) -> list[SpanValue]:
        """What stands in the spool."""
        return [span for _, line in complete_lines(spool(self.control, "traces")) for span in spans_of(line)]

    def logs(self) -> list[dict[str, Any]]:
        """What stands in the spool, as it stands there."""
        lines = [json.loads(line) for _, line in complete_lines(spool(self.control, "logs"))]
        return [
            record
            for line in lines
            for resource in line["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]


@contextmanager
def doorway(folder: Path, *, port: int = 0, **limits: Any) -> Iterator[Doorway]:
    """A door for attempt 7.1 below *folder*, on *port* if that can be had."""
    control = folder / "jobs" / "7.1" / "control"
    control.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    key = PayloadKey.new(
        uid=uid_of(), job_id=7, attempt=1, service_name="analysis", since_utc_ns=clock.utc_ns(), hidden=(OWN_SECRET,)
    )
    issue(control, key)
    counts = PayloadCounts()

    def find(name: str) -> Path | None:
        return folder / "jobs" / name / "control"

    def desk() -> Desk:
        def mask(text: str) -> str:
            return text.replace(SECRET, "***")

        wide = replace(LIMITS, **limits)
        return Desk(find, limits=wide, mask=mask, clock=clock, service_name="site-jobs", counts=counts)

    door = PayloadDoor(desk, port)
    try:
        with unhurried():
            yield Doorway(door, control, key, counts)
    finally:
        door.close()


@contextmanager
def unhurried() -> Iterator[None]:
    """A caller on a busy machine is not cut off while it sends: a refusal would reach it as a broken connection."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEAD_SECONDS", "CALL_SECONDS", "_LINGER_SECONDS"):
            patch.setattr(payload_http, name, DEADLINE_SECONDS)
        yield


def span(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A span of the payload in OTLP/JSON, in the trace that TRACEPARENT names; *changes* win."""
    now = SystemClock().utc_ns()
    return {
        "traceId": trace_id(uid_of()),
        "spanId": f"{0xA000 + number:016x}",
        "parentSpanId": span_id(uid_of(), "job/execute/payload"),
        "name": "fit",
        "kind": 1,
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + NANOSECONDS // 10),
        **changes,
    }


def traces(*spans: Mapping[str, Any], scope: Mapping[str, Any] | None = None, **resource: Any) -> bytes:
    """A request; *resource* are attributes with _ for the dots."""
    attributes = [text(name.replace("_", "."), value) for name, value in resource.items()]
    scoped = {"scope": scope or {"name": "my.code"}, "spans": spans}
    return json.dumps({"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [scoped]}]}).encode()


def logs(*records: Mapping[str, Any]) -> bytes:
    """A request."""
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()


def text(name: str, value: str) -> dict[str, Any]:
    """An attribute."""
    return {"key": name, "value": {"stringValue": value}}


def bomb(size: int) -> bytes:
    """Very little that unpacks to *size* bytes; always the same, as it stands in the names of tests."""
    return gzip.compress(bytes(size), mtime=0)


def soon() -> float:
    """Until when somebody may wait, by the monotonic clock."""
    return time.monotonic() + DEADLINE_SECONDS
