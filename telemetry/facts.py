"""The facts: what happened to a job, frozen when it happened. Pure.

A fact is never changed, and everything else (status, spans, metrics, the accounting record) is a
fold over facts. Fields are plain JSON values; units stand in names. `DURABLE` facts are forced to disk before the
caller goes on. Facts and fields are added, never renamed (`entries` says how they are read by other versions).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

Scalar: TypeAlias = str | int | float | bool
StageName = Literal[
    "initialize", "transfer_input_sandbox", "resolve_input_data", "execute", "process_job_outputs", "finalize"
]
STAGES: tuple[StageName, ...] = (
    "initialize",
    "transfer_input_sandbox",
    "resolve_input_data",
    "execute",
    "process_job_outputs",
    "finalize",
)
#: The stages whose shares stand in the accounting record and sum to its wall clock.
ACCOUNTED_STAGES = STAGES[:-1]

#: "failure" blames the payload or its input, "error" blames us or the infrastructure (OTel CI/CD result values).
StageResult = Literal["success", "failure", "error", "timeout", "cancellation", "skip"]
Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Base of all facts. The journal adds writer, sequence and the times of writing."""

    DURABLE: ClassVar[bool] = False


# --- the agent's --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class JobMatched(Fact):
    """The WMS gave this attempt to this agent. Carries all that identifies the attempt.

    The three `*_utc_ns` of the WMS are by its clock; `clock_offset_seconds` is WMS minus node.
    """

    DURABLE: ClassVar[bool] = True
    uid: str
    wms_id: str
    job_id: int
    attempt: int
    claim: str
    owner: str
    owner_group: str
    vo: str
    job_group: str = ""
    job_name: str = ""
    job_type: str = "User"
    job_class: str = "unknown"
    processing_type: str = "unknown"
    site: str
    computing_element: str
    queue: str = ""
    host_name: str = ""
    pilot_stamp: str = ""
    pilot_reference: str = ""
    batch_system: str = ""
    batch_job_id: str = ""
    processors: int = 1
    processors_requested: int = 1
    cpu_normalization_factor: float = 1.0
    benchmark_name: str = ""
    benchmark_value: float = 0.0
    benchmark_source: str = ""
    submit_start_utc_ns: int
    submit_end_utc_ns: int
    waiting_utc_ns: int
    match_start_utc_ns: int
    match_end_utc_ns: int
    submit_traceparent: str = ""
    previous_uid: str = ""
    clock_offset_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class JobAccepted(Fact):
    """The computing element took the wrapper: "Job submitted as <task>"."""

    DURABLE: ClassVar[bool] = True
    task: str
    computing_element: str


@dataclass(frozen=True, kw_only=True)
class WrapperReaped(Fact):
    """The wrapper process has ended, as its parent's wait4 saw it.

    `oom_kills` is how many processes of the control group of agent and wrappers the kernel has killed during the
    wrapper's life because memory ran out; None: it does not tell.
    """

    pid: int
    exit_code: int | None
    signal: int | None
    end_boottime_ns: int
    user_cpu_seconds: float
    system_cpu_seconds: float
    oom_kills: int | None = None


# --- the wrapper's ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WrapperStarted(Fact):
    """The wrapper process runs. `start_boottime_ns` is the start of the process, imports included."""

    pid: int
    start_boottime_ns: int
    started_by: Literal["zygote", "interpreter"]
    version: str


@dataclass(frozen=True, kw_only=True)
class StageStarted(Fact):
    """A lifecycle stage began; its boundary is the end of the stage before."""

    stage: StageName
    at_boottime_ns: int


@dataclass(frozen=True, kw_only=True)
class StageFinished(Fact):
    """A lifecycle stage ended. `error_type` is of low cardinality, `message` says the cause."""

    stage: StageName
    at_boottime_ns: int
    result: StageResult
    error_type: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class OperationFinished(Fact):
    """A part of a stage that deserves a sub-span: an HTTP call, an unpacking, a transfer."""

    name: str
    stage: StageName
    start_boottime_ns: int
    end_boottime_ns: int
    kind: Literal["internal", "client"] = "internal"
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    error_type: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class StatusChanged(Fact):
    """A status for the WMS. None leaves a field as it is; the moment is the entry's UTC."""

    status: str | None = None
    minor_status: str | None = None
    application_status: str | None = None
    source: str = "JobWrapper"


@dataclass(frozen=True, kw_only=True)
class ParametersSet(Fact):
    """Job parameters for the WMS, under DIRAC's names."""

    parameters: Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True)
class HeartbeatMade(Fact):
    """The seven heartbeat values under DIRAC's names; an empty mapping asks for commands only."""

    values: Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True)
class PayloadPlanned(Fact):
    """About to exec: what recovery needs to find every process of this payload."""

    DURABLE: ClassVar[bool] = True
    starter_pid: int
    cgroup_paths: tuple[str, ...] = ()
    environment_mark: str = ""
    user: str = ""
    #: No process of it is older (the first one is forked ahead of this entry); 0: than this entry.
    since_boottime_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class PayloadStarted(Fact):
    """The exec succeeded, told by the close-on-exec pipe.

    `start_boottime_ns` is when it was ordered. The process is `pid` and `start_ticks`, of `/proc/<pid>/stat`.
    """

    DURABLE: ClassVar[bool] = True
    pid: int
    start_boottime_ns: int
    executable: str
    start_ticks: int = 0


@dataclass(frozen=True, kw_only=True)
class PayloadRefused(Fact):
    """The exec failed; no payload runs, and none will."""

    errno: int
    cause: str


@dataclass(frozen=True, kw_only=True)
class PayloadEnded(Fact):
    """The payload's top process has ended, by the starter's wait4 (CPU of it and its waited-for children)."""

    DURABLE: ClassVar[bool] = True
    exit_code: int | None
    signal: int | None
    end_boottime_ns: int
    user_cpu_seconds: float
    system_cpu_seconds: float
    max_rss_bytes: int


@dataclass(frozen=True, kw_only=True)
class PeaksSoFar:
    """Of RSS, processes, swap and threads the most that any look has seen; what is known should nobody settle them.

    Those that `peaks_method` tells are a control group's own (of memory with its page cache), as of the last deep look.
    None is what nobody tells here.
    """

    peak_rss_bytes: int = 0
    peak_pss_bytes: int | None = None
    peak_swap_bytes: int = 0
    peak_threads: int = 0
    max_processes: int = 0
    peaks_method: str = ""
    peak_cgroup_memory_bytes: int | None = None
    peak_cgroup_swap_bytes: int | None = None
    peak_memory_swap_bytes: int | None = None
    peak_cgroup_threads: int | None = None


@dataclass(frozen=True, kw_only=True)
class UsageSampled(Fact, PeaksSoFar):
    """One look at the payload's process tree: totals since its start, never falling, and gauges.

    None: nobody tells it here. Switches and swap are as of the last deep look (one a heartbeat); `PeaksSoFar` are
    further fields. `methods` names who has measured each quantity ("memory": "cgroup2", "walk" ...); where nothing has
    changed since the sample before, it is empty. (The fields for single quantities are older.)
    """

    stage: StageName
    cpu_user_seconds: float
    cpu_system_seconds: float
    cpu_method: str
    wall_seconds: float
    rss_bytes: int
    swap_bytes: int = 0
    processes: int = 0
    threads: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    available_disk_bytes: int = 0
    load_average: float = 0.0
    cpu_uncertainty_seconds: float = 0.0
    rss_method: str = ""
    processes_method: str = ""
    io_method: str = ""
    pss_bytes: int | None = None
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    cpu_pressure_seconds: float | None = None
    memory_pressure_seconds: float | None = None
    io_pressure_seconds: float | None = None
    #: Of the wrapper itself with its starter, beside all of the above.
    wrapper_cpu_seconds: float = 0.0
    methods: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SamplerLate(Fact):
    """The watchdog did not sample for *late_seconds* more than it should have; the job was not judged meanwhile.

    `suspended_seconds` of them the machine slept. The rest the watchdog was stopped, or starved.
    """

    late_seconds: float
    suspended_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClockStepped(Fact):
    """The wall clock was set by *step_seconds* (backwards when negative) since the sample before. No duration is
    affected: those are by a clock that does not step."""

    step_seconds: float


@dataclass(frozen=True, kw_only=True)
class UsageSettled(Fact):
    """Final use of resources of the payload and all its descendants, with method and uncertainty.

    `memory_method` is that of the group's peak where there is one, else that of the peak of RSS. Peaks of swap and
    threads are the kernel's own by the control group that their methods name, or else the most that any look has seen
    ("sampled"); of memory and swap together only control groups of version 1 keep one. `oom_kills` are processes that
    the kernel has killed for want of memory, by the group. None: nobody has seen any, or nobody tells. `methods` names
    who has measured each quantity; it is empty in journals of before it was told.
    """

    DURABLE: ClassVar[bool] = True
    cpu_user_seconds: float
    cpu_system_seconds: float
    cpu_method: str
    cpu_uncertainty_seconds: float
    orphan_cpu_seconds: float
    peak_rss_bytes: int
    peak_pss_bytes: int | None = None
    peak_cgroup_memory_bytes: int | None = None
    memory_method: str = ""
    max_processes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    io_method: str = ""
    minor_faults: int = 0
    major_faults: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    cpu_pressure_seconds: float | None = None
    memory_pressure_seconds: float | None = None
    io_pressure_seconds: float | None = None
    peak_swap_bytes: int | None = None
    swap_method: str = ""
    peak_memory_swap_bytes: int | None = None
    peak_threads: int | None = None
    threads_method: str = ""
    oom_kills: int | None = None
    methods: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WrapperSettled(Fact):
    """What the wrapper itself (with the starter) has used up to the end of its last accounted stage.

    `work_bytes` is what the job's working directory held then; None when nobody looked.
    """

    wrapper_cpu_seconds: float
    work_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class OutputSeen(Fact):
    """Totals of a stream of the payload so far: exact lines and bytes, and what the peek dropped.

    *dropped_bytes* were counted, and are in the file no more (OutputFileLimit). *shrunk* is how often the
    payload, or somebody for it, made the file shorter; what it held then is counted as new.
    """

    stream: Stream
    lines: int
    bytes: int
    peek_lines_dropped: int = 0
    dropped_bytes: int = 0
    shrunk: int = 0


@dataclass(frozen=True, kw_only=True)
class LimitHit(Fact):
    """A limit was reached; `minor_status` is DIRAC's name of the cause.

    To "warn" is to say what the job would have been ended for, and when.
    """

    limit: str
    minor_status: str
    measured: float
    allowed: float
    unit: str
    action: Literal["kill", "warn"] = "kill"


@dataclass(frozen=True, kw_only=True)
class KillRequested(Fact):
    """Somebody wants the payload ended: the first cause is never overwritten."""

    origin: Literal["user", "watchdog", "signal", "fence", "wrapper", "recovery"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class SignalSent(Fact):
    """A signal was sent to these processes of the payload: to "end" them, or as the graceful "stop" of the job.

    With "wake" it was its starter that was stopped and told to go on, or that did not answer and was killed.
    Of many processes the first are named; `processes` is their number (0 in journals that had none).
    """

    signal: int
    pids: tuple[int, ...]
    reason: str
    purpose: Literal["end", "stop", "wake"] = "end"
    names: tuple[str, ...] = ()
    processes: int = 0
    at_boottime_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class KillFinished(Fact):
    """The kill is over: how long it took and which processes survived it."""

    duration_seconds: float
    survivors: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Fenced(Fact):
    """The WMS says that this attempt is not, or no longer, ours."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class DataMoved(Fact):
    """Files of one kind were moved; sizes in bytes, of sandboxes as compressed.

    *dropped_bytes*, not compressed, were asked for and did not fit into OutputSandboxLimit.
    """

    kind: Literal["input_sandbox", "input_data", "output_sandbox", "output_data"]
    files: int
    bytes: int
    dropped_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RequestMade(Fact):
    """What is still to be done for the job: a combined request, as `runner.job.requests` defines the document."""

    DURABLE: ClassVar[bool] = True
    name: str
    request: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class AttemptEnded(Fact):
    """The one end of an attempt. `minor_status` is the WMS's final one for this attempt.

    `status` is Done, Completed, Failed, Killed or Rescheduled; `error_type` is empty for success.
    """

    DURABLE: ClassVar[bool] = True
    status: str
    minor_status: str
    error_type: str = ""
    recorded_by: Literal["wrapper", "agent"] = "wrapper"


@dataclass(frozen=True, kw_only=True)
class EndKept(Fact):
    """The WMS has ended the attempt in words of its own, as whoever delivered our end late has learned.

    It makes a further revision of the record, with the WMS's final status and all else as it was.
    """

    DURABLE: ClassVar[bool] = True
    status: str
    minor_status: str
    error_type: str


def methods_text(methods: Mapping[str, str]) -> str:
    """Who has measured what, in one text: "cpu=cgroup2 memory=walk"."""
    return " ".join(f"{quantity}={method}" for quantity, method in methods.items())
