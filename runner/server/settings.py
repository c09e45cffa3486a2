"""What the embedded WMS needs to know, frozen."""

from dataclasses import dataclass
from pathlib import Path

from runner.config import Config

#: Largest JSON body. A submission is the largest: twenty descriptions of 1 MiB are not met in practice.
MAX_BODY_BYTES = 16 << 20
#: What a multipart body adds around a sandbox: boundaries, headers, form fields.
MULTIPART_OVERHEAD_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Values of `[WMS]`, and where the server keeps its state."""

    folder: Path
    vo: str = "local"
    owner: str = "user"
    owner_group: str = "local_user"
    max_rescheduling: int = 3
    max_sandbox_bytes: int = 100 << 20
    max_body_bytes: int = MAX_BODY_BYTES
    max_jobs_per_call: int = 1000
    max_wait_seconds: float = 60.0
    catalogs: tuple[str, ...] = ("FileCatalog",)
    storage_elements: tuple[str, ...] = ("SE-USER",)
    #: A request is dead after so many failures in a row; the pause after the first, doubled after each further one.
    request_tries: int = 100
    request_retry_seconds: float = 10.0
    request_lease_seconds: float = 60.0
    job_token_seconds: float = 3600.0
    #: So long after its end a job token can still be exchanged for a fresh one, and for nothing else.
    job_token_renewal_seconds: float = 7 * 86400.0
    stalled_time_seconds: float = 600.0
    failed_time_seconds: float = 10800.0
    matched_time_seconds: float = 300.0
    rescheduled_time_seconds: float = 600.0
    login_token_seconds: float = 30 * 86400.0
    presigned_seconds: float = 300.0
    #: Calls under way have so long when the server is told to stop.
    shutdown_seconds: float = 10.0
    minimum_disk_bytes: int = 0

    @classmethod
    def from_config(cls, config: Config) -> "ServerSettings":
        """The settings that `[WMS]` of *config* asks for."""
        wms = config.wms
        return cls(
            folder=config.wms_folder,
            vo=wms.vo,
            owner=wms.owner or wms.login_name,
            owner_group=wms.owner_group,
            max_rescheduling=wms.max_rescheduling,
            stalled_time_seconds=wms.stalled_time_seconds,
            failed_time_seconds=max(wms.failed_time_seconds, wms.stalled_time_seconds),
            matched_time_seconds=wms.matched_time_seconds,
            rescheduled_time_seconds=wms.rescheduled_time_seconds,
            max_sandbox_bytes=wms.max_sandbox_bytes,
            catalogs=wms.catalogs,
            storage_elements=wms.storage_elements,
            request_tries=wms.request_tries,
            request_retry_seconds=wms.request_retry_seconds,
            shutdown_seconds=wms.shutdown_seconds,
            minimum_disk_bytes=wms.minimum_disk_bytes,
        )

    @property
    def stalled_polling_seconds(self) -> float:
        """Time between two looks at jobs of which nothing is heard: short beside what they look for."""
        shortest = min(self.stalled_time_seconds, self.matched_time_seconds, self.rescheduled_time_seconds)
        return min(30.0, shortest / 4)

    @property
    def database(self) -> Path:
        """The SQLite file of all databases."""
        return self.folder / "wms.sqlite"

    @property
    def signing_key(self) -> Path:
        """The secret behind tokens and presigned addresses."""
        return self.folder / "signing.key"

    @property
    def sandboxes(self) -> Path:
        """Where sandboxes lie, each under its number."""
        return self.folder / "sandboxes"
