"""What is forced to the disk before anybody goes on: by fact, by acknowledgement, by call of the WMS.

The calls of the operating system are real, and are written down as they are made.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from telemetry.clock import SystemClock
from telemetry.entries import KINDS, Entry
from telemetry.facts import AttemptEnded, Fact, StatusChanged
from telemetry.journal import Journal
from telemetry.outbox import Acknowledgements
from tests.support.ledger import matched, whole_life
from tests.support.strategies import of_kind
from tests.support.wms import RunningWms, running_wms

#: What must not be forgotten by a machine that loses its power; for all else a sync would only cost time.
FORCED = frozenset(
    {
        "JobMatched", "JobAccepted", "PayloadPlanned", "PayloadStarted", "PayloadEnded", "UsageSettled", "RequestMade",
        "AttemptEnded", "EndKept",
    }
)  # fmt: skip


class Syncs:
    """Each file that was forced to the disk, as it was then."""

    def __init__(self) -> None:
        self.done: list[tuple[str, bytes]] = []

    def note(self, inner: Callable[[int], None]) -> Callable[[int], None]:
        """*inner*, and a note of it."""

        def sync(fd: int) -> None:
            inner(fd)
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            if path.is_file():
                self.done.append((path.name, path.read_bytes()))

        return sync

    def of(self, name: str) -> list[bytes]:
        """What the file *name* held at each."""
        return [content for each, content in self.done if each == name]


@contextmanager
def noted() -> Iterator[Syncs]:
    """From here to the end of the block."""
    syncs = Syncs()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("fdatasync", "fsync"):
            patch.setattr(os, name, syncs.note(getattr(os, name)))
        yield syncs


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_which_facts_are_forced(tmp_path: Path, kind: type[Fact]) -> None:
    """A fact on which others build is whole on the disk when `append` returns; any other costs no sync."""

    @settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    @given(of_kind(kind))
    def check(fact: Fact) -> None:
        with Journal(tmp_path, "wrapper", SystemClock()) as journal, noted() as syncs:
            journal.append(fact)
            written = (tmp_path / "wrapper.journal.jsonl").read_bytes()
            assert syncs.of("wrapper.journal.jsonl") == ([written] if kind.__name__ in FORCED else [])

    check()


def test_a_journal_that_is_closed_is_on_the_disk(tmp_path: Path) -> None:
    """Also what no sync of its own was spent on."""
    with noted() as syncs:
        with Journal(tmp_path, "wrapper", SystemClock()) as journal:
            journal.append(StatusChanged(minor_status="Application"))
            assert syncs.done == []
        assert syncs.of("wrapper.journal.jsonl") == [(tmp_path / "wrapper.journal.jsonl").read_bytes()]


def _entry(sequence: int) -> Entry:
    return Entry("wrapper", sequence, 0, 0, "b", AttemptEnded(status="Done", minor_status=""))


@pytest.mark.parametrize(
    "act",
    [
        lambda acks: acks.advance(_entry(1), "accepted"),
        lambda acks: acks.advance_all([(_entry(1), "refused", "no"), (_entry(2), "accepted", "")]),
        lambda acks: acks.settle("item", "accepted"),
        lambda acks: acks.settle("item", "dead", "no"),
    ],
    ids=["advance", "advance_all", "settle", "dead"],
)
def test_each_acknowledgement_is_forced(tmp_path: Path, act: Callable[[Acknowledgements], None]) -> None:
    """By one sync, however many go along: what is delivered stays delivered."""
    acknowledgements = Acknowledgements(tmp_path, "sink")
    with noted() as syncs:
        act(acknowledgements)
        assert syncs.of("sink.acks.jsonl") == [(tmp_path / "sink.acks.jsonl").read_bytes()]


def test_a_dead_letter_that_is_taken_up_is_forced(tmp_path: Path) -> None:
    """A retry that a user has asked for is not forgotten."""
    acknowledgements = Acknowledgements(tmp_path, "sink")
    acknowledgements.settle("item", "dead", "no")
    with noted() as syncs:
        assert acknowledgements.reopen("item")
        assert len(syncs.of("sink.acks.jsonl")) == 1


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """On SQLite: the sync of a database server is its own affair."""
    with running_wms(tmp_path_factory.mktemp("wms")) as running:
        yield running


@pytest.fixture
def job(wms: RunningWms) -> dict[str, Any]:
    """A job that was matched."""
    wms.submit()
    match = wms.match()
    assert match
    return match


def log_syncs(syncs: Syncs) -> int:
    """How often a database's log was forced."""
    return sum(name.endswith("-wal") for name, _ in syncs.done)


def test_a_record_is_answered_when_it_is_on_the_disk(wms: RunningWms, job: dict[str, Any]) -> None:
    """The WMS says "inserted" after a sync of its database; the wrapper forgets the record for that word."""
    fact = matched(job["JobID"], job["Attempt"], uid=job["UID"], wms_id=job["WMSID"])
    record = {name: value for name, value in whole_life(fact).record().items() if value is not None}
    with noted() as syncs:
        answer = wms.call("POST", "/api/jobspan/accounting", {"Records": [record]}, token=wms.pilot_token)
        assert [each["Outcome"] for each in answer.json()["Results"]] == ["inserted"]
        assert log_syncs(syncs) >= 1


def test_a_request_is_answered_when_it_is_on_the_disk(wms: RunningWms, job: dict[str, Any]) -> None:
    """So with what is left to be done after the end of a job."""
    operation = {"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/local/a", "Status": "Processed"}]}}
    body = {"RequestName": "r", "JobID": job["JobID"], "Operations": [operation]}
    with noted() as syncs:
        answer = wms.call("POST", "/api/jobspan/requests", body, token=job["JobToken"])
        assert answer.status_code == 201, answer.text
        assert log_syncs(syncs) >= 1


def test_a_heartbeat_costs_no_sync(wms: RunningWms, job: dict[str, Any]) -> None:
    """What the next one makes worthless is not waited for: so the two above are not by chance."""
    with noted() as syncs:
        beat = wms.call("PATCH", "/api/jobs/heartbeat", {str(job["JobID"]): {}}, token=job["JobToken"])
        assert beat.status_code == 200
        assert log_syncs(syncs) == 0
