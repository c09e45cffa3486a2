"""The bus: facts reach the journal first, and no listener can hurt the job."""

import errno
import threading

import pytest

from telemetry.bus import Bus
from telemetry.entries import Entry
from telemetry.facts import (
    Fact,
    Fenced,
    HeartbeatMade,
    KillRequested,
    OperationFinished,
    ParametersSet,
    PayloadRefused,
    StageFinished,
)
from telemetry.journal import JournalFull
from tests.support.journals import ListJournal

FACT = Fenced(reason="attempt 2 runs")


class FullJournal:
    """A journal on a full disk."""

    def append(self, fact: Fact) -> Entry:
        raise JournalFull(errno.ENOSPC, "no room")


def test_the_journal_comes_first() -> None:
    """When a listener hears of a fact, the fact is in the journal."""
    journal = ListJournal()
    bus = Bus(journal)
    found: list[bool] = []
    bus.listen(lambda entry: found.append(entry in journal.entries))
    entry = bus.emit(FACT)
    assert found == [True]
    assert entry.fact == FACT


def test_a_listener_that_fails_is_dropped_and_counted() -> None:
    """Whatever a listener raises, the fact is kept, the others hear it, and the emitter goes on."""
    journal, heard = ListJournal(), list[Entry]()
    bus = Bus(journal)

    def broken(entry: Entry) -> None:
        raise RuntimeError("the collector is on fire")

    bus.listen(broken)
    bus.listen(heard.append)
    try:
        bus.emit(FACT)
        bus.emit(KillRequested(origin="user", reason="x"))
    except RuntimeError:
        pytest.fail("a listener stopped the job")
    assert heard == journal.entries
    assert len(heard) == 2
    assert bus.listeners_dropped == 1


def test_what_cannot_be_kept_is_told_to_nobody() -> None:
    """A fact without room in the journal is an error for the emitter, and listeners do not hear of it."""
    bus, heard = Bus(FullJournal()), list[Entry]()
    bus.listen(heard.append)
    with pytest.raises(JournalFull):
        bus.emit(FACT)
    assert heard == []


def test_many_threads_emit_at_once() -> None:
    """Facts of several threads all arrive, each heard once."""
    journal, heard = ListJournal(), list[Entry]()
    bus = Bus(journal)
    bus.listen(heard.append)
    threads = [threading.Thread(target=lambda: [bus.emit(FACT) for _ in range(50)]) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert len(heard) == len(journal.entries) == 200


@pytest.mark.parametrize(
    "fact",
    [
        StageFinished(stage="execute", at_boottime_ns=1, result="error", message="no hunter2hunter2 there"),
        PayloadRefused(errno=2, cause="/opt/hunter2hunter2: no such file"),
        ParametersSet(parameters={"Error Message": "hunter2hunter2", "N": 1}),
        HeartbeatMade(values={"StandardOutput": "password hunter2hunter2", "CPUConsumed": 1.0}),
        OperationFinished(
            name="x", stage="execute", start_boottime_ns=1, end_boottime_ns=2, attributes={"url": "hunter2hunter2"}
        ),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_secrets_are_masked_before_anything_is_kept(fact: Fact) -> None:
    """Neither the journal nor a listener ever sees a secret in a text that comes from outside (promise 8)."""
    journal, heard = ListJournal(), []
    bus = Bus(journal, lambda text: text.replace("hunter2hunter2", "***"))
    bus.listen(heard.append)
    bus.emit(fact)

    assert "hunter2" not in repr(journal.entries)
    assert "***" in repr(journal.entries)
    assert heard == journal.entries


def test_a_secret_that_is_an_ordinary_word_changes_no_vocabulary() -> None:
    """A site whose password is "initialize" still has its stages."""
    journal = ListJournal()
    fact = StageFinished(stage="initialize", at_boottime_ns=1, result="success")
    Bus(journal, lambda text: text.replace("initialize", "***")).emit(fact)

    assert journal.entries[0].fact == fact
