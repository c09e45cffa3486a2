"""What each operation of a request does. All of them may be done again: the second time changes nothing.

Names and meanings are DIRAC's. A file is looked at before it is believed: size and checksum must be
what the request says, and a name that the catalogue knows with other content is never overwritten.
An executor may touch every user's files, so neither a request nor the catalogue names one by its place:
that must be the one at which the storage element keeps the logical name.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.data.ports import Replica, StorageElement
from runner.data.transfers import verify
from runner.errors import NotFoundError, PermanentJobError, RefusedError
from runner.failover.ports import Catalog, Reports
from runner.job import requests
from runner.job.requests import ClaimedRequest, Operation, RequestFile, invalid


@dataclass(frozen=True, kw_only=True)
class OperationParts:
    """Everything from outside."""

    catalog: Catalog
    reports: Reports
    storage_elements: Mapping[str, StorageElement]
    #: Where output data waits that no storage element took; None: nowhere.
    failover_folder: StorageElement | None
    #: Files on their way lie here.
    staging: Path


class Operations:
    """Does what operations say."""

    def __init__(self, parts: OperationParts) -> None:
        self._parts = parts
        self._kinds: Mapping[str, Callable[[ClaimedRequest, Operation], None]] = {
            requests.REPLICATE_AND_REGISTER: self._each_file(self._replicate_and_register),
            requests.PUT_AND_REGISTER: self._put_and_register,
            requests.REGISTER_FILE: self._each_file(self._register_file),
            requests.REMOVE_REPLICA: self._each_file(self._remove_replica),
            requests.SET_FILE_STATUS: self._set_file_status,
            requests.FORWARD_DISET: self._forward,
        }

    def execute(self, request: ClaimedRequest, operation: Operation) -> None:
        """Do *operation* of *request*.

        Raises:
            UnavailableError, OSError: not now. RefusedError, PermanentJobError: never.
        """
        self._kinds[operation.type](request, operation)

    def _each_file(self, work: Callable[[Operation, RequestFile], None]) -> Callable[[ClaimedRequest, Operation], None]:
        def all_files(_: ClaimedRequest, operation: Operation) -> None:
            for file in operation.files:
                work(operation, file)

        return all_files

    def _replicate_and_register(self, operation: Operation, file: RequestFile) -> None:
        known = self._known(operation, file)
        if known is not None and operation.target_se in known.pfns:
            return
        pfn = file.pfn or (known.pfns.get(operation.source_se, "") if known is not None else "")
        if not pfn:
            raise NotFoundError(f"{operation.catalog} knows no {file.lfn} at {operation.source_se}")
        source = self._element(operation.source_se)
        source.check_place(pfn, file.lfn)
        with self._brought(source, pfn, file) as path:
            self._put(operation, file, path)

    def _put_and_register(self, request: ClaimedRequest, operation: Operation) -> None:
        folder = self._parts.failover_folder
        if folder is None:
            raise PermanentJobError("there is no FailoverFolder here", error_type="no_failover_folder")
        for file in operation.files:
            folder.check_place(file.pfn, requests.waiting_name(request.job_id, request.attempt, file.lfn))
            known = self._known(operation, file)
            if known is None or operation.target_se not in known.pfns:
                with self._brought(folder, file.pfn, file) as path:
                    self._put(operation, file, path)
            folder.remove(file.pfn)

    def _register_file(self, operation: Operation, file: RequestFile) -> None:
        self._element(operation.target_se).check_place(file.pfn, file.lfn)
        self._known(operation, file)
        pfns = {operation.target_se: file.pfn}
        self._parts.catalog.register(_replica(file, pfns), operation.catalog)

    def _remove_replica(self, operation: Operation, file: RequestFile) -> None:
        """Never the last one: the catalogue must know the file elsewhere, and that copy must be what it should be."""
        known = self._parts.catalog.lookup(file.lfn, operation.catalog)
        if known is None or operation.target_se not in known.pfns:
            return
        others = [name for name in known.pfns if name != operation.target_se]
        if not others:
            raise RefusedError(f"{file.lfn} lies at {operation.target_se} only")
        wanted = RequestFile(lfn=file.lfn, size_bytes=known.size_bytes, adler32=known.adler32)
        element, other = self._element(operation.target_se), self._element(others[0])
        element.check_place(known.pfns[element.name], file.lfn)
        other.check_place(known.pfns[other.name], file.lfn)
        with self._brought(other, known.pfns[other.name], wanted):
            element.remove(known.pfns[element.name])
        self._parts.catalog.remove(file.lfn, operation.target_se, operation.catalog)

    def _set_file_status(self, request: ClaimedRequest, operation: Operation) -> None:
        attempt = {"JobID": request.job_id, "Attempt": request.attempt}
        self._parts.reports.set_file_statuses({**attempt, **operation.arguments})

    def _forward(self, request: ClaimedRequest, operation: Operation) -> None:
        """Reports that were not delivered when they were made (DIRAC forwards the remote call itself)."""
        arguments = operation.arguments
        if arguments.get("Call") == requests.ACCOUNTING:
            self._parts.reports.send_accounting(arguments.get("Records", ()))
            return
        if arguments.get("Parameters"):
            self._parts.reports.set_parameters(request.job_id, arguments["Parameters"])
        if arguments.get("ApplicationStatus"):
            self._parts.reports.set_application_status(request.job_id, arguments["ApplicationStatus"])

    def _known(self, operation: Operation, file: RequestFile) -> Replica | None:
        """What the catalogue knows of the file; it must be the same content."""
        known = self._parts.catalog.lookup(file.lfn, operation.catalog)
        if known is not None and (known.size_bytes, known.adler32) != (file.size_bytes, file.adler32):
            raise PermanentJobError(f"{file.lfn} exists with other content", error_type="output_data_refused")
        return known

    def _put(self, operation: Operation, file: RequestFile, path: Path) -> None:
        element = self._element(operation.target_se)
        pfn = element.put(path, file.lfn, replace=False)
        self._parts.catalog.register(_replica(file, {element.name: pfn}), operation.catalog)

    @contextmanager
    def _brought(self, element: StorageElement, pfn: str, file: RequestFile) -> Iterator[Path]:
        """A copy of the file here, checked, for a while."""
        self._parts.staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._parts.staging) as folder:
            path = Path(folder) / "file"
            element.get(pfn, path, link=False)
            verify(path, file.size_bytes, file.adler32)
            yield path

    def _element(self, name: str) -> StorageElement:
        try:
            return self._parts.storage_elements[name]
        except KeyError:
            raise invalid(f"there is no storage element {name} here") from None


def _replica(file: RequestFile, pfns: Mapping[str, str]) -> Replica:
    return Replica(lfn=file.lfn, size_bytes=file.size_bytes, adler32=file.adler32, pfns=pfns)
