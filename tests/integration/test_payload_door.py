"""The door for payloads' telemetry beside what is said there: what is counted of it, and whose its port is."""

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from telemetry.live.exposition import render_metrics
from telemetry.live.metrics import JobMetrics, SelfStatus
from telemetry.live.payload_door import HOST, PayloadDoor, keep_port
from tests.support.clock import JumpClock
from tests.support.payload_door import Doorway, doorway, logs, span, traces

NOBODY = 65534


def shown(way: Doorway, folder: Path) -> dict[tuple[str, ...], float]:
    """What an agent's /metrics shows of the door, by the end of the name and the labels, but for what is zero."""
    status = SelfStatus(payload_telemetry=way.counts.now())
    metrics = JobMetrics(folder / "counters.jsonl", JumpClock(), version="1", status=lambda: status)
    text = render_metrics(metrics.registry(), "text/plain")[0].decode()
    samples = [sample for family in parse(text) for sample in family.samples]
    start = "jobspan_payload_telemetry_"
    return {
        (each.name.removeprefix(start), *each.labels.values()): each.value
        for each in samples
        if each.name.startswith(start) and each.value
    }


def test_what_the_door_did_is_counted(tmp_path: Path) -> None:
    """Every answer once, by what became of the call; spans and log records by theirs; bytes as they count for the job:
    /metrics agrees with the answers, with the spool and with the bytes that were sent."""
    good, mixed, records = traces(span(1), span(2)), traces(span(3), span(4, name="jobspan.job")), logs({}, {}, {})
    broken = b'{"resourceSpans": 3}'
    with doorway(tmp_path) as way:
        for body in (good, good, mixed, broken):
            way.post("/v1/traces", body)
        way.post("/v1/logs", records)
        way.post("/v1/metrics", b"{}")
        way.post("/v1/traces", good, token="7.1~wrong")
        way.post("/v1/traces", bytes((4 << 20) + 1))
        way.post("/v1/traces", good, Content_Type="text/html")
        way.call("GET", "/v1/traces", None, {})
        seen = shown(way, tmp_path)
        assert (len(way.spans()), len(way.logs())) == (3, 3)
    assert seen == {
        ("calls_total", "taken"): 3,
        ("calls_total", "again"): 1,
        ("calls_total", "form"): 2,
        ("calls_total", "path"): 2,
        ("calls_total", "secret"): 1,
        ("calls_total", "limit"): 1,
        ("items_total", "taken", "traces"): 3,
        ("items_total", "refused", "traces"): 1,
        ("items_total", "taken", "logs"): 3,
        ("bytes_total", "traces"): len(good) + len(mixed) + len(broken),
        ("bytes_total", "logs"): len(records),
    }


def test_a_flood_is_counted_by_its_answers(tmp_path: Path) -> None:
    """Calls beyond the rate, and those beyond what a job may send, as many as were answered so."""
    with doorway(tmp_path, requests_per_second=2.0, items=1) as way:
        statuses = Counter(way.send(span(number)).status for number in range(16))
        seen = shown(way, tmp_path)
    found = {outcome: seen.get(("calls_total", outcome), 0) for outcome in ("taken", "rate", "limit")}
    assert found == {"taken": statuses[200], "rate": statuses[429], "limit": statuses[413]}
    assert found["rate"] > 0


def test_every_outcome_has_a_series_from_the_start(tmp_path: Path) -> None:
    """So that the first call is an increase to Prometheus."""
    with doorway(tmp_path) as way:
        assert len(way.counts.now()) == 14
        assert set(way.counts.now().values()) == {0}


# --- its port -------------------------------------------------------------------------------------


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Sockets that are made within are another user's."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def port_of(door: PayloadDoor) -> int:
    """Where it is."""
    return int(door.url.rpartition(":")[2])


def test_a_port_is_kept_for_the_next_door(tmp_path: Path) -> None:
    """While somebody keeps it nobody gets the port, also when its door is gone; the next door does, and hears all."""
    with doorway(tmp_path) as first:
        port = port_of(first.door)
        kept = keep_port(port)
    with kept:
        with pytest.raises(OSError, match="in use"):
            socket.create_server((HOST, port))
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("", port))
        with doorway(tmp_path, port=port) as way:
            assert port_of(way.door) == port
            assert {way.send(span(number)).status for number in range(20)} == {200}
    socket.create_server((HOST, port)).close()


@pytest.mark.root
def test_a_kept_port_is_no_other_users(tmp_path: Path) -> None:
    """Not of one who asks to share it either; and he who came first has it: then it cannot be kept."""
    with doorway(tmp_path) as first:
        port = port_of(first.door)
        kept = keep_port(port)
        with another_user(), pytest.raises(OSError, match="in use"):
            socket.create_server((HOST, port), reuse_port=True)
    with kept, another_user():
        for host in (HOST, ""):
            with pytest.raises(OSError, match="in use"):
                socket.create_server((host, port), reuse_port=True)
    with another_user():
        stranger = socket.create_server((HOST, port), reuse_port=True)
    with stranger:
        with pytest.raises(OSError, match="in use"):
            keep_port(port)
        with doorway(tmp_path, port=port) as way:
            assert port_of(way.door) != port


def test_two_doors_never_share_a_port(tmp_path: Path) -> None:
    """A port at which somebody listens already is left to him: each would get calls of the other."""
    with (
        doorway(tmp_path / "a") as one,
        keep_port(port_of(one.door)),
        doorway(tmp_path / "b", port=port_of(one.door)) as other,
    ):
        assert port_of(other.door) != port_of(one.door)
