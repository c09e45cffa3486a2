"""The design's table: what went wrong first decides how an attempt ends."""

import errno

import pytest

from runner.errors import (
    ChecksumError,
    FencedError,
    HostileArchiveError,
    NotFoundError,
    PayloadStartError,
    PermanentJobError,
    RefusedError,
    TransientJobError,
    UnauthorizedError,
    UnavailableError,
)
from runner.process.cancel import Cancelled
from runner.wrapper.outcome import (
    OUTPUT_DATA_REFUSED,
    StageFailed,
    error_type_of,
    has_stopped,
    outcome,
    payload_problem,
    problem_of,
)
from telemetry.facts import KillRequested, StageName

CPU = "Job has exceeded maximum CPU time limit"


def cause(origin: str, reason: str = "why") -> KillRequested:
    return KillRequested(origin=origin, reason=reason)  # type: ignore[arg-type]


TABLE = [
    # stage, what was raised, status, minor status, error type, exit code, result of the stage
    (
        "transfer_input_sandbox",
        UnavailableError("503"),
        "Rescheduled",
        "Downloading InputSandbox",
        "unavailable",
        4,
        "error",
    ),
    (
        "transfer_input_sandbox",
        HostileArchiveError("x"),
        "Failed",
        "Failed Downloading InputSandbox",
        "hostile_archive",
        1,
        "failure",
    ),
    (
        "transfer_input_sandbox",
        ChecksumError("x"),
        "Failed",
        "Failed Downloading InputSandbox",
        "checksum_mismatch",
        1,
        "failure",
    ),
    (
        "transfer_input_sandbox",
        NotFoundError("x"),
        "Failed",
        "Failed Downloading InputSandbox",
        "not_found",
        1,
        "failure",
    ),
    (
        "transfer_input_sandbox",
        UnauthorizedError("x"),
        "Rescheduled",
        "Downloading InputSandbox",
        "unauthorized",
        4,
        "error",
    ),
    (
        "resolve_input_data",
        TransientJobError("x", error_type="no_replica"),
        "Rescheduled",
        "Input Data Resolution",
        "no_replica",
        4,
        "error",
    ),
    (
        "resolve_input_data",
        PermanentJobError("x", error_type="missing_input_data"),
        "Failed",
        "Input Data Not Available",
        "missing_input_data",
        1,
        "failure",
    ),
    ("initialize", UnavailableError("x"), "Rescheduled", "Job Wrapper Initialization", "unavailable", 4, "error"),
    ("initialize", OSError(errno.ENOSPC, "full"), "Rescheduled", "Job Wrapper Initialization", "enospc", 4, "error"),
    ("initialize", FencedError("x"), "Rescheduled", "Job Rescheduled", "fenced", 4, "cancellation"),
    ("execute", PayloadStartError("x", errno=errno.ENOENT), "Failed", "Application not found", "enoent", 1, "failure"),
    (
        "execute",
        PayloadStartError("x", errno=errno.ENOEXEC),
        "Failed",
        "Exception During Execution",
        "enoexec",
        1,
        "failure",
    ),
    (
        "execute",
        PermanentJobError("x", error_type="output_file"),
        "Failed",
        "Exception During Execution",
        "output_file",
        1,
        "failure",
    ),
    (
        "execute",
        TransientJobError("x", error_type="starter_died"),
        "Rescheduled",
        "JobWrapper execution",
        "starter_died",
        4,
        "error",
    ),
    ("execute", ZeroDivisionError("a bug"), "Rescheduled", "JobWrapper execution", "ZeroDivisionError", 4, "error"),
    ("process_job_outputs", UnavailableError("x"), "Rescheduled", "Uploading Outputs", "unavailable", 4, "error"),
    ("process_job_outputs", RefusedError("x"), "Failed", "Uploading Outputs", "refused", 3, "failure"),
    (
        "process_job_outputs",
        PermanentJobError("x", error_type=OUTPUT_DATA_REFUSED),
        "Failed",
        "Uploading Output Data",
        "output_data_refused",
        3,
        "failure",
    ),
    ("execute", Cancelled(cause("user")), "Killed", "Received Kill signal", "killed", 2, "cancellation"),
    ("transfer_input_sandbox", Cancelled(cause("user")), "Killed", "Received Kill signal", "killed", 2, "cancellation"),
    ("execute", Cancelled(cause("watchdog", CPU)), "Failed", CPU, "cpu_limit", 2, "timeout"),
    (
        "execute",
        Cancelled(cause("watchdog", "Job has insufficient disk space to continue")),
        "Failed",
        "Job has insufficient disk space to continue",
        "disk_space",
        2,
        "failure",
    ),
    (
        "resolve_input_data",
        Cancelled(cause("signal")),
        "Rescheduled",
        "Going to reschedule job",
        "preempted",
        4,
        "cancellation",
    ),
    ("execute", Cancelled(cause("fence")), "Rescheduled", "Job Rescheduled", "fenced", 4, "cancellation"),
]


@pytest.mark.parametrize(("stage", "error", "status", "minor", "error_type", "code", "result"), TABLE)
def test_the_table(
    stage: StageName, error: BaseException, status: str, minor: str, error_type: str, code: int, result: str
) -> None:
    """Every error of every stage leads to the status, minor status and exit code of the design."""
    problem = problem_of(stage, error)
    end = outcome(problem)
    assert (end.status, end.minor_status, end.error_type, int(end.exit_code)) == (status, minor, error_type, code)
    assert problem.result == result
    assert error_type_of(error) == error_type


def test_success() -> None:
    """Without a problem the job is Done, Execution Complete."""
    end = outcome(None)
    assert (end.status, end.minor_status, end.error_type, end.exit_code) == ("Done", "Execution Complete", "", 0)


@pytest.mark.parametrize(
    ("exit_code", "signal", "killed", "expected"),
    [
        (3, "", None, ("Failed", "Application Finished With Errors", "payload_failed", 2)),
        (None, "signal SIGSEGV", None, ("Failed", "Application Finished With Errors", "payload_failed", 2)),
        (222, "", None, ("Rescheduled", "Going to reschedule job", "reschedule_requested", 4)),
        (None, "signal SIGTERM", cause("user"), ("Killed", "Received Kill signal", "killed", 2)),
        (None, "signal SIGKILL", cause("watchdog", CPU), ("Failed", CPU, "cpu_limit", 2)),
        (222, "", cause("signal"), ("Rescheduled", "Going to reschedule job", "preempted", 4)),
    ],
)
def test_ends_of_the_payload(
    exit_code: int | None, signal: str, killed: KillRequested | None, expected: tuple[str, str, str, int]
) -> None:
    """Exit codes, signals and kills of a payload mean what DIRAC means by them; a kill is the first cause."""
    problem = payload_problem(exit_code=exit_code, signal_name=signal, killed=killed)
    end = outcome(problem)
    assert (end.status, end.minor_status, end.error_type, end.exit_code) == expected


@pytest.mark.parametrize(
    ("exit_code", "signal", "expected"),
    [
        (0, None, True),
        (1, None, True),
        (130, None, True),
        (None, 2, True),
        (222, None, False),
        (139, None, False),
        (None, 11, False),
        (None, 9, False),
    ],
)
def test_who_answers_the_graceful_stop_has_finished(exit_code: int | None, signal: int | None, expected: bool) -> None:
    """Any exit code and the signal itself are answers; a crash is none, and a reschedule is what it says."""
    assert has_stopped(exit_code, signal, 2) == expected
    assert not has_stopped(exit_code, signal, None)


def test_a_graceful_stop_ends_as_done() -> None:
    """A payload that answered is Done; one that was killed all the same failed for that cause."""
    stopped = payload_problem(exit_code=130, signal_name="", killed=None, has_stopped=True)
    assert outcome(stopped).status == "Done"
    killed = payload_problem(exit_code=0, signal_name="", killed=cause("watchdog", CPU), has_stopped=True)
    assert outcome(killed).minor_status == CPU


def test_exit_code_0_is_no_problem() -> None:
    """A payload that ends with 0 by itself was fine."""
    assert payload_problem(exit_code=0, signal_name="", killed=None) is None


def test_the_word_of_the_wms_stands_above_all() -> None:
    """A job that the WMS has killed or fenced off is so, whatever happened here first."""
    problem = problem_of("execute", StageFailed(payload_problem(exit_code=3, signal_name="", killed=None)))  # type: ignore[arg-type]
    assert outcome(problem, killed=True).status == "Killed"
    assert outcome(None, killed=True).decided
    assert outcome(problem, killed=True, fenced=True).fenced


def test_only_preemption_is_not_counted() -> None:
    """Of all that is rescheduled, only a preempted job is not counted against MaxRescheduling."""
    assert outcome(problem_of("execute", Cancelled(cause("signal")))).preempted
    assert not outcome(problem_of("execute", UnavailableError("x"))).preempted
