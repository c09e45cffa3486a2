"""The stage `transfer_input_sandbox`: archives of the sandbox store, and single files by their LFN."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from runner.data.archives import unpack
from runner.data.input_data_resolution import InputDataRequest, Persist, fetch, look_up
from runner.data.lfn import checked, is_lfn, strip
from runner.errors import PermanentJobError
from runner.job.status import MinorStatus
from runner.process.persist import READING_CALLS, persist
from runner.wrapper.attempt import Attempt
from telemetry.catalogue import MOVED_BYTES, MOVED_FILES, MOVED_NAME
from telemetry.facts import DataMoved

T = TypeVar("T")


def transfer_input_sandbox(attempt: Attempt) -> None:
    """Bring everything that InputSandbox names into the working directory.

    Archives of the store (``SB:``) are unpacked; a file with an LFN stays as it is, an archive too.

    Raises:
        HostileArchiveError, ChecksumError, PermanentJobError: this sandbox is no good, here or elsewhere.
        UnavailableError, TransientJobError: it could not be fetched now.
    """
    attempt.report.set_job_status(minor_status=MinorStatus.DOWNLOADING_INPUT_SANDBOX)
    names = attempt.parts.arguments.description.input_sandbox
    total = 0
    for number, name in enumerate(names):
        if name.startswith("SB:"):
            total += _archive(attempt, name, number)
        elif is_lfn(name):
            total += _file(attempt, checked(strip(name)))
        else:
            raise PermanentJobError(
                f"InputSandbox has {name!r}, which is neither in the sandbox store (SB:) nor a file with an LFN",
                error_type="input_sandbox",
            )
    attempt.parts.emit(DataMoved(kind="input_sandbox", files=len(names), bytes=total))


def _archive(attempt: Attempt, pfn: str, number: int) -> int:
    parts, folders = attempt.parts, attempt.parts.folders
    archive = folders.control / f"input_sandbox_{number}"
    archive.unlink(missing_ok=True)
    try:
        with attempt.operations("download_input_sandbox") as attributes:
            attributes[MOVED_NAME] = pfn
            size = attempt.interruptible(partial(parts.sandbox_store.download, pfn, archive))
            attributes[MOVED_BYTES] = size
        with attempt.operations("unpack") as attributes:
            unpacked = unpack(archive, folders.work, staging=folders.control, check=parts.cancel.check)
            attributes.update({MOVED_FILES: unpacked.files, MOVED_BYTES: unpacked.bytes})
        return size
    finally:
        archive.unlink(missing_ok=True)


def _file(attempt: Attempt, lfn: str) -> int:
    request = request_for(attempt, (lfn,))
    known = look_up(request, (lfn,))
    if lfn not in known:
        raise PermanentJobError(f"InputSandbox: the catalogue does not know {lfn}", error_type="missing_input_data")
    return fetch(request, known[lfn]).size_bytes


def request_for(attempt: Attempt, lfns: tuple[str, ...]) -> InputDataRequest:
    """What the data layer needs to bring *lfns* into the working directory of *attempt*."""
    parts = attempt.parts
    return InputDataRequest(
        lfns=lfns,
        folder=parts.folders.work,
        catalog=parts.file_catalog,
        storage_elements=parts.storage_elements,
        policy="link" if attempt.options.input_data_policy == "link" else "copy",
        slow=attempt.interruptible,
        observe=attempt.operations,
        persist=_persistence(attempt),
        check=parts.cancel.check,
        description=parts.arguments.description.to_mapping(),
    )


def _persistence(attempt: Attempt) -> Persist:
    """For what is read before there is a payload: waiting loses nothing, and a connection is lost now and then."""
    cancel, seconds = attempt.parts.cancel, READING_CALLS * attempt.parts.config.wms.timeout_seconds

    def tried_again(work: Callable[[], T]) -> T:
        return persist(work, cancel, seconds=seconds, check=True)

    return tried_again
