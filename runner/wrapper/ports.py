"""What a wrapper needs from outside, declared where it is used; `runner.compose` brings the implementations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A file as the catalogue knows it: where it lies and what it must contain."""

    lfn: str
    size_bytes: int
    adler32: str
    #: Physical file name by storage element name.
    pfns: Mapping[str, str]


class SandboxStore(Protocol):
    """Where sandboxes come from and go to."""

    def download(self, pfn: str, target: Path) -> int:
        """Bring the archive *pfn* to the new file *target*; its bytes.

        Raises:
            UnavailableError, RefusedError, ChecksumError
        """
        ...

    def upload_output(self, archive: Path) -> str:
        """Store *archive* as this job's output sandbox and assign it; its pfn. Repeating it is harmless."""
        ...


class FileCatalog(Protocol):
    """Logical names to replicas."""

    def lookup(self, lfns: Sequence[str]) -> dict[str, Replica]:
        """The replicas of those of *lfns* that the catalogue knows."""
        ...

    def register(self, replica: Replica, catalog: str) -> None:
        """Make *replica* known in *catalog*; the same replica twice is no error."""
        ...


class StorageElement(Protocol):
    """Where data files lie."""

    @property
    def name(self) -> str:
        """Its name, such as SE-USER."""
        ...

    def get(self, pfn: str, target: Path, *, link: bool) -> None:
        """Bring *pfn* to *target*, as a copy or a link.

        Raises:
            UnavailableError: the element cannot be reached; NotFoundError: no such file.
        """
        ...

    def put(self, source: Path, lfn: str) -> str:
        """Store *source* under *lfn*, atomically; the pfn."""
        ...


class WmsLink(Protocol):
    """The wrapper's own line to whoever handed out the job. Statuses travel through the journal; only
    the two moments that decide over the attempt are asked for here."""

    def confirm_running(self, timeout_seconds: float) -> None:
        """Wait until the WMS has accepted Running under our claim.

        Raises:
            FencedError: the attempt is somebody else's. UnavailableError: no answer in time.
        """
        ...

    def close_attempt(
        self, status: str, minor_status: str, *, preempted: bool, timeout_seconds: float
    ) -> tuple[str, str]:
        """Deliver all statuses; if *status* is Rescheduled, ask for the next attempt. What the WMS has kept.

        Raises:
            UnavailableError: no answer in time; whoever takes the job's lock delivers later.
            FencedError: the attempt is over for the WMS.
        """
        ...
