"""What went wrong first -> how the attempt ends: the design's table of outcomes. Pure."""

import errno
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

from runner.config import LAST_SIGNAL
from runner.errors import (
    FencedError,
    NotFoundError,
    PayloadStartError,
    PermanentJobError,
    RefusedError,
    TransientJobError,
    UnauthorizedError,
    UnavailableError,
)
from runner.job.status import WMSRESC_EXIT_CODE, JobStatus, MinorStatus
from runner.process.cancel import Cancelled
from telemetry.facts import KillRequested, StageName, StageResult

Kind: TypeAlias = Literal[
    "payload", "reschedule_asked", "limit", "preempted", "killed", "fenced", "transient", "permanent"
]
_M = MinorStatus

#: What a stage is called in a minor status when another attempt may do better, and when none will.
_TRANSIENT: dict[StageName, MinorStatus] = {
    "initialize": _M.JOB_WRAPPER_INITIALIZATION,
    "transfer_input_sandbox": _M.DOWNLOADING_INPUT_SANDBOX,
    "resolve_input_data": _M.INPUT_DATA_RESOLUTION,
    "execute": _M.JOB_WRAPPER_EXECUTION,
    "process_job_outputs": _M.UPLOADING_OUTPUTS,
    "finalize": _M.JOB_WRAPPER_EXECUTION,
}
_PERMANENT: dict[StageName, MinorStatus] = {
    **_TRANSIENT,
    "transfer_input_sandbox": _M.FAILED_DOWNLOADING_INPUT_SANDBOX,
    "resolve_input_data": _M.INPUT_DATA_NOT_AVAILABLE,
    "execute": _M.EXCEPTION_DURING_EXECUTION,
}
_LIMITS: dict[str, str] = {
    _M.WALL_CLOCK_LIMIT: "wall_clock_limit",
    _M.CPU_LIMIT: "cpu_limit",
    _M.QUEUE_CPU_LIMIT: "queue_cpu_limit",
    _M.DISK_SPACE: "disk_space",
    _M.STALLED_BY_WATCHDOG: "stalled",
    _M.MEMORY_LIMIT: "memory_limit",
    _M.OUTPUT_LIMIT: "output_limit",
    _M.PROCESS_LIMIT: "process_limit",
    _M.STALLED_OUTPUT: "stalled_output",
    _M.LOAD_AVERAGE: "load_average",
}
#: Limits of time; the others are the payload's failures.
_TIMEOUTS = frozenset({"wall_clock_limit", "cpu_limit", "queue_cpu_limit", "stalled", "stalled_output"})
#: A shell that waits for a program which was ended by a signal exits with this and the signal's number.
_SHELL_SIGNAL = 128
#: exec's answers that mean: there is no such program.
_NOT_FOUND = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG})
#: error_type of an output file that could not be stored and never can.
OUTPUT_DATA_REFUSED = "output_data_refused"


class ExitCode(IntEnum):
    """Of the wrapper process; DIRAC's codes (JobWrapperTemplate), RESCHEDULED really returned."""

    SUCCESS = 0
    INITIALIZATION_FAILED = 1
    PAYLOAD_FAILED = 2
    FINALIZATION_FAILED = 3
    RESCHEDULED = 4
    JOBWRAPPER_EXCEPTION = 253


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that went wrong. The first of an attempt decides how it ends."""

    kind: Kind
    stage: StageName
    minor_status: str
    error_type: str
    message: str

    @property
    def result(self) -> StageResult:
        """The result of the stage in which it happened."""
        match self.kind:
            case "limit":
                return "timeout" if self.error_type in _TIMEOUTS else "failure"
            case "preempted" | "killed" | "fenced":
                return "cancellation"
            case "transient":
                return "error"
            case _:
                return "failure"


class StageFailed(Exception):
    """A stage knows exactly what went wrong: `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ends."""

    status: JobStatus
    minor_status: str
    error_type: str
    exit_code: ExitCode
    #: Not counted against MaxRescheduling.
    preempted: bool = False
    #: The WMS has decided already; no status is ours to set.
    decided: bool = False
    #: The attempt is somebody else's; the WMS is not even asked.
    fenced: bool = False


def outcome(problem: Problem | None, *, killed: bool = False, fenced: bool = False) -> Outcome:
    """The end of an attempt whose first problem is *problem*.

    *killed* and *fenced*: the WMS has said so at some time; it stands above everything of ours.
    """
    if fenced or (problem and problem.kind == "fenced"):
        return Outcome(
            status=JobStatus.RESCHEDULED,
            minor_status=_M.JOB_RESCHEDULED,
            error_type="fenced",
            exit_code=ExitCode.RESCHEDULED,
            decided=True,
            fenced=True,
        )
    if killed or (problem and problem.kind == "killed"):
        return Outcome(
            status=JobStatus.KILLED,
            minor_status=_M.RECEIVED_KILL_SIGNAL,
            error_type="killed",
            exit_code=ExitCode.PAYLOAD_FAILED,
            decided=True,
        )
    if problem is None:
        return Outcome(
            status=JobStatus.DONE, minor_status=_M.EXECUTION_COMPLETE, error_type="", exit_code=ExitCode.SUCCESS
        )
    again = problem.kind in ("transient", "preempted", "reschedule_asked")
    return Outcome(
        status=JobStatus.RESCHEDULED if again else JobStatus.FAILED,
        minor_status=problem.minor_status,
        error_type=problem.error_type,
        exit_code=ExitCode.RESCHEDULED if again else _exit_code(problem),
        preempted=problem.kind == "preempted",
    )


def has_stopped(exit_code: int | None, signal_number: int | None, stop_signal: int | None) -> bool:
    """Whether a payload that was sent *stop_signal* (None: it was not) has ended because it was told so.

    It may answer with any exit code, or leave it to the signal. What another signal has ended has crashed,
    also where a shell tells it as 128 + signal; and a payload may still ask to be rescheduled. (DIRAC hands
    its gracefulStopSignal to postProcess for the same end, and forgets to on the JobAgent's way.)
    """
    if stop_signal is None:
        return False
    if exit_code is None:
        return signal_number == stop_signal
    if exit_code == WMSRESC_EXIT_CODE:
        return False
    return not _SHELL_SIGNAL < exit_code <= _SHELL_SIGNAL + LAST_SIGNAL or exit_code == _SHELL_SIGNAL + stop_signal


def payload_problem(
    *,
    exit_code: int | None,
    signal_name: str,
    killed: KillRequested | None,
    has_stopped: bool = False,
    oom_kills: int = 0,
) -> Problem | None:
    """What the end of the payload means; None for exit code 0, and for one that has stopped gracefully.

    *signal_name* is empty unless a signal ended it. *oom_kills*: processes that the kernel killed for want of memory.
    """
    if killed is not None:
        return cause_problem("execute", killed)
    if exit_code == 0 or has_stopped:
        return None
    if exit_code == WMSRESC_EXIT_CODE:
        return Problem(
            kind="reschedule_asked",
            stage="execute",
            minor_status=_M.GOING_TO_RESCHEDULE_JOB,
            error_type="reschedule_requested",
            message=f"the payload asked to be rescheduled (exit code {exit_code})",
        )
    ending = f"was ended by {signal_name}" if signal_name else f"ended with exit code {exit_code}"
    return Problem(
        kind="payload",
        stage="execute",
        minor_status=_M.APPLICATION_FINISHED_WITH_ERRORS,
        error_type="out_of_memory" if oom_kills else "payload_failed",
        message=f"the payload {ending}" + (f"; {oom_kills} killed for want of memory" if oom_kills else ""),
    )


def cause_problem(stage: StageName, cause: KillRequested) -> Problem:
    """The problem of a job that was told to stop in *stage*.

    A preempted job is "Going to reschedule job": DIRAC's only minor status for a job that goes back
    by the decision of its own side.
    """
    kind, minor_status = _CAUSES.get(cause.origin, ("transient", _TRANSIENT[stage]))
    error_type = {"killed": "killed", "preempted": "preempted", "fenced": "fenced"}.get(kind, cause.origin)
    if kind == "limit":
        minor_status, error_type = cause.reason, _LIMITS.get(cause.reason, "limit")
    return Problem(kind=kind, stage=stage, minor_status=minor_status, error_type=error_type, message=cause.reason)


_CAUSES: dict[str, tuple[Kind, str]] = {
    "user": ("killed", _M.RECEIVED_KILL_SIGNAL),
    "watchdog": ("limit", ""),
    "signal": ("preempted", _M.GOING_TO_RESCHEDULE_JOB),
    "fence": ("fenced", _M.JOB_RESCHEDULED),
}


def problem_of(stage: StageName, error: BaseException) -> Problem:
    """The problem that *error*, raised in *stage*, is."""
    if isinstance(error, StageFailed):
        return error.problem
    if isinstance(error, Cancelled):
        return cause_problem(stage, error.cause)
    if isinstance(error, FencedError):
        return cause_problem(stage, KillRequested(origin="fence", reason=str(error)))
    permanent = _is_permanent(error)
    return Problem(
        kind="permanent" if permanent else "transient",
        stage=stage,
        minor_status=_permanent_minor_status(stage, error) if permanent else _TRANSIENT[stage],
        error_type=error_type_of(error),
        message=str(error) or type(error).__name__,
    )


def error_type_of(error: BaseException) -> str:
    """A class of low cardinality for *error*: for spans, metrics and the record."""
    if isinstance(error, StageFailed):
        return error.problem.error_type
    if isinstance(error, Cancelled):
        return cause_problem("execute", error.cause).error_type
    if isinstance(error, TransientJobError | PermanentJobError):
        return error.error_type
    if isinstance(error, PayloadStartError | OSError):
        return errno.errorcode.get(error.errno or 0, "os_error").lower()
    return next((name for kind, name in _ERROR_TYPES if isinstance(error, kind)), type(error).__name__)


_ERROR_TYPES: tuple[tuple[type[BaseException], str], ...] = (
    (FencedError, "fenced"),
    (NotFoundError, "not_found"),
    (UnauthorizedError, "unauthorized"),
    (RefusedError, "refused"),
    (UnavailableError, "unavailable"),
)


def _is_permanent(error: BaseException) -> bool:
    if isinstance(error, UnauthorizedError):  # the next attempt has a new token
        return False
    return isinstance(error, PermanentJobError | RefusedError | PayloadStartError)


def _permanent_minor_status(stage: StageName, error: BaseException) -> str:
    if isinstance(error, PayloadStartError) and error.errno in _NOT_FOUND:
        return _M.APPLICATION_NOT_FOUND
    if isinstance(error, PermanentJobError) and error.error_type == OUTPUT_DATA_REFUSED:
        return _M.UPLOADING_OUTPUT_DATA
    return _PERMANENT[stage]


def _exit_code(problem: Problem) -> ExitCode:
    if problem.kind in ("payload", "limit"):
        return ExitCode.PAYLOAD_FAILED
    return ExitCode.FINALIZATION_FAILED if problem.stage == "process_job_outputs" else ExitCode.INITIALIZATION_FAILED
