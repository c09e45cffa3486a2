"""What a wrapper needs from outside, declared where it is used; `runner.compose` brings the implementations."""

from pathlib import Path
from typing import Protocol

from runner.data.ports import FileCatalog, Replica, StorageElement

__all__ = ["FileCatalog", "Replica", "SandboxStore", "StorageElement", "WmsLink"]


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
