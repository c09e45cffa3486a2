"""What the attempts of a node still owe to their sinks, or never could deliver. Read from disk: nobody keeps a list.

An item is one document that a sink takes as a whole: a status, a set of parameters, the
accounting record, the telemetry of an attempt, the wish for a next attempt.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from runner.agent.folders import JobFolder
from runner.job.status import JobStatus
from runner.wms.delivery import RESCHEDULE_ITEM, SINK, Reported
from telemetry.entries import Entry, to_json
from telemetry.facts import AttemptEnded, Fenced, JobMatched, KillRequested, StatusChanged
from telemetry.journal import SUFFIX as JOURNAL_SUFFIX
from telemetry.journal import read_journal
from telemetry.ledger.builder import record_of
from telemetry.ledger.deliver import SINK as ACCOUNTING
from telemetry.ledger.record import Record
from telemetry.live.payload_spool import FILE_SINK as PAYLOAD_FILES
from telemetry.live.payload_spool import HTTP_SINK as PAYLOAD_COLLECTOR
from telemetry.live.payload_spool import ITEM, owes, spooled_bytes
from telemetry.outbox import OTLP_DELIVERER, WMS_DELIVERER, Acknowledgements, entry_name, last_try, sinks

#: Below the folder of the node: what belongs to its agent and to no job.
AGENT_FOLDER = "agent"
#: Written last: nothing is left to do for this attempt. Its age decides when the folder is removed.
SETTLED = "settled"
#: The sinks of the node's own telemetry files, and of the collector.
FILES, COLLECTOR = "otlp-file", "otlp-http"
#: Where what payloads have sent goes.
PAYLOADS = {FILES: PAYLOAD_FILES, COLLECTOR: PAYLOAD_COLLECTOR}
#: Combined requests, by name; they stand in the journal as facts of this kind.
REQUESTS, REQUEST_MADE = "wms-requests", "RequestMade"
#: Not a file of acknowledgements of its own: an item of the sink of the statuses.
RESCHEDULE = "reschedule"
#: Below the agent's folder: a file for each attempt that somebody has re-opened; the agent takes them away.
REOPENED = "reopened"
_EXPIRED = "expired.json"

State: TypeAlias = Literal["pending", "dead"]


@dataclass(frozen=True, kw_only=True)
class OutboxItem:
    """One document that is not delivered. Times are UTC; `next_utc_ns` is known while somebody tries."""

    folder: JobFolder
    sink: str
    #: As the acknowledgements call it.
    name: str
    kind: str
    state: State
    made_utc_ns: int
    size_bytes: int
    reason: str = ""
    next_utc_ns: int | None = None


@dataclass(frozen=True)
class _Attempt:
    folder: JobFolder
    entries: list[Entry]
    record: Record | None

    @property
    def control(self) -> Path:
        return self.folder.control

    @property
    def ended_utc_ns(self) -> int | None:
        return next((each.utc_ns for each in self.entries if isinstance(each.fact, AttemptEnded)), None)

    def item(self, sink: str, name: str, kind: str, made_utc_ns: int, size_bytes: int, dead: str | None) -> OutboxItem:
        """One of this attempt; *dead* says why it is dead, None that it is pending."""
        waits = None
        if dead is None:
            waits = last_try(self.control, OTLP_DELIVERER if sink in (FILES, COLLECTOR) else WMS_DELIVERER)
        return OutboxItem(
            folder=self.folder,
            sink=sink,
            name=name,
            kind=kind,
            state="pending" if dead is None else "dead",
            made_utc_ns=made_utc_ns,
            size_bytes=size_bytes,
            reason=dead or (waits.reason if waits else ""),
            next_utc_ns=waits.next_utc_ns if waits else None,
        )


def outbox(jobs: Path, *, collector: bool) -> list[OutboxItem]:
    """Everything below *jobs* that is pending or dead, oldest job first; *collector*: whether one is configured."""
    return [item for folder in JobFolder.all(jobs) for item in outbox_of(folder, collector=collector)]


def outbox_of(folder: JobFolder, *, collector: bool) -> list[OutboxItem]:
    """What one attempt owes."""
    telemetry = (FILES, COLLECTOR) if collector else (FILES,)
    if _is_quiet(folder.control, telemetry):
        return []
    attempt = _read(folder)
    return [
        *_reports(attempt),
        *_requests(attempt),
        *_reschedule(attempt),
        *_record(attempt),
        *_telemetry(attempt, telemetry),
        *_payload(attempt, telemetry),
        *_others(attempt),
    ]


def reopen(agent: Path, items: Iterable[OutboxItem]) -> int:
    """Make the dead letters among *items* pending again; how many were. A running agent notices within a second."""
    count = 0
    for item in items:
        if item.state != "dead" or not Acknowledgements(item.folder.control, item.sink).reopen(item.name):
            continue
        count += 1
        (item.folder.control / SETTLED).unlink(missing_ok=True)
        wishes = agent / REOPENED
        wishes.mkdir(mode=0o700, parents=True, exist_ok=True)
        (wishes / item.folder.root.name).touch(mode=0o600)
    return count


def reopened(agent: Path) -> list[str]:
    """The folders (by name) that were re-opened and not yet taken up."""
    wishes = agent / REOPENED
    return sorted(path.name for path in wishes.iterdir()) if wishes.is_dir() else []


def taken_up(agent: Path, name: str) -> None:
    """Somebody delivers what was re-opened in the folder *name*."""
    (agent / REOPENED / name).unlink(missing_ok=True)


# --- what was never delivered ---------------------------------------------------------------------


def note_expired(agent: Path, items: Sequence[OutboxItem]) -> None:
    """Count *items*, whose attempt is about to be removed. For the one agent of the folder.

    Raises:
        OSError: it cannot be written down; then nothing is to be removed.
    """
    if not items:
        return
    counts = dict(expired(agent))
    for item in items:
        counts[item.sink] = counts.get(item.sink, 0) + 1
    agent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = agent / f"{_EXPIRED}.new"
    temporary.write_text(json.dumps(counts))
    temporary.replace(agent / _EXPIRED)


def expired(agent: Path) -> Mapping[str, int]:
    """How many documents of each sink were removed with their journals before they were delivered."""
    try:
        document = json.loads((agent / _EXPIRED).read_bytes())
        return {str(sink): int(count) for sink, count in document.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


# --- one attempt ----------------------------------------------------------------------------------


def _is_quiet(control: Path, telemetry: Sequence[str]) -> bool:
    """Whether a settled attempt owes nothing; seen without its journal, because most are so."""
    if not (control / SETTLED).exists():
        return False
    if any(Acknowledgements(control, sink).dead for sink in sinks(control)):
        return False
    if any(owes(control, PAYLOADS[sink]) for sink in telemetry):
        return False
    return all(Acknowledgements(control, sink).outcomes for sink in telemetry)


def _read(folder: JobFolder) -> _Attempt:
    entries = read_journal(folder.control)
    return _Attempt(folder, entries, record_of(entries))


def _reports(attempt: _Attempt) -> Iterator[OutboxItem]:
    acknowledgements = Acknowledgements(attempt.control, SINK)
    for entry in attempt.entries:
        if not isinstance(entry.fact, Reported):
            continue
        name = entry_name(entry)
        dead = acknowledgements.dead.get(name)
        if dead is None and not acknowledgements.pending([entry]):
            continue
        kind = "status" if isinstance(entry.fact, StatusChanged) else "parameters"
        yield attempt.item(SINK, name, kind, entry.utc_ns, len(json.dumps(to_json(entry))), dead)


def _reschedule(attempt: _Attempt) -> Iterator[OutboxItem]:
    facts = [entry.fact for entry in attempt.entries]
    wanted = any(isinstance(fact, AttemptEnded) and fact.status == JobStatus.RESCHEDULED for fact in facts)
    given_up = any(
        isinstance(each, Fenced) or (isinstance(each, KillRequested) and each.origin == "user") for each in facts
    )
    made = attempt.ended_utc_ns
    if wanted and not given_up and made and Acknowledgements(attempt.control, SINK).outcome(RESCHEDULE_ITEM) is None:
        yield attempt.item(RESCHEDULE, RESCHEDULE_ITEM, "reschedule", made, 0, None)


def _record(attempt: _Attempt) -> Iterator[OutboxItem]:
    record, made = attempt.record, attempt.ended_utc_ns
    if made is None:
        return
    acknowledgements = Acknowledgements(attempt.control, ACCOUNTING)
    if record is None:  # damaged: what was made of it before, or that nothing can be
        for name, reason in acknowledgements.dead.items():
            yield attempt.item(ACCOUNTING, name, "record", made, 0, reason)
        return
    name = record.key.item
    if acknowledgements.outcome(name) in (None, "dead"):
        size = len(json.dumps(dict(record)))
        yield attempt.item(ACCOUNTING, name, "record", made, size, acknowledgements.dead.get(name))


def _requests(attempt: _Attempt) -> Iterator[OutboxItem]:
    acknowledgements = Acknowledgements(attempt.control, REQUESTS)
    for name, entry in requests_of(attempt.entries).items():
        if acknowledgements.outcome(name) in (None, "dead"):
            size = len(json.dumps(to_json(entry)))
            yield attempt.item(REQUESTS, name, "request", entry.utc_ns, size, acknowledgements.dead.get(name))


def requests_of(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The combined requests in a journal by their names, also of a version that makes them where this one does not."""
    found = {}
    for entry in entries:
        line = to_json(entry)
        if line["fact"] == REQUEST_MADE and "name" in line["data"]:
            found[str(line["data"]["name"])] = entry
    return found


def _telemetry(attempt: _Attempt, telemetry: Sequence[str]) -> Iterator[OutboxItem]:
    made = attempt.ended_utc_ns
    uid = next((each.fact.uid for each in attempt.entries if isinstance(each.fact, JobMatched)), None)
    if made is None or uid is None:
        return
    names = [attempt.record.key.item] if attempt.record else []
    size = sum(path.stat().st_size for path in attempt.control.glob(f"*{JOURNAL_SUFFIX}"))
    for sink in dict.fromkeys([*telemetry, *(each for each in sinks(attempt.control) if each == COLLECTOR)]):
        acknowledgements = Acknowledgements(attempt.control, sink)
        known = next((name for name in (*names, uid) if acknowledgements.outcome(name)), None)
        if known is None or known in acknowledgements.dead:
            yield attempt.item(sink, known or uid, "telemetry", made, size, acknowledgements.dead.get(known or uid))


def _payload(attempt: _Attempt, telemetry: Sequence[str]) -> Iterator[OutboxItem]:
    made, control = attempt.ended_utc_ns, attempt.control
    for sink in (PAYLOADS[each] for each in telemetry):
        dead = Acknowledgements(control, sink).dead.get(ITEM)
        if made is not None and (dead is not None or owes(control, sink)):
            yield attempt.item(sink, ITEM, "payload telemetry", made, spooled_bytes(control), dead)


def _others(attempt: _Attempt) -> Iterator[OutboxItem]:
    """Dead letters of sinks that only a newer or an older version knows."""
    for sink in sinks(attempt.control):
        if sink in (SINK, ACCOUNTING, REQUESTS, *PAYLOADS, *PAYLOADS.values()):
            continue
        for name, reason in Acknowledgements(attempt.control, sink).dead.items():
            yield attempt.item(sink, name, "document", attempt.ended_utc_ns or 0, 0, reason)
