"""Sandboxes and the file catalogue of the WMS, as the wrapper's ports want them."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from runner.data.ports import Replica
from runner.errors import ChecksumError, PermanentJobError
from runner.process.cancel import Cancel
from runner.process.persist import READING_CALLS, persist
from runner.wms.answers import CatalogFile
from runner.wms.client import WmsClient
from runner.wms.transfers import abandonable, fetch, post_form, sha256_of

T = TypeVar("T")
#: DiracX's limit; ours may be lower.
LARGEST_SANDBOX_BYTES = 100 << 20
TRIES = 3
_FORMATS = ("tar.bz2", "tar.gz", "tar.zst")
_PFN_CHECKSUM = re.compile(r"/sha256:([0-9a-f]{64})\.tar\.(?:bz2|gz|zst)$")


class WmsSandboxStore:
    """Implements `runner.wrapper.ports.SandboxStore`: presigned transfers, verified by checksum."""

    def __init__(
        self,
        client: WmsClient,
        *,
        job_id: int = 0,
        cancel: Cancel | None = None,
        patience_seconds: float = 20.0,
        transfer_timeout_seconds: float = 600.0,
    ) -> None:
        """A cancel ends a download at once and leaves an upload *patience_seconds*."""
        self._client = client
        self._job_id = job_id
        self._cancel = cancel
        self._patience_seconds = patience_seconds
        self._transfer_timeout_seconds = transfer_timeout_seconds

    def download(self, pfn: str, target: Path) -> int:
        """Bring the archive *pfn* to the new file *target*; its bytes.

        Raises:
            UnavailableError, RefusedError, ChecksumError; Cancelled: the job was told to stop meanwhile.
        """
        found = _PFN_CHECKSUM.search(pfn)
        if found is None:
            raise PermanentJobError(f"{pfn[:200]!r} is not the name of a sandbox", error_type="sandbox_name")

        def bring() -> str:
            url = self._client.request_download(pfn)
            return abandonable(
                lambda abandoned: fetch(
                    self._client.transport, url, target, largest_bytes=LARGEST_SANDBOX_BYTES, abandoned=abandoned
                ),
                self._cancel,
                patience_seconds=0.0,
                timeout_seconds=self._transfer_timeout_seconds,
            )

        seconds = READING_CALLS * self._client.transport.timeout_seconds
        checksum = self._persist(bring, seconds=seconds, check=True)
        if checksum != found[1]:
            target.unlink()
            raise ChecksumError(f"the sandbox {pfn} has the sha256 {checksum}")
        return target.stat().st_size

    def upload_output(self, archive: Path) -> str:
        """Store *archive* as this job's output sandbox and assign it; its pfn. Repeating it is harmless.

        Raises:
            UnavailableError, RefusedError
        """
        pfn = self.upload(archive)
        self._persist(lambda: self._client.assign_output(self._job_id, pfn), tries=TRIES)
        return pfn

    def upload(self, archive: Path) -> str:
        """Store *archive*, unless its very content is stored already; its pfn.

        Raises:
            UnavailableError, RefusedError
        """
        format = next((each for each in _FORMATS if archive.name.endswith(f".{each}")), "")
        if not format:
            raise PermanentJobError(f"{archive.name}: a sandbox is {', '.join(_FORMATS)}", error_type="sandbox_name")
        checksum, size = sha256_of(archive), archive.stat().st_size

        def bring() -> str:
            slot = self._client.request_upload(checksum, size, format)
            if slot.url:
                abandonable(
                    lambda abandoned: post_form(
                        self._client.transport, slot.url, slot.fields, archive, abandoned=abandoned
                    ),
                    self._cancel,
                    patience_seconds=self._patience_seconds,
                    timeout_seconds=self._transfer_timeout_seconds,
                )
            return slot.pfn

        return self._persist(bring, tries=TRIES)

    def outputs(self) -> list[str]:
        """The output sandboxes of this job, oldest first."""
        return self._client.sandboxes(self._job_id, "output")

    def _persist(
        self, work: Callable[[], T], *, tries: float = math.inf, seconds: float = math.inf, check: bool = False
    ) -> T:
        """Try again what fails for now, as `persist` does; for a person at a terminal only once."""
        if self._cancel is None:
            return work()
        return persist(work, self._cancel, tries=tries, seconds=seconds, check=check)


class WmsFileCatalog:
    """Implements `runner.wrapper.ports.FileCatalog`."""

    def __init__(self, client: WmsClient) -> None:
        self._client = client

    def lookup(self, lfns: Sequence[str]) -> dict[str, Replica]:
        """The replicas of those of *lfns* that the catalogue knows."""
        files = self._client.catalog_lookup(lfns)
        return {
            lfn: Replica(lfn=lfn, size_bytes=file.size_bytes, adler32=file.adler32, pfns=file.replicas)
            for lfn, file in files.items()
            if lfn in lfns
        }

    def register(self, replica: Replica, catalog: str) -> None:
        """Make *replica* known in *catalog*; the same replica twice is no error."""
        self._client.catalog_register(
            catalog, replica.lfn, CatalogFile(replica.size_bytes, replica.adler32, replica.pfns)
        )
