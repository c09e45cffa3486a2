"""Job statuses, minor statuses and the transition table, under DIRAC's exact names. Pure.

The table is DiracX's (JobStatus and its state machine), without its two oddities: a Stalled job
that is offered an impossible status stays Stalled, and Deleted is final.
"""

from enum import StrEnum


class JobStatus(StrEnum):
    """Where a job is."""

    SUBMITTING = "Submitting"
    RECEIVED = "Received"
    CHECKING = "Checking"
    STAGING = "Staging"
    WAITING = "Waiting"
    MATCHED = "Matched"
    RUNNING = "Running"
    STALLED = "Stalled"
    COMPLETING = "Completing"
    COMPLETED = "Completed"
    DONE = "Done"
    FAILED = "Failed"
    RESCHEDULED = "Rescheduled"
    KILLED = "Killed"
    DELETED = "Deleted"


_S = JobStatus
#: From each status, the statuses that are accepted next; anything else keeps the present one.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    _S.SUBMITTING: frozenset({_S.RECEIVED, _S.CHECKING, _S.KILLED, _S.DELETED}),
    _S.RECEIVED: frozenset({_S.CHECKING, _S.STAGING, _S.WAITING, _S.FAILED, _S.KILLED, _S.DELETED}),
    _S.CHECKING: frozenset({_S.STAGING, _S.WAITING, _S.RESCHEDULED, _S.FAILED, _S.KILLED, _S.DELETED}),
    _S.STAGING: frozenset({_S.CHECKING, _S.WAITING, _S.FAILED, _S.KILLED}),
    _S.WAITING: frozenset({_S.MATCHED, _S.RESCHEDULED, _S.KILLED, _S.DELETED}),
    _S.MATCHED: frozenset({_S.RUNNING, _S.RESCHEDULED, _S.FAILED, _S.KILLED}),
    _S.RUNNING: frozenset({_S.RECEIVED, _S.RESCHEDULED, _S.STALLED, _S.COMPLETING, _S.DONE, _S.FAILED, _S.KILLED}),
    _S.STALLED: frozenset({_S.RECEIVED, _S.RESCHEDULED, _S.RUNNING, _S.COMPLETING, _S.DONE, _S.FAILED, _S.KILLED}),
    _S.COMPLETING: frozenset({_S.STALLED, _S.DONE, _S.COMPLETED, _S.FAILED, _S.KILLED}),
    _S.COMPLETED: frozenset({_S.DONE, _S.FAILED}),
    _S.RESCHEDULED: frozenset({_S.RECEIVED, _S.WAITING, _S.FAILED, _S.KILLED, _S.DELETED}),
    _S.DONE: frozenset({_S.DELETED}),
    _S.FAILED: frozenset({_S.RESCHEDULED, _S.DELETED}),
    _S.KILLED: frozenset({_S.DELETED}),
    _S.DELETED: frozenset(),
}

#: A job in one of these will not run any further in its present attempt.
FINAL_STATUSES = frozenset({_S.DONE, _S.COMPLETED, _S.FAILED, _S.KILLED, _S.DELETED})


def is_allowed(present: JobStatus, wanted: JobStatus) -> bool:
    """Whether a job that is *present* may become *wanted*; staying is always allowed."""
    return wanted == present or wanted in TRANSITIONS[present]


class MinorStatus(StrEnum):
    """Why or where exactly: the strings of DIRAC's JobMinorStatus that jobspan uses."""

    JOB_ACCEPTED = "Job accepted"
    JOB_RECEIVED_BY_AGENT = "Job Received by Agent"
    SUBMITTING_TO_CE = "Submitting To CE"
    JOB_INITIALIZATION = "Job Initialization"
    DOWNLOADING_INPUT_SANDBOX = "Downloading InputSandbox"
    FAILED_DOWNLOADING_INPUT_SANDBOX = "Failed Downloading InputSandbox"
    INPUT_DATA_RESOLUTION = "Input Data Resolution"
    INPUT_DATA_NOT_AVAILABLE = "Input Data Not Available"
    NO_CANDIDATE_SITE = "No candidate sites available"
    APPLICATION = "Application"
    APPLICATION_NOT_FOUND = "Application not found"
    APPLICATION_FINISHED_SUCCESSFULLY = "Application Finished Successfully"
    APPLICATION_FINISHED_WITH_ERRORS = "Application Finished With Errors"
    GOING_TO_RESCHEDULE_JOB = "Going to reschedule job"
    JOB_RESCHEDULED = "Job Rescheduled"
    UPLOADING_OUTPUT_SANDBOX = "Uploading Output Sandbox"
    OUTPUT_SANDBOX_UPLOADED = "Output Sandbox Uploaded"
    UPLOADING_OUTPUT_DATA = "Uploading Output Data"
    OUTPUT_DATA_UPLOADED = "Output Data Uploaded"
    UPLOADING_OUTPUTS = "Uploading Outputs"
    EXECUTION_COMPLETE = "Execution Complete"
    EXCEPTION_DURING_EXECUTION = "Exception During Execution"
    PENDING_REQUESTS = "Pending Requests"
    REQUESTS_DONE = "Requests done"
    FAILED_SENDING_REQUESTS = "Failed sending requests"
    MARKED_FOR_TERMINATION = "Marked for termination"
    CHECKING_ACCOUNTING = "Checking accounting"
    RECEIVED_KILL_SIGNAL = "Received Kill signal"
    WALL_CLOCK_LIMIT = "Job has exceeded maximum wall clock time"
    CPU_LIMIT = "Job has exceeded maximum CPU time limit"
    QUEUE_CPU_LIMIT = "Job has reached the CPU limit of the queue"
    DISK_SPACE = "Job has insufficient disk space to continue"
    STALLED_PILOT_NOT_RUNNING = "Job stalled: pilot not running"
    STALLED_BY_WATCHDOG = "Watchdog identified this job as stalled"
    MEMORY_LIMIT = "Job has exceeded its memory limit"
    OUTPUT_LIMIT = "Job has exceeded its output limit"
    PROCESS_LIMIT = "Job has exceeded its limit of processes"
    STALLED_OUTPUT = "Job has stopped writing output"
    LOAD_AVERAGE = "Job has met a load average above the limit"
    JOB_WRAPPER_INITIALIZATION = "Job Wrapper Initialization"
    JOB_WRAPPER_EXECUTION = "JobWrapper execution"
    ILLEGAL_JOB_JDL = "Illegal Job JDL"
    MAXIMUM_OF_RESCHEDULINGS = "Maximum of reschedulings reached"


#: A job that is Failed with one of these was given up by the WMS, while its wrapper may still run.
GIVEN_UP = frozenset({MinorStatus.STALLED_PILOT_NOT_RUNNING, MinorStatus.MAXIMUM_OF_RESCHEDULINGS})

#: Exit code with which a payload asks to be rescheduled (DErrno.EWMSRESC), and what is left of it in 8 bits.
WMSRESC = 1502
WMSRESC_EXIT_CODE = WMSRESC & 0xFF
