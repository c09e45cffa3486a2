"""TaskQueueDB: queues of waiting jobs that ask for the same, and how much of the sites is in use.

A job's row names its queue, so that a job is in it exactly as long as it is Waiting: there is no
second truth. Looking for work costs some steps in an index for each queue, however many jobs wait.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from runner.server.db.guards_db import GuardsDB
from runner.server.db.job_db import JOBS
from runner.server.db.schema import METADATA, Serial, for_decision, inserted_id

TASK_QUEUES = Table(
    "task_queues",
    METADATA,
    Column("TaskQueueID", Serial, primary_key=True, autoincrement=True),
    Column("Digest", String(64), nullable=False, unique=True),
    Column("VO", String(64), nullable=False),
    Column("CPUWork", BigInteger, nullable=False),
    Column("Requirements", Text, nullable=False),
    sqlite_autoincrement=True,
)
WAITING = "Waiting"
#: The guard that counts when there is another queue, or one less.
QUEUES = "task queues"


# The first of what an index has in order: every database takes one step for it, where MariaDB reads all for a max().
_job, _urgent = JOBS.alias("job"), JOBS.alias("urgent")
_urgency = (
    select(_urgent.c.UserPriority)
    .where(_urgent.c.Status == WAITING, _urgent.c.TaskQueueID == TASK_QUEUES.c.TaskQueueID)
    .order_by(_urgent.c.UserPriority.desc())
    .limit(1)
    .correlate(TASK_QUEUES)
    .scalar_subquery()
)


#: Whole numbers, written out: a thousand parameters would take the driver longer than the database.
_names = bindparam("queue_ids", type_=BigInteger, expanding=True, literal_execute=True)
_named = TASK_QUEUES.c.TaskQueueID.in_(_names)
_REQUIREMENTS = select(TASK_QUEUES.c.TaskQueueID, TASK_QUEUES.c.Requirements).where(_named)


def _first(urgency: ColumnElement[int]) -> Select[Any]:
    """Of the named queues that have jobs so urgent the first ones, by the oldest of these jobs."""
    mine = (_job.c.Status == WAITING, _job.c.TaskQueueID == TASK_QUEUES.c.TaskQueueID, _job.c.UserPriority == urgency)
    oldest = select(_job.c.JobID).where(*mine).order_by(_job.c.JobID).limit(1).correlate(TASK_QUEUES)
    heads = select(TASK_QUEUES.c.TaskQueueID, oldest.scalar_subquery().label("FirstJob")).where(_named).subquery()
    found = select(heads).where(heads.c.FirstJob.is_not(None))
    return found.order_by(heads.c.FirstJob).limit(bindparam("most", type_=BigInteger))


_FIRST = _first(_urgency)
_FIRST_KNOWN = _first(bindparam("urgency", type_=BigInteger))


def _listed(queues: Select[Any]) -> Select[Any]:
    """Those of *queues* that have jobs as one text of `number:urgency`: a driver in Python is slow with many rows."""
    number, urgency = cast(TASK_QUEUES.c.TaskQueueID, String), cast(_urgency, String)
    return queues.with_only_columns(func.aggregate_strings(number + ":" + urgency, ","))  # no urgency, no text


_OF_VO = select(TASK_QUEUES.c.TaskQueueID).where(TASK_QUEUES.c["VO"] == bindparam("vo"))
_FILLED = _listed(_OF_VO)
_FILLED_NAMED = _listed(select(TASK_QUEUES.c.TaskQueueID).where(_named))


class FilledQueue(NamedTuple):
    """A queue in which jobs wait, and how urgent its most urgent job is."""

    queue_id: int
    urgency: int


@dataclass(frozen=True)
class InUse:
    """How many jobs of one kind are with wrappers."""

    owner: str
    owner_group: str
    count: int


class TaskQueueDB:
    """Task queues, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find_or_add(self, digest: str, vo: str, cpu_work: int, requirements: str) -> int:
        """The number of the queue named *digest*; it is made if it is not there."""
        found = self._find(digest)
        if found is not None:
            return found
        values = {"Digest": digest, "VO": vo, "CPUWork": cpu_work, "Requirements": requirements}
        try:
            with self._connection.begin_nested():
                added = inserted_id(self._connection.execute(insert(TASK_QUEUES), values))
        except IntegrityError:  # another server was first
            found = self._find(digest)
            assert found is not None, digest  # noqa: S101 - the database has just said that it is there
            return found
        GuardsDB(self._connection).count_up(QUEUES)
        return added

    def generation(self) -> int:
        """A number that is another one when there is another queue, or one less."""
        return GuardsDB(self._connection).changes(QUEUES)

    def of_vo(self, vo: str) -> list[int]:
        """The numbers of all queues of *vo*."""
        return list(self._connection.scalars(_OF_VO, {"vo": vo}))

    def filled(self, vo: str, queue_ids: Collection[int] | None = None) -> list[FilledQueue]:
        """The queues of *vo* in which jobs wait; of those only, if any are named."""
        if queue_ids is None:
            text = self._connection.scalar(_FILLED, {"vo": vo})
        else:
            text = self._connection.scalar(_FILLED_NAMED, {"queue_ids": list(queue_ids)})
        numbers = [int(each) for each in text.replace(":", ",").split(",")] if text else []
        return list(map(FilledQueue._make, zip(numbers[::2], numbers[1::2], strict=True)))

    def first_jobs(self, queue_ids: Collection[int], most: int, urgency: int | None = None) -> list[tuple[int, int]]:
        """Of the queues that have jobs *most*, each with the oldest of its most urgent ones; the oldest comes first.

        *urgency*: that of their most urgent jobs, as this very transaction has read it. MariaDB would find it out anew
        for job after job.
        """
        named = {"queue_ids": list(queue_ids), "most": most}
        if urgency is None:
            found = self._connection.execute(_FIRST, named)
        else:
            found = self._connection.execute(_FIRST_KNOWN, {**named, "urgency": urgency})
        return [(int(queue_id), int(job_id)) for queue_id, job_id in found]

    def requirements(self, queue_ids: Collection[int]) -> dict[int, str]:
        """What the jobs of these queues ask for; it never changes."""
        found = self._connection.execute(_REQUIREMENTS, {"queue_ids": list(queue_ids)})
        return {row.TaskQueueID: row.Requirements for row in found}

    def waiting(self, queue_id: int, count: int) -> list[int]:
        """The first jobs of a queue: the most urgent, and of those the oldest."""
        mine = (JOBS.c.Status == WAITING, JOBS.c.TaskQueueID == queue_id)
        urgency = self._connection.scalar(select(func.max(JOBS.c.UserPriority)).where(*mine))
        if urgency is None:
            return []
        query = select(JOBS.c.JobID).where(*mine, JOBS.c.UserPriority == urgency).order_by(JOBS.c.JobID).limit(count)
        return [int(job_id) for job_id in self._connection.scalars(query)]

    def count_before(self, queue_id: int, urgency: int, job_id: int) -> int:
        """How many jobs of the queue come before that one."""
        earlier = (JOBS.c.UserPriority > urgency) | ((JOBS.c.UserPriority == urgency) & (JOBS.c.JobID < job_id))
        query = select(func.count()).where(JOBS.c.Status == WAITING, JOBS.c.TaskQueueID == queue_id, earlier)
        return int(self._connection.scalar(query) or 0)

    def in_use(self, statuses: Collection[str], vo: str) -> list[InUse]:
        """How many jobs each owner of *vo* has in one of *statuses*."""
        names = (JOBS.c.Owner, JOBS.c.OwnerGroup)
        query = select(*names, func.count()).where(JOBS.c.Status.in_(list(statuses)), JOBS.c["VO"] == vo)
        return [InUse(*row) for row in self._connection.execute(query.group_by(*names))]

    def running_at(self, statuses: Collection[str], site: str, job_type: str | None) -> int:
        """How many jobs at *site*, of that type or of any, are in one of *statuses*."""
        query = select(func.count()).select_from(JOBS).where(JOBS.c.Status.in_(list(statuses)), JOBS.c.Site == site)
        if job_type is not None:
            query = query.where(JOBS.c.JobType == job_type)
        return int(self._connection.scalar(query) or 0)

    def strays(self) -> list[int]:
        """Jobs that wait in no queue: those of a WMS before there were queues."""
        known = select(TASK_QUEUES.c.TaskQueueID)
        lost = JOBS.c.TaskQueueID.is_(None) | JOBS.c.TaskQueueID.not_in(known)
        return [
            int(each) for each in self._connection.scalars(select(JOBS.c.JobID).where(JOBS.c.Status == WAITING, lost))
        ]

    def remove_empty(self) -> int:
        """Forget queues in which nobody waits; how many there were. One that somebody is about to fill stays."""
        GuardsDB(self._connection).hold(QUEUES)  # first: whoever adds a queue has it, and may want one of these
        waits = select(JOBS.c.JobID).where(JOBS.c.Status == WAITING, JOBS.c.TaskQueueID == TASK_QUEUES.c.TaskQueueID)
        empty = for_decision(select(TASK_QUEUES.c.TaskQueueID).where(~waits.exists()), True, skip_taken=True)
        found = list(self._connection.scalars(empty))
        if not found:
            return 0
        # Looked at again: whoever was filling one may have ended before we had it.
        gone = delete(TASK_QUEUES).where(_named, ~waits.exists())
        count = self._connection.execute(gone, {"queue_ids": found}).rowcount
        GuardsDB(self._connection).count_up(QUEUES)
        return count

    def _find(self, digest: str) -> int | None:
        """Shared with others who fill it; until the transaction ends nobody removes it."""
        # A column beyond the index is asked for: MariaDB would lock the entry of the index alone, and not the row.
        query = select(TASK_QUEUES.c.TaskQueueID, TASK_QUEUES.c.CPUWork).where(TASK_QUEUES.c.Digest == digest)
        found: int | None = self._connection.scalar(query.with_for_update(read=True))
        return found
