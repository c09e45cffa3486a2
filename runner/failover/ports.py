"""What executing requests needs from outside; `runner.compose` brings the implementations."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from runner.data.ports import Replica
from runner.job.requests import ClaimedRequest, OperationOutcome
from telemetry.facts import Scalar


class RequestQueue(Protocol):
    """Who hands out requests: the WMS. Every call may raise UnavailableError."""

    def claim_request(
        self, request_ids: Sequence[int] | None = None, without: Sequence[int] = ()
    ) -> ClaimedRequest | None:
        """A request that is due, for us alone; of *request_ids* any is. Those *without* we have tried already."""
        ...

    def renew_request(self, request: ClaimedRequest) -> None:
        """Keep the claim for another lease. Raises RefusedError when it is over."""
        ...

    def report_operation(self, request: ClaimedRequest, order: int, outcome: OperationOutcome, error: str = "") -> str:
        """What became of an operation; the request's status then. Raises RefusedError when the claim is over."""
        ...


class Catalog(Protocol):
    """The file catalogues. Every call may raise UnavailableError or RefusedError; repeating one is harmless."""

    def lookup(self, lfn: str, catalog: str) -> Replica | None:
        """What *catalog* knows of a file."""
        ...

    def register(self, replica: Replica, catalog: str) -> None:
        """Make *replica* known."""
        ...

    def remove(self, lfn: str, element: str, catalog: str) -> None:
        """Forget one replica, of which there must be another."""
        ...


class Reports(Protocol):
    """Where reports go that could not be delivered. Every call may raise UnavailableError or RefusedError."""

    def set_file_statuses(self, report: Mapping[str, Any]) -> object:
        """A file report. Idempotent."""
        ...

    def set_parameters(self, job_id: int, parameters: Mapping[str, Scalar]) -> object:
        """Job parameters. Idempotent."""
        ...

    def set_application_status(self, job_id: int, text: str) -> object:
        """The application's own words. Idempotent."""
        ...

    def send_accounting(self, records: Sequence[Mapping[str, object]]) -> None:
        """Accounting records. Folded by UID, witness and revision: one that is there already is not counted again."""
        ...
