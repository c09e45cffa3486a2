"""Ended attempts reach files and collector, once, whatever goes wrong in between."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetry.entries import Entry
from telemetry.live.otlp_files import OtlpFiles, read_accounting, read_spans
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.shipper import Backoff, Shipper
from telemetry.live.shipper import uid_of as uid_in
from telemetry.live.shipping import Shipping
from telemetry.outbox import Acknowledgements
from tests.support.attempts import Attempt, play, uid_of
from tests.support.collector import Collector, Reply, collector
from tests.support.waiting import at_best, eventually


def record_of(uid: str) -> dict[str, Any]:
    """A record that is enough for an event."""
    return {"UID": uid, "CPUTime": 3.5, "EndTime": "2026-01-15T12:00:09.500000Z"}


def build(entries: list[Entry]) -> dict[str, Any]:
    """Stands for the ledger's builder."""
    return record_of(next(entry.fact.uid for entry in entries if type(entry.fact).__name__ == "JobMatched"))


@pytest.fixture
def running() -> Iterator[Collector]:
    """A collector on loopback."""
    with collector() as each:
        yield each


@pytest.fixture
def files(tmp_path: Path) -> OtlpFiles:
    """The node's files."""
    return OtlpFiles(tmp_path / "telemetry")


def control_of(tmp_path: Path, job_id: int = 7) -> Path:
    """Where the control folder of an attempt lies."""
    return tmp_path / "jobs" / f"{job_id}.1" / "control"


def uids(files: OtlpFiles) -> list[str]:
    """UIDs of the accounting events in the file, copies included."""
    return [event.uid for event in read_accounting(files.logs).events]


# --- one attempt ----------------------------------------------------------------------------------


def test_an_attempt_is_shipped_once(tmp_path: Path, files: OtlpFiles, running: Collector) -> None:
    """However often it is asked for, each sink gets an attempt once."""
    control = control_of(tmp_path)
    play(control)
    shipping = Shipping(files, OtlpHttp.at(running.endpoint))
    for _ in range(3):
        result = shipping.ship(control, record_of(uid_of()))
        assert (result.file, result.http, result.is_settled) == ("accepted", "accepted", True)
    assert uids(files) == running.uids() == [uid_of()]


def test_without_a_collector_files_are_enough(tmp_path: Path, files: OtlpFiles) -> None:
    """No endpoint, no HTTP sink."""
    control = control_of(tmp_path)
    play(control)
    result = Shipping(files).ship(control, record_of(uid_of()))
    assert (result.http, result.is_settled) == ("off", True)
    assert not (control / "otlp-http.acks.jsonl").exists()


def test_a_crash_between_line_and_acknowledgement_does_not_double(tmp_path: Path, files: OtlpFiles) -> None:
    """The line is in the file, the acknowledgement was lost: the next try finds the line."""
    control = control_of(tmp_path)
    play(control)
    Shipping(files).ship(control, record_of(uid_of()))
    (control / "otlp-file.acks.jsonl").unlink()
    (control / "otlp-file.begun").touch()
    assert Shipping(files).ship(control, record_of(uid_of())).file == "accepted"
    assert uids(files) == [uid_of()]


def test_spans_that_are_refused_do_not_keep_the_record(tmp_path: Path, files: OtlpFiles, running: Collector) -> None:
    """When the collector refuses the spans for good, the record is sent all the same."""
    control = control_of(tmp_path)
    play(control)
    running.replies.append(Reply(status=413))
    result = Shipping(files, OtlpHttp.at(running.endpoint)).ship(control, record_of(uid_of()))
    assert (result.http, running.uids()) == ("dead", [uid_of()])
    assert Acknowledgements(control, "otlp-http").outcome(f"{uid_of()}/wrapper/1") == "dead"


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    """A telemetry folder that is a file is an error in words, and not the end."""
    control = control_of(tmp_path)
    play(control)
    (tmp_path / "telemetry").write_text("in the way")
    result = Shipping(OtlpFiles(tmp_path / "telemetry")).ship(control, record_of(uid_of()))
    assert result.file == "retry"
    assert "cannot write" in result.detail
    (tmp_path / "telemetry").unlink()
    assert Shipping(OtlpFiles(tmp_path / "telemetry")).ship(control, record_of(uid_of())).file == "accepted"


def named(record: dict[str, Any], by: str, revision: int) -> dict[str, Any]:
    """The same record by another witness, or another revision."""
    return {**record, "RecordedBy": by, "Revision": revision}


def test_a_record_that_supersedes_another_is_shipped_too(tmp_path: Path, files: OtlpFiles, running: Collector) -> None:
    """The wrapper's after the agent's, a revision after another; each once, and the spans with the first only."""
    control = control_of(tmp_path)
    play(control)
    shipping = Shipping(files, OtlpHttp.at(running.endpoint))
    names = [("agent", 1), ("wrapper", 1), ("wrapper", 2)]
    for by, revision in names * 2:
        assert shipping.ship(control, named(record_of(uid_of()), by, revision)).is_settled
    expected = [f"{uid_of()}/{by}/{revision}" for by, revision in names]
    assert [event.item for event in read_accounting(files.logs).events] == expected
    assert running.uids() == [uid_of()] * 3
    spans = [span.span_id for span in read_spans(files.traces).spans]
    assert len(spans) == len(set(spans)) > 0
    assert sum(1 for each in running.received if each.path == "/v1/traces") == 1


def test_what_an_earlier_version_has_acknowledged_is_not_shipped_again(tmp_path: Path, files: OtlpFiles) -> None:
    """It noted the UID alone; such an attempt counts as shipped."""
    control = control_of(tmp_path)
    play(control)
    Acknowledgements(control, "otlp-file").settle(uid_of(), "accepted")
    assert Shipping(files).ship(control, record_of(uid_of())).is_settled
    assert uids(files) == []


# --- the thread -----------------------------------------------------------------------------------


def test_submitted_attempts_arrive(tmp_path: Path, files: OtlpFiles, running: Collector) -> None:
    """What the agent submits is in the files and at the collector soon after."""
    shipper = Shipper(Shipping(files, OtlpHttp.at(running.endpoint)), build)
    shipper.start()
    for job_id in (7, 8):
        play(control_of(tmp_path, job_id), job_id=job_id)
        shipper.submit(control_of(tmp_path, job_id))
    eventually(lambda: len(running.uids()) == 2)
    assert shipper.stop(10)
    assert sorted(uids(files)) == sorted([uid_of(7), uid_of(8)])
    assert shipper.pending() == {"otlp-file": 0, "otlp-http": 0}


def test_what_an_earlier_agent_left_is_found(tmp_path: Path, files: OtlpFiles) -> None:
    """At the start the folders are scanned: ended ones are shipped, living and foreign ones left alone."""
    play(control_of(tmp_path, 7))
    living = Attempt(control_of(tmp_path, 8), job_id=8)
    living.begin()
    (tmp_path / "jobs" / "9.1" / "control").mkdir(parents=True)
    shipper = Shipper(Shipping(files), build, jobs_folder=tmp_path / "jobs")
    shipper.start()
    eventually(lambda: uids(files) == [uid_of(7)])
    assert shipper.stop(10)
    living.close()
    assert uids(files) == [uid_of(7)]


def test_a_better_record_is_found_at_the_start(tmp_path: Path, files: OtlpFiles) -> None:
    """An attempt that was shipped, and whose journal has grown since then, is built again and shipped if it differs."""
    control = control_of(tmp_path)
    play(control)
    best = {"by": "agent"}

    def build_best(entries: list[Entry]) -> dict[str, Any]:
        return named(build(entries), best["by"], 1)

    def restart(witness: int) -> list[str]:
        """By whom the records of job 7 are that the file holds, once that of another job is there."""
        play(control_of(tmp_path, witness), job_id=witness)
        shipper = Shipper(Shipping(files), build_best, jobs_folder=tmp_path / "jobs")
        shipper.start()
        eventually(lambda: uid_of(witness) in uids(files))
        assert shipper.stop(10)
        events = read_accounting(files.logs, uids=[uid_of()]).events
        return [event.item.split("/")[1] for event in events]

    assert restart(91) == ["agent"]
    best["by"] = "wrapper"
    assert restart(92) == ["agent"], "the journal has not grown"
    newest_ns = (control / "otlp-file.acks.jsonl").stat().st_mtime_ns + 10**9
    for journal in control.glob("*.journal.jsonl"):
        os.utime(journal, ns=(newest_ns, newest_ns))
    assert restart(93) == ["agent", "wrapper"]


def test_a_full_queue_loses_nothing(tmp_path: Path, files: OtlpFiles) -> None:
    """When more attempts end at once than the queue holds, the folders are scanned again."""
    shipper = Shipper(Shipping(files), build, jobs_folder=tmp_path / "jobs", queue_limit=1)
    for job_id in range(1, 6):
        play(control_of(tmp_path, job_id), job_id=job_id)
        shipper.submit(control_of(tmp_path, job_id))
    shipper.start()
    eventually(lambda: len(uids(files)) == 5)
    assert shipper.stop(10)
    assert sorted(uids(files)) == sorted(uid_of(job_id) for job_id in range(1, 6))


def test_a_collector_that_comes_back_gets_everything(tmp_path: Path, files: OtlpFiles, running: Collector) -> None:
    """While it fails the files are written at once; when it is back every attempt arrives."""
    running.replies.append(Reply(status=503))
    shipper = Shipper(Shipping(files, OtlpHttp.at(running.endpoint)), build)
    shipper.start()
    for job_id in (1, 2, 3):
        play(control_of(tmp_path, job_id), job_id=job_id)
        shipper.submit(control_of(tmp_path, job_id))
    eventually(lambda: len(uids(files)) == 3, 20)
    eventually(lambda: shipper.pending()["otlp-file"] == 0, 20)
    eventually(lambda: len(set(running.uids())) == 3, 60)
    assert shipper.stop(10)


def test_a_black_hole_does_not_hold_up_the_agent(tmp_path: Path, files: OtlpFiles, black_hole: str) -> None:
    """With a collector that never answers, submitting takes no time and files are written."""
    shipper = Shipper(Shipping(files, OtlpHttp.at(black_hole, timeout_seconds=0.5)), build)
    shipper.start()

    def seconds(number: int) -> float:
        play(control_of(tmp_path, number + 1), job_id=number + 1)
        begun = time.monotonic()
        shipper.submit(control_of(tmp_path, number + 1))
        return time.monotonic() - begun

    tries = at_best(0.2, seconds)
    eventually(lambda: uids(files) == [uid_of(number + 1) for number in range(tries)])
    assert shipper.stop(10)
    assert shipper.pending()["otlp-http"] == tries
    assert Acknowledgements(control_of(tmp_path, 1), "otlp-http").settled == frozenset()


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A loopback socket that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_attempt_that_cannot_be_rendered_does_not_stop_the_others(tmp_path: Path, files: OtlpFiles) -> None:
    """A control folder without identity is counted and left; the next one is shipped."""
    empty = control_of(tmp_path, 1)
    empty.mkdir(parents=True)
    shipper = Shipper(Shipping(files), build)
    shipper.start()
    shipper.submit(empty)
    play(control_of(tmp_path, 2), job_id=2)
    shipper.submit(control_of(tmp_path, 2))
    eventually(lambda: uids(files) == [uid_of(2)])
    assert shipper.stop(10)
    assert shipper.unreadable == 1


def test_stopping_ships_what_is_queued(tmp_path: Path, files: OtlpFiles, running: Collector) -> None:
    """An agent that ends at once after a job still leaves its line, and tries the collector."""
    shipper = Shipper(Shipping(files, OtlpHttp.at(running.endpoint)), build)
    play(control_of(tmp_path))
    shipper.submit(control_of(tmp_path))
    shipper.start()
    assert shipper.stop(10)
    assert uids(files) == running.uids() == [uid_of()]


def test_uid_is_found_without_reading_everything(tmp_path: Path) -> None:
    """The UID of a control folder comes from its JobMatched, and a folder without one has none."""
    play(control_of(tmp_path))
    assert uid_in(control_of(tmp_path)) == uid_of()
    os.remove(control_of(tmp_path) / "agent.journal.jsonl")
    assert uid_in(control_of(tmp_path)) is None


def test_backoff_doubles_up_to_a_minute_and_listens() -> None:
    """Waits grow to at most 72 s with jitter; a longer wish of the collector is granted; success forgets it."""
    backoff = Backoff(lambda: 1000.0)
    assert backoff.is_over()
    waits = []
    for _ in range(12):
        backoff.failed(None)
        waits.append(backoff.remaining_seconds())
    assert 0.8 <= waits[0] <= 1.2
    assert all(48 <= wait <= 72 for wait in waits[6:])
    assert len(set(waits[6:])) > 1  # many agents do not come back as one
    backoff.failed(200.0)
    assert backoff.remaining_seconds() == 200
    assert not backoff.is_over()
    backoff.succeeded()
    assert backoff.is_over()


def test_rendered_spans_stand_in_the_file(tmp_path: Path, files: OtlpFiles) -> None:
    """The service name of the configuration is the resource's."""
    control = control_of(tmp_path)
    play(control)
    Shipping(files, service_name="site-jobs").ship(control, None)
    services = {span.resource["service.name"] for span in read_spans(files.traces).spans}
    assert services == {"site-jobs", "jobspan-wms"}
    assert not files.logs.exists()
