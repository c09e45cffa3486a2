"""Delivery of a record: at least once, never in vain, and always with the journal behind it."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from telemetry.journal import Journal
from telemetry.ledger.deliver import SINK, Backoff, Delivery, SendOutcome, deliver, pending
from telemetry.ledger.record import Record
from telemetry.outbox import Acknowledgements
from tests.support.clock import JumpClock
from tests.support.ledger import Life, whole_life
from tests.support.waiting import at_best

QUICK = Backoff(first_seconds=0.001, largest_seconds=0.002, deadline_seconds=5.0)
RETRY = SendOutcome("retry", "connection refused")


@dataclass
class Wms:
    """Answers with the given outcomes in turn, the last one for ever; `before` runs in each try."""

    outcomes: list[SendOutcome]
    before: Callable[[], None] = lambda: None
    received: list[Record] = field(default_factory=list)

    def __call__(self, record: Record) -> SendOutcome:
        self.before()
        self.received.append(record)
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


@pytest.fixture
def control(tmp_path: Path) -> Path:
    """A control folder with the journals of a whole life."""
    for writer, journal in whole_life().journals.items():
        with Journal(tmp_path, writer, JumpClock()) as file:
            for entry in journal.entries:
                file.append(entry.fact)
    return tmp_path


@pytest.fixture
def record(control: Path) -> Record:
    found = pending(control)
    assert found is not None
    return found


def test_a_record_is_pending_until_it_is_settled(control: Path, record: Record) -> None:
    """What the journal holds is owed to the WMS until the acknowledgement is on disk."""
    assert deliver(control, record, Wms([SendOutcome("accepted")])) == Delivery("accepted", 1)
    assert pending(control) is None
    assert Acknowledgements(control, SINK).outcome(record.key.item) == "accepted"


def test_an_attempt_that_has_not_ended_owes_nothing(tmp_path: Path) -> None:
    """There is nothing to deliver before the end."""
    life = Life()
    life.match()
    with Journal(tmp_path, "agent", JumpClock()) as file:
        for entry in life.entries:
            file.append(entry.fact)
    assert pending(tmp_path) is None


def test_retries_go_on_until_the_wms_answers(control: Path, record: Record) -> None:
    """Errors that may pass are tried again, always with the same body."""
    wms = Wms([RETRY, RETRY, RETRY, SendOutcome("duplicate", "held before")])
    assert deliver(control, record, wms, backoff=QUICK) == Delivery("duplicate", 4, "held before")
    assert wms.received == [record] * 4
    assert pending(control) is None


def test_a_settled_record_is_not_sent_again(control: Path, record: Record) -> None:
    """The next deliverer finds the acknowledgement and is silent."""
    deliver(control, record, Wms([SendOutcome("accepted")]))
    wms = Wms([SendOutcome("accepted")])
    assert deliver(control, record, wms).outcome == "duplicate"
    assert wms.received == []


def test_a_refused_record_is_a_dead_letter(control: Path, record: Record) -> None:
    """What can never succeed is put aside with its reason, and not sent again."""
    wms = Wms([SendOutcome("dead", "422 no such job")])
    assert deliver(control, record, wms) == Delivery("dead", 1, "422 no such job")
    assert deliver(control, record, wms).outcome == "dead"
    assert len(wms.received) == 1
    assert pending(control) is None
    assert "422 no such job" in (control / f"{SINK}.acks.jsonl").read_text()


def test_the_deadline_ends_the_tries_and_loses_nothing(control: Path, record: Record) -> None:
    """A WMS that is away costs its deadline and not more; the record stays pending."""
    plan = Backoff(first_seconds=0.01, largest_seconds=0.01, deadline_seconds=0.5)
    most_tries = 0

    def seconds(_: int) -> float:
        nonlocal most_tries
        start = time.monotonic()
        result = deliver(control, record, Wms([RETRY]), backoff=plan)
        assert result.outcome == "pending"
        assert result.detail == "connection refused"
        assert pending(control) == record
        most_tries = max(most_tries, result.tries)
        return time.monotonic() - start if most_tries >= 3 else math.inf

    at_best(2.0, seconds)
    assert most_tries >= 3


def test_without_time_one_try_is_made(control: Path, record: Record) -> None:
    """A deadline of zero still tries once."""
    wms = Wms([RETRY])
    assert deliver(control, record, wms, backoff=Backoff(deadline_seconds=0.0)) == Delivery("pending", 1, RETRY.detail)
    assert len(wms.received) == 1


def test_a_server_that_asks_for_more_time_than_there_is_gets_it(control: Path, record: Record) -> None:
    """Retry-After beyond the deadline ends the tries at once."""
    wms = Wms([SendOutcome("retry", "busy", retry_after_seconds=3600.0)])
    assert deliver(control, record, wms).outcome == "pending"
    assert len(wms.received) == 1


def test_a_wake_ends_the_wait(control: Path, record: Record) -> None:
    """Who has heard from the WMS need not wait for the backoff."""
    wake = threading.Event()
    wms = Wms([RETRY, SendOutcome("accepted")], before=wake.set)
    start = time.monotonic()
    plan = Backoff(first_seconds=60.0, largest_seconds=60.0, deadline_seconds=120.0)
    assert deliver(control, record, wms, backoff=plan, wake=wake).outcome == "accepted"
    assert time.monotonic() - start < 5.0


def test_a_deliverer_that_must_go_stops_between_tries(control: Path, record: Record) -> None:
    """After `keep_trying` says no nothing is sent, and the record stays pending."""
    wms = Wms([RETRY])
    result = deliver(control, record, wms, backoff=QUICK, keep_trying=lambda: len(wms.received) < 3)
    assert (result.outcome, result.tries) == ("pending", 3)
    assert pending(control) == record


def test_a_lost_acknowledgement_costs_a_copy_and_nothing_else(control: Path, record: Record) -> None:
    """A crash between the answer and its note sends the same record once more, byte by byte."""
    wms = Wms([SendOutcome("accepted"), SendOutcome("duplicate")])
    deliver(control, record, wms)
    (control / f"{SINK}.acks.jsonl").unlink()
    again = pending(control)
    assert again is not None
    assert deliver(control, again, wms).outcome == "duplicate"
    assert wms.received[0].canonical() == wms.received[1].canonical()


def test_an_answer_that_cannot_be_noted_does_not_fail_the_job(control: Path, record: Record) -> None:
    """Where no acknowledgement can be written the record is delivered all the same."""
    (control / f"{SINK}.acks.jsonl").symlink_to(control / "no such folder" / "acks")
    assert deliver(control, record, Wms([SendOutcome("accepted")])).outcome == "accepted"


def test_waits_grow_to_a_bound_are_never_equal_and_honour_the_server() -> None:
    """Exponential, bounded, jittered; never shorter than Retry-After; and far counts do not overflow."""
    plan = Backoff(first_seconds=1.0, factor=2.0, largest_seconds=8.0, jitter=0.5, deadline_seconds=60.0)
    for tries, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5000, 8.0)):
        waits = [plan.wait_seconds(tries, None) for _ in range(50)]
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(set(waits)) > 1
    assert plan.wait_seconds(1, 30.0) == 30.0
