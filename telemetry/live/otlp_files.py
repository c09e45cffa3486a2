"""traces.jsonl and logs.jsonl of a node: every ended attempt is one line in each.

Wrappers and agents of a node may share the files: a line is appended under a lock by O_APPEND,
whole or not at all. Readers take no lock; they skip and count lines that are damaged, and leave a
last line alone that has no end yet.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from telemetry.live.lines import append_line, complete_lines
from telemetry.live.otlp import (
    AccountingEvent,
    NotOtlp,
    SpanValue,
    accounting_of,
    log_line,
    span_line,
    spans_of,
)
from telemetry.live.spans import Rendered

TRACES = "traces.jsonl"
LOGS = "logs.jsonl"
#: Before the names of the files with what payloads have sent: who reads ours alone need not go through theirs.
PAYLOAD = "payload-"


class OtlpFiles:
    """The files of one folder: ours, or with the prefix `PAYLOAD` those of the payloads."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self.traces = folder / f"{prefix}{TRACES}"
        self.logs = folder / f"{prefix}{LOGS}"

    def write(self, rendered: Rendered) -> None:
        """Append an attempt to both files, its record last; on disk on return.

        Raises:
            OSError: no room, or no right; what was begun is taken back.
        """
        self.traces.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if rendered.spans:
            append_line(self.traces, span_line(rendered.spans))
        if rendered.logs:
            append_line(self.logs, log_line(rendered.logs))

    def holds(self, uid: str, item: str) -> bool:
        """Whether the accounting event *item* (`<UID>/<RecordedBy>/<Revision>`) of *uid* stands in the file."""
        return any(event.item == item for event in read_accounting(self.logs, uids={uid}).events)


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpansRead:
    """Spans of a file in its order, copies included; and how many lines were damaged."""

    spans: tuple[SpanValue, ...]
    damaged: int


@dataclass(frozen=True)
class AccountingRead:
    """Accounting events of a file in its order, copies included; and how many lines were damaged."""

    events: tuple[AccountingEvent, ...]
    damaged: int


def read_spans(path: Path, *, containing: Collection[str] = ()) -> SpansRead:
    """The spans in *path*; a missing file is an empty one.

    Lines that contain none of the texts *containing* (such as a trace id) are not even parsed.
    """
    wanted = [text.encode() for text in containing]
    spans: list[SpanValue] = []
    damaged = 0
    for _, line in complete_lines(path):
        if wanted and not any(text in line for text in wanted):
            continue
        try:
            spans.extend(spans_of(line))
        except NotOtlp:
            damaged += 1
    return SpansRead(tuple(spans), damaged)


def read_accounting(path: Path, *, uids: Collection[str] | None = None) -> AccountingRead:
    """The accounting events in *path*, those of *uids* only if given; a missing file is an empty one."""
    wanted = None if uids is None else [uid.encode() for uid in uids]
    events: list[AccountingEvent] = []
    damaged = 0
    for number, line in complete_lines(path):
        if wanted is not None and not any(uid in line for uid in wanted):
            continue
        try:
            events.extend(accounting_of(line, number, uids))
        except NotOtlp:
            damaged += 1
    return AccountingRead(tuple(events), damaged)
