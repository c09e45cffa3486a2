"""One ended attempt -> the OTLP files and the collector, each acknowledged once by UID."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from telemetry import catalogue as names
from telemetry.journal import read_journal
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp, SendResult
from telemetry.live.spans import Rendered, render
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
        file, detail = self._to_file(control, rendered)
        if self._http is None:
            return ShipResult(uid=rendered.uid, file=file, http="off", detail=detail)
        if not send:
            return ShipResult(uid=rendered.uid, file=file, http="retry", detail=detail)
        sent = self._to_http(control, rendered, self._http)
        return ShipResult(
            uid=rendered.uid,
            file=file,
            http=sent.outcome,
            rejected=sent.rejected,
            detail=detail or sent.detail,
            retry_after_seconds=sent.retry_after_seconds,
        )

    def _to_file(self, control: Path, rendered: Rendered) -> tuple[Literal["accepted", "retry"], str]:
        acknowledgements = Acknowledgements(control, FILE_SINK)
        if acknowledgements.outcome(rendered.uid):
            return "accepted", ""
        begun = control / f"{FILE_SINK}.begun"
        try:
            # a crash between the append and its acknowledgement must not double the line
            if not (begun.exists() and self._files.holds(rendered.uid)):
                begun.touch(mode=0o600)
                self._files.write(rendered)
            acknowledgements.settle(rendered.uid, "accepted")
            begun.unlink()
        except OSError as error:
            return "retry", f"cannot write {self._files.traces.parent}: {error.strerror}"
        return "accepted", ""

    def _to_http(self, control: Path, rendered: Rendered, http: OtlpHttp) -> SendResult:
        acknowledgements = Acknowledgements(control, HTTP_SINK)
        known = acknowledgements.outcome(rendered.uid)
        if known:
            return SendResult(outcome="accepted" if known == "accepted" else "dead")
        result = http.send_spans(rendered.spans)
        if result.outcome != "retry" and rendered.logs:
            # spans that are dead must not keep the record from the collector
            result = _worse(result, http.send_logs(rendered.logs))
        if result.unanswered:
            self._unanswered[control] = self._unanswered.get(control, 0) + 1
        if result.outcome != "retry":
            copies = self._unanswered.pop(control, 0)
            try:
                acknowledgements.settle(rendered.uid, result.outcome, result.detail, copies=copies)
            except OSError as error:
                return SendResult(outcome="retry", detail=f"cannot note the acknowledgement: {error.strerror}")
        return result


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
