"""The request executor, put together: with an administrator's token, and the storage of this folder."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from runner.compose.kinds import open_wms
from runner.config import Config
from runner.data.ports import Replica
from runner.data.storage import open_elements, open_failover_folder
from runner.errors import RefusedError
from runner.failover.executor import RequestExecutor
from runner.failover.operations import OperationParts, Operations
from runner.redaction import Redactor
from runner.wms.answers import CatalogFile
from runner.wms.client import WmsClient
from telemetry.clock import SystemClock, utc_text
from telemetry.facts import Scalar


@contextmanager
def open_executor(config: Config, url: str = "", *, stop: threading.Event | None = None) -> Iterator[RequestExecutor]:
    """An executor for the WMS at *url*, else of this folder; its connections are closed at the end.

    Raises:
        UnavailableError: no WMS is known. ConfigError: there is no administrator's token.
    """
    client = open_wms(config, url).user("admin")
    parts = OperationParts(
        catalog=_Catalogs(client),
        reports=_Reports(client),
        storage_elements=open_elements(config.folder / "storage", config.wms.storage_elements),
        failover_folder=open_failover_folder(config.job_wrapper.failover_folder),
        staging=config.folder / "requests",
    )
    try:
        yield RequestExecutor(client, Operations(parts), redact=Redactor.of(config), stop=stop)
    finally:
        client.close()


@dataclass(frozen=True)
class _Catalogs:
    """Implements `runner.failover.ports.Catalog`."""

    client: WmsClient

    def lookup(self, lfn: str, catalog: str) -> Replica | None:
        file = self.client.catalog_lookup([lfn], catalog).get(lfn)
        if file is None:
            return None
        return Replica(lfn=lfn, size_bytes=file.size_bytes, adler32=file.adler32, pfns=file.replicas)

    def register(self, replica: Replica, catalog: str) -> None:
        file = CatalogFile(replica.size_bytes, replica.adler32, replica.pfns)
        self.client.catalog_register(catalog, replica.lfn, file)

    def remove(self, lfn: str, element: str, catalog: str) -> None:
        self.client.catalog_remove(catalog, lfn, element)


@dataclass(frozen=True)
class _Reports:
    """Implements `runner.failover.ports.Reports`."""

    client: WmsClient

    def set_file_statuses(self, report: Mapping[str, object]) -> int:
        return self.client.set_file_statuses(report)

    def set_parameters(self, job_id: int, parameters: Mapping[str, Scalar]) -> None:
        self.client.set_parameters(job_id, parameters)

    def set_application_status(self, job_id: int, text: str) -> None:
        update = {"ApplicationStatus": text, "Source": "RequestExecutor"}
        self.client.set_statuses(job_id, {utc_text(SystemClock().utc_ns()): update})

    def send_accounting(self, records: Sequence[Mapping[str, object]]) -> None:
        """Inserted or there already: both are success.

        Raises:
            RefusedError: the WMS has another record under the same name.
        """
        conflicts = [each for each in self.client.send_accounting(records) if each.outcome == "conflict"]
        if conflicts:
            raise RefusedError(f"accounting: {conflicts[0].detail}", status_code=409)
