"""Combined requests: what is still to be done for a job when its wrapper ends (DIRAC's Request). Pure.

The document has DIRAC's names (RequestName, JobID, SourceComponent, Operations with Type, SourceSE,
TargetSE, Catalog, Files, Arguments). It is read with suspicion wherever it comes from: a payload's
file, a wrapper's journal, a call to the WMS.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from runner.errors import PermanentJobError

#: What the operations are called (DIRAC's names).
REPLICATE_AND_REGISTER = "ReplicateAndRegister"
PUT_AND_REGISTER = "PutAndRegister"
REGISTER_FILE = "RegisterFile"
REMOVE_REPLICA = "RemoveReplica"
SET_FILE_STATUS = "SetFileStatus"
FORWARD_DISET = "ForwardDISET"
OPERATION_TYPES = frozenset(
    {REPLICATE_AND_REGISTER, PUT_AND_REGISTER, REGISTER_FILE, REMOVE_REPLICA, SET_FILE_STATUS, FORWARD_DISET}
)
#: A payload may not ask somebody else to read local files or to account for it.
PAYLOAD_TYPES = OPERATION_TYPES - {PUT_AND_REGISTER}
JOB_REPORT, ACCOUNTING = "JobReport", "Accounting"

#: Of the text; the journal has room for it among its closing facts.
LARGEST_REQUEST_BYTES = 256 << 10
MOST_OPERATIONS = 200
MOST_FILES = 1000
#: DIRAC takes these out of a JobName.
_NOT_IN_NAMES = re.compile(r'[\s(){}".:/\\\x00-\x1f]')
_LFN = re.compile(r"(/[^/\x00-\x1f]{1,255}){2,}")
_ADLER32 = re.compile(r"[0-9a-fA-F]{1,8}")
_NEEDED: Mapping[str, tuple[str, ...]] = {
    REPLICATE_AND_REGISTER: ("SourceSE", "TargetSE", "Catalog"),
    PUT_AND_REGISTER: ("TargetSE", "Catalog"),
    REGISTER_FILE: ("TargetSE", "Catalog"),
    REMOVE_REPLICA: ("TargetSE", "Catalog"),
    SET_FILE_STATUS: (),
    FORWARD_DISET: (),
}


#: What becomes of an operation: done, to be tried again later, or never to succeed.
OperationOutcome: TypeAlias = Literal["Done", "Retry", "Failed"]


@dataclass(frozen=True, kw_only=True)
class RequestFile:
    """A file of an operation: what it must contain, and where it lies now, where that is not in the catalogue."""

    lfn: str
    size_bytes: int = 0
    #: 8 hexadecimal digits.
    adler32: str = ""
    pfn: str = ""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One step of a request. *arguments* belong to SetFileStatus and ForwardDISET."""

    type: str
    source_se: str = ""
    target_se: str = ""
    catalog: str = ""
    files: tuple[RequestFile, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """As a document."""
        document: dict[str, Any] = {"Type": self.type}
        texts = {"SourceSE": self.source_se, "TargetSE": self.target_se, "Catalog": self.catalog}
        document |= {name: value for name, value in texts.items() if value}
        if self.files:
            document["Files"] = [
                {"LFN": each.lfn, "Size": each.size_bytes, "ChecksumType": "ADLER32", "Checksum": each.adler32}
                | ({"PFN": each.pfn} if each.pfn else {})
                for each in self.files
            ]
        return document | ({"Arguments": dict(self.arguments)} if self.arguments else {})

    @property
    def summary(self) -> str:
        """One line for people: type, storage element, first file."""
        more = f"...+<{len(self.files) - 1} files>" if len(self.files) > 1 else ""
        parts = [self.type, self.target_se, self.files[0].lfn + more if self.files else ""]
        if self.type == FORWARD_DISET:
            parts.append(str(self.arguments.get("Call", "")))
        return ":".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class CombinedRequest:
    """Everything that is pending for one attempt of one job, in order."""

    name: str
    job_id: int
    operations: tuple[Operation, ...] = ()
    #: Not to be executed within this time after its arrival, seconds (NotBefore).
    delay_seconds: float = 0.0

    def to_mapping(self) -> dict[str, Any]:
        """As a document."""
        return {
            "RequestName": self.name,
            "JobID": self.job_id,
            "SourceComponent": f"Job_{self.job_id}",
            "Delay": self.delay_seconds,
            "Operations": [each.to_mapping() for each in self.operations],
        }

    @property
    def digest(self) -> str:
        """What the parameter PendingRequest says: a line for the request and one for each operation."""
        return "\n".join([f"Name:{self.name}", *(each.summary for each in self.operations)])


@dataclass(frozen=True, kw_only=True)
class ClaimedRequest:
    """A request as its executor has it, until the lease ends. *operations* are all of it, with their Status."""

    request_id: int
    name: str
    job_id: int
    attempt: int
    claim: str
    lease_seconds: float
    operations: Sequence[Mapping[str, Any]]


def request_name(job_name: str, job_id: int) -> str:
    """`[<jobName>_]job_<id>` (DIRAC's sendFailoverRequest), at most 255 characters."""
    cleaned = _NOT_IN_NAMES.sub("", job_name)
    prefix = f"{cleaned[:200]}_" if cleaned and cleaned.lower() != "unknown" else ""
    return f"{prefix}job_{job_id}"


def waiting_name(job_id: int, attempt: int, lfn: str) -> str:
    """Under what name the output *lfn* of an attempt waits in the failover folder."""
    return f"/{job_id}.{attempt}{lfn}"


def parse_request(text: bytes, source: str) -> CombinedRequest:
    """The request in *text*, which nobody has looked at; *source* is named in errors.

    Raises:
        PermanentJobError: no request (error_type invalid_request).
    """
    if len(text) > LARGEST_REQUEST_BYTES:
        raise invalid(f"{source} has more than {LARGEST_REQUEST_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"{source} is not JSON") from error
    try:
        return read_request(document)
    except PermanentJobError as error:
        raise invalid(f"{source}: {error}") from error


def read_request(document: object) -> CombinedRequest:
    """The request that *document* is. Unknown keys are ignored: DIRAC's own have many.

    Raises:
        PermanentJobError: something is missing or of the wrong kind (error_type invalid_request).
    """
    given = _mapping(document, "the request")
    name = _text(given.get("RequestName", ""), "RequestName")
    job_id = _whole(given.get("JobID", 0), "JobID")
    delay = given.get("Delay", 0)
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= 366 * 86400:
        raise invalid("Delay is not a number of seconds")
    operations = _items(given.get("Operations", []), "Operations", MOST_OPERATIONS)
    return CombinedRequest(
        name=name,
        job_id=job_id,
        delay_seconds=float(delay),
        operations=tuple(read_operation(each, f"operation {number}") for number, each in enumerate(operations, 1)),
    )


def combined(name: str, job_id: int, requests: Sequence[CombinedRequest], delay_seconds: float) -> CombinedRequest:
    """All operations of *requests* in one, in order.

    Raises:
        PermanentJobError: more operations than a request may have.
    """
    operations = tuple(operation for each in requests for operation in each.operations)
    if len(operations) > MOST_OPERATIONS:
        raise invalid(f"{len(operations)} operations, at most {MOST_OPERATIONS} are taken")
    return CombinedRequest(name=name, job_id=job_id, operations=operations, delay_seconds=delay_seconds)


def check_payloads(request: CombinedRequest, home: str) -> CombinedRequest:
    """*request*, if a payload may ask for it: files below its owner's *home* only, and nothing about accounting.

    Raises:
        PermanentJobError: it may not.
    """
    for each in request.operations:
        if each.type not in PAYLOAD_TYPES or each.arguments.get("Call") == ACCOUNTING:
            raise invalid(f"a payload cannot ask for {each.summary}")
        for file in each.files:
            if not file.lfn.startswith(f"{home}/"):
                raise invalid(f"{each.type}: {file.lfn} is not below {home}")
    # What a payload says about where a file lies is not believed; the catalogue knows.
    return replace(request, operations=tuple(_without_pfns(each) for each in request.operations))


def invalid(why: str) -> PermanentJobError:
    """The error of a request that is none."""
    return PermanentJobError(f"invalid request: {why}", error_type="invalid_request")


def _without_pfns(operation: Operation) -> Operation:
    if operation.type == REGISTER_FILE:  # that is what it is about
        return operation
    return replace(operation, files=tuple(replace(each, pfn="") for each in operation.files))


def read_operation(document: object, where: str) -> Operation:
    """One operation; *where* is named in errors.

    Raises:
        PermanentJobError: it is none.
    """
    given = _mapping(document, where)
    kind = _text(given.get("Type"), f"{where}: Type")
    if kind not in OPERATION_TYPES:
        raise invalid(f"{where}: there is no operation {kind!r}; known are {', '.join(sorted(OPERATION_TYPES))}")
    texts = {name: _text(given.get(name) or "", f"{where}: {name}") for name in ("SourceSE", "TargetSE", "Catalog")}
    missing = [name for name in _NEEDED[kind] if not texts[name]]
    if missing:
        raise invalid(f"{where}: {kind} needs {', '.join(missing)}")
    files = tuple(_file(each, f"{where}: file") for each in _items(given.get("Files") or [], where, MOST_FILES))
    arguments = _mapping(given.get("Arguments") or {}, f"{where}: Arguments")
    _check_files(kind, files, where)
    return Operation(
        type=kind,
        source_se=texts["SourceSE"],
        target_se=texts["TargetSE"],
        catalog=texts["Catalog"],
        files=files,
        arguments=_arguments(kind, arguments, where),
    )


def _check_files(kind: str, files: tuple[RequestFile, ...], where: str) -> None:
    if kind in (SET_FILE_STATUS, FORWARD_DISET):
        return
    if not files:
        raise invalid(f"{where}: {kind} without Files")
    if kind != REMOVE_REPLICA and not all(each.adler32 for each in files):
        raise invalid(f"{where}: {kind} needs the Checksum of every file")
    for each in files if kind in (PUT_AND_REGISTER, REGISTER_FILE) else ():
        if not each.pfn:
            raise invalid(f"{where}: {kind} needs the PFN of every file")
        if not _may_be_place(each.pfn, each.lfn):
            raise invalid(f"{where}: {each.pfn} is no place of {each.lfn}")


def _may_be_place(pfn: str, lfn: str) -> bool:
    """Whether an element might keep *lfn* at *pfn*; whether it does, the element says when the request is executed."""
    try:
        path = unquote(urlsplit(pfn).path)
    except ValueError:
        return False
    return path.endswith(lfn) and ".." not in path.split("/")


def _arguments(kind: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What of *given* the operation knows; the rest, which may be anything, is left out."""
    if kind == SET_FILE_STATUS:
        if not isinstance(given.get("Force", False), bool):
            raise invalid(f"{where}: Force is not true or false")
        return {
            "ProductionID": _whole(given.get("ProductionID", 0), f"{where}: ProductionID"),
            "Statuses": [
                _status(each, where) for each in _items(given.get("Statuses"), f"{where}: Statuses", MOST_FILES)
            ],
            "Force": given.get("Force", False),
        }
    if kind != FORWARD_DISET:
        return {}
    if given.get("Call") == ACCOUNTING:
        records = _items(given.get("Records"), f"{where}: Records", MOST_FILES)
        return {"Call": ACCOUNTING, "Records": [_flat(each, f"{where}: record") for each in records]}
    if given.get("Call") != JOB_REPORT:
        raise invalid(f"{where}: Call is none of {ACCOUNTING}, {JOB_REPORT}")
    arguments: dict[str, Any] = {"Call": JOB_REPORT}
    if parameters := _flat(given.get("Parameters", {}), f"{where}: Parameters"):
        arguments["Parameters"] = parameters
    if said := _text(given.get("ApplicationStatus", ""), f"{where}: ApplicationStatus"):
        arguments["ApplicationStatus"] = said
    return arguments


def _status(document: object, where: str) -> dict[str, str]:
    given = _mapping(document, f"{where}: status")
    status = _text(given.get("Status"), f"{where}: Status")
    if not 0 < len(status) <= 64:
        raise invalid(f"{where}: Status is not a word")
    return {"LFN": checked_lfn(given.get("LFN"), where), "Status": status}


def _flat(value: object, what: str) -> dict[str, Any]:
    """An object of plain values: nothing in it is deeper."""
    given = _mapping(value, what)
    if not all(is_plain(name) and is_plain(each) for name, each in given.items()):
        raise invalid(f"{what} has values that are no plain ones")
    return dict(given)


def _file(document: object, where: str) -> RequestFile:
    given = _mapping(document, where)
    adler32 = _text(given.get("Checksum") or "", f"{where}: Checksum")
    if adler32 and (not _ADLER32.fullmatch(adler32) or str(given.get("ChecksumType", "ADLER32")).upper() != "ADLER32"):
        raise invalid(f"{where}: the checksum must be ADLER32")
    return RequestFile(
        lfn=checked_lfn(given.get("LFN"), where),
        size_bytes=_whole(given.get("Size") or 0, f"{where}: Size"),
        adler32=adler32.lower().rjust(8, "0") if adler32 else "",
        pfn=_text(given.get("PFN") or "", f"{where}: PFN", 1024),
    )


def checked_lfn(value: object, where: str) -> str:
    """*value*, if it is an absolute, normal logical name.

    Raises:
        PermanentJobError: it is not.
    """
    lfn = _text(value, f"{where}: LFN")
    if not _LFN.fullmatch(lfn) or {".", ".."} & set(lfn.split("/")):
        raise invalid(f"{where}: {lfn[:80]!r} is not a logical file name")
    return lfn


def is_plain(value: object) -> bool:
    """Whether *value* is one that JSON, a journal and a database can all hold: no half of a surrogate pair, no NaN."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise invalid(f"{what} is not an object")
    return value


def _items(value: object, what: str, most: int) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise invalid(f"{what}: not a list")
    if len(value) > most:
        raise invalid(f"{what}: {len(value)} entries, at most {most} are taken")
    return value


def _text(value: object, what: str, longest: int = 255) -> str:
    if not isinstance(value, str) or len(value) > longest or not is_plain(value):
        raise invalid(f"{what} is not a text of at most {longest} characters")
    return value


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise invalid(f"{what} is not a whole number")
    return value
