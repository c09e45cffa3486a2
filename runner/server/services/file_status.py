"""FileStatus: what became of the files of a production. DIRAC's TransformationDB keeps the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from runner.server.db.engine import Transaction
from runner.server.errors import UnknownObjectError
from runner.server.models import FileStatusEntry, FileStatuses
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize, visible_owner
from runner.server.tokens import Identity
from telemetry.clock import utc_text

#: A file that is Processed stays so, unless the report is forced (DIRAC's transformation client).
PROCESSED = "Processed"


class FileStatus:
    """Takes file reports, and shows them."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def set(self, identity: Identity, report: FileStatuses) -> int:
        """Set the statuses of *report*; how many were changed. Saying the same again changes nothing.

        Raises:
            UnknownObjectError: there is no such job.
        """
        with self._context.databases.write(durable=True) as transaction:
            rows = authorize(transaction, identity, Right.SET_FILE_STATUS, [report.JobID])
            if report.JobID not in rows:
                raise UnknownObjectError(f"Job {report.JobID} not found")
            row = rows[report.JobID]
            owner = {"VO": row["VO"], "Owner": row["Owner"], "ProductionID": report.ProductionID}
            return sum(self._set(transaction, owner, report, each) for each in report.Statuses)

    def listing(
        self, identity: Identity, wanted: Mapping[str, Any], first: int, count: int
    ) -> Sequence[dict[str, Any]]:
        """The rows that the caller may see."""
        owner = visible_owner(identity, Right.READ_FILE_STATUS)
        with self._context.databases.read() as transaction:
            rows = transaction.file_status.listing(wanted, owner, first, count)
        names = ("ProductionID", "LFN", "Status", "JobID", "Attempt", "Owner")
        return [
            {**{name: row[name] for name in names}, "LastUpdateTime": utc_text(row["LastUpdateTime"])} for row in rows
        ]

    def _set(
        self, transaction: Transaction, owner: Mapping[str, Any], report: FileStatuses, entry: FileStatusEntry
    ) -> bool:
        key = {**owner, "LFN": entry.LFN}
        present = transaction.file_status.get(key)
        if present is not None:
            is_older = present["JobID"] == report.JobID and present["Attempt"] > report.Attempt
            is_kept = present["Status"] == PROCESSED and not report.Force
            if is_older or is_kept or present["Status"] == entry.Status:
                return False
        values = {"Status": entry.Status, "JobID": report.JobID, "Attempt": report.Attempt}
        transaction.file_status.set(key, {**values, "LastUpdateTime": self._context.now_ns()})
        return True
