"""The fold of status updates: DiracX's state machine and order, without its faults."""

from dataclasses import replace

import pytest

from runner.job.status import JobStatus
from runner.server.services.state_machine import Folded, Present, Rules, Update, fold

MS = 1_000_000
NOW = 1_000_000 * MS
#: Measured on DiracX 0.7.0: from each status, what a status update makes of the job; all else is kept.
DIRACX = {
    "Submitting": "Submitting Received Checking Killed Deleted",
    "Received": "Received Checking Staging Waiting Failed Killed Deleted",
    "Checking": "Checking Staging Waiting Rescheduled Failed Killed Deleted",
    "Staging": "Checking Staging Waiting Failed Killed",
    "Waiting": "Waiting Matched Rescheduled Killed Deleted",
    "Matched": "Matched Rescheduled Running Failed Killed",
    "Rescheduled": "Received Waiting Rescheduled Failed Killed Deleted",
    "Running": "Received Rescheduled Running Stalled Completing Done Failed Killed",
    "Stalled": "Received Rescheduled Running Stalled Completing Done Failed Killed",
    "Completing": "Stalled Completing Done Completed Failed Killed",
    "Done": "Done Deleted",
    "Completed": "Done Completed Failed",
    "Failed": "Rescheduled Failed Deleted",
    "Killed": "Killed Deleted",
    "Deleted": "Deleted",  # DiracX lets a deleted job become anything
}


def present(status: str = "Running", **changes: object) -> Present:
    base = Present(JobStatus(status), "old minor", "old application", NOW - 10 * MS, NOW - 10 * MS)
    return replace(base, **changes)  # type: ignore[arg-type]


def update(status: str | None = None, at: int = NOW - 5 * MS, **parts: str) -> Update:
    source = parts.get("source", "JobWrapper")
    return Update(at, JobStatus(status) if status else None, parts.get("minor"), parts.get("application"), source)


def folded(job: Present, *updates: Update, **rules: bool) -> Folded:
    return fold(job, updates, arrival_ns=NOW, policy=Rules(**rules))


@pytest.mark.parametrize("before", JobStatus)
@pytest.mark.parametrize("wanted", JobStatus)
def test_transitions_are_those_of_diracx(before: JobStatus, wanted: JobStatus) -> None:
    """A status update does to every status what it does on DiracX; whatever is not listed keeps the status."""
    after = folded(present(before), update(wanted)).present.status
    assert after == (wanted if wanted in DIRACX[before].split() else before)


def test_a_refused_transition_changes_nothing_and_says_why() -> None:
    """Status, minor status and application status stay, nothing is accepted, and the reason names both statuses."""
    job = present("Done")
    result = folded(job, update("Running", minor="too late", application="x"))
    assert (result.present.status, result.present.minor, result.present.application) == (
        job.status,
        job.minor,
        job.application,
    )
    assert result.accepted == ()
    assert result.reason == "a job that is Done cannot become Running"
    assert [(each.status, each.minor, each.source) for each in result.records] == [
        ("Done", "old minor", "JobWrapper(SM)")
    ]


def test_order_is_by_time_and_not_by_arrival() -> None:
    """Updates of one call are applied in the order of their times, whatever their order in the body."""
    late, early = update("Done", NOW - 1 * MS), update("Completing", NOW - 2 * MS, minor="uploads")
    result = folded(present(), late, early)
    assert [each.status for each in result.records] == ["Completing", "Done"]
    assert (result.present.status, result.present.minor) == ("Done", "uploads")


@pytest.mark.parametrize("behind", [0, 1, 3600_000])
def test_late_updates_are_only_logged(behind: int) -> None:
    """An update no younger than the newest record is kept in the history and changes nothing."""
    result = folded(present(), update("Failed", NOW - (10 + behind) * MS, minor="m"))
    assert result.present == present()
    assert not result.in_time
    assert [(each.status, each.minor) for each in result.records] == [("Failed", "m")]


def test_an_order_to_kill_is_never_late() -> None:
    """A user's kill works even if a wrapper with a fast clock has reported from the future."""
    result = folded(present(reported_ns=NOW + 3600_000 * MS), update("Killed", source="Manual"))
    assert result.present.status is JobStatus.KILLED


def test_the_wrapper_has_no_order_to_kill() -> None:
    """Killed from a wrapper obeys the order of its own reports."""
    assert not folded(present(), update("Killed", NOW - 11 * MS), by_wrapper=True).in_time


def test_no_record_is_kept_from_the_future() -> None:
    """The history has the arrival for updates of a clock that runs ahead, in their order."""
    result = folded(present(), update(minor="a", at=NOW + 50 * MS), update(minor="b", at=NOW + 60 * MS))
    first, second = (each.time_ns for each in result.records)
    assert first == NOW
    assert NOW < second < NOW + MS
    assert result.present.reported_ns == NOW + 60 * MS


def test_any_accepted_update_wakes_a_stalled_job() -> None:
    """A Stalled job that says anything runs again."""
    assert folded(present("Stalled"), update(minor="Application")).present.status is JobStatus.RUNNING


@pytest.mark.parametrize("status", [None, "Done", "Failed", "Completing"])
@pytest.mark.parametrize("over", ["Killed", "Deleted"])
def test_after_the_kill_a_wrapper_changes_nothing(status: str | None, over: str) -> None:
    """Neither a status nor a minor status of the wrapper is applied to a job that is Killed or Deleted."""
    result = folded(present(over), update(status, minor="Output Sandbox Uploaded"), by_wrapper=True)
    assert (result.present.status, result.present.minor) == (over, "old minor")
    assert result.reason


def test_an_administrator_may_set_any_status() -> None:
    """Forced updates know no state machine."""
    assert folded(present("Done"), update("Waiting"), forced=True).present.status is JobStatus.WAITING


def test_sources_fit_their_column() -> None:
    """A source is cut to 32 characters, the mark of a refusal included."""
    result = folded(present("Done"), update(minor="m", source="J" * 50), update("Running", NOW, source="J" * 50))
    assert [len(each.source) for each in result.records] == [32, 32]
