"""The outbox of a job: its journal, and what each sink has acknowledged of it.

There is no second copy of anything: what is pending for a sink is what stands in the journal
behind the sink's acknowledgements. Each sink has a file of its own beside the journal,
`<sink>.acks.jsonl`, appended by the one deliverer of that sink.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from telemetry.facts import Entry

SUFFIX = ".acks.jsonl"
Outcome = Literal["accepted", "refused", "dead"]


class Acknowledgements:
    """What one *sink* ("wms-status", "wms-accounting", "otlp-file" ...) has taken from one journal."""

    def __init__(self, folder: Path, sink: str) -> None:
        self._path = folder / f"{sink}{SUFFIX}"
        self._positions: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._torn = False
        self._load()

    @property
    def positions(self) -> Mapping[str, int]:
        """The last acknowledged sequence of each writer."""
        return self._positions

    def pending(self, entries: list[Entry]) -> list[Entry]:
        """Those of *entries* that this sink has not acknowledged."""
        return [entry for entry in entries if entry.sequence > self._positions.get(entry.writer, 0)]

    def advance(self, entry: Entry, outcome: Outcome, detail: str = "") -> None:
        """*entry*, and all before it by its writer, need not be delivered again; durable on return.

        "dead" means that the sink will never take it; *detail* says why, and it does not block
        those behind it.
        """
        self.advance_all([(entry, outcome, detail)])

    def advance_all(self, answers: Iterable[tuple[Entry, Outcome, str]]) -> None:
        """`advance` for each of *answers*, forced to the disk once."""
        self._append(
            *(
                {"writer": entry.writer, "sequence": entry.sequence, "outcome": outcome, **_with("detail", detail)}
                for entry, outcome, detail in answers
            )
        )

    def settle(self, item: str, outcome: Outcome, detail: str = "") -> None:
        """The document *item* (such as the record of an attempt, by UID and revision) is delivered or dead."""
        self._append({"item": item, "outcome": outcome, **_with("detail", detail)})

    def outcome(self, item: str) -> Outcome | None:
        """How `settle` ended for *item*; None while it is pending."""
        return self._outcomes.get(item)

    def _append(self, *lines: dict[str, object]) -> None:
        if not lines:
            return
        for line in lines:
            self._apply(line)
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            data = b"\n" * self._torn + text.encode()
            self._torn = os.write(fd, data) < len(data)
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def _load(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError):  # torn by a crash: delivered again, folded by id
                continue

    def _apply(self, line: Mapping[str, object]) -> None:
        if "item" in line:
            self._outcomes[str(line["item"])] = _outcome(line["outcome"])
        else:
            writer, sequence = str(line["writer"]), int(str(line["sequence"]))
            self._positions[writer] = max(sequence, self._positions.get(writer, 0))


def _with(name: str, value: str) -> dict[str, str]:
    return {name: value} if value else {}


def _outcome(value: object) -> Outcome:
    if value in ("accepted", "refused", "dead"):
        return value
    raise ValueError(f"unknown outcome {value!r}")
