"""The stage `finalize`: the one end of the attempt, told to the WMS; the record; the broom."""

import resource
from dataclasses import replace

from runner.errors import FencedError
from runner.job.status import FINAL_STATUSES, JobStatus, MinorStatus
from runner.wrapper import workspace
from runner.wrapper.attempt import Attempt
from runner.wrapper.outcome import ExitCode, Outcome, outcome
from telemetry.facts import AttemptEnded, WrapperSettled

#: One deadline for so many calls to the WMS: the reporter tries again in between.
_CALLS = 3
#: The same when the node is being stopped: nobody waits long for its jobs to say so, and what the WMS has not
#: heard by then is the agent's to deliver, or the next one's.
STOPPED_SECONDS = 5.0
_ENDS = FINAL_STATUSES | {JobStatus.RESCHEDULED}


def finalize(attempt: Attempt) -> None:
    """End the attempt, once, whatever goes wrong while it is told.

    Raises:
        UnavailableError: the WMS did not answer; our word stands, and is delivered later.
    """
    parts = attempt.parts
    end = outcome(attempt.problem, killed=parts.cancel.said("user"), fenced=parts.cancel.said("fence"))
    failures: list[Exception] = []
    try:
        parts.watchdog.stop()
        _settle(attempt)
        end = _close(attempt, end)
    except Exception as error:  # noqa: BLE001 - an attempt ends, always; raised again when it has
        failures.append(error)
        end = _unanswered(attempt, end)
    attempt.end = end
    parts.emit(AttemptEnded(status=end.status, minor_status=end.minor_status, error_type=end.error_type))
    try:
        send_job_accounting(attempt)
    except Exception as error:  # noqa: BLE001 - the record stays in the journal, and whoever comes next sends it
        failures.append(error)
    if attempt.options.clean_up and attempt.has_folder:
        workspace.remove(parts.folders.work)
    if failures:
        raise failures[0]


def send_job_accounting(attempt: Attempt) -> None:
    """Build the record of the attempt and send it to the WMS.

    Raises:
        UnavailableError: not now; it stays pending.
    """
    attempt.parts.deliver_record()


def reschedule_failed_job(attempt: Attempt, end: Outcome) -> tuple[str, str]:
    """Hand the job back to the WMS for its next attempt; what the WMS keeps."""
    attempt.report.set_job_status(JobStatus.RESCHEDULED, end.minor_status)
    return _ask(attempt, end)


def _settle(attempt: Attempt) -> None:
    """What the wrapper has cost by the end of its last accounted stage, and what it leaves on the disk."""
    starter_seconds = attempt.parts.payload.settle()
    own = resource.getrusage(resource.RUSAGE_SELF)
    attempt.parts.emit(
        WrapperSettled(
            wrapper_cpu_seconds=own.ru_utime + own.ru_stime + starter_seconds,
            work_bytes=workspace.size_bytes(attempt.parts.folders.work) if attempt.has_folder else 0,
        )
    )


def _close(attempt: Attempt, end: Outcome) -> Outcome:
    """The outcome as the WMS keeps it: a job killed a moment ago is Killed, a refused reschedule is Failed."""
    if end.fenced:
        return end
    try:
        if end.decided:
            kept = _ask(attempt, end)
        elif end.status == JobStatus.RESCHEDULED:
            kept = reschedule_failed_job(attempt, end)
        else:
            attempt.report.set_job_status(end.status, end.minor_status)
            kept = _ask(attempt, end)
    except FencedError:
        return outcome(attempt.problem, fenced=True)
    return _as_kept(attempt, end, *kept)


def _unanswered(attempt: Attempt, end: Outcome) -> Outcome:
    """The outcome by our own word. From Completing the WMS lets no job become Rescheduled but by the reschedule call,
    for which it has words of its own: that call will come, and so will they."""
    late = attempt.problem is not None and attempt.problem.stage == "process_job_outputs"
    if end.status == JobStatus.RESCHEDULED and late and not end.decided:
        return replace(end, minor_status=MinorStatus.JOB_RESCHEDULED)
    return end


def _ask(attempt: Attempt, end: Outcome) -> tuple[str, str]:
    parts = attempt.parts
    patience = _CALLS * parts.config.wms.timeout_seconds
    return parts.wms.close_attempt(
        end.status,
        end.minor_status,
        preempted=end.preempted,
        timeout_seconds=min(patience, STOPPED_SECONDS) if parts.cancel.said("signal") else patience,
    )


def _as_kept(attempt: Attempt, end: Outcome, status: str, minor_status: str) -> Outcome:
    if status not in _ENDS:  # such as Completing, from which only the reschedule call itself leads back
        return end
    if status == end.status:
        return replace(end, minor_status=minor_status or end.minor_status)
    if status == JobStatus.KILLED:
        return replace(outcome(None, killed=True), minor_status=minor_status)
    exit_code = ExitCode.PAYLOAD_FAILED if attempt.payload_started else ExitCode.INITIALIZATION_FAILED
    error_type = end.error_type or "kept_by_wms"
    return replace(end, status=JobStatus(status), minor_status=minor_status, error_type=error_type, exit_code=exit_code)
