"""What a wrapper needs from outside, declared where it is used; `runner.compose` brings the implementations."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runner.data.ports import FileCatalog, Replica, StorageElement
from runner.process.command import PayloadCommand
from runner.process.payload import PayloadResult
from telemetry.facts import PayloadStarted, StageName

__all__ = [
    "FileCatalog", "Payload", "Replica", "SandboxStore", "StorageElement", "TelemetryDoor", "WatchdogPort", "WmsLink",
]  # fmt: skip


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


class Payload(Protocol):
    """Runs the payload, and is there before and after it: see `payload.LocalPayload`."""

    def run(self, command: PayloadCommand, on_started: Callable[[PayloadStarted], None]) -> PayloadResult:
        """Start it and wait for its end; *on_started* is called once, when its exec has succeeded.

        Raises:
            PayloadStartError: nothing runs, and nothing will.
            PermanentJobError: its output files are impossible.
            TransientJobError: the starter has died, or cannot measure as configured.
            Cancelled: the job was told to stop before the exec.
        """
        ...

    def settle(self) -> float:
        """No payload comes any more: CPU seconds of the process that started it. Idempotent."""
        ...


class WatchdogPort(Protocol):
    """What the wrapper does with the watchdog: see `runner.process.watchdog`."""

    def start(self) -> None:
        """Watch from now on."""
        ...

    def enter_stage(self, stage: StageName) -> None:
        """This stage runs now."""
        ...

    def stop(self) -> None:
        """No more. Idempotent."""
        ...


@dataclass(frozen=True, kw_only=True)
class TelemetryDoor:
    """Where the payload may send spans and logs of its own, and what lets it in."""

    url: str
    token: str = field(repr=False)
