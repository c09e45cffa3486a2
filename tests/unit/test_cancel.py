"""The one way to tell a job to stop."""

import threading

import pytest

from runner.process.cancel import Cancel, Cancelled
from telemetry.bus import Bus
from telemetry.facts import KillRequested
from tests.support.journals import ListJournal


@pytest.fixture
def journal() -> ListJournal:
    return ListJournal()


@pytest.fixture
def cancel(journal: ListJournal) -> Cancel:
    return Cancel(Bus(journal).emit)


def test_first_cause_wins(cancel: Cancel, journal: ListJournal) -> None:
    """The first cause is never overwritten, and there is one KillRequested fact."""
    assert cancel.request("watchdog", "Job has exceeded maximum CPU time limit")
    assert not cancel.request("user", "Received Kill signal")
    expected = KillRequested(origin="watchdog", reason="Job has exceeded maximum CPU time limit")
    assert cancel.cause == expected
    assert journal.facts(KillRequested) == [expected]


def test_first_of_many_threads_wins(cancel: Cancel, journal: ListJournal) -> None:
    """However many threads ask at once, one of them is told that it was first."""
    start = threading.Barrier(8)
    won: list[bool] = []

    def ask(number: int) -> None:
        start.wait(10)
        won.append(cancel.request("user", f"thread {number}"))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    assert sorted(won) == [False] * 7 + [True]
    assert journal.facts(KillRequested) == [cancel.cause]


def test_the_fact_is_kept_before_anybody_acts(cancel: Cancel, journal: ListJournal) -> None:
    """A callback finds the cause in the journal already: facts first, then acts."""
    seen: list[int] = []
    cancel.on_request(lambda _: seen.append(len(journal.facts(KillRequested))))
    cancel.request("signal", "SIGTERM")
    assert seen == [1]


def test_a_late_callback_is_called_at_once(cancel: Cancel) -> None:
    """Whoever comes after the request is told all the same, once."""
    cancel.request("fence", "attempt 2 runs")
    told: list[str] = []
    cancel.on_request(lambda cause: told.append(cause.reason))
    cancel.request("user", "again")
    assert told == ["attempt 2 runs"]


def test_waiting_ends_with_the_request(cancel: Cancel) -> None:
    """A thread that waits is woken by the request; before it, waiting reports False."""
    assert not cancel.wait(0.001)
    thread = threading.Thread(target=cancel.request, args=("user", "Received Kill signal"))
    thread.start()
    assert cancel.wait(10)
    thread.join(10)


def test_check_raises_what_no_handler_eats(cancel: Cancel) -> None:
    """Cancelled carries the cause and is no Exception, so that a stage's error handling does not swallow it."""
    cancel.check()
    cancel.request("user", "Received Kill signal")
    with pytest.raises(Cancelled) as caught:
        cancel.check()
    assert caught.value.cause == cancel.cause
    assert not isinstance(caught.value, Exception)


def test_later_causes_are_known(cancel: Cancel) -> None:
    """A kill by the user is known as such even when a limit was first: no status may follow it."""
    cancel.request("watchdog", "Job has exceeded maximum CPU time limit")
    assert not cancel.said("user")
    cancel.request("user", "Received Kill signal")
    assert cancel.said("user")
    assert cancel.said("watchdog")
