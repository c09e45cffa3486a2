"""What payloads have sent -> the OTLP files and the collector, by a thread of its own: it keeps no record waiting.

As with what we tell ourselves, what is pending stands in the control folders without an acknowledgement. A sink settles
the spool of an attempt as a whole; a second copy of anything has the ids of the first one.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from telemetry.facts import AttemptEnded
from telemetry.journal import is_written, read_journal
from telemetry.live.lines import append_line, complete_lines
from telemetry.live.otlp import NotOtlp
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp, SendResult
from telemetry.live.otlp_received import LOGS, TRACES, Signal, message_of
from telemetry.live.payload_spool import FILE_SINK, HTTP_SINK, ITEM, SignalName, has_spool, owes, spool, void
from telemetry.live.shipper import Backoff
from telemetry.live.spans import render
from telemetry.outbox import Acknowledgements

#: Of one request to the collector, unpacked; a line alone may be larger.
_REQUEST_BYTES = 1 << 20
_log = logging.getLogger(__name__)


@dataclass
class _Sent:
    """How far a spool has come: requests that the collector has answered for good, and why it has refused some."""

    requests: int = 0
    refusals: list[str] = field(default_factory=list)


class PayloadShipping:
    """Hands the spools of ended attempts to the sinks that have not settled them. For one thread."""

    def __init__(self, files: OtlpFiles, http: OtlpHttp | None) -> None:
        self._files = files
        self._http = http
        self._sent: dict[Path, _Sent] = {}

    @property
    def sinks(self) -> tuple[str, ...]:
        """Sinks that must settle a spool."""
        return (FILE_SINK, HTTP_SINK) if self._http else (FILE_SINK,)

    def ship(self, control: Path) -> SendResult:
        """Deliver the spool in *control*, to which nothing is added from now on; repeating it is harmless."""
        void(control)
        if not any(owes(control, sink) for sink in self.sinks):
            return SendResult(outcome="accepted")
        ours = _our_ids(control)
        try:
            if owes(control, FILE_SINK):
                self._to_files(control, ours)
            return self._to_collector(control, ours)
        except OSError as error:
            return SendResult(outcome="retry", detail=f"cannot write: {error.strerror}")

    def _to_files(self, control: Path, ours: Collection[str]) -> None:
        self._files.traces.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for signal, path in ((TRACES, self._files.traces), (LOGS, self._files.logs)):
            if content := b"".join(_lines(control, signal, ours)):
                append_line(path, content)
        Acknowledgements(control, FILE_SINK).settle(ITEM, "accepted")

    def _to_collector(self, control: Path, ours: Collection[str]) -> SendResult:
        if self._http is None or not owes(control, HTTP_SINK):
            return SendResult(outcome="accepted")
        sent = self._sent.setdefault(control, _Sent())
        for number, (signal, body) in enumerate(_requests(control, ours)):
            if number < sent.requests:
                continue
            result = self._http.send(signal.name, body)
            if result.outcome == "retry":
                return result
            sent.requests += 1
            if result.outcome == "dead":
                sent.refusals.append(result.detail)
        detail = next(iter(sent.refusals), "")
        outcome: Literal["accepted", "dead"] = "dead" if sent.refusals else "accepted"
        Acknowledgements(control, HTTP_SINK).settle(ITEM, outcome, detail)
        del self._sent[control]
        return SendResult(outcome=outcome, detail=detail, rejected=len(sent.refusals))


class PayloadShipper(threading.Thread):
    """Ships what it is told of, and at its start what an earlier agent left."""

    def __init__(self, shipping: PayloadShipping, jobs_folder: Path | None = None) -> None:
        super().__init__(name="payload-shipper", daemon=True)
        self._shipping = shipping
        self._jobs_folder = jobs_folder
        self._waiting: dict[Path, None] = {}
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._backoff = Backoff()

    def submit(self, control: Path) -> None:
        """The attempt in *control* has ended. Never blocks; most payloads have sent nothing, and nothing is done."""
        if has_spool(control):
            with self._mutex:
                self._waiting[control] = None
            self._wake.set()
        else:
            void(control)

    def pending(self) -> dict[str, int]:
        """How many known spools each sink has not settled."""
        controls = self._known()
        return {sink: sum(owes(each, sink) for each in controls) for sink in self._shipping.sinks}

    def stop(self, timeout_seconds: float) -> bool:
        """Try everything once more, and end; whether that was done in time."""
        self._stopping.set()
        self._wake.set()
        if self.is_alive():
            self.join(timeout_seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Ship until stopped."""
        if self._jobs_folder is not None:
            for control in sorted(self._jobs_folder.glob("*/control")):
                if not self._stopping.is_set() and _has_ended(control):
                    self.submit(control)
        while not self._stopping.is_set():
            if self._backoff.is_over():
                self._round()
            self._wake.wait(self._backoff.remaining_seconds() if self._known() else None)
            self._wake.clear()
        self._round()

    def _known(self) -> list[Path]:
        with self._mutex:
            return list(self._waiting)

    def _round(self) -> None:
        """Until the collector or the disk fails; what has failed goes to the end."""
        for control in self._known():
            try:
                result = self._shipping.ship(control)
            except Exception as error:  # noqa: BLE001 - boundary of the thread: one bad spool must not stop the others
                _log.warning("cannot ship %s: %r", control, error)
                result = SendResult(outcome="dead")
            with self._mutex:
                del self._waiting[control]
                if result.outcome == "retry":
                    self._waiting[control] = None
            if result.outcome == "retry":
                self._backoff.failed(result.retry_after_seconds)
                return
            self._backoff.succeeded()


def spooled(control: Path, signal: SignalName) -> Iterator[Any]:
    """The documents of a spool, for people and other machines; what is damaged is left out."""
    for _, line in complete_lines(spool(control, signal)):
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _has_ended(control: Path) -> bool:
    """Asked of attempts of earlier agents: whether there is a spool in *control* to which nobody adds."""
    if not has_spool(control) or is_written(control, "wrapper"):
        return False
    return any(isinstance(entry.fact, AttemptEnded) for entry in read_journal(control))


def _our_ids(control: Path) -> frozenset[str]:
    """Of the spans that we tell: a payload could have guessed the id of one that was to come."""
    spans = render(read_journal(control)).spans
    return frozenset(f"{each.context.span_id:016x}" for each in spans if each.context)


def _requests(control: Path, ours: Collection[str]) -> Iterator[tuple[Signal, bytes]]:
    """The spool as bodies in protobuf, always the same ones: messages that stand behind each other are one message."""
    for signal in (TRACES, LOGS):
        body = b""
        for line in _lines(control, signal, ours):
            try:
                more = message_of(signal, line).SerializeToString()
            except NotOtlp:  # torn by a crash: its sender was not answered, and has sent it again
                continue
            if body and len(body) + len(more) > _REQUEST_BYTES:
                yield signal, body
                body = b""
            body += more
        if body:
            yield signal, body


def _lines(control: Path, signal: Signal, ours: Collection[str]) -> Iterator[bytes]:
    for _, line in complete_lines(spool(control, signal.name)):
        if signal is TRACES and any(f'"spanId":"{each}"'.encode() in line for each in ours):
            yield _without(control, line, ours)
        else:
            yield line


def _without(control: Path, line: bytes, ours: Collection[str]) -> bytes:
    try:
        document = json.loads(line)
    except ValueError:  # torn: whoever reads it skips it
        return line
    _log.warning("%s: its payload has sent a span under the id of one of ours: left out", control.parent.name)
    for resource in document["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            scope["spans"] = [each for each in scope["spans"] if each["spanId"] not in ours]
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"
