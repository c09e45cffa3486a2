"""What is still to be done when the job ends: the combined request, and what the payload leaves for it.

A payload writes `*_request.json` files (as `FailoverRequest` does) and lines of `job_report.jsonl`
into its working directory. Both are untrusted: no link is followed, sizes and numbers are bounded,
and a request that asks for more than its owner may is none.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from runner.data.below import find_below, open_below
from runner.data.lfn import Owner
from runner.errors import FencedError, PermanentJobError, RefusedError, UnavailableError
from runner.job import requests
from runner.job.requests import CombinedRequest, Operation
from runner.job.status import JobStatus, MinorStatus
from runner.wrapper.attempt import Attempt
from runner.wrapper.outcome import ExitCode, Outcome, outcome
from telemetry.facts import RequestMade, Scalar
from telemetry.journal import JournalFull

REQUEST_FILES = "*_request.json"
REPORT_FILE = "job_report.jsonl"
MOST_REQUEST_FILES = 50
#: Of a job report, from its beginning and from its end.
LARGEST_REPORT_BYTES = 1 << 20
MOST_PARAMETERS = 100
LONGEST_TEXT = 4096
#: What the wrapper says itself is not said by a payload, and attributes of the job are no parameters.
_NOT_THEIRS = frozenset(
    {
        "StandardOutput", "OutputSandbox", "OutputSandboxMissingFiles", "OutputData", "UploadedOutputData",
        "PendingRequest", "PayloadPID", "TotalCPUTime(s)", "NormCPUTime(s)", "CPUNormalizationFactor", "HostName",
        "Memory(MB)", "ModelName", "LocalAccount", "LocalJobID", "ApplicationError", "Error Message",
        "JobID", "JobType", "JobGroup", "Site", "JobName", "Owner", "OwnerGroup", "VO", "SubmissionTime",
        "RescheduleTime", "LastUpdateTime", "StartExecTime", "HeartBeatTime", "EndExecTime", "Status", "MinorStatus",
        "ApplicationStatus", "UserPriority", "RescheduleCounter", "VerifiedFlag", "AccountedFlag", "timestamp",
    }
)  # fmt: skip
log = logging.getLogger("jobspan.wrapper")


def send_failover_request(attempt: Attempt, end: Outcome, failures: list[Exception]) -> Outcome:
    """Make and send the combined request of an attempt that ends as *end*; how it ends with it.

    A good job with a request is Completed / Pending Requests. One whose request can never be sent is
    Failed / "Failed sending requests" (DIRAC); the first cause of one that has failed stands. A WMS
    that does not answer changes nothing: the request is in the journal, and is delivered later.
    An attempt that was killed or goes back asks for nothing. What went wrong is added to *failures*.
    """
    if end.status not in (JobStatus.DONE, JobStatus.FAILED) or end.decided:
        return end
    request, problem = _combined(attempt)
    if request.operations:
        try:
            problem = _send(attempt, request) or problem
        except FencedError:
            return outcome(None, fenced=True)
    if problem is not None:
        failures.append(problem)
        return _not_sent(attempt, end, problem)
    if request.operations and end.status is JobStatus.DONE:
        return replace(end, status=JobStatus.COMPLETED, minor_status=MinorStatus.PENDING_REQUESTS)
    return end


def deliver_late(attempt: Attempt) -> None:
    """What was not delivered when the job ended: once more, before the wrapper goes.

    Raises:
        UnavailableError: not now either; whoever takes the job's lock delivers it.
    """
    if not attempt.pending.undelivered:
        return
    try:
        attempt.parts.deliver_requests()
    except RefusedError as error:
        log.warning("the request is refused: %s", error)


def pick_up_reports(attempt: Attempt) -> None:
    """Report what the payload has written into `job_report.jsonl`: the last application status, and parameters."""
    application, parameters = "", dict[str, Any]()
    for line in _report_lines(attempt):
        said, values = line.get("ApplicationStatus"), line.get("Parameters")
        if isinstance(said, str) and said and requests.is_plain(said):
            application = said[:255]
        if isinstance(values, dict):
            parameters |= values
    if parameters := _reportable(parameters):
        attempt.report.set_job_parameters(parameters)
    if application:
        attempt.report.set_job_status(application_status=application)


def _send(attempt: Attempt, request: CombinedRequest) -> Exception | None:
    """Into the journal, and from there to the WMS; why it can never arrive there."""
    try:
        attempt.parts.emit(RequestMade(name=request.name, request=request.to_mapping()))
    except JournalFull as error:  # what is not in the journal might be lost, so the job is not a good one
        return error
    attempt.report.set_job_parameter("PendingRequest", request.digest)
    try:
        attempt.parts.deliver_requests()
    except FencedError:
        raise
    except RefusedError as error:
        return error
    except UnavailableError as error:
        attempt.pending.undelivered = True
        log.warning("the request is not delivered yet: %s", error)
    return None


def _not_sent(attempt: Attempt, end: Outcome, problem: Exception) -> Outcome:
    if end.status is JobStatus.FAILED:
        return end
    attempt.report.set_job_parameter("Error Message", str(problem))
    return Outcome(
        status=JobStatus.FAILED,
        minor_status=MinorStatus.FAILED_SENDING_REQUESTS,
        error_type=problem.error_type if isinstance(problem, PermanentJobError) else "request_refused",
        exit_code=ExitCode.FINALIZATION_FAILED,
    )


def _combined(attempt: Attempt) -> tuple[CombinedRequest, Exception | None]:
    """Our own operations and the payload's; and why there are fewer of them than there should be."""
    arguments, problem = attempt.parts.arguments, None
    name = requests.request_name(arguments.description.job_name, attempt.job_id)
    ours = CombinedRequest(name=name, job_id=attempt.job_id, operations=tuple(attempt.pending.operations))
    theirs: list[CombinedRequest] = []
    delay = attempt.options.failover_request_delay_minutes * 60
    try:
        theirs.extend(_payloads(attempt))
        request = requests.combined(name, attempt.job_id, [ours, *theirs], delay)
        if len(json.dumps(request.to_mapping())) > requests.LARGEST_REQUEST_BYTES:
            raise requests.invalid(f"it has more than {requests.LARGEST_REQUEST_BYTES} bytes")
    except (PermanentJobError, OSError, ValueError) as error:
        problem = error
        request = requests.combined(name, attempt.job_id, [ours], delay)
    return request, problem


def _payloads(attempt: Attempt) -> Iterator[CombinedRequest]:
    """The requests that lie in the working directory.

    Raises:
        PermanentJobError: one of them is none, or asks for too much.
    """
    work, arguments = attempt.parts.folders.work, attempt.parts.arguments
    if not attempt.has_folder or not work.is_dir():  # a payload may remove it
        return
    found = find_below(work, REQUEST_FILES)
    if len(found) > MOST_REQUEST_FILES:
        raise requests.invalid(f"{len(found)} request files, at most {MOST_REQUEST_FILES} are taken")
    home = Owner(arguments.vo, arguments.owner).home
    for each in found:
        text = _read(attempt, each.name, requests.LARGEST_REQUEST_BYTES + 1)
        request = requests.check_payloads(requests.parse_request(text, each.name), home)
        yield replace(request, operations=tuple(_with_reportable(operation) for operation in request.operations))


def _with_reportable(operation: Operation) -> Operation:
    if operation.type != requests.FORWARD_DISET:
        return operation
    return replace(
        operation,
        arguments={**operation.arguments, "Parameters": _reportable(operation.arguments.get("Parameters", {}))},
    )


def _report_lines(attempt: Attempt) -> Iterator[dict[str, Any]]:
    """The lines of the report; of a long one the first, and the last: these say how far the application came."""
    try:
        with _opened(attempt, REPORT_FILE) as file:
            text = file.read(LARGEST_REPORT_BYTES)
            tail_at = os.fstat(file.fileno()).st_size - LARGEST_REPORT_BYTES
            if (left_out := tail_at - len(text)) > 0:
                log.warning("%s: %d bytes in its middle are left out", REPORT_FILE, left_out)
                file.seek(tail_at - 1)
                text = text.rpartition(b"\n")[0] + b"\n" + file.read(LARGEST_REPORT_BYTES + 1).partition(b"\n")[2]
            else:
                text += file.read(LARGEST_REPORT_BYTES)
    except PermanentJobError:  # most payloads have none
        return
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _read(attempt: Attempt, name: str, most_bytes: int) -> bytes:
    with _opened(attempt, name) as file:
        return file.read(most_bytes)


def _opened(attempt: Attempt, name: str) -> BinaryIO:
    try:
        fd = open_below(attempt.parts.folders.work, name, owner=attempt.payload_uid)
    except OSError as error:
        raise requests.invalid(f"{name} cannot be read: {error.strerror}") from error
    return os.fdopen(fd, "rb")


def _reportable(parameters: Mapping[Any, Any]) -> dict[str, Scalar]:
    """What of *parameters* a payload may say."""
    kept = dict([each for each in parameters.items() if _is_reportable(*each)][:MOST_PARAMETERS])
    if len(kept) < len(parameters):
        log.warning("%d parameters of the payload are left out", len(parameters) - len(kept))
    return kept


def _is_reportable(name: object, value: object) -> bool:
    if (
        not requests.is_plain(value)
        or not isinstance(name, str)
        or not 0 < len(name) <= 255
        or name in _NOT_THEIRS
        or not name.isprintable()
    ):
        return False
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST_TEXT)
