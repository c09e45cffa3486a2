"""From journal to WMS: a request arrives, however often and through whatever it is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.compose.records import Records
from runner.errors import FencedError, RefusedError, UnavailableError
from runner.wms.client import WmsClient
from runner.wms.request_delivery import SINK, deliver_requests, pending_requests
from runner.wms.tokens import FileToken
from telemetry.clock import SystemClock
from telemetry.facts import RequestMade
from telemetry.journal import Journal
from telemetry.outbox import Acknowledgements
from tests.support.http_faults import RESET, FaultyServer, Reply, faulty_server
from tests.support.ledger import matched, whole_life

OPERATION = {"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/a/b", "Status": "Processed"}]}}
TAKEN = Reply(201, {"RequestID": 5})


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """A control folder whose journal holds two requests."""
    (tmp_path / "job.token").write_text("a-token")
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        for name in ("a", "b"):
            journal.append(RequestMade(name=name, request={"RequestName": name, "JobID": 1, "Operations": [OPERATION]}))
    return tmp_path


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """A WMS that answers as the test says."""
    with faulty_server() as (running, url):
        running.url = url  # type: ignore[attr-defined]
        yield running


def deliver(control: Path, server: FaultyServer) -> None:
    client = WmsClient(server.url, FileToken(control / "job.token"), timeout_seconds=20.0)
    try:
        deliver_requests(control, client)
    finally:
        client.close()


def names(control: Path) -> list[str]:
    return [each.name for each in pending_requests(control)]


def test_each_request_is_delivered_once(control: Path, server: FaultyServer) -> None:
    """What has arrived is not sent again, by whoever looks next."""
    server.script(TAKEN)
    for _ in range(2):
        deliver(control, server)

    assert [each.body["RequestName"] for each in server.seen] == ["a", "b"]
    assert names(control) == []


@pytest.mark.parametrize(
    "reply",
    [Reply(503, {}), Reply(302, headers={"Location": "/"}), Reply(401, {"detail": "x"}), Reply(200, b"<html>"),
     Reply(201, {"RequestID": None})],
)  # fmt: skip
def test_what_is_no_answer_leaves_it_pending(control: Path, server: FaultyServer, reply: Reply) -> None:
    """A WMS that is away, a proxy's page, a token that has to be renewed: later."""
    server.script(reply)
    with pytest.raises(UnavailableError):
        deliver(control, server)

    assert names(control) == ["a", "b"]
    server.script(TAKEN)
    deliver(control, server)
    assert names(control) == []


def test_a_lost_reply(control: Path, server: FaultyServer) -> None:
    """The same document is put again, and counted as a copy; the one behind it is none."""
    server.script(RESET, TAKEN)
    deliver(control, server)
    first, second, *_ = [each.body for each in server.seen]

    assert first == second
    assert names(control) == []
    assert Acknowledgements(control, SINK).copies == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(400, {"detail": "invalid request"}), RefusedError),
        (Reply(409, {"detail": "fenced"}, {"Jobspan-Fenced": "1"}), FencedError),
    ],
)
def test_a_refusal_is_final_and_blocks_nobody(
    control: Path, server: FaultyServer, reply: Reply, kind: type[Exception]
) -> None:
    """It is told, and not repeated; the request behind it is delivered."""
    server.script(reply, TAKEN)
    with pytest.raises(kind):
        deliver(control, server)

    assert [each.body["RequestName"] for each in server.seen] == ["a", "b"]
    assert names(control) == []


def test_a_record_that_is_not_taken_is_forwarded(tmp_path: Path, server: FaultyServer) -> None:
    """While accounting is away the record becomes a request; the journal keeps it, and delivers it all the same."""
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        for entry in whole_life(matched()).entries:
            journal.append(entry.fact)
    (tmp_path / "job.token").write_text("a-token")
    away = True

    def answer(seen: Any) -> Reply:
        if not seen.path.endswith("/accounting"):
            return TAKEN
        results = [{**{name: each[name] for name in ("UID", "RecordedBy", "Revision")}, "Outcome": "inserted"}
                   for each in seen.body["Records"]]  # fmt: skip
        return Reply(503, {}) if away else Reply(200, {"Results": results})

    server.handler = answer
    client = WmsClient(server.url, FileToken(tmp_path / "job.token"), timeout_seconds=20.0)
    records = Records(deadline_seconds=0.1)
    records.deliver_or_forward(tmp_path, client, lambda: False)
    silent = [each.path for each in server.seen if each.path.endswith("/requests")]
    records.deliver_or_forward(tmp_path, client, lambda: True)
    (forwarded,) = [each.body for each in server.seen if each.path.endswith("/requests")]
    away = False
    delivered = records.deliver(tmp_path, client)
    client.close()

    (operation,) = forwarded["Operations"]
    assert (operation["Type"], operation["Arguments"]["Call"]) == ("ForwardDISET", "Accounting")
    assert operation["Arguments"]["Records"] == server.seen[-1].body["Records"]
    assert silent == []
    assert delivered
