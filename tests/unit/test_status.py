"""Statuses: DIRAC's strings and the transitions that the WMS accepts."""

from itertools import pairwise

import pytest

from runner.job.status import (
    FINAL_STATUSES,
    TRANSITIONS,
    WMSRESC,
    WMSRESC_EXIT_CODE,
    JobStatus,
    MinorStatus,
    is_allowed,
)

S = JobStatus


@pytest.mark.parametrize(
    "path",
    [
        (S.RECEIVED, S.CHECKING, S.WAITING, S.MATCHED, S.RUNNING, S.COMPLETING, S.DONE),
        (S.MATCHED, S.RUNNING, S.COMPLETING, S.FAILED, S.RESCHEDULED, S.RECEIVED),
        (S.MATCHED, S.RUNNING, S.RESCHEDULED, S.WAITING),
        (S.RUNNING, S.COMPLETING, S.COMPLETED, S.DONE),
        (S.RUNNING, S.STALLED, S.RUNNING, S.KILLED, S.DELETED),
        (S.RUNNING, S.FAILED),
    ],
)
def test_lives_of_jobs(path: tuple[JobStatus, ...]) -> None:
    """Each row of the life of a job is accepted step by step."""
    assert all(is_allowed(present, wanted) for present, wanted in pairwise(path))


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (S.COMPLETING, S.RESCHEDULED),
        (S.COMPLETING, S.RUNNING),
        (S.KILLED, S.DONE),
        (S.KILLED, S.RUNNING),
        (S.DONE, S.FAILED),
        (S.DONE, S.RUNNING),
        (S.DELETED, S.WAITING),
        (S.WAITING, S.RUNNING),
        (S.STALLED, S.MATCHED),
    ],
)
def test_refused_steps(present: JobStatus, wanted: JobStatus) -> None:
    """The WMS keeps the present status: nothing comes back from the dead or jumps its queue."""
    assert not is_allowed(present, wanted)


def test_what_dirac_calls_them() -> None:
    """The strings travel to DIRAC and DiracX and are theirs, letter by letter."""
    assert S.RESCHEDULED == "Rescheduled"
    assert MinorStatus.CPU_LIMIT == "Job has exceeded maximum CPU time limit"
    assert MinorStatus.GOING_TO_RESCHEDULE_JOB == "Going to reschedule job"
    assert MinorStatus.FAILED_DOWNLOADING_INPUT_SANDBOX == "Failed Downloading InputSandbox"
    assert MinorStatus.APPLICATION_FINISHED_WITH_ERRORS == "Application Finished With Errors"
    assert MinorStatus.EXECUTION_COMPLETE == "Execution Complete"


def test_wmsresc_in_eight_bits() -> None:
    """WMSRESC is 1502; what the shell leaves of it is 222."""
    assert (WMSRESC, WMSRESC_EXIT_CODE) == (1502, 222)


def test_table_is_complete() -> None:
    """Every status has its row, and those called final never run again in the same attempt."""
    assert set(TRANSITIONS) == set(S)
    running = {S.RUNNING, S.COMPLETING, S.MATCHED, S.STALLED}
    assert not any(TRANSITIONS[final] & running for final in FINAL_STATUSES)
