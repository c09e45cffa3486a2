"""The bodies of requests: DiracX's and ours. Anything else is answered 422 with the place and the reason."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

from runner.job.status import JobStatus

JobID: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 63)]
Name: TypeAlias = Annotated[str, Field(max_length=255)]
#: Most jobs, LFNs, records, commands or values of a search that one call may name.
MAX_ITEMS = 10_000
#: Moments outside are mistakes, and would not fit into 64 bits of nanoseconds.
FIRST_MOMENT, LAST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Body(BaseModel):
    """A body that says nothing beyond what is declared."""

    model_config = ConfigDict(extra="forbid")


class JobStatusUpdate(BaseModel):
    """One status with its parts; unknown keys are ignored, as DiracX does."""

    Status: JobStatus | None = None
    MinorStatus: Annotated[str, Field(max_length=128)] | None = None
    ApplicationStatus: Annotated[str, Field(max_length=255)] | None = None
    Source: str = "Unknown"


StatusUpdates: TypeAlias = dict[JobID, Annotated[dict[datetime, JobStatusUpdate], Field(max_length=MAX_ITEMS)]]


class HeartbeatData(Body):
    """The seven values of a heartbeat, and one that is ours: what the payload has written so far."""

    LoadAverage: FiniteFloat | None = None
    MemoryUsed: FiniteFloat | None = None
    Vsize: FiniteFloat | None = None
    AvailableDiskSpace: FiniteFloat | None = None
    CPUConsumed: FiniteFloat | None = None
    WallClockTime: FiniteFloat | None = None
    StandardOutput: str | None = None
    OutputBytes: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None


class ScalarSearchSpec(BaseModel):
    """Compare a column with one value."""

    parameter: Name
    operator: Literal["eq", "neq", "gt", "lt", "like", "not like", "regex"]
    value: Annotated[str, Field(max_length=1024)] | Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]


class VectorSearchSpec(BaseModel):
    """Compare a column with several values."""

    parameter: Name
    operator: Literal["in", "not in"]
    values: Annotated[list[Name], Field(max_length=MAX_ITEMS)] | Annotated[list[JobID], Field(max_length=MAX_ITEMS)]


SearchSpec: TypeAlias = ScalarSearchSpec | VectorSearchSpec


def _bounded(specs: list[SearchSpec]) -> list[SearchSpec]:
    """No database takes a statement with any number of values."""
    if sum(len(each.values) for each in specs if isinstance(each, VectorSearchSpec)) > MAX_ITEMS:
        raise ValueError(f"all conditions together may have {MAX_ITEMS} values")
    return specs


Conditions: TypeAlias = Annotated[list[SearchSpec], Field(max_length=64), AfterValidator(_bounded)]


class SortSpec(BaseModel):
    """Order by a column."""

    parameter: Name
    direction: Literal["asc", "desc"]


class SearchParams(BaseModel):
    """What to look for, and what to show of it."""

    parameters: Annotated[list[Name], Field(max_length=64)] | None = None
    search: Conditions = []
    sort: Annotated[list[SortSpec], Field(max_length=16)] = []
    distinct: bool = False


class SummaryParams(BaseModel):
    """What to count, and by which columns."""

    grouping: Annotated[list[Name], Field(min_length=1, max_length=16)]
    search: Conditions = []


class JobIDs(BaseModel):
    """Jobs, by number."""

    job_ids: Annotated[list[JobID], Field(max_length=MAX_ITEMS)]


class SandboxInfo(BaseModel):
    """What is going to be uploaded. tar.gz is ours; DiracX takes the other two."""

    checksum_algorithm: Literal["sha256"]
    checksum: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    size: Annotated[int, Field(ge=1)]
    format: Literal["tar.bz2", "tar.gz", "tar.zst"]


PilotStatus: TypeAlias = Literal["Submitted", "Waiting", "Running", "Done", "Failed", "Deleted", "Aborted", "Unknown"]
Stamp: TypeAlias = Annotated[str, Field(min_length=1, max_length=32)]
Text128: TypeAlias = Annotated[str, Field(max_length=128)]
Text255: TypeAlias = Annotated[str, Field(max_length=255)]


class PilotRegistrationParams(BaseModel):
    """A new pilot."""

    pilot_stamp: Stamp
    vo: Annotated[str, Field(min_length=1, max_length=128)]
    grid_type: Annotated[str, Field(max_length=32)] = "DIRAC"
    grid_site: Text128 = "Unknown"
    destination_site: Text128 = "NotAssigned"
    pilot_reference: Text255 | None = None
    pilot_status: PilotStatus = "Submitted"


class PilotMetadata(Body):
    """What may change of a pilot."""

    StatusReason: Text255 | None = None
    Status: PilotStatus | None = None
    BenchMark: FiniteFloat | None = None
    DestinationSite: Text128 | None = None
    Queue: Text128 | None = None
    GridSite: Text128 | None = None
    GridType: Annotated[str, Field(max_length=32)] | None = None
    CurrentJobID: JobID | None = None


Wait: TypeAlias = Annotated[FiniteFloat, Field(ge=0)]


class AttemptName(Body):
    """One attempt of one job."""

    JobID: JobID
    Attempt: Annotated[int, Field(ge=1, lt=1 << 31)]


class MatchParams(Body):
    """A free slot, and how long to wait for a job for it.

    *EarlierStamps* are those of agents that worked in the same place before, *Holding* what has arrived there: an
    attempt that was given to one of them and is not held was lost on its way, and is given again. (Without Holding
    nothing is said about that.)
    """

    PilotStamp: Stamp
    Site: Annotated[str, Field(max_length=100)] = ""
    GridCE: Name = ""
    CEQueue: Name = ""
    Platform: Name = ""
    Tags: Annotated[list[Name], Field(max_length=100)] = []
    Processors: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    CPUNormalizationFactor: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    WaitSeconds: Wait = 0.0
    #: Only jobs with all of these tags; and only jobs of these types, owners and groups, if any are named.
    RequiredTags: Annotated[list[Name], Field(max_length=100)] = []
    JobTypes: Annotated[list[Name], Field(max_length=100)] = []
    Owners: Annotated[list[Name], Field(max_length=100)] = []
    OwnerGroups: Annotated[list[Name], Field(max_length=100)] = []
    WholeNode: bool = False
    MemoryMB: Annotated[FiniteFloat, Field(gt=0)] | None = None
    #: Normalised seconds left to each processor.
    CPUWorkLeft: Annotated[FiniteFloat, Field(ge=0)] | None = None
    EarlierStamps: Annotated[list[Stamp], Field(max_length=100)] = []
    Holding: Annotated[list[AttemptName], Field(max_length=100_000)] | None = None


class CommandsParams(Body):
    """Whose commands to ask for, and how long to wait for one."""

    PilotStamp: Stamp
    Jobs: Annotated[list[AttemptName], Field(max_length=MAX_ITEMS)]
    WaitSeconds: Wait = 0.0


class PilotMessage(Body):
    """A line of a pilot's log; without a time it is of now."""

    Time: Annotated[AwareDatetime, Field(ge=FIRST_MOMENT, lt=LAST_MOMENT)] | None = None
    Severity: Annotated[str, Field(max_length=16)] = "INFO"
    Source: Annotated[str, Field(max_length=64)] = ""
    Message: Annotated[str, Field(max_length=16_000)]


class PilotMessages(Body):
    """Lines of a pilot's log, in their order."""

    Messages: Annotated[list[PilotMessage], Field(max_length=1000)]


#: What no other service of the same machine has as a rule.
TargetPortNumber: TypeAlias = Annotated[int, Field(ge=1024, lt=1 << 16)]


class TargetPort(Body):
    """Metrics of the caller, by their port."""

    Port: TargetPortNumber


class TargetParams(TargetPort):
    """Metrics that the caller serves: those of an agent, or of a wrapper that has none."""

    Role: Literal["agent", "wrapper"]
    PilotStamp: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,32}$")]
    Path: Annotated[str, Field(max_length=64, pattern=r"^(/[0-9A-Za-z_-]+)+$")] = "/metrics"
    Site: Annotated[str, Field(max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    JobID: Annotated[int, Field(ge=0, lt=1 << 63)] = 0


class SiteChange(Body):
    """What is said of a site."""

    Site: Annotated[str, Field(min_length=1, max_length=100)]
    Comment: Annotated[str, Field(max_length=255)] = ""


class CommandIDs(Body):
    """Commands, by number."""

    CommandIDs: Annotated[list[JobID], Field(max_length=MAX_ITEMS)]


class AccountingRecords(Body):
    """Accounting records as `telemetry.ledger.record` defines them."""

    Records: Annotated[list[dict[str, Any]], Field(max_length=1000)]


Lfn: TypeAlias = Annotated[str, Field(min_length=2, max_length=512, pattern=r"^/[^\x00-\x1f]*$")]


class LookupParams(Body):
    """Files to look up, in the master catalogue unless another is named."""

    LFNs: Annotated[list[Annotated[str, Field(max_length=512)]], Field(max_length=MAX_ITEMS)]
    Catalog: Name | None = None


class Registration(Body):
    """A file and where it lies."""

    Catalog: Name
    LFN: Lfn
    Size: Annotated[int, Field(ge=0, lt=1 << 63)]
    Adler32: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{1,8}$")]
    SE: Annotated[str, Field(max_length=64)]
    PFN: Annotated[str, Field(min_length=1, max_length=1024)]


ClaimName: TypeAlias = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{16,64}$")]


class TokenRequest(Body):
    """A fresh job token; an execution of its own may name its claim."""

    Claim: ClaimName | None = None


class JobReportParams(Body):
    """All that a wrapper has to say at one moment, in the parts of the dialect's calls."""

    Claim: ClaimName | None = None
    Statuses: Annotated[dict[datetime, JobStatusUpdate], Field(max_length=MAX_ITEMS)] = {}
    Parameters: dict[str, Any] = {}
    Heartbeat: HeartbeatData | None = None


class ReplicaName(Body):
    """One replica of a file."""

    Catalog: Name
    LFN: Lfn
    SE: Annotated[str, Field(max_length=64)]


class ClaimParams(Body):
    """Which requests an executor wants: those that are due, or these; and which it has tried already."""

    RequestIDs: Annotated[list[JobID], Field(max_length=MAX_ITEMS)] | None = None
    Without: Annotated[list[JobID], Field(max_length=MAX_ITEMS)] = []


class Claimed(Body):
    """Who holds a request."""

    Claim: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class OperationReport(Claimed):
    """What became of an operation."""

    Outcome: Literal["Done", "Retry", "Failed"]
    Error: Annotated[str, Field(max_length=10_000)] = ""


class FileStatusEntry(Body):
    """One file."""

    LFN: Annotated[str, Field(min_length=2, max_length=255, pattern=r"^/[^\x00-\x1f]*$")]
    Status: Annotated[str, Field(min_length=1, max_length=64)]


class FileStatuses(Body):
    """A file report of one attempt."""

    JobID: JobID
    Attempt: Annotated[int, Field(ge=1, lt=1 << 31)]
    ProductionID: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    Statuses: Annotated[list[FileStatusEntry], Field(max_length=1000)]
    Force: bool = False
