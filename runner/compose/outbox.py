"""The outbox of a node for its operator: what it owes, in words and as documents, and another try."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runner.agent.aftercare import Aftercare
from runner.agent.folders import JobFolder
from runner.agent.outbox import (
    AGENT_FOLDER,
    COLLECTOR,
    FILES,
    PAYLOADS,
    REQUESTS,
    RESCHEDULE,
    OutboxItem,
    expired,
    outbox,
    reopen,
    requests_of,
)
from runner.agent.ports import AgentParts
from runner.agent.recovery import has_ended, wrapper_lives
from runner.compose.kinds import open_wms
from runner.compose.records import Records
from runner.compose.shipping import payload_shipping, shipping
from runner.compose.users import user_names
from runner.computing.inprocess import InProcessComputingElement
from runner.computing.spawners import InterpreterSpawner
from runner.config import Config
from runner.locks import FileLock, LockHeld
from runner.wms.delivery import SINK
from runner.wms.reports import parameters, update
from runner.wrapper.template import write_wrapper
from telemetry.clock import Clock, SystemClock, utc_text
from telemetry.entries import to_json
from telemetry.facts import JobMatched, StatusChanged
from telemetry.journal import read_journal
from telemetry.ledger.builder import build, record_of
from telemetry.ledger.deliver import SINK as ACCOUNTING
from telemetry.live.otlp import log_line, span_line
from telemetry.live.payload_shipping import PayloadShipper, spooled
from telemetry.live.payload_spool import SIGNALS
from telemetry.live.shipper import Shipper
from telemetry.live.spans import render
from telemetry.outbox import AcknowledgementsTally, entry_name

#: How long the command itself delivers, where no agent does.
DELIVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Retried:
    """What became of a retry: how many dead letters were re-opened, and who delivers them."""

    count: int
    by: Literal["agent", "command", "nobody"]
    #: Whether the WMS and the collector have taken what the command delivered.
    done: bool = False


class Observer:
    """What an agent has for the telemetry of its jobs, less the metrics: implements `AgentObserver`."""

    def __init__(self, config: Config) -> None:
        self._shipper = Shipper(shipping(config), build)
        self._payloads = PayloadShipper(payload_shipping(config))
        self._shipper.start()
        self._payloads.start()

    def on_attempt_started(self, control: Path) -> None:
        """Nothing is started here."""

    def on_room(self, shortage: Mapping[str, str]) -> None:
        """No job is taken here."""

    def on_attempt_ended(self, control: Path) -> None:
        """Ship what the journal tells."""
        self._shipper.submit(control)
        self._payloads.submit(control)

    def close(self) -> None:
        """Ship the rest."""
        self._shipper.stop(DELIVERY_SECONDS)
        self._payloads.stop(DELIVERY_SECONDS)


def listing(config: Config) -> list[OutboxItem]:
    """Everything on this node that is pending or dead."""
    return outbox(config.jobs_folder, collector=config.telemetry.sends)


def counted(config: Config) -> dict[str, Mapping[str, int]]:
    """By sink: copies that went out more than once, and documents that were removed undelivered."""
    tally = AcknowledgementsTally(config.jobs_folder)
    tally.look()
    copies = {sink: count for sink, count in sorted(tally.copies.items()) if count}
    return {"copies": copies, "expired": expired(config.folder / AGENT_FOLDER)}


def retry(config: Config, items: Sequence[OutboxItem]) -> Retried:
    """Re-open the dead letters among *items*. The agent of the folder delivers them; where none runs, we do.

    Raises:
        UnavailableError: no agent runs, and no WMS is known.
    """
    agent = config.folder / AGENT_FOLDER
    count = reopen(agent, items)
    agent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        lock = FileLock.take(agent / "agent.lock")
    except LockHeld:
        return Retried(count, "agent")
    with lock:
        folders = [each for each in dict.fromkeys(item.folder for item in items) if _may_be_delivered(each)]
        if not folders:
            return Retried(count, "nobody")
        return Retried(count, "command", done=_deliver(config, folders))


def _may_be_delivered(folder: JobFolder) -> bool:
    """Not what a wrapper delivers itself, nor what an agent has to end first."""
    return not wrapper_lives(folder.control) and has_ended(read_journal(folder.control))


def _deliver(config: Config, folders: Sequence[JobFolder]) -> bool:
    wms, clock = open_wms(config), SystemClock()
    observer = Observer(config)
    parts = AgentParts(
        client=wms.user("pilot"),
        job_client=lambda folder: wms.attempt(folder.control, folder.attempt),
        computing_element=InProcessComputingElement(InterpreterSpawner(), slots=1),
        observer=observer,
        records=Records(keeper=wms.accounting),
        write_wrapper=write_wrapper,
    )
    try:
        done = Aftercare(config, parts, clock).see_through(folders, DELIVERY_SECONDS)
    finally:
        observer.close()
        parts.computing_element.close()
        parts.client.close()
    left = [item for item in listing(config) if item.folder in folders]
    return done and not left


def documents(config: Config, items: Sequence[OutboxItem], clock: Clock) -> Iterator[dict[str, Any]]:
    """Each of *items* with its body, in the words of its sink, so that another machine can deliver it."""
    for item in items:
        yield {**row(item, clock), "Body": _body(config, item)}


def row(item: OutboxItem, clock: Clock) -> dict[str, Any]:
    """*item* in plain values."""
    return {
        "JobID": item.folder.job_id,
        "Attempt": item.folder.attempt,
        "Folder": item.folder.root.name,
        "Sink": item.sink,
        "Kind": item.kind,
        "Item": item.name,
        "State": item.state,
        "Made": utc_text(item.made_utc_ns),
        "AgeSeconds": max(0.0, round((clock.utc_ns() - item.made_utc_ns) / 1e9, 3)),
        "SizeBytes": item.size_bytes,
        "Reason": item.reason,
        "NextTry": None if item.next_utc_ns is None else utc_text(item.next_utc_ns),
    }


def _body(config: Config, item: OutboxItem) -> Any:
    entries = read_journal(item.folder.control)
    if item.sink in (FILES, COLLECTOR):
        said = config.telemetry
        rendered = render(
            entries,
            record_of(entries),
            service_name=said.service_name,
            resource=said.resource,
            user_name=user_names(config),
        )
        bodies = {"traces": span_line(rendered.spans)} | ({"logs": log_line(rendered.logs)} if rendered.logs else {})
        return {name: json.loads(line) for name, line in bodies.items()}
    if item.sink in PAYLOADS.values():
        return {name: list(spooled(item.folder.control, name)) for name in SIGNALS}
    if item.sink == ACCOUNTING:
        record = record_of(entries)
        return None if record is None else dict(record)
    if item.sink == RESCHEDULE:
        uid = next((each.fact.uid for each in entries if isinstance(each.fact, JobMatched)), "")
        return {"JobID": item.folder.job_id, "UID": uid}
    if item.sink == REQUESTS and item.name in (requests := requests_of(entries)):
        return to_json(requests[item.name])["data"].get("request")
    entry = next((each for each in entries if item.sink == SINK and entry_name(each) == item.name), None)
    if entry is None:
        return None
    if isinstance(entry.fact, StatusChanged):
        return {utc_text(entry.utc_ns): update(entry)}
    return parameters(entry)
