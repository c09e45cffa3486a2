"""Attempts go to the collector together, and one that it does not want keeps no other from it."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from telemetry.entries import Entry
from telemetry.facts import ClockStepped
from telemetry.journal import Journal, read_journal
from telemetry.ledger.builder import build
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.parcels import KEPT, Parcel
from telemetry.live.shipper import Shipper
from telemetry.live.shipping import Shipping
from telemetry.live.spans import render
from telemetry.outbox import Acknowledgements
from tests.support.attempts import play, uid_of
from tests.support.clock import JumpClock
from tests.support.collector import Collector, collector
from tests.support.http_faults import FaultyServer, Reply, Seen, faulty_server, nobody
from tests.support.waiting import eventually

OTLP = {"Content-Type": "application/x-protobuf"}
GOOD = Reply(200, b"", OTLP)
UNWANTED = 5


def control_of(folder: Path, job_id: int) -> Path:
    return folder / "jobs" / f"{job_id}.1" / "control"


@pytest.fixture
def server() -> Iterator[tuple[FaultyServer, str]]:
    with faulty_server() as both:
        yield both


def parcels(folder: Path, shipping: Shipping, count: int = 8) -> list[Parcel]:
    """So many attempts, packed."""
    packed = []
    for job_id in range(1, count + 1):
        play(control_of(folder, job_id), job_id=job_id)
        packed.append(shipping.pack(control_of(folder, job_id), build(read_journal(control_of(folder, job_id)))))
    return packed


def acknowledged(folder: Path, job_id: int) -> Acknowledgements:
    return Acknowledgements(control_of(folder, job_id), "otlp-http")


def outcomes(folder: Path, count: int = 8) -> dict[int, set[str]]:
    """What the collector has said of each, as it is noted on the disk."""
    return {job_id: {*acknowledged(folder, job_id).outcomes.values()} for job_id in range(1, count + 1)}


def refusing(reply: Reply) -> Callable[[Seen], Reply]:
    """A collector that gives *reply* to whatever has spans of the unwanted attempt."""

    def handle(seen: Seen) -> Reply:
        is_unwanted = seen.path == "/v1/traces" and uid_of(UNWANTED).encode() in gzip.decompress(seen.content)
        return reply if is_unwanted else GOOD

    return handle


def test_attempts_go_together(tmp_path: Path) -> None:
    """Of forty attempts the collector has every record once, in a few requests."""
    with collector() as running:
        shipper = Shipper(Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(running.endpoint)), build)
        for job_id in range(1, 41):
            play(control_of(tmp_path, job_id), job_id=job_id)
            shipper.submit(control_of(tmp_path, job_id))
        shipper.start()
        eventually(lambda: not sum(shipper.pending().values()))
        assert shipper.stop(10)
        assert sorted(running.uids()) == sorted(uid_of(job_id) for job_id in range(1, 41))
        assert running.spans().count("jobspan.job") == 40
        assert len(running.received) < 20


def test_one_that_is_refused_is_found(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """A batch with an attempt that the collector answers with 400 is halved until it stands alone: that one is dead,
    the others arrive, and none of them twice."""
    faulty, url = server
    faulty.handler = refusing(Reply(400, b""))
    shipping = Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(url))
    results = shipping.send(parcels(tmp_path, shipping))
    assert [result.http for result in results].count("dead") == 1
    assert outcomes(tmp_path) == {n: {"dead" if n == UNWANTED else "accepted"} for n in range(1, 9)}
    assert sum(acknowledged(tmp_path, job_id).copies for job_id in range(1, 9)) == 0
    assert len(faulty.seen) < 16


def test_one_that_is_rejected_in_part_is_found(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """The same with a 200 that rejects spans: what the collector may have had from the batch is counted as a copy."""
    faulty, url = server
    partial = ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=1, error_message="no")
    )
    faulty.handler = refusing(Reply(200, partial.SerializeToString(), OTLP))
    shipping = Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(url))
    results = shipping.send(parcels(tmp_path, shipping))
    assert [(number, each.rejected) for number, each in enumerate(results, 1) if each.rejected] == [(UNWANTED, 1)]
    assert outcomes(tmp_path) == {n: {"dead" if n == UNWANTED else "accepted"} for n in range(1, 9)}
    assert all(acknowledged(tmp_path, job_id).copies > 0 for job_id in range(1, 9) if job_id != UNWANTED)


def test_a_collector_that_goes_while_it_is_asked(tmp_path: Path, server: tuple[FaultyServer, str]) -> None:
    """When it is gone before the unwanted one is found, nobody is dead but who it was, and the rest is for later."""
    faulty, url = server
    faulty.script(Reply(400, b""), Reply(503, b""), GOOD)
    shipping = Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(url))
    packed = parcels(tmp_path, shipping)
    assert {result.http for result in shipping.send(packed)} == {"retry"}
    assert len(faulty.seen) == 2, "who is away is not asked for the others"
    assert {result.http for result in shipping.send(packed)} == {"accepted"}


# --- what waits is packed once --------------------------------------------------------------------


def left_behind(folder: Path, job_id: int = 1) -> Path:
    """An attempt that an agent could not send to anybody."""
    play(control_of(folder, job_id), job_id=job_id)
    shipper = Shipper(Shipping(OtlpFiles(folder / "telemetry"), OtlpHttp.at(nobody())), build)
    shipper.submit(control_of(folder, job_id))
    shipper.start()
    assert shipper.stop(10)
    assert (control_of(folder, job_id) / KEPT).exists()
    return control_of(folder, job_id)


def shipped(folder: Path, running: Collector) -> tuple[list[str], int]:
    """What the next agent sends, and for how many attempts it made a record anew."""
    built: list[int] = []

    def counting(entries: list[Entry]) -> Mapping[str, object] | None:
        built.append(1)
        return build(entries)

    shipping = Shipping(OtlpFiles(folder / "telemetry"), OtlpHttp.at(running.endpoint))
    shipper = Shipper(shipping, counting, jobs_folder=folder / "jobs")
    shipper.start()
    eventually(lambda: running.received)
    assert shipper.stop(10)
    return running.uids(), len(built)


def test_what_waited_is_not_rendered_again(tmp_path: Path) -> None:
    """The next agent finds what the last one could not send, sends that as it is, and removes it then."""
    control = left_behind(tmp_path)
    expected = render(read_journal(control), build(read_journal(control)))
    with collector() as running:
        assert shipped(tmp_path, running) == ([uid_of(1)], 0)
        assert sorted(running.spans()) == sorted(span.name for span in expected.spans)
    assert not (control / KEPT).exists()


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "grown"])
def test_what_was_kept_is_believed_only_when_it_holds(tmp_path: Path, harm: str) -> None:
    """What a crash has torn, or what a journal that has grown has made old, is rendered again from the journal."""
    control = left_behind(tmp_path)
    path = control / KEPT
    data = path.read_bytes()
    if harm == "grown":
        with Journal(control, "recovery", JumpClock()) as journal:
            journal.append(ClockStepped(step_seconds=1.0))
    else:
        path.write_bytes({"cut": data[:-1], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[harm])
    with collector() as running:
        uids, built = shipped(tmp_path, running)
        assert uids == [uid_of(1)]
        assert ("jobspan.job" in running.spans(), built > 0) == (True, True)


def test_a_full_disk_does_not_keep_a_job_from_the_collector(tmp_path: Path) -> None:
    """Where nothing can be kept, it is rendered again."""
    play(control_of(tmp_path, 1), job_id=1)
    (control_of(tmp_path, 1) / KEPT).mkdir()
    with collector() as running:
        shipping = Shipping(OtlpFiles(tmp_path / "telemetry"), OtlpHttp.at(nobody()))
        (parcel,) = [shipping.pack(control_of(tmp_path, 1), build(read_journal(control_of(tmp_path, 1))))]
        shipping.hold(parcel)
        assert shipped(tmp_path, running)[0] == [uid_of(1)]
