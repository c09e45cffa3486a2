"""What the outbox of a node lists and exports, from journals and acknowledgements alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from runner.agent.folders import JobFolder
from runner.agent.outbox import (
    SETTLED,
    OutboxItem,
    expired,
    note_expired,
    outbox,
    outbox_of,
    reopen,
    reopened,
    taken_up,
)
from runner.agent.room import Room, backlog, least_free_bytes
from runner.compose.outbox import documents, retry
from runner.config import Config, load
from runner.locks import FileLock
from telemetry.clock import SystemClock
from telemetry.entries import UnknownFact
from telemetry.journal import RESERVE_BYTES, read_journal
from telemetry.ledger.builder import build
from telemetry.outbox import WMS_DELIVERER, Acknowledgements, note_try
from tests.support.attempts import Attempt, play, uid_of

REQUEST = {"name": "job_7", "request": {"RequestName": "job_7", "Operations": []}}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(folder=tmp_path, environment={})


@pytest.fixture
def folder(config: Config) -> JobFolder:
    """An attempt that ended as Rescheduled, of which nothing was delivered, with a request of a newer version."""
    root = config.jobs_folder / "7.1"

    def during(attempt: Attempt) -> None:
        attempt.write(UnknownFact(kind="RequestMade", data=REQUEST))

    play(root / "control", during=during, status="Rescheduled", minor_status="Going to reschedule job")
    return JobFolder(root, 7, 1)


def listed(config: Config, *, collector: bool = False) -> dict[str, list[OutboxItem]]:
    """The items by sink."""
    found: dict[str, list[OutboxItem]] = {}
    for item in outbox(config.jobs_folder, collector=collector):
        found.setdefault(item.sink, []).append(item)
    return found


def test_everything_is_pending_at_first(config: Config, folder: JobFolder) -> None:
    """An attempt that has delivered nothing owes its reports, its record, its telemetry, its requests, and the wish
    for the next attempt; with the reason of the last try and the time of the next."""
    note_try(folder.control, WMS_DELIVERER, "cannot reach the WMS", 3, 20.0)
    found = listed(config, collector=True)
    assert {sink: [item.kind for item in items] for sink, items in found.items()} == {
        "wms-status": ["parameters", "status"],
        "wms-requests": ["request"],
        "reschedule": ["reschedule"],
        "wms-accounting": ["record"],
        "otlp-file": ["telemetry"],
        "otlp-http": ["telemetry"],
    }
    items = [item for each in found.values() for item in each]
    assert {item.state for item in items} == {"pending"}
    assert all(item.size_bytes > 0 for item in items if item.sink != "reschedule")
    assert {item.reason for item in items if item.sink.startswith("wms")} == {"cannot reach the WMS"}
    assert all(item.next_utc_ns is None for item in items if item.sink.startswith("otlp"))
    assert "otlp-http" not in listed(config)


def test_what_was_taken_is_listed_no_more(config: Config, folder: JobFolder) -> None:
    """Item by item the list grows shorter; a settled attempt without dead letters is not even read."""
    entries = read_journal(folder.control)
    record = build(entries)
    assert record is not None
    status = Acknowledgements(folder.control, "wms-status")
    for entry in entries:
        status.advance(entry, "accepted")
    status.settle("reschedule", "refused", "maximum reached")
    Acknowledgements(folder.control, "wms-requests").settle("job_7", "accepted")
    Acknowledgements(folder.control, "wms-accounting").settle(record.key.item, "accepted")
    assert set(listed(config)) == {"otlp-file"}
    Acknowledgements(folder.control, "otlp-file").settle(uid_of(), "accepted")
    assert listed(config) == {}
    (folder.control / SETTLED).touch()
    assert outbox_of(folder, collector=False) == []
    Acknowledgements(folder.control, "sink-of-tomorrow").settle("document", "dead", "no")
    (other,) = outbox_of(folder, collector=False)
    assert (other.sink, other.name, other.state, other.reason) == ("sink-of-tomorrow", "document", "dead", "no")


def test_documents_are_worded_for_their_sinks(config: Config, folder: JobFolder) -> None:
    """An export holds for each item what its sink would get: it can be delivered from another machine."""
    exported = list(documents(config, outbox(config.jobs_folder, collector=True), SystemClock()))
    bodies: dict[str, Any] = {
        f"{each['Sink']} {each['Kind']}": each["Body"] for each in json.loads(json.dumps(exported))
    }
    (moment,) = bodies["wms-status status"]
    assert moment.endswith("Z")
    assert bodies["wms-status status"][moment]["Status"] == "Running"
    assert bodies["wms-status parameters"]["TaskID"] == "task-1"
    assert bodies["wms-accounting record"]["UID"] == uid_of()
    assert bodies["wms-requests request"] == REQUEST["request"]
    assert bodies["reschedule reschedule"] == {"JobID": 7, "UID": uid_of()}
    assert bodies["otlp-file telemetry"] == bodies["otlp-http telemetry"]
    assert set(bodies["otlp-http telemetry"]) == {"traces", "logs"}


def test_a_retry_leaves_a_wish_for_the_agent(config: Config, folder: JobFolder) -> None:
    """While an agent holds the folder, a retry re-opens and tells; only dead letters are re-opened, and each once."""
    Acknowledgements(folder.control, "wms-requests").settle("job_7", "dead", "422")
    (folder.control / SETTLED).touch()
    agent = config.folder / "agent"
    agent.mkdir()
    items = [item for each in listed(config).values() for item in each]
    with FileLock.take(agent / "agent.lock"):  # by us: the command would take it, were it another process
        assert reopen(agent, items) == 1
    assert reopened(agent) == ["7.1"]
    assert not (folder.control / SETTLED).exists()
    taken_up(agent, "7.1")
    assert reopened(agent) == []
    assert reopen(agent, items) == 0


def test_a_living_wrapper_delivers_itself(config: Config) -> None:
    """Without an agent a retry delivers nothing of an attempt whose wrapper lives or that has no end yet."""
    root = config.jobs_folder / "8.1"
    attempt = Attempt(root / "control", job_id=8)
    attempt.begin()
    items = outbox(config.jobs_folder, collector=False)
    assert retry(config, items).by == "nobody"
    attempt.close()
    assert retry(config, items).by == "nobody"


def test_expired_documents_are_counted_for_ever(config: Config, folder: JobFolder) -> None:
    """What is removed undelivered is counted by sink, over restarts; a damaged count begins anew."""
    agent = config.folder / "agent"
    items = [item for each in listed(config, collector=True).values() for item in each]
    note_expired(agent, items)
    note_expired(agent, [item for item in items if item.sink == "otlp-http"])
    note_expired(agent, [])
    assert expired(agent)["otlp-http"] == 2
    assert expired(agent)["wms-status"] == 2
    (agent / "expired.json").write_text("[")
    assert expired(agent) == {}


def test_room_is_short_by_disk_and_by_outbox(config: Config, folder: JobFolder) -> None:
    """Too little disk, too many attempts that wait, or too large ones: each is told once when it begins and ends."""
    assert least_free_bytes(config) >= max(config.job_agent.minimum_disk_bytes, config.job_agent.slots * RESERVE_BYTES)
    assert backlog(config, 1000, 0) == ""
    assert "MaxOutboxJobs" in backlog(config, 1001, 0)
    assert "MaxOutboxSize" in backlog(config, 1, (256 << 20) + 1)
    told: list[list[str]] = []
    small = load(folder=config.folder, environment={}, overrides={"JobAgent": {"MaxOutboxSize": 1}})
    room = Room(small, lambda: [folder], lambda shortage: told.append(list(shortage)))
    assert room.is_short()
    assert room.is_short()
    assert told == [["outbox"]]
    full = load(folder=config.folder, environment={}, overrides={"JobAgent": {"MinDiskSpace": 1 << 60}})
    room = Room(full, lambda: [], lambda shortage: told.append(list(shortage)))
    assert room.is_short()
    assert told[-1] == ["disk"]
