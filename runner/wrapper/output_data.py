"""Output data: files that the job leaves on a storage element, registered in the catalogue.

What cannot be done now (the element or the catalogue is away) becomes an operation of the job's
combined request: DIRAC's FailoverTransfer.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from runner.data.below import Found, find_below, open_below
from runner.data.lfn import Owner, is_lfn, output_lfn
from runner.data.transfers import adler32_of
from runner.errors import FencedError, PermanentJobError, RefusedError, UnavailableError
from runner.job import requests
from runner.job.requests import Operation, RequestFile
from runner.job.status import JobStatus, MinorStatus
from runner.wrapper.attempt import Attempt
from runner.wrapper.interruptible import Patient
from runner.wrapper.outcome import OUTPUT_DATA_REFUSED
from runner.wrapper.ports import Replica, StorageElement
from telemetry.catalogue import MOVED_BYTES, MOVED_NAME, STORAGE_ELEMENT
from telemetry.facts import DataMoved

#: With RetryUpload: pauses before the further tries, seconds.
_PAUSES_SECONDS = (0.5, 1.0, 2.0)


def upload_output_data(attempt: Attempt, patient: Patient) -> None:
    """Store and register every file that OutputData means; parameters UploadedOutputData and OutputData.

    Raises:
        PermanentJobError: an unknown storage element, or an LFN that has other content (output_data_refused).
        UnavailableError: it could not be stored now. Cancelled: the patience is over.
    """
    attempt.report.set_job_status(JobStatus.COMPLETING, MinorStatus.UPLOADING_OUTPUT_DATA)
    elements = _elements(attempt)
    done: list[Replica] = []
    missing: list[str] = []
    try:
        for pattern in attempt.parts.arguments.description.output_data:
            found = _find(attempt, pattern)
            if not found:
                missing.append(pattern)
            done.extend(_upload(attempt, patient, each, lfn, elements) for each, lfn in found)
    finally:
        if missing:
            attempt.report.set_job_parameter("OutputData", f"MissingFiles: {', '.join(missing)}")
        if done:
            attempt.report.set_job_parameter("UploadedOutputData", ", ".join(each.lfn for each in done))
            total = sum(each.size_bytes for each in done)
            attempt.parts.emit(DataMoved(kind="output_data", files=len(done), bytes=total))
    attempt.report.set_job_status(JobStatus.COMPLETING, MinorStatus.OUTPUT_DATA_UPLOADED)


def _elements(attempt: Attempt) -> list[StorageElement]:
    known = attempt.parts.storage_elements
    wanted = attempt.parts.arguments.description.output_se or tuple(known)[:1]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise PermanentJobError(
            f"there is no storage element {', '.join(unknown)} here; known are {', '.join(known) or 'none'}",
            error_type=OUTPUT_DATA_REFUSED,
        )
    return [known[name] for name in wanted]


def _find(attempt: Attempt, pattern: str) -> list[tuple[Found, str]]:
    """The files that *pattern* means, with their logical names."""
    arguments = attempt.parts.arguments
    local = pattern.rpartition("/")[2] if is_lfn(pattern) else pattern
    owner = Owner(arguments.vo, arguments.owner)
    return [
        (
            each,
            output_lfn(
                owner,
                attempt.job_id,
                pattern if is_lfn(pattern) else each.name,
                arguments.description.output_path,
            ),
        )
        for each in find_below(attempt.parts.folders.work, local)
    ]


def _upload(attempt: Attempt, patient: Patient, found: Found, lfn: str, elements: list[StorageElement]) -> Replica:
    pauses = _PAUSES_SECONDS if attempt.options.retry_upload else ()
    for pause in (*pauses, None):
        try:
            replica = _store_at_first(attempt, patient, found, lfn, elements)
            _register_everywhere(attempt, patient, replica)
            return replica
        except UnavailableError as error:
            if pause is None:
                return _failover(attempt, patient, found, lfn, elements, error)
            attempt.parts.cancel.wait(pause)
            patient.check()
    raise AssertionError("the last try returns or raises")


def _failover(
    attempt: Attempt, patient: Patient, found: Found, lfn: str, elements: list[StorageElement], why: UnavailableError
) -> Replica:
    """None of the job's elements takes it now: keep it elsewhere, and leave it to a request to bring it there.

    Raises:
        UnavailableError: nobody else takes it either.
    """
    known, target = attempt.parts.storage_elements, elements[0].name
    others = [known[name] for name in attempt.options.failover_se if name in known and known[name] not in elements]
    try:
        replica = _store_at_first(attempt, patient, found, lfn, others)
    except UnavailableError:
        return _leave_in_folder(attempt, patient, found, lfn, target, why)
    _register_everywhere(attempt, patient, replica)
    file, (source,) = _request_file(replica, pfn=""), tuple(replica.pfns)
    attempt.pending.operations += [
        Operation(
            type=requests.REPLICATE_AND_REGISTER, source_se=source, target_se=target, catalog=catalog, files=(file,)
        )
        for catalog in _catalogs(attempt)
    ]
    attempt.pending.operations += [
        Operation(type=requests.REMOVE_REPLICA, target_se=source, catalog=catalog, files=(file,))
        for catalog in _catalogs(attempt)
    ]
    return replica


def _leave_in_folder(
    attempt: Attempt, patient: Patient, found: Found, lfn: str, target: str, why: UnavailableError
) -> Replica:
    folder = attempt.parts.failover_folder
    if folder is None:
        raise why
    name = requests.waiting_name(attempt.job_id, attempt.parts.arguments.attempt, lfn)
    replica = patient(partial(_store, attempt, folder, found.name, name))
    file = replace(_request_file(replica, pfn=replica.pfns[folder.name]), lfn=lfn)
    attempt.pending.operations += [
        Operation(type=requests.PUT_AND_REGISTER, target_se=target, catalog=catalog, files=(file,))
        for catalog in _catalogs(attempt)
    ]
    return replace(replica, lfn=lfn)


def _store_at_first(
    attempt: Attempt, patient: Patient, found: Found, lfn: str, elements: list[StorageElement]
) -> Replica:
    """To the first element that takes it."""
    problems: list[UnavailableError] = []
    for element in elements:
        try:
            with attempt.operations("transfer") as attributes:
                attributes.update({STORAGE_ELEMENT: element.name, MOVED_NAME: lfn, MOVED_BYTES: found.size_bytes})
                return patient(partial(_store, attempt, element, found.name, lfn))
        except UnavailableError as error:
            problems.append(error)
    raise UnavailableError("; ".join(map(str, problems)) or "there is no other storage element")


def _store(attempt: Attempt, element: StorageElement, name: str, lfn: str) -> Replica:
    """Put one file; runs in a thread of its own, which opens and closes what it needs.

    The catalogue is asked first: a file of this name with other content must not be overwritten. Where
    the catalogue does not answer, the element itself must not have such a file.
    """
    fd = open_below(attempt.parts.folders.work, name, owner=attempt.payload_uid)
    try:
        path = Path(f"/proc/self/fd/{fd}")
        size, adler32 = os.fstat(fd).st_size, adler32_of(path)
        try:
            known, asked = attempt.parts.file_catalog.lookup((lfn,)).get(lfn), True
        except UnavailableError:
            known, asked = None, False
        if known is not None and (known.size_bytes, known.adler32) != (size, adler32):
            raise PermanentJobError(f"{lfn} exists with other content", error_type=OUTPUT_DATA_REFUSED)
        pfn = element.put(path, lfn) if asked else _put_new(element, path, lfn)
        return Replica(lfn=lfn, size_bytes=size, adler32=adler32, pfns={element.name: pfn})
    finally:
        os.close(fd)


def _put_new(element: StorageElement, path: Path, lfn: str) -> str:
    try:
        return element.put(path, lfn, replace=False)
    except RefusedError as error:
        raise PermanentJobError(str(error), error_type=OUTPUT_DATA_REFUSED) from error


def _register_everywhere(attempt: Attempt, patient: Patient, replica: Replica) -> None:
    """Now, or by a request if the catalogue does not answer."""
    for catalog in _catalogs(attempt):
        try:
            patient(partial(_register, attempt, replica, catalog))
        except UnavailableError:
            ((element, pfn),) = replica.pfns.items()
            file = _request_file(replica, pfn=pfn)
            attempt.pending.operations.append(
                Operation(type=requests.REGISTER_FILE, target_se=element, catalog=catalog, files=(file,))
            )


def _request_file(replica: Replica, *, pfn: str) -> RequestFile:
    return RequestFile(lfn=replica.lfn, size_bytes=replica.size_bytes, adler32=replica.adler32, pfn=pfn)


def _register(attempt: Attempt, replica: Replica, catalog: str) -> None:
    try:
        attempt.parts.file_catalog.register(replica, catalog)
    except FencedError:
        raise
    except RefusedError as error:
        raise PermanentJobError(
            f"{catalog} does not register {replica.lfn}: {error}", error_type=OUTPUT_DATA_REFUSED
        ) from error


def _catalogs(attempt: Attempt) -> tuple[str, ...]:
    """DefaultCatalog, else the master; with MasterCatalogOnlyFlag the first of them only."""
    names = attempt.options.default_catalog or attempt.parts.config.wms.catalogs[:1]
    return names[:1] if attempt.options.master_catalog_only else names
