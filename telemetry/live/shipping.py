"""Ended attempts -> the OTLP files and the collector, each record acknowledged once by its name.

Attempts go to the collector together: a request for their spans, one for their records. When the collector refuses
such a batch, its halves are sent, and so on, until it is known whom it means; the others are not held up by one.

A record that supersedes another of its UID (the wrapper's after the agent's, a later revision) is
shipped again, as another event; the spans are not: no backend folds two spans of one id.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from telemetry import catalogue as names
from telemetry.identity import UserName
from telemetry.journal import read_journal
from telemetry.live.otlp import log_bytes, span_bytes
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp, SendResult
from telemetry.live.parcels import HTTP_SINK, Parcel, forget, keep, kept
from telemetry.live.spans import Rendered, record_item, render
from telemetry.outbox import Acknowledgements

__all__ = ["FILE_SINK", "HTTP_SINK", "Parcel", "ShipResult", "Shipping", "is_shipped"]

FILE_SINK = "otlp-file"


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
    """Renders ended attempts and hands them to the sinks that have not settled them."""

    def __init__(
        self,
        files: OtlpFiles,
        http: OtlpHttp | None = None,
        *,
        service_name: str = names.SERVICE_NAME,
        resource: Mapping[str, str] | None = None,
        user_name: UserName = str,
    ) -> None:
        self._files = files
        self._http = http
        self._render = partial(render, service_name=service_name, resource=resource or {}, user_name=user_name)
        #: How often each attempt was sent without an answer.
        self._unanswered: dict[Path, int] = {}

    @property
    def sinks(self) -> tuple[str, ...]:
        """Sinks that must settle an attempt."""
        return (FILE_SINK, HTTP_SINK) if self._http else (FILE_SINK,)

    def ship(self, control: Path, record: Mapping[str, object] | None) -> ShipResult:
        """Deliver the attempt in *control* with its *record*; repeating it is harmless.

        Raises:
            Unidentified: the folder holds no attempt.
        """
        return self.send([self.pack(control, record)])[0]

    def pack(self, control: Path, record: Mapping[str, object] | None) -> Parcel:
        """Write the attempt in *control* to the files, and pack what the collector is to have.

        Raises:
            Unidentified: the folder holds no attempt.
        """
        rendered = self._render(read_journal(control), record)
        item = record_item(rendered.uid, record)
        file, detail = self._to_file(control, rendered, item)
        parcel = Parcel(control=control, uid=rendered.uid, item=item, file=file, detail=detail)
        if self._http is None:
            return parcel
        acknowledged = Acknowledgements(control, HTTP_SINK)
        parcel = replace(parcel, acknowledged=acknowledged)
        if is_shipped(acknowledged, rendered.uid, item):
            return parcel
        unshipped = _unshipped(rendered, acknowledged)
        return replace(
            parcel,
            is_owed=True,
            spans=span_bytes(unshipped.spans),
            logs=log_bytes(unshipped.logs),
        )

    def kept(self, control: Path) -> Parcel | None:
        """What an earlier `hold` has left of the attempt in *control*: it need not be packed again."""
        return kept(control) if self._http else None

    def hold(self, parcel: Parcel) -> None:
        """Keep *parcel*, which the collector could not take, for a later `send`."""
        if parcel.is_owed and parcel.file == "accepted" and not parcel.is_kept:
            keep(parcel)

    def send(self, parcels: Sequence[Parcel]) -> list[ShipResult]:
        """Deliver *parcels* to the collector, in as few requests as it takes; what became of each."""
        if self._http is None:
            return [ShipResult(uid=each.uid, file=each.file, http="off", detail=each.detail) for each in parcels]
        open_ones = [each for each in parcels if each.is_owed]
        sent = dict(zip((each.control for each in open_ones), self._deliver(open_ones, self._http), strict=True))
        return [_result(each, sent.get(each.control) or _settled(each)) for each in parcels]

    def unsent(self, parcel: Parcel) -> ShipResult:
        """How *parcel* stands while the collector is not tried."""
        waits = self._http is not None and parcel.is_owed
        return _result(parcel, SendResult(outcome="retry")) if waits else self.send([parcel])[0]

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

    def _deliver(self, parcels: Sequence[Parcel], http: OtlpHttp) -> list[SendResult]:
        if not parcels:
            return []
        result = _post(parcels, http)
        if result.unanswered:
            for each in parcels:
                self._unanswered[each.control] = self._unanswered.get(each.control, 0) + 1
        if result.outcome != "dead" or len(parcels) == 1:
            return [self._settle(each, result) for each in parcels]
        half = len(parcels) // 2
        first = self._deliver(parcels[:half], http)
        waits = next((each for each in first if each.outcome == "retry"), None)
        if waits:  # who is away now will not answer for the others either
            return [*first, *[waits] * (len(parcels) - half)]
        return [*first, *self._deliver(parcels[half:], http)]

    def _settle(self, parcel: Parcel, result: SendResult) -> SendResult:
        if result.outcome == "retry" or parcel.acknowledged is None:
            return result
        copies = self._unanswered.pop(parcel.control, 0)
        try:
            # what a power cut takes of these lines is sent again, and folded by its ids: no need to wait for the disk
            parcel.acknowledged.settle(parcel.item, result.outcome, result.detail, copies=copies, durable=False)
            forget(parcel.control)
        except OSError as error:
            return SendResult(outcome="retry", detail=f"cannot note the acknowledgement: {error.strerror}")
        return result


def is_shipped(acknowledgements: Acknowledgements, uid: str, item: str) -> bool:
    """Whether that record has been settled. Versions that knew one record an attempt noted the UID alone."""
    return item in acknowledgements.settled or acknowledgements.settled == {uid}


def _unshipped(rendered: Rendered, acknowledgements: Acknowledgements) -> Rendered:
    """What is left to ship: the spans only if no record of the attempt went out with them."""
    return replace(rendered, spans=()) if acknowledgements.settled else rendered


def _post(parcels: Sequence[Parcel], http: OtlpHttp) -> SendResult:
    """One request for all spans, one for all records. What is refused of several is refused at the first request:
    `unanswered` tells then whether anything of it may have been taken."""
    is_batch = len(parcels) > 1
    spans = http.send("traces", b"".join(each.spans for each in parcels))
    if spans.outcome == "retry" or (is_batch and spans.outcome == "dead"):
        return replace(spans, unanswered=spans.unanswered or spans.rejected > 0)
    # spans that are dead must not keep the record from the collector
    logs = http.send("logs", b"".join(each.logs for each in parcels))
    if is_batch and logs.outcome == "dead":
        return replace(logs, unanswered=True)
    return _worse(spans, logs)


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


def _settled(parcel: Parcel) -> SendResult:
    """What the collector said of a parcel of which nothing is left to send."""
    outcomes = parcel.acknowledged.outcomes if parcel.acknowledged else {}
    dead = "dead" in (outcomes.get(parcel.item), outcomes.get(parcel.uid))
    return SendResult(outcome="dead" if dead else "accepted")


def _result(parcel: Parcel, sent: SendResult) -> ShipResult:
    return ShipResult(
        uid=parcel.uid,
        file=parcel.file,
        http=sent.outcome,
        rejected=sent.rejected,
        detail=parcel.detail or sent.detail,
        retry_after_seconds=sent.retry_after_seconds,
    )
