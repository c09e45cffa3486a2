"""Every name that leaves this machine: spans, events, attributes, metrics. Pure.

The renderers take their names from here, and the dashboards are checked against it, so a name
exists once. `jobspan.*` is our own namespace; OpenTelemetry's `process.*`, `error.type`,
`service.*`, `host.*` and `log.record.uid` are used where they fit (semantic conventions 1.44).
Attributes may be of high cardinality; span names, event names and metric labels are not, but for
`job_id` on gauges that live as long as the job.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from telemetry.facts import ACCOUNTED_STAGES, STAGES

SCOPE = "jobspan"

#: What nobody else may use: in any case, since readers may not tell cases apart.
_OURS = re.compile(r"\s*jobspan(\.|-|\s*$)", re.IGNORECASE)


def is_ours(name: str) -> bool:
    """Whether *name*, of whatever kind, lies in our namespace."""
    return _OURS.match(name) is not None


# --- spans ----------------------------------------------------------------------------------------

ROOT_SPAN = "jobspan.job"
SUBMIT_SPAN = "submit"
QUEUE_SPAN = "queue"
MATCH_SPAN = "match"

#: Paths from which span ids follow (`identity.span_id`). SUBMIT_PATH belongs to the submission's UID.
ROOT_PATH = "job"
SUBMIT_PATH = "submit"
QUEUE_PATH = "job/queue"
MATCH_PATH = "job/match"
PAYLOAD_PATH = "job/execute/payload"

SERVICE_NAME = "jobspan"
WMS_SERVICE_NAME = "jobspan-wms"


def stage_span(stage: str) -> str:
    """Name of a lifecycle stage's span."""
    return f"jobspan.stage.{stage}"


def stage_path(stage: str) -> str:
    """Path of a stage's span, from which its id follows."""
    return f"{ROOT_PATH}/{stage}"


def operation_path(stage: str, name: str) -> str:
    """Path of the spans of the operations *name* of a stage; they are told apart by their sequence."""
    return f"{stage_path(stage)}/{name}"


SPANS: Mapping[str, str] = {
    ROOT_SPAN: "one attempt of a job, from the start of the wrapper process to the end of finalize",
    **{stage_span(stage): f"the stage {stage} of an attempt" for stage in STAGES},
    SUBMIT_SPAN: "submission of the job to the WMS; a trace of its own, linked from every attempt",
    QUEUE_SPAN: "the job waits in the WMS's queue, by the WMS's clock",
    MATCH_SPAN: "the WMS gives the job to an agent, by the WMS's clock",
}

# --- events ---------------------------------------------------------------------------------------

ACCOUNTING_EVENT = "jobspan.job.accounting"
SUBMITTED_EVENT = "submitted"
STATUS_EVENT = "status"
PAYLOAD_REFUSED_EVENT = "payload refused"
LIMIT_EVENT = "limit hit"
KILL_REQUESTED_EVENT = "kill requested"
SIGNAL_EVENT = "signal sent"
KILL_FINISHED_EVENT = "kill finished"
FENCED_EVENT = "fenced"
REQUEST_EVENT = "request made"
LATE_EVENT = "sampler late"
CLOCK_EVENT = "clock stepped"

EVENTS: Mapping[str, str] = {
    ACCOUNTING_EVENT: "log event: the accounting record of an attempt, one for each UID",
    SUBMITTED_EVENT: "span event: the computing element took the wrapper",
    STATUS_EVENT: "span event: a status for the WMS",
    PAYLOAD_REFUSED_EVENT: "span event: exec failed, no payload runs",
    LIMIT_EVENT: "span event: the watchdog found a limit reached",
    KILL_REQUESTED_EVENT: "span event: somebody wants the payload ended",
    SIGNAL_EVENT: "span event: a signal was sent to processes of the payload",
    KILL_FINISHED_EVENT: "span event: the kill is over",
    LATE_EVENT: "span event: the watchdog was stopped, starved or asleep, and did not see the payload meanwhile",
    CLOCK_EVENT: "span event: the node's wall clock was set",
    FENCED_EVENT: "span event: the WMS says that the attempt is not, or no longer, ours",
    REQUEST_EVENT: "span event: what is left to be done for the job is asked for",
}

# --- attributes -----------------------------------------------------------------------------------

ERROR_TYPE = "error.type"
EXIT_CODE = "process.exit.code"
PROCESS_PID = "process.pid"
EXECUTABLE_NAME = "process.executable.name"
EXECUTABLE_PATH = "process.executable.path"
RECORD_UID = "log.record.uid"
SERVICE = "service.name"
SERVICE_VERSION = "service.version"
SERVICE_INSTANCE = "service.instance.id"
HOST_NAME = "host.name"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_CODE = "http.response.status_code"

JOB_ID = "jobspan.job.id"
JOB_ATTEMPT = "jobspan.job.attempt"
JOB_UID = "jobspan.job.uid"
JOB_NAME = "jobspan.job.name"
JOB_GROUP = "jobspan.job.group"
JOB_TYPE = "jobspan.job.type"
JOB_OWNER = "jobspan.job.owner"
JOB_OWNER_GROUP = "jobspan.job.owner_group"
JOB_PROCESSORS = "jobspan.job.processors"
JOB_STATUS = "jobspan.job.status"
JOB_MINOR_STATUS = "jobspan.job.minor_status"
JOB_APPLICATION_STATUS = "jobspan.job.application_status"
STATUS_SOURCE = "jobspan.job.status_source"
RECORDED_BY = "jobspan.job.recorded_by"
WMS_ID = "jobspan.wms.id"
VO_NAME = "jobspan.vo.name"
SITE_NAME = "jobspan.site.name"
CE_NAME = "jobspan.ce.name"
CE_TASK = "jobspan.ce.task"
QUEUE_NAME = "jobspan.queue.name"
PILOT_STAMP = "jobspan.pilot.stamp"
BATCH_SYSTEM = "jobspan.batch.system"
BATCH_JOB_ID = "jobspan.batch.job.id"
CLOCK_OFFSET = "jobspan.clock.offset"
STAGE_NAME = "jobspan.stage.name"
STAGE_RESULT = "jobspan.stage.result"
LINK_TYPE = "jobspan.link.type"
PAYLOAD_SIGNAL = "jobspan.process.signal"
PAYLOAD_CPU_USER = "jobspan.payload.cpu.user"
PAYLOAD_CPU_SYSTEM = "jobspan.payload.cpu.system"
PAYLOAD_CPU_METHOD = "jobspan.payload.cpu.method"
PAYLOAD_PEAK_RSS = "jobspan.payload.memory.peak_rss"
PAYLOAD_CPU_UNCERTAINTY = "jobspan.payload.cpu.uncertainty"
PAYLOAD_ORPHAN_CPU = "jobspan.payload.cpu.orphans"
PAYLOAD_MEMORY_METHOD = "jobspan.payload.memory.method"
PAYLOAD_PEAK_SWAP = "jobspan.payload.swap.peak"
PAYLOAD_SWAP_METHOD = "jobspan.payload.swap.method"
PAYLOAD_PEAK_MEMORY_SWAP = "jobspan.payload.memory_swap.peak"
PAYLOAD_PEAK_THREADS = "jobspan.payload.threads.peak"
PAYLOAD_THREADS_METHOD = "jobspan.payload.threads.method"
PAYLOAD_READ = "jobspan.payload.io.read"
PAYLOAD_WRITTEN = "jobspan.payload.io.written"
PAYLOAD_IO_METHOD = "jobspan.payload.io.method"
PAYLOAD_MAJOR_FAULTS = "jobspan.payload.faults.major"
PAYLOAD_MINOR_FAULTS = "jobspan.payload.faults.minor"
PAYLOAD_SWITCHES = "jobspan.payload.switches.voluntary"
PAYLOAD_PREEMPTIONS = "jobspan.payload.switches.involuntary"
PAYLOAD_METHODS = "jobspan.payload.methods"
STAGE_PAYLOAD_CPU = "jobspan.stage.payload_cpu"
STAGE_WRAPPER_CPU = "jobspan.stage.wrapper_cpu"
STAGE_READ = "jobspan.stage.io.read"
STAGE_WRITTEN = "jobspan.stage.io.written"
LATE_SECONDS = "jobspan.sampler.late"
SUSPENDED_SECONDS = "jobspan.sampler.suspended"
CLOCK_STEP = "jobspan.clock.step"
PAYLOAD_ERRNO = "jobspan.payload.errno"
LIMIT_NAME = "jobspan.limit.name"
LIMIT_MEASURED = "jobspan.limit.measured"
LIMIT_ALLOWED = "jobspan.limit.allowed"
LIMIT_UNIT = "jobspan.limit.unit"
LIMIT_ACTION = "jobspan.limit.action"
KILL_ORIGIN = "jobspan.kill.origin"
REASON = "jobspan.reason"
SIGNAL_NUMBER = "jobspan.signal.number"
SIGNAL_PIDS = "jobspan.signal.pids"
SIGNAL_NAMES = "jobspan.signal.names"
SIGNAL_PURPOSE = "jobspan.signal.purpose"
KILL_DURATION = "jobspan.kill.duration"
KILL_SURVIVORS = "jobspan.kill.survivors"
MOVED_BYTES = "jobspan.transfer.bytes"
MOVED_FILES = "jobspan.transfer.files"
MOVED_NAME = "jobspan.transfer.name"
STORAGE_ELEMENT = "jobspan.storage_element.name"
REQUEST_NAME = "jobspan.request.name"
REQUEST_OPERATIONS = "jobspan.request.operations"
CALL_ID = "jobspan.call.id"

ATTRIBUTES: Mapping[str, str] = {
    ERROR_TYPE: "class of the failure, of low cardinality; the same value on spans and metrics",
    EXIT_CODE: "exit code of the payload; 128 + N after signal N",
    PROCESS_PID: "process id",
    EXECUTABLE_NAME: "name of the payload's executable, without its folder",
    EXECUTABLE_PATH: "path of the payload's executable",
    RECORD_UID: "UID/RecordedBy/Revision: two log events with one value are two copies of one record",
    SERVICE: "jobspan, jobspan-wms for what the WMS says, or what the site calls it",
    SERVICE_VERSION: "version of jobspan",
    SERVICE_INSTANCE: "UID of the attempt for a wrapper, identity of the job database for the WMS",
    HOST_NAME: "worker node",
    HTTP_METHOD: "method of a call to the WMS",
    HTTP_ROUTE: "its route, with {names} where paths differ",
    HTTP_CODE: "code of the answer; none when the caller had gone",
    JOB_ID: "JobID",
    JOB_ATTEMPT: "Attempt, counted from 1",
    JOB_UID: "UID of the attempt",
    JOB_NAME: "JobName",
    JOB_GROUP: "JobGroup",
    JOB_TYPE: "JobType",
    JOB_OWNER: "the job's owner: a keyed hash of the name, unless the site wants the name itself",
    JOB_OWNER_GROUP: "the owner's group",
    JOB_PROCESSORS: "processors given to the job",
    JOB_STATUS: "Status, DIRAC's string",
    JOB_MINOR_STATUS: "MinorStatus, DIRAC's string",
    JOB_APPLICATION_STATUS: "ApplicationStatus",
    STATUS_SOURCE: "who set the status",
    RECORDED_BY: "who closed the attempt: wrapper, agent",
    WMS_ID: "identity of the WMS's job database",
    VO_NAME: "virtual organisation",
    SITE_NAME: "site",
    CE_NAME: "computing element",
    CE_TASK: "the computing element's own name of the wrapper's task",
    QUEUE_NAME: "queue of the computing element",
    PILOT_STAMP: "pilot that took the job",
    BATCH_SYSTEM: "batch system under the pilot",
    BATCH_JOB_ID: "the batch system's name of the pilot's job",
    CLOCK_OFFSET: "clock of the WMS minus clock of the node, seconds",
    STAGE_NAME: "lifecycle stage",
    STAGE_RESULT: "success, failure (payload), error (infrastructure), timeout, cancellation, skip",
    LINK_TYPE: "what a link points to: submit, previous_attempt, caller, match, original (of a span of the payload's)",
    PAYLOAD_SIGNAL: "signal that ended the payload",
    PAYLOAD_CPU_USER: "user CPU of the payload and all its descendants, seconds",
    PAYLOAD_CPU_SYSTEM: "system CPU of the payload and all its descendants, seconds",
    PAYLOAD_CPU_METHOD: "how the CPU was measured: cgroup2, cgroup1, perf, wait4 ...",
    PAYLOAD_PEAK_RSS: "highest resident set of the payload's tree, bytes",
    PAYLOAD_CPU_UNCERTAINTY: "CPU that may be missing from user and system CPU, which are a lower bound then, seconds",
    PAYLOAD_ORPHAN_CPU: "part of it used by processes that outlived the payload's top process, seconds",
    PAYLOAD_MEMORY_METHOD: "how the peak of memory was measured",
    PAYLOAD_PEAK_SWAP: "largest use of swap by the payload's tree, bytes",
    PAYLOAD_SWAP_METHOD: "how that was measured; sampled: a lower bound",
    PAYLOAD_PEAK_MEMORY_SWAP: "the kernel's own peak of memory and swap together, bytes (cgroup1)",
    PAYLOAD_PEAK_THREADS: "most threads of the payload at one time",
    PAYLOAD_THREADS_METHOD: "how that was measured; sampled: a lower bound",
    PAYLOAD_READ: "read from storage by the payload and all its descendants, bytes",
    PAYLOAD_WRITTEN: "written to storage by the payload and all its descendants, bytes",
    PAYLOAD_IO_METHOD: "how these bytes were measured",
    PAYLOAD_MAJOR_FAULTS: "page faults of the payload that had to wait for storage",
    PAYLOAD_MINOR_FAULTS: "page faults of the payload that had not",
    PAYLOAD_SWITCHES: "times that a process of the payload gave a processor away by itself, as far as was seen",
    PAYLOAD_PREEMPTIONS: "times that a processor was taken from a process of the payload, as far as was seen",
    PAYLOAD_METHODS: 'how each quantity was measured, as the accounting record has it: "cpu=cgroup2 peak_rss=sampled"',
    STAGE_PAYLOAD_CPU: "CPU of the payload in this stage, seconds",
    STAGE_WRAPPER_CPU: "CPU of the wrapper itself in this stage, seconds",
    STAGE_READ: "read from storage by the payload in this stage, bytes",
    STAGE_WRITTEN: "written to storage by the payload in this stage, bytes",
    LATE_SECONDS: "how much later than due a sample came, seconds",
    SUSPENDED_SECONDS: "how long of that the machine slept, seconds",
    CLOCK_STEP: "by how much the wall clock was set, seconds; negative: backwards",
    PAYLOAD_ERRNO: "errno of the failed exec",
    LIMIT_NAME: "which limit",
    LIMIT_MEASURED: "what was measured, in the limit's unit",
    LIMIT_ALLOWED: "what was allowed, in the limit's unit",
    LIMIT_UNIT: "unit of the limit",
    LIMIT_ACTION: "what followed: kill or warn",
    KILL_ORIGIN: "user, watchdog, signal, fence, wrapper, recovery",
    REASON: "why, in words",
    SIGNAL_NUMBER: "number of the signal",
    SIGNAL_PIDS: "processes that got the signal",
    SIGNAL_NAMES: "what the first of them call themselves",
    SIGNAL_PURPOSE: "end, or stop for the graceful stop that the job has asked for",
    KILL_DURATION: "from the first signal to the last process's end, seconds",
    KILL_SURVIVORS: "processes that outlived the kill",
    MOVED_BYTES: "bytes that were moved, packed, unpacked or summed up",
    MOVED_FILES: "how many files they were",
    MOVED_NAME: "logical name of the file, or physical name of the sandbox",
    STORAGE_ELEMENT: "storage element",
    REQUEST_NAME: "name of the combined request",
    REQUEST_OPERATIONS: "how many operations it has",
    CALL_ID: "X-Request-ID of a call to the WMS, as its log lines have it",
}

# --- the accounting record ------------------------------------------------------------------------

#: Every field of the accounting record, in the order in which people read it.
RECORD_FIELDS: tuple[str, ...] = (
    *("UID", "WMSID", "JobID", "Attempt", "Revision", "SchemaVersion", "TraceID", "VO", "CE", "Queue"),
    *("PilotStamp", "PilotReference", "BatchSystem", "BatchJobID", "HostName"),
    *("User", "UserGroup", "JobGroup", "JobType", "JobClass", "ProcessingType", "Site"),
    *("FinalMajorStatus", "FinalMinorStatus", "CPUTime", "NormCPUTime", "ExecTime"),
    *("InputDataSize", "OutputDataSize", "InputDataFiles", "OutputDataFiles", "DiskSpace"),
    *("InputSandBoxSize", "OutputSandBoxSize", "ProcessedEvents"),
    *("SubmissionTime", "MatchTime", "QueueWaitTime", "StartTime", "EndTime", "WallClockTime"),
    *(f"StageWallClockTime.{stage}" for stage in ACCOUNTED_STAGES),
    *("PayloadWallClockTime", "ClockOffset"),
    *("CPUUserTime", "CPUSystemTime", "CPUMethod", "CPUUncertainty", "OrphanCPUTime", "WrapperCPUTime"),
    *("Processors", "ProcessorsRequested", "CPUNormalizationFactor"),
    *("BenchmarkName", "BenchmarkValue", "BenchmarkSource"),
    *("PeakRSS", "PeakPSS", "PeakCgroupMemory", "MemoryMethod"),
    *("PeakSwap", "SwapMethod", "PeakMemorySwap", "PeakThreads", "ThreadsMethod"),
    *("MaxProcesses", "ReadBytes", "WrittenBytes"),
    *("IOMethod", "MinorFaults", "MajorFaults", "VoluntarySwitches", "InvoluntarySwitches"),
    *("CPUPressure", "MemoryPressure", "IOPressure", "Methods"),
    *(
        "OutputLines",
        "OutputBytes",
        "PeekLinesDropped",
        "OutputBytesDropped",
        "ExitCode",
        "Signal",
        "ErrorType",
        "PayloadStarted",
    ),
    *("RecordedBy", "RecordTime"),
)

ACCOUNTING_PREFIX = "jobspan.accounting."
_WORD = re.compile(r"WMS(?=ID)|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")


def accounting_attribute(field: str) -> str:
    """Attribute of the accounting event that carries the record's *field*: the prefix and its snake_case."""
    return _ATTRIBUTE_OF.get(field) or _accounting_attribute(field)


def _accounting_attribute(field: str) -> str:
    return ACCOUNTING_PREFIX + ".".join("_".join(_WORD.findall(part)).lower() for part in field.split("."))


_ATTRIBUTE_OF = {field: _accounting_attribute(field) for field in RECORD_FIELDS}
_FIELD_OF = {attribute: field for field, attribute in _ATTRIBUTE_OF.items()}


def record_field(attribute: str) -> str:
    """The record's field in *attribute*; of a field that this version does not know, the bare rest of the name."""
    return _FIELD_OF.get(attribute, attribute.removeprefix(ACCOUNTING_PREFIX))


# --- metrics --------------------------------------------------------------------------------------

#: Jobs last from milliseconds to days.
DURATION_BUCKETS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric under its full name (counters end in `_total`), its unit in Prometheus's words, its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """Names under which a scrape shows it."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)

    @property
    def sample_labels(self) -> frozenset[str]:
        """Labels that its samples may carry."""
        return frozenset((*self.labels, "le") if self.kind == "histogram" else self.labels)


PAYLOAD_CPU = Metric(
    name="jobspan_payload_cpu_seconds_total",
    kind="counter",
    unit="seconds",
    help="CPU of payloads and all their descendants",
    labels=("mode",),
)
WALL = Metric(
    name="jobspan_wall_seconds_total",
    kind="counter",
    unit="seconds",
    help="Wall clock of attempts by lifecycle stage",
    labels=("stage",),
)
WALL_CORE = Metric(
    name="jobspan_wall_core_seconds_total",
    kind="counter",
    unit="seconds",
    help="Wall clock of attempts times their processors, without finalize (ExecTime of the record)",
)
PEEK_LINES = Metric(
    name="jobspan_peek_lines_total",
    kind="counter",
    unit="lines",
    help="Lines that payloads wrote, as the peek saw them",
    labels=("stream",),
)
PEEK_LINES_DROPPED = Metric(
    name="jobspan_peek_lines_dropped_total",
    kind="counter",
    unit="lines",
    help="Lines that the peek did not keep",
    labels=("stream",),
)
OUTPUT_BYTES = Metric(
    name="jobspan_output_bytes_total",
    kind="counter",
    unit="bytes",
    help="Bytes that payloads wrote to their streams",
    labels=("stream",),
)
JOBS_FINISHED = Metric(
    name="jobspan_jobs_finished_total",
    kind="counter",
    unit="jobs",
    help="Attempts that have ended, by final status and class of error",
    labels=("status", "error_type"),
)
LIMITS_HIT = Metric(
    name="jobspan_limits_hit_total",
    kind="counter",
    unit="hits",
    help="Limits that jobs have reached, by what followed: the kill or a warning",
    labels=("limit", "action"),
)
KILLS = Metric(
    name="jobspan_kills_total",
    kind="counter",
    unit="kills",
    help="Attempts that somebody wanted ended, by who it was; of the watchdog by the limit",
    labels=("origin", "limit"),
)
SIGNALS = Metric(
    name="jobspan_signals_total",
    kind="counter",
    unit="signals",
    help="Signals sent to processes of payloads, to end them or as the graceful stop",
    labels=("signal", "purpose"),
)
KILL_SURVIVED = Metric(
    name="jobspan_kill_survivors_total",
    kind="counter",
    unit="processes",
    help="Processes that outlived the kill of their payload",
)
KILL_SECONDS = Metric(
    name="jobspan_kill_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="From the first signal to the end of a payload's last process",
    buckets=(0.01, 0.1, 1.0, 5.0, 10.0, 10.5, 15.0, 30.0, 60.0, 120.0),
)
STAGE_DURATION = Metric(
    name="jobspan_stage_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Duration of lifecycle stages",
    labels=("stage", "result"),
    buckets=DURATION_BUCKETS_SECONDS,
)
JOBS_LIVING = Metric(
    name="jobspan_jobs_living",
    kind="gauge",
    unit="jobs",
    help="Jobs whose wrappers have started, and whose attempts have not ended",
)
JOB_WALL = Metric(
    name="jobspan_job_wall_seconds",
    kind="gauge",
    unit="seconds",
    help="Wall clock of a living job so far",
    labels=("job_id",),
)
JOB_CPU = Metric(
    name="jobspan_job_cpu_seconds",
    kind="gauge",
    unit="seconds",
    help="CPU of a living job so far",
    labels=("job_id",),
)
JOB_MEMORY = Metric(
    name="jobspan_job_memory_bytes",
    kind="gauge",
    unit="bytes",
    help="Resident memory of a living job",
    labels=("job_id",),
)
JOB_PEEK_LINES = Metric(
    name="jobspan_job_peek_lines",
    kind="gauge",
    unit="lines",
    help="Lines that a living job has written so far",
    labels=("job_id",),
)
JOB_LAST_OUTPUT = Metric(
    name="jobspan_job_last_output_timestamp_seconds",
    kind="gauge",
    unit="seconds",
    help="When a living job wrote last, since 1970",
    labels=("job_id",),
)
STAGE_JOBS = Metric(
    name="jobspan_stage_jobs",
    kind="gauge",
    unit="jobs",
    help="Living jobs, by the lifecycle stage in which they are",
    labels=("stage",),
)
STAGE_LONGEST = Metric(
    name="jobspan_stage_longest_seconds",
    kind="gauge",
    unit="seconds",
    help="How long the living job has been in its stage that has been there longest; 0 when none is in it",
    labels=("stage",),
)
SLOTS = Metric(name="jobspan_slots", kind="gauge", unit="slots", help="Jobs that the agent runs at most at one time")
FACTS_DAMAGED = Metric(
    name="jobspan_facts_damaged_total",
    kind="counter",
    unit="lines",
    help="Journal lines that were not facts and were skipped, since the start of the agent",
)
SPOOL_PENDING = Metric(
    name="jobspan_spool_pending",
    kind="gauge",
    unit="attempts",
    help="Ended attempts of which a sink has not taken everything yet; wms is the WMS with all that it is told",
    labels=("sink",),
)
OUTBOX_DEAD = Metric(
    name="jobspan_outbox_dead",
    kind="gauge",
    unit="documents",
    help="Documents that a sink will never take; `jobspan outbox` lists them and tries them again",
    labels=("sink",),
)
OUTBOX_EXPIRED = Metric(
    name="jobspan_outbox_expired_total",
    kind="counter",
    unit="documents",
    help="Documents whose journal was removed before a sink had taken them",
    labels=("sink",),
)
DELIVERY_COPIES = Metric(
    name="jobspan_delivery_copies_total",
    kind="counter",
    unit="copies",
    help="Copies more than one that went to a sink, because an answer was lost or it had it before",
    labels=("sink",),
)
SHORTAGE = Metric(
    name="jobspan_shortage",
    kind="gauge",
    unit="",
    help="1 while the agent takes no new job because it is short of room on the disk or in the outbox",
    labels=("of",),
)
PAYLOAD_TELEMETRY_CALLS = Metric(
    name="jobspan_payload_telemetry_calls_total",
    kind="counter",
    unit="calls",
    help="Calls by which payloads handed in spans and logs, since the start of the agent: taken, again, or why refused",
    labels=("outcome",),
)
PAYLOAD_TELEMETRY_ITEMS = Metric(
    name="jobspan_payload_telemetry_items_total",
    kind="counter",
    unit="items",
    help="Spans and log records in calls of payloads that were taken, each taken or refused",
    labels=("signal", "outcome"),
)
PAYLOAD_TELEMETRY_BYTES = Metric(
    name="jobspan_payload_telemetry_bytes_total",
    kind="counter",
    unit="bytes",
    help="Bytes of calls of payloads, unpacked, that count against what a job may send",
    labels=("signal",),
)
BUILD_INFO = Metric(
    name="jobspan_build_info",
    kind="gauge",
    unit="",
    help="Always 1; the label says which version runs",
    labels=("version",),
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(PAYLOAD_CPU, WALL, WALL_CORE, PEEK_LINES, PEEK_LINES_DROPPED, OUTPUT_BYTES, JOBS_FINISHED),
        *(STAGE_DURATION, JOBS_LIVING, STAGE_JOBS, STAGE_LONGEST, SLOTS),
        *(JOB_WALL, JOB_CPU, JOB_MEMORY, JOB_PEEK_LINES, JOB_LAST_OUTPUT),
        *(LIMITS_HIT, KILLS, SIGNALS, KILL_SURVIVED, KILL_SECONDS),
        *(FACTS_DAMAGED, SPOOL_PENDING, OUTBOX_DEAD, OUTBOX_EXPIRED, DELIVERY_COPIES, SHORTAGE, BUILD_INFO),
        *(PAYLOAD_TELEMETRY_CALLS, PAYLOAD_TELEMETRY_ITEMS, PAYLOAD_TELEMETRY_BYTES),
    )
}

# --- metrics of the WMS ---------------------------------------------------------------------------

#: Calls and transactions last from fractions of a millisecond to the longest long poll.
CALL_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

WMS_REQUEST_DURATION = Metric(
    name="jobspan_wms_request_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Duration of calls to the WMS, by route and code; long polls (match, commands) wait inside it",
    labels=("method", "route", "code"),
    buckets=CALL_BUCKETS_SECONDS,
)
WMS_IN_PROGRESS = Metric(
    name="jobspan_wms_requests_in_progress",
    kind="gauge",
    unit="calls",
    help="Calls that are under way or wait for their turn, long polls among them",
    labels=("route",),
)
WMS_TRANSACTION_DURATION = Metric(
    name="jobspan_wms_transaction_duration_seconds",
    kind="histogram",
    unit="seconds",
    help="Duration of transactions from begin to end, the commit among it",
    labels=("kind",),
    buckets=CALL_BUCKETS_SECONDS,
)
WMS_LOCK_WAIT = Metric(
    name="jobspan_wms_lock_wait_seconds",
    kind="histogram",
    unit="seconds",
    help="How long transactions waited for a connection and their turn before they began",
    labels=("kind",),
    buckets=CALL_BUCKETS_SECONDS,
)
WMS_MATCHES = Metric(
    name="jobspan_wms_matches_total",
    kind="counter",
    unit="matches",
    help="Answers to slots that asked for a job: a job, or none in time",
    labels=("outcome",),
)
WMS_HEARTBEATS = Metric(
    name="jobspan_wms_heartbeats_total", kind="counter", unit="heartbeats", help="Heartbeats of jobs that arrived"
)
WMS_COPIES = Metric(
    name="jobspan_wms_copies_total",
    kind="counter",
    unit="copies",
    help="Copies of what the WMS had already, which changed nothing: statuses, accounting records, combined requests",
    labels=("of",),
)
WMS_JOBS = Metric(
    name="jobspan_wms_jobs", kind="gauge", unit="jobs", help="Jobs in the database, by status", labels=("status",)
)
WMS_WAITING = Metric(
    name="jobspan_wms_waiting_jobs",
    kind="gauge",
    unit="jobs",
    help="Waiting jobs by owner group, type and site; the 50 largest sets have a series each, others are one (other)",
    labels=("owner_group", "job_type", "site"),
)
WMS_TASK_QUEUES = Metric(
    name="jobspan_wms_task_queues", kind="gauge", unit="queues", help="Task queues in which jobs wait"
)
WMS_LONGEST_WAIT = Metric(
    name="jobspan_wms_longest_wait_seconds",
    kind="gauge",
    unit="seconds",
    help="How long the job has waited that has waited longest; 0 when none waits",
)
WMS_REQUESTS = Metric(
    name="jobspan_wms_combined_requests",
    kind="gauge",
    unit="requests",
    help="Combined requests (what is left to be done for ended jobs), by status",
    labels=("status",),
)
WMS_COMMANDS = Metric(
    name="jobspan_wms_commands_pending",
    kind="gauge",
    unit="commands",
    help="Commands for wrappers that no wrapper has acknowledged",
)
WMS_SANDBOXES = Metric(name="jobspan_wms_sandboxes", kind="gauge", unit="sandboxes", help="Sandboxes that are stored")
WMS_SANDBOX_BYTES = Metric(
    name="jobspan_wms_sandboxes_bytes", kind="gauge", unit="bytes", help="What the stored sandboxes take"
)
WMS_INVENTORY_OK = Metric(
    name="jobspan_wms_inventory_ok",
    kind="gauge",
    unit="",
    help="1 when the databases could be counted for this scrape; without it the gauges of their content are missing",
)
WMS_SPANS_QUEUED = Metric(
    name="jobspan_wms_spans_queued", kind="gauge", unit="spans", help="Spans of calls that no sink has taken yet"
)
WMS_SPANS_DROPPED = Metric(
    name="jobspan_wms_spans_dropped_total",
    kind="counter",
    unit="spans",
    help="Spans of calls that a sink did not get: beyond TraceRate, a full queue, a file or a collector that fails",
    labels=("reason",),
)

#: What the WMS serves at its own endpoint; `BUILD_INFO` stands there too.
WMS_METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(WMS_REQUEST_DURATION, WMS_IN_PROGRESS, WMS_TRANSACTION_DURATION, WMS_LOCK_WAIT, WMS_MATCHES, WMS_HEARTBEATS),
        WMS_COPIES,
        *(
            WMS_JOBS,
            WMS_WAITING,
            WMS_TASK_QUEUES,
            WMS_LONGEST_WAIT,
            WMS_REQUESTS,
            WMS_COMMANDS,
            WMS_SANDBOXES,
            WMS_SANDBOX_BYTES,
        ),
        *(WMS_INVENTORY_OK, WMS_SPANS_QUEUED, WMS_SPANS_DROPPED),
    )
}

# --- metrics of a reconciliation ------------------------------------------------------------------

RECONCILIATION_DIFFERENCES = Metric(
    name="jobspan_reconciliation_differences",
    kind="gauge",
    unit="records",
    help="Differences that the last reconciliation has found, by class",
    labels=("class",),
)
RECONCILIATION_CORE_HOURS = Metric(
    name="jobspan_reconciliation_core_hours_at_stake",
    kind="gauge",
    unit="core hours",
    help="Core-hours that these differences are about",
    labels=("class",),
)
RECONCILIATION_TIMESTAMP = Metric(
    name="jobspan_reconciliation_timestamp_seconds",
    kind="gauge",
    unit="seconds",
    help="When the last reconciliation ended, since 1970",
)

#: What `jobspan reconcile` writes for a node exporter's textfile collector.
RECONCILIATION_METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (RECONCILIATION_DIFFERENCES, RECONCILIATION_CORE_HOURS, RECONCILIATION_TIMESTAMP)
}
