"""Any sequence of offered statuses."""

from hypothesis import given
from hypothesis import strategies as st

from runner.job.status import FINAL_STATUSES, TRANSITIONS, JobStatus, is_allowed

STATUSES = st.sampled_from(JobStatus)


@given(STATUSES, st.lists(STATUSES, max_size=30))
def test_no_way_out_of_killed_but_deleted(start: JobStatus, offered: list[JobStatus]) -> None:
    """Whatever is offered in whatever order, a job that was Killed ends Killed or Deleted."""
    present, killed = start, False
    for wanted in offered:
        killed = killed or present is JobStatus.KILLED
        present = wanted if is_allowed(present, wanted) else present
        assert not killed or present in (JobStatus.KILLED, JobStatus.DELETED)


@given(st.lists(STATUSES, max_size=40))
def test_a_finished_attempt_runs_again_only_by_a_reschedule(offered: list[JobStatus]) -> None:
    """From a final status a job reaches Running only through Rescheduled."""
    present, path = JobStatus.RECEIVED, [JobStatus.RECEIVED]
    for wanted in offered:
        if is_allowed(present, wanted):
            present = wanted
            path.append(present)
    ended = False
    for status in path:
        ended = (ended or status in FINAL_STATUSES) and status is not JobStatus.RESCHEDULED
        assert not (ended and status is JobStatus.RUNNING)


@given(STATUSES)
def test_staying_is_always_allowed(status: JobStatus) -> None:
    """A repeated report is never refused."""
    assert is_allowed(status, status)


@given(STATUSES)
def test_deleted_can_be_reached(status: JobStatus) -> None:
    """No status is a trap: by some accepted steps every job can be deleted."""
    seen, todo = {status}, [status]
    while todo:
        for following in TRANSITIONS[todo.pop()] - seen:
            seen.add(following)
            todo.append(following)
    assert JobStatus.DELETED in seen
