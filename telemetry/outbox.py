"""The outbox of a job: its journal, and what each sink has acknowledged of it.

There is no second copy of anything: what is pending for a sink is what stands in the journal
behind the sink's acknowledgements. Each sink has a file of its own beside the journal,
`<sink>.acks.jsonl`, appended by the one deliverer of that sink, and by whoever re-opens a dead
letter. A line of a kind that is not known is skipped: the item is delivered again, and folded.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from telemetry.clock import NANOSECONDS
from telemetry.entries import Entry

SUFFIX = ".acks.jsonl"
TRY_SUFFIX = ".try.json"
#: For how a try is noted: who delivers to the WMS, and who to files and collector.
WMS_DELIVERER, OTLP_DELIVERER = "wms", "otlp"
LONGEST_REASON = 500
Outcome = Literal["accepted", "refused", "dead"]
_REOPENED = "reopened"


class Acknowledgements:
    """What one *sink* ("wms-status", "wms-accounting", "otlp-file" ...) has taken from one journal."""

    def __init__(self, folder: Path, sink: str) -> None:
        self._path = folder / f"{sink}{SUFFIX}"
        self._positions: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._dead: dict[str, str] = {}
        self._reopened: set[str] = set()
        self._unanswered: dict[str, int] = {}
        self._torn = False
        #: Copies that were sent although one before may have arrived, or that the sink said it held already.
        self.copies = 0
        self._load()

    @property
    def positions(self) -> Mapping[str, int]:
        """The last acknowledged sequence of each writer."""
        return self._positions

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """How `settle` ended for each document."""
        return self._outcomes

    @property
    def dead(self) -> Mapping[str, str]:
        """The dead letters: entries by `entry_name`, documents by their item; and why."""
        return self._dead

    def pending(self, entries: list[Entry]) -> list[Entry]:
        """Those of *entries* that this sink has not acknowledged, or whose dead letter was re-opened."""
        return [
            entry
            for entry in entries
            if entry.sequence > self._positions.get(entry.writer, 0) or entry_name(entry) in self._reopened
        ]

    def is_of_its_own(self, entry: Entry) -> bool:
        """Whether *entry* needs a line of its own: it was dead and is re-opened, or a copy of it was sent unheard."""
        name = entry_name(entry)
        return name in self._reopened or name in self._unanswered

    def advance(self, entry: Entry, outcome: Outcome, detail: str = "") -> None:
        """*entry*, and all before it by its writer, need not be delivered again; durable on return.

        "dead" means that the sink will never take it; *detail* says why, and it does not block
        those behind it. One before it that was re-opened stays so.
        """
        self.advance_all([(entry, outcome, detail)])

    def advance_all(self, answers: Iterable[tuple[Entry, Outcome, str]]) -> None:
        """`advance` for each of *answers*, forced to the disk once."""
        self._append(*(self._position(*answer) for answer in answers))

    def _position(self, entry: Entry, outcome: Outcome, detail: str) -> dict[str, object]:
        line: dict[str, object] = {"writer": entry.writer, "sequence": entry.sequence, "outcome": outcome}
        return {**line, **_with("detail", detail), **self._copies_of(entry_name(entry))}

    def settle(self, item: str, outcome: Outcome, detail: str = "", *, copies: int = 0, durable: bool = True) -> None:
        """The document *item* (such as the record of an attempt, by UID and revision) is delivered or dead.

        *copies*: so many more than one have arrived, as the sink says. Not *durable*: a power cut may undo it.
        """
        noted = {"copies": copies} if copies else self._copies_of(item)
        self._append({"item": item, "outcome": outcome, **_with("detail", detail), **noted}, durable=durable)

    def outcome(self, item: str) -> Outcome | None:
        """How `settle` ended for *item*; None while it is pending."""
        return self._outcomes.get(item)

    @property
    def settled(self) -> frozenset[str]:
        """All items for which `settle` was called."""
        return frozenset(self._outcomes)

    def reopen(self, name: str) -> bool:
        """Make the dead letter *name* pending again; False when it is not dead. Durable on return."""
        if name not in self._dead:
            return False
        writer, mark, sequence = name.rpartition("#")
        known = {"writer": writer, "sequence": int(sequence)} if mark and sequence.isdecimal() else {"item": name}
        self._append({**known, "outcome": _REOPENED})
        return True

    def unanswered(self, names: Iterable[str]) -> None:
        """These were sent, and the answer was lost: what is sent of them from now on may be a copy."""
        for name in names:
            self._unanswered[name] = self._unanswered.get(name, 0) + 1

    def _copies_of(self, name: str) -> dict[str, int]:
        copies = self._unanswered.pop(name, 0)
        return {"copies": copies} if copies else {}

    def _append(self, *lines: dict[str, object], durable: bool = True) -> None:
        if not lines:
            return
        for line in lines:
            self._apply(line)
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            data = b"\n" * self._torn + text.encode()
            while data:  # a disk that runs full takes a part, and says at the rest that it is full
                self._torn = True
                data = data[os.write(fd, data) :]
            self._torn = False
            if durable:
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
            except (ValueError, KeyError, TypeError, RecursionError):  # torn by a crash: delivered again, folded by id
                continue

    def _apply(self, line: Mapping[str, object]) -> None:
        if "item" in line:
            name = str(line["item"])
            self._apply_item(name, line["outcome"])
        else:
            writer, sequence = str(line["writer"]), int(str(line["sequence"]))
            name = f"{writer}#{sequence}"
            self._apply_entry(name, line["outcome"])
            self._positions[writer] = max(sequence, self._positions.get(writer, 0))
        if line["outcome"] == "dead":
            self._dead[name] = str(line.get("detail", ""))
        else:
            self._dead.pop(name, None)
        self.copies += int(str(line.get("copies", 0)))

    def _apply_item(self, item: str, outcome: object) -> None:
        if outcome == _REOPENED:
            if self._outcomes.get(item) == "dead":  # what was accepted meanwhile stays so
                del self._outcomes[item]
        else:
            self._outcomes[item] = _outcome(outcome)

    def _apply_entry(self, name: str, outcome: object) -> None:
        if outcome != _REOPENED:
            _outcome(outcome)
            self._reopened.discard(name)
        elif name in self._dead:
            self._reopened.add(name)


def entry_name(entry: Entry) -> str:
    """The name of *entry* among the dead letters of a sink."""
    return f"{entry.writer}#{entry.sequence}"


def sinks(folder: Path) -> list[str]:
    """The sinks that have acknowledged anything of the journal in *folder*."""
    return sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))


class AcknowledgementsTally:
    """Dead letters and copies by sink, over all attempts below a folder. A file is read again only when it changed;
    copies of attempts that were removed since still count."""

    def __init__(self, jobs: Path) -> None:
        self._jobs = jobs
        self._seen: dict[Path, tuple[tuple[int, int], str, int, int]] = {}
        self._gone: dict[str, int] = {}

    def look(self) -> None:
        """Read what is new."""
        found: dict[Path, tuple[tuple[int, int], str, int, int]] = {}
        for path in self._jobs.glob(f"*/control/*{SUFFIX}"):
            try:
                status = path.stat()
                stamp = (status.st_size, status.st_mtime_ns)
                known = self._seen.get(path)
                if known is None or known[0] != stamp:
                    sink = path.name.removesuffix(SUFFIX)
                    read = Acknowledgements(path.parent, sink)
                    known = (stamp, sink, len(read.dead), read.copies)
            except OSError:  # removed under us
                continue
            found[path] = known
        for path in self._seen.keys() - found.keys():
            _, sink, _, copies = self._seen[path]
            self._gone[sink] = self._gone.get(sink, 0) + copies
        self._seen = found

    @property
    def dead(self) -> Mapping[str, int]:
        """Dead letters now."""
        counts: dict[str, int] = {}
        for _, sink, dead, _ in self._seen.values():
            counts[sink] = counts.get(sink, 0) + dead
        return counts

    @property
    def copies(self) -> Mapping[str, int]:
        """Copies since this was made, and those that were noted before and still stand in the folder."""
        counts = dict(self._gone)
        for _, sink, _, copies in self._seen.values():
            counts[sink] = counts.get(sink, 0) + copies
        return counts


# --- tries: what people are told about a delivery that waits ---------------------------------------


@dataclass(frozen=True)
class Try:
    """The last try that failed: why, how many failed in a row, and when the next one is due (UTC)."""

    reason: str
    failures: int
    next_utc_ns: int


def note_try(folder: Path, deliverer: str, reason: str, failures: int, pause_seconds: float) -> None:
    """Say to whoever asks what the outbox waits for: a try has failed, the next one is due after the pause.

    Not durable, and no error: nothing depends on it. The time of the try is that of the file.
    """
    path = folder / f"{deliverer}{TRY_SUFFIX}"
    temporary = path.with_suffix(".new")
    document = {"reason": reason[:LONGEST_REASON], "failures": failures, "pause_seconds": pause_seconds}
    with contextlib.suppress(OSError):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(document).encode())
        finally:
            os.close(fd)
        temporary.replace(path)


def last_try(folder: Path, deliverer: str) -> Try | None:
    """What `note_try` left last; None when no try has failed."""
    try:
        path = folder / f"{deliverer}{TRY_SUFFIX}"
        document, made_utc_ns = json.loads(path.read_bytes()), path.stat().st_mtime_ns
        next_utc_ns = made_utc_ns + round(float(document["pause_seconds"]) * NANOSECONDS)
        return Try(str(document["reason"]), int(document["failures"]), next_utc_ns)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _with(name: str, value: str) -> dict[str, str]:
    return {name: value} if value else {}


def _outcome(value: object) -> Outcome:
    if value in ("accepted", "refused", "dead"):
        return value
    raise ValueError(f"unknown outcome {value!r}")
