"""The answers of the WMS as frozen values, each read with suspicion (`checked`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.wms import checked
from telemetry.ledger.fingerprint import HourDigest


@dataclass(frozen=True)
class SubmittedJob:
    """A job that the WMS has taken."""

    job_id: int
    status: str
    minor_status: str
    time: str


@dataclass(frozen=True)
class KeptStatus:
    """What the WMS keeps after a status update: not always what was asked for (a refused transition is HTTP 200).

    `status` is empty when the update was older than what the WMS has, and only logged.
    """

    status: str
    minor_status: str
    application_status: str
    reason: str


@dataclass(frozen=True)
class JobCommand:
    """A command in the answer to a heartbeat. The only one that exists is Kill.

    `command_id` is 0 where the WMS (DiracX) gives a command once and wants no acknowledgement.
    `reason` is the minor status of a job that the WMS has ended itself; else it is empty.
    """

    job_id: int
    command: str
    command_id: int
    reason: str = ""


@dataclass(frozen=True)
class ReportAnswer:
    """What the WMS says to a report: what it keeps (None: no status was reported), commands, perhaps a new token."""

    kept: KeptStatus | None
    commands: list[JobCommand]
    job_token: str


@dataclass(frozen=True)
class Command:
    """A command in the answer to the agent's long poll; repeated until it is acknowledged."""

    command_id: int
    job_id: int
    attempt: int
    command: str
    reason: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why a job was not rescheduled, and what it is now where the WMS says so (DiracX does not)."""

    reason: str
    status: str = ""
    minor_status: str = ""


@dataclass(frozen=True)
class Reschedulings:
    """What became of a request to reschedule: by job, the answer or the refusal."""

    succeeded: Mapping[int, Mapping[str, Any]]
    failed: Mapping[int, Refusal]


@dataclass(frozen=True)
class SandboxSlot:
    """Where to put a sandbox; without *url* the very content is there already."""

    pfn: str
    url: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class AccountingResult:
    """What became of one accounting record: "inserted", "duplicate" or "conflict"."""

    uid: str
    recorded_by: str
    revision: int
    outcome: str
    detail: str


@dataclass(frozen=True)
class AccountingPage:
    """Current records, one a UID, and how many others the WMS has seen."""

    records: list[Mapping[str, Any]]
    superseded: int
    duplicates: int
    #: Refused, because a record of that name with another body was there.
    conflicts: list[Mapping[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class PastRecord:
    """One of all records that the WMS holds. *duplicates*: copies beyond the first."""

    record: Mapping[str, Any]
    arrival_time: str
    is_current: bool
    duplicates: int


@dataclass(frozen=True)
class Peek:
    """The last lines of a job's output as of its last heartbeat, and when that was."""

    time: str
    standard_output: str


@dataclass(frozen=True)
class CatalogFile:
    """A file as the catalogue knows it; `replicas` are physical names by storage element."""

    size_bytes: int
    adler32: str
    replicas: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class MatchedJob:
    """A job for this agent, with all that identifies the attempt. Times are by the WMS's clock."""

    wms_id: str
    job_id: int
    attempt: int
    uid: str
    claim: str
    description: Mapping[str, Any]
    owner: str
    owner_group: str
    vo: str
    job_name: str
    job_group: str
    job_type: str
    job_token: str
    submit_start_utc_ns: int
    submit_end_utc_ns: int
    waiting_utc_ns: int
    match_start_utc_ns: int
    match_end_utc_ns: int
    submit_traceparent: str
    previous_uid: str


def submitted_job(value: object) -> SubmittedJob:
    """One element of the answer to a submission."""
    job = checked.mapping(value, "submitted job")
    return SubmittedJob(
        checked.whole(job.get("JobID"), "JobID", least=1),
        checked.text(job.get("Status"), "Status"),
        checked.optional_text(job.get("MinorStatus"), "MinorStatus"),
        checked.optional_text(job.get("TimeStamp"), "TimeStamp"),
    )


def kept_status(value: object) -> KeptStatus:
    """`success[id]` of a status update."""
    kept = checked.mapping(value, "kept status")
    names = ("Status", "MinorStatus", "ApplicationStatus", "Reason")
    return KeptStatus(*(checked.optional_text(kept.get(name), name) for name in names))


def job_command(value: object) -> JobCommand:
    """One element of the answer to a heartbeat."""
    command = checked.mapping(value, "command")
    return JobCommand(
        checked.whole(command.get("job_id"), "job_id", least=1),
        checked.text(command.get("command"), "command"),
        checked.whole(command.get("command_id", 0), "command_id"),
        checked.optional_text(command.get("arguments"), "arguments"),
    )


def report_answer(value: object) -> ReportAnswer:
    """The answer to a report."""
    given = checked.mapping(value, "report")
    kept = given.get("Kept")
    return ReportAnswer(
        None if kept is None else kept_status(kept),
        [job_command(each) for each in checked.items(given.get("Commands"), "Commands")],
        checked.optional_text(given.get("JobToken"), "JobToken"),
    )


def command(value: object) -> Command:
    """One element of the answer to the agent's long poll."""
    given = checked.mapping(value, "command")
    return Command(
        checked.whole(given.get("CommandID"), "CommandID"),
        checked.whole(given.get("JobID"), "JobID", least=1),
        checked.whole(given.get("Attempt"), "Attempt", least=1),
        checked.text(given.get("Command"), "Command"),
        checked.optional_text(given.get("Arguments"), "Arguments"),
    )


def reschedulings(value: object) -> Reschedulings:
    """The answer to a rescheduling; refusals come as HTTP 400 with the same inside `detail`."""
    answer = checked.mapping(value, "answer")
    answer = checked.mapping(answer.get("detail", answer), "detail")
    succeeded = checked.mapping(answer.get("success", {}), "success")
    failed = checked.mapping(answer.get("failed", {}), "failed")
    return Reschedulings(
        {checked.job_key(key, "success"): checked.mapping(job, "job") for key, job in succeeded.items()},
        {checked.job_key(key, "failed"): _refusal(given) for key, given in failed.items()},
    )


def _refusal(value: object) -> Refusal:
    given = checked.mapping(value, "failure")
    return Refusal(
        failure(given) or "the WMS did not say why",
        checked.optional_text(given.get("Status"), "Status"),
        checked.optional_text(given.get("MinorStatus"), "MinorStatus"),
    )


def failure(value: object) -> str:
    """Why a job in `failed` failed."""
    return checked.optional_text(checked.mapping(value, "failure").get("detail"), "detail")


def sandbox_slot(value: object) -> SandboxSlot:
    """The answer to the wish to upload a sandbox."""
    slot = checked.mapping(value, "sandbox")
    fields = checked.mapping(slot.get("fields", {}), "fields")
    return SandboxSlot(
        checked.text(slot.get("pfn"), "pfn"),
        checked.optional_text(slot.get("url"), "url"),
        {name: checked.text(field, name) for name, field in fields.items()},
    )


def accounting_result(value: object) -> AccountingResult:
    """One element of the answer to accounting records."""
    result = checked.mapping(value, "result")
    outcome = checked.text(result.get("Outcome"), "Outcome")
    if outcome not in ("inserted", "duplicate", "conflict"):
        raise checked.NonsenseError(f"outcome {outcome[:40]!r}")
    return AccountingResult(
        checked.text(result.get("UID"), "UID"),
        checked.text(result.get("RecordedBy"), "RecordedBy"),
        checked.whole(result.get("Revision"), "Revision"),
        outcome,
        checked.optional_text(result.get("Detail"), "Detail"),
    )


def accounting_page(value: object) -> AccountingPage:
    """A page of accounting records."""
    page = checked.mapping(value, "accounting")
    return AccountingPage(
        [checked.mapping(each, "record") for each in checked.items(page.get("Records"), "Records")],
        checked.whole(page.get("Superseded", 0), "Superseded"),
        checked.whole(page.get("Duplicates", 0), "Duplicates"),
        [checked.mapping(each, "record") for each in checked.items(page.get("Conflicts", []), "Conflicts")],
    )


def past_record(value: object) -> PastRecord:
    """One element of the accounting history."""
    given = checked.mapping(value, "past record")
    return PastRecord(
        checked.mapping(given.get("Record"), "Record"),
        checked.text(given.get("ArrivalTime"), "ArrivalTime"),
        given.get("IsCurrent") is True,
        checked.whole(given.get("Duplicates", 0), "Duplicates"),
    )


def hour_digest(value: object) -> HourDigest:
    """The digest of the records of an hour."""
    given = checked.mapping(value, "digest")
    return HourDigest(
        hour_ns=checked.utc_ns(given.get("Hour"), "Hour"),
        records=checked.whole(given.get("Records"), "Records"),
        high=checked.whole(given.get("HashHigh"), "HashHigh"),
        low=checked.whole(given.get("HashLow"), "HashLow"),
        delay_ns=checked.whole(given.get("DelayMicroseconds"), "DelayMicroseconds", least=-(1 << 62)) * 1000,
    )


def peek(value: object) -> Peek:
    """The answer to a peek."""
    given = checked.mapping(value, "peek")
    return Peek(
        checked.optional_text(given.get("Time"), "Time"),
        checked.optional_text(given.get("StandardOutput"), "StandardOutput"),
    )


def catalog_files(value: object) -> dict[str, CatalogFile]:
    """The files of a catalogue look-up, by LFN; those that it does not know are left out."""
    files = checked.mapping(checked.mapping(value, "catalogue").get("Files"), "Files")
    return {lfn: _catalog_file(checked.mapping(each, lfn)) for lfn, each in files.items()}


def _catalog_file(given: Mapping[str, Any]) -> CatalogFile:
    replicas = checked.mapping(given.get("Replicas"), "Replicas")
    return CatalogFile(
        checked.whole(given.get("Size"), "Size"),
        checked.text(given.get("Adler32"), "Adler32"),
        {element: checked.text(pfn, element) for element, pfn in replicas.items()},
    )


def matched_job(value: object) -> MatchedJob | None:
    """The answer to a match; None when there is no job."""
    job = checked.mapping(value, "match").get("Job")
    if job is None:
        return None
    job = checked.mapping(job, "Job")
    times = checked.mapping(job.get("Times"), "Times")
    names = ("SubmitStart", "SubmitEnd", "Waiting", "MatchStart", "MatchEnd")
    submit_start, submit_end, waiting, match_start, match_end = (checked.utc_ns(times.get(n), n) for n in names)
    return MatchedJob(
        wms_id=checked.text(job.get("WMSID"), "WMSID"),
        job_id=checked.whole(job.get("JobID"), "JobID", least=1),
        attempt=checked.whole(job.get("Attempt"), "Attempt", least=1),
        uid=checked.text(job.get("UID"), "UID"),
        claim=checked.text(job.get("Claim"), "Claim"),
        description=checked.mapping(job.get("Description"), "Description"),
        owner=checked.text(job.get("Owner"), "Owner"),
        owner_group=checked.text(job.get("OwnerGroup"), "OwnerGroup"),
        vo=checked.text(job.get("VO"), "VO"),
        job_name=checked.optional_text(job.get("JobName"), "JobName"),
        job_group=checked.optional_text(job.get("JobGroup"), "JobGroup"),
        job_type=checked.optional_text(job.get("JobType"), "JobType"),
        job_token=checked.text(job.get("JobToken"), "JobToken"),
        submit_start_utc_ns=submit_start,
        submit_end_utc_ns=submit_end,
        waiting_utc_ns=waiting,
        match_start_utc_ns=match_start,
        match_end_utc_ns=match_end,
        submit_traceparent=checked.optional_text(job.get("SubmitTraceparent"), "SubmitTraceparent"),
        previous_uid=checked.optional_text(job.get("PreviousUID"), "PreviousUID"),
    )
