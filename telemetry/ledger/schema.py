"""Every field of the accounting record: name, type, unit, meaning. Pure.

The order is the order in which a record is shown. Fields are only ever added, and an added field
is nullable, so that older records stay valid and keep their digests (absent and null are the
same). `DIRAC` names a field whose meaning is that of DIRAC's accounting type "Job".
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from telemetry.facts import ACCOUNTED_STAGES

SCHEMA_VERSION = 1

FieldType: TypeAlias = Literal["text", "integer", "number", "boolean", "time"]
Group: TypeAlias = Literal["identity", "job", "time", "cpu", "use", "witness"]


@dataclass(frozen=True)
class FieldSpec:
    """One field. A `number` is kept to the microsecond (or 1e-6 of its unit), a `time` is UTC text."""

    name: str
    type: FieldType
    unit: str
    help: str
    group: Group
    nullable: bool = False


def _stage_field(stage: str) -> str:
    return f"StageWallClockTime.{stage}"


STAGE_FIELDS: tuple[str, ...] = tuple(_stage_field(stage) for stage in ACCOUNTED_STAGES)

_IDENTITY = (
    ("UID", "text", "", "identity of the attempt: uuid5 of WMSID and JobID/Attempt"),
    ("WMSID", "text", "", "identity of the WMS that handed the job out"),
    ("JobID", "integer", "", "number of the job at that WMS"),
    ("Attempt", "integer", "", "1 for the first attempt, then as the WMS counts reschedulings"),
    ("Revision", "integer", "", "rises when the same witness writes a truer record of the attempt"),
    ("SchemaVersion", "integer", "", "version of these fields"),
    ("TraceID", "text", "", "trace of the attempt: sha256(UID), the first 16 bytes"),
    ("VO", "text", "", "virtual organisation"),
    ("CE", "text", "", "computing element"),
    ("Queue", "text", "", "queue of the computing element"),
    ("PilotStamp", "text", "", "stamp of the pilot that took the job"),
    ("PilotReference", "text", "", "reference of that pilot"),
    ("BatchSystem", "text", "", "batch system under the pilot"),
    ("BatchJobID", "text", "", "the pilot's job in that batch system"),
    ("HostName", "text", "", "worker node"),
)

_JOB = (
    ("User", "text", "", "owner (DIRAC)"),
    ("UserGroup", "text", "", "owner's group (DIRAC)"),
    ("JobGroup", "text", "", "group that the job was put into (DIRAC)"),
    ("JobType", "text", "", "type of the job (DIRAC)"),
    ("JobClass", "text", "", "class of the job, unknown in DIRAC too (DIRAC)"),
    ("ProcessingType", "text", "", "kind of processing (DIRAC)"),
    ("Site", "text", "", "where it ran (DIRAC)"),
    ("FinalMajorStatus", "text", "", "status of the attempt at its end, as the WMS has it (DIRAC)"),
    ("FinalMinorStatus", "text", "", "minor status of the attempt at its end, as the WMS has it (DIRAC)"),
    ("CPUTime", "number", "s", "CPUUserTime + CPUSystemTime of the payload and all its descendants (DIRAC)"),
    ("NormCPUTime", "number", "normalised s", "CPUTime x CPUNormalizationFactor (DIRAC)"),
    ("ExecTime", "number", "core s", "WallClockTime x Processors (DIRAC)"),
    ("InputDataSize", "integer", "By", "input data brought in (DIRAC)"),
    ("OutputDataSize", "integer", "By", "output data stored (DIRAC)"),
    ("InputDataFiles", "integer", "files", "input data files brought in (DIRAC)"),
    ("OutputDataFiles", "integer", "files", "output data files stored (DIRAC)"),
    ("DiskSpace", "integer?", "By", "what the job's working directory held at the end; null: nobody looked (DIRAC)"),
    ("InputSandBoxSize", "integer", "By", "input sandboxes, compressed (DIRAC)"),
    ("OutputSandBoxSize", "integer", "By", "output sandbox, compressed (DIRAC)"),
    ("ProcessedEvents", "integer", "events", "0, as DIRAC's wrapper sends it (DIRAC)"),
)

_TIME = (
    ("SubmissionTime", "time", "UTC", "when the WMS had accepted the job, by the WMS's clock"),
    ("MatchTime", "time", "UTC", "when the WMS gave the attempt to an agent, by the WMS's clock"),
    ("QueueWaitTime", "number", "s", "MatchTime - SubmissionTime"),
    ("StartTime", "time", "UTC", "start of the wrapper process, by the node's clock"),
    ("EndTime", "time", "UTC", "StartTime + WallClockTime"),
    ("WallClockTime", "number", "s", "from the start of the wrapper process to the end of process_job_outputs"),
    *(
        (_stage_field(stage), "number", "s", f"share of {stage} in WallClockTime; the shares sum to it exactly")
        for stage in ACCOUNTED_STAGES
    ),
    ("PayloadWallClockTime", "number", "s", "from the payload's exec to its end; 0 without a payload"),
    ("ClockOffset", "number", "s", "WMS's clock minus the node's, at the match"),
)

_CPU = (
    ("CPUUserTime", "number", "s", "CPU of the payload's tree in user mode"),
    ("CPUSystemTime", "number", "s", "CPU of the payload's tree in the kernel"),
    (
        "CPUMethod",
        "text?",
        "",
        "cgroup2, cgroup1, perf, wait4, sampled, or heartbeat for an estimate; null: no payload",
    ),
    ("CPUUncertainty", "number", "s", "CPUTime may be too small by this much"),
    ("OrphanCPUTime", "number", "s", "part of CPUTime used by processes that outlived the payload's top process"),
    ("WrapperCPUTime", "number?", "s", "CPU of the wrapper itself, beside CPUTime; null: not known"),
    ("Processors", "integer", "", "processors given to the job"),
    ("ProcessorsRequested", "integer", "", "processors that the job asked for"),
    ("CPUNormalizationFactor", "number", "", "normalised seconds in a CPU second of this node"),
    ("BenchmarkName", "text", "", "benchmark behind that factor"),
    ("BenchmarkValue", "number", "", "score of a core of this node in it"),
    ("BenchmarkSource", "text", "", "where that score comes from"),
)

_USE = (
    ("PeakRSS", "integer", "By", "largest resident memory of the payload's tree"),
    ("PeakPSS", "integer?", "By", "largest proportional memory; null: not measured"),
    ("PeakCgroupMemory", "integer?", "By", "the kernel's own peak of the control group; null: no such group"),
    (
        "MemoryMethod",
        "text?",
        "",
        "cgroup2 or cgroup1: of PeakCgroupMemory; else sampled or wait4: of PeakRSS; null: it was not",
    ),
    (
        "PeakSwap",
        "integer?",
        "By",
        "largest use of swap by the payload's tree; null: none was seen, and no peak is kept",
    ),
    ("SwapMethod", "text?", "", "of PeakSwap: cgroup2, or sampled, a lower bound; null: not told"),
    ("PeakMemorySwap", "integer?", "By", "the kernel's own peak of memory and swap together (cgroup1); null: not kept"),
    ("PeakThreads", "integer?", "threads", "most threads of the payload at one time; null: not told"),
    ("ThreadsMethod", "text?", "", "of PeakThreads: cgroup2, cgroup1, or sampled, a lower bound; null: not told"),
    ("MaxProcesses", "integer", "processes", "most processes of the payload at one time"),
    ("ReadBytes", "integer", "By", "read from storage by the payload"),
    ("WrittenBytes", "integer", "By", "written to storage by the payload"),
    ("IOMethod", "text?", "", "of these bytes: cgroup2, members (of a group) or walk; null: not told"),
    ("MinorFaults", "integer?", "faults", "page faults of the payload that did not wait for storage; null: not told"),
    ("MajorFaults", "integer?", "faults", "page faults of the payload that waited for storage; null: not told"),
    (
        "VoluntarySwitches",
        "integer?",
        "switches",
        "processors that the payload gave away, as far as seen; null: not told",
    ),
    (
        "InvoluntarySwitches",
        "integer?",
        "switches",
        "processors taken from the payload, as far as seen; null: not told",
    ),
    ("CPUPressure", "number?", "s", "some process of the payload waited for a processor; null: not told"),
    ("MemoryPressure", "number?", "s", "some process of the payload waited for memory; null: not told"),
    ("IOPressure", "number?", "s", "some process of the payload waited for I/O; null: not told"),
    ("Methods", "text?", "", 'how each quantity was measured: "cpu=cgroup2 peak_rss=sampled ..."; null: not told'),
    ("OutputLines", "integer", "lines", "lines on stdout and stderr"),
    ("OutputBytes", "integer", "By", "bytes on stdout and stderr"),
    ("PeekLinesDropped", "integer", "lines", "lines that the peek has dropped"),
    (
        "OutputBytesDropped",
        "integer?",
        "By",
        "part of OutputBytes that OutputFileLimit has cut out of the files; null: nothing was",
    ),
    ("ExitCode", "integer?", "", "of the payload's top process; null: it did not exit by itself"),
    ("Signal", "integer?", "", "that ended the payload's top process; null: none did"),
    ("ErrorType", "text", "", "first cause, of low cardinality; empty for success"),
    ("PayloadStarted", "boolean?", "", "whether its exec succeeded; null: the wrapper died in just that moment"),
)

_WITNESS = (
    ("RecordedBy", "text", "", "wrapper; agent, for a dead wrapper; wms, for a stalled job"),
    ("RecordTime", "time", "UTC", "when the attempt was closed"),
)


_TYPES: dict[str, FieldType] = {
    "text": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "time": "time",
}


def _specs() -> tuple[FieldSpec, ...]:
    groups: tuple[tuple[Group, tuple[tuple[str, str, str, str], ...]], ...] = (
        ("identity", _IDENTITY),
        ("job", _JOB),
        ("time", _TIME),
        ("cpu", _CPU),
        ("use", _USE),
        ("witness", _WITNESS),
    )
    return tuple(
        FieldSpec(name, _TYPES[type_name.removesuffix("?")], unit, help, group, type_name.endswith("?"))
        for group, rows in groups
        for name, type_name, unit, help in rows
    )


SCHEMA: tuple[FieldSpec, ...] = _specs()
FIELDS: dict[str, FieldSpec] = {spec.name: spec for spec in SCHEMA}
