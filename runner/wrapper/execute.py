"""The stage `execute`: the payload, from its command line to what its end means."""

import os
import signal
import stat

from runner.data.below import open_below
from runner.job.status import JobStatus, MinorStatus
from runner.process.command import PayloadCommand
from runner.process.payload import PayloadResult
from runner.wrapper import workspace
from runner.wrapper.attempt import Attempt
from runner.wrapper.command import command_line, shell_line
from runner.wrapper.environment import environment_of
from runner.wrapper.outcome import Problem, StageFailed, has_stopped, payload_problem
from runner.wrapper.pending import pick_up_reports
from runner.wrapper.ports import TelemetryDoor
from telemetry.facts import PayloadStarted, Scalar


def execute(attempt: Attempt) -> None:
    """Run the payload and report what its end means.

    Raises:
        StageFailed: it failed, was stopped, or asks to be rescheduled.
        PayloadStartError, PermanentJobError: it cannot be started, here or elsewhere.
        TransientJobError: it cannot be started, or watched, here.
    """
    attempt.report.set_job_status(minor_status=MinorStatus.APPLICATION)

    def on_started(started: PayloadStarted) -> None:
        attempt.payload_started = True
        attempt.report.set_job_parameter("PayloadPID", started.pid)

    with attempt.parts.payload_telemetry() as door:
        result = attempt.parts.payload.run(_prepare(attempt, door), on_started)
    problem = payload_problem(
        exit_code=result.exit_code,
        signal_name=_signal_name(result),
        killed=result.killed,
        has_stopped=has_stopped(result.exit_code, result.signal, result.stop_signal),
        oom_kills=result.oom_kills,
    )
    pick_up_reports(attempt)
    _report_end(attempt, result, problem)
    attempt.coordinator.post_process()
    if problem is not None:
        raise StageFailed(problem)


def _prepare(attempt: Attempt, door: TelemetryDoor | None) -> PayloadCommand:
    arguments, work = attempt.parts.arguments, attempt.parts.folders.work
    description = arguments.description
    environment = environment_of(arguments, attempt.parts.config.environment, work, attempt.user, door)

    def is_ours(program: str) -> bool:
        return _make_executable(attempt, program)

    if description.shell:
        words = shell_line(description.executable, description.arguments, is_ours=is_ours)
    else:
        words = command_line(description.executable, description.arguments, environment, is_ours=is_ours)
    words, environment = attempt.coordinator.pre_process(words, environment)
    if attempt.user is not None:
        workspace.hand_over(work, attempt.user.uid, attempt.user.gid)
    stdout, stderr = attempt.std_names
    return PayloadCommand(
        argv=words,
        environment=environment,
        folder=work,
        stdout=work / stdout,
        stderr=work / stderr,
        user=attempt.user,
    )


def _make_executable(attempt: Attempt, program: str) -> bool:
    """Whether *program* is a file in the working directory; then it may be executed."""
    try:
        fd = open_below(attempt.parts.folders.work, program)
    except OSError:
        return False
    try:
        os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | 0o111)
    finally:
        os.close(fd)
    return True


def _signal_name(result: PayloadResult) -> str:
    if result.signal is None:
        return ""
    try:
        return f"signal {signal.Signals(result.signal).name}"
    except ValueError:  # real-time signals have no names
        return f"signal {result.signal}"


def _report_end(attempt: Attempt, result: PayloadResult, problem: Problem | None) -> None:
    """Status and parameters at the end of the payload.

    A job that goes back stays Running: the state machine lets no job leave Completing for Rescheduled.
    """
    attempt.report.set_job_parameters(_parameters(attempt, result, problem))
    if problem is None:
        minor_status: str = MinorStatus.APPLICATION_FINISHED_SUCCESSFULLY
    else:
        minor_status = problem.minor_status
    goes_back = problem is not None and problem.kind in ("reschedule_asked", "preempted", "transient")
    attempt.report.set_job_status(None if goes_back else JobStatus.COMPLETING, minor_status)


def _parameters(attempt: Attempt, result: PayloadResult, problem: Problem | None) -> dict[str, Scalar]:
    """TotalCPUTime(s) and NormCPUTime(s) are whole numbers: DIRAC stores them as such."""
    usage = result.usage
    cpu_seconds = usage.cpu_user_seconds + usage.cpu_system_seconds
    parameters: dict[str, Scalar] = {
        "TotalCPUTime(s)": round(cpu_seconds),
        "NormCPUTime(s)": round(cpu_seconds * attempt.parts.arguments.cpu_normalization_factor),
    }
    if dropped := sum(each.dropped_bytes for each in result.output):
        parameters["OutputDroppedBytes"] = dropped
    if problem is not None:
        parameters["ApplicationError"] = problem.message
    return parameters
