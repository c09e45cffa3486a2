"""Counts over all databases, for the metrics. Each is one query with few rows as its answer."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, func, select

from runner.server.db.job_commands_db import COMMANDS
from runner.server.db.job_db import JOBS
from runner.server.db.requests_db import REQUESTS
from runner.server.db.sandbox_metadata_db import SANDBOXES


class InventoryDB:
    """What there is, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def jobs(self) -> Mapping[str, int]:
        """Jobs by status."""
        query = select(JOBS.c.Status, func.count()).group_by(JOBS.c.Status)
        return {str(status): int(count) for status, count in self._connection.execute(query)}

    def waiting(self, limit: int) -> Sequence[tuple[tuple[str, str, str], int]]:
        """The *limit* most frequent kinds of waiting jobs, (OwnerGroup, JobType, Site), and how many there are."""
        kind = (JOBS.c.OwnerGroup, JOBS.c.JobType, JOBS.c.Site)
        count = func.count()
        query = (
            select(*kind, count).where(JOBS.c.Status == "Waiting").group_by(*kind).order_by(count.desc()).limit(limit)
        )
        return [((str(row[0]), str(row[1]), str(row[2])), int(row[3])) for row in self._connection.execute(query)]

    def task_queues(self) -> int:
        """In how many task queues jobs wait."""
        query = select(func.count(JOBS.c.TaskQueueID.distinct())).where(JOBS.c.Status == "Waiting")
        return int(self._connection.scalar(query) or 0)

    def waiting_since_ns(self) -> int | None:
        """Since when the job waits that has waited longest; None when none does."""
        found = self._connection.scalar(select(func.min(JOBS.c.WaitingTime)).where(JOBS.c.Status == "Waiting"))
        return None if found is None else int(found)

    def requests(self) -> Mapping[str, int]:
        """Combined requests by status."""
        query = select(REQUESTS.c.Status, func.count()).group_by(REQUESTS.c.Status)
        return {str(status): int(count) for status, count in self._connection.execute(query)}

    def commands(self) -> int:
        """Commands that no wrapper has acknowledged."""
        query = select(func.count()).select_from(COMMANDS).where(COMMANDS.c.AcknowledgeTime.is_(None))
        return int(self._connection.scalar(query) or 0)

    def sandboxes(self) -> tuple[int, int]:
        """How many sandboxes are stored, and their bytes."""
        query = select(func.count(), func.sum(SANDBOXES.c.Bytes)).where(SANDBOXES.c.Stored.is_(True))
        count, size_bytes = self._connection.execute(query).one()
        return int(count), int(size_bytes or 0)
