"""One ended attempt -> the OTLP files and the collector, each record acknowledged once by its name.

A record that supersedes another of its UID (the wrapper's after the agent's, a later revision) is
shipped again, as another event; the spans are not: no backend folds two spans of one id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from telemetry import catalogue as names
from telemetry.journal import read_journal
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp, SendResult
from telemetry.live.spans import Rendered, record_item, render
from telemetry.outbox import Acknowledgements

FILE_SINK = "otlp-file"
HTTP_SINK = "otlp-http"


@dataclass(frozen=True, kw_only=True)
class ShipResult:
    """Where an attempt stands. "off": no collector is configured."""

    uid: str
    file: Literal["accepted", "retry"]
    http: Literal["off", "accepted", "retry", "dead"]
    rejected: int = 0
    detail: str = ""
    retry_after_seconds: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.file != "retry" and self.http != "retry"


class Shipping:
    """Renders an ended attempt and hands it to the sinks that have not settled it."""

    def __init__(
        self, files: OtlpFiles, http: OtlpHttp | None = None, *, service_name: str = names.SERVICE_NAME
    ) -> None:
        self._files = files
        self._http = http
        self._service_name = service_name
        #: How often each attempt was sent without an answer.
        self._unanswered: dict[Path, int] = {}

    @property
    def sinks(self) -> tuple[str, ...]:
        """Sinks that must settle an attempt."""
        return (FILE_SINK, HTTP_SINK) if self._http else (FILE_SINK,)

    def ship(self, control: Path, record: Mapping[str, object] | None, *, send: bool = True) -> ShipResult:
        """Deliver the attempt in *control* with its *record*; repeating it is harmless.

        Without *send* the collector is left for later.

        Raises:
            Unidentified: the folder holds no attempt.
        """
        rendered = render(read_journal(control), record, service_name=self._service_name)
        item = record_item(rendered.uid, record)
        file, detail = self._to_file(control, rendered, item)
        if self._http is None:
            return ShipResult(uid=rendered.uid, file=file, http="off", detail=detail)
        if not send:
            return ShipResult(uid=rendered.uid, file=file, http="retry", detail=detail)
        sent = self._to_http(control, rendered, item, self._http)
        return ShipResult(
            uid=rendered.uid,
            file=file,
            http=sent.outcome,
            rejected=sent.rejected,
            detail=detail or sent.detail,
            retry_after_seconds=sent.retry_after_seconds,
        )

    def _to_file(self, control: Path, rendered: Rendered, item: str) -> tuple[Literal["accepted", "retry"], str]:
        acknowledgements = Acknowledgements(control, FILE_SINK)
        if is_shipped(acknowledgements, rendered.uid, item):
            return "accepted", ""
        begun = control / f"{FILE_SINK}.begun"
        try:
            # a crash between the append and its acknowledgement must not double the line
            if not (begun.exists() and self._files.holds(rendered.uid, item)):
                begun.touch(mode=0o600)
                self._files.write(_unshipped(rendered, acknowledgements))
            acknowledgements.settle(item, "accepted")
            begun.unlink()
        except OSError as error:
            return "retry", f"cannot write {self._files.traces.parent}: {error.strerror}"
        return "accepted", ""

    def _to_http(self, control: Path, rendered: Rendered, item: str, http: OtlpHttp) -> SendResult:
        acknowledgements = Acknowledgements(control, HTTP_SINK)
        if is_shipped(acknowledgements, rendered.uid, item):
            dead = "dead" in (acknowledgements.outcome(item), acknowledgements.outcome(rendered.uid))
            return SendResult(outcome="dead" if dead else "accepted")
        spans = _unshipped(rendered, acknowledgements).spans
        result = http.send_spans(spans) if spans else SendResult(outcome="accepted")
        if result.outcome != "retry" and rendered.logs:
            # spans that are dead must not keep the record from the collector
            result = _worse(result, http.send_logs(rendered.logs))
        if result.unanswered:
            self._unanswered[control] = self._unanswered.get(control, 0) + 1
        if result.outcome != "retry":
            copies = self._unanswered.pop(control, 0)
            try:
                acknowledgements.settle(item, result.outcome, result.detail, copies=copies)
            except OSError as error:
                return SendResult(outcome="retry", detail=f"cannot note the acknowledgement: {error.strerror}")
        return result


def is_shipped(acknowledgements: Acknowledgements, uid: str, item: str) -> bool:
    """Whether that record has been settled. Versions that knew one record an attempt noted the UID alone."""
    return item in acknowledgements.settled or acknowledgements.settled == {uid}


def _unshipped(rendered: Rendered, acknowledgements: Acknowledgements) -> Rendered:
    """What is left to ship: the spans only if no record of the attempt went out with them."""
    return replace(rendered, spans=()) if acknowledgements.settled else rendered


def _worse(spans: SendResult, logs: SendResult) -> SendResult:
    worst = logs if logs.outcome != "accepted" else spans
    return SendResult(
        outcome=worst.outcome,
        detail=worst.detail,
        rejected=spans.rejected + logs.rejected,
        retry_after_seconds=worst.retry_after_seconds,
        # the spans go again with the record, although they have arrived
        unanswered=spans.unanswered or logs.unanswered or logs.outcome == "retry",
    )
