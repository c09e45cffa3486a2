"""SandboxMetadataDB: sandboxes by content, their owners, and the jobs that they belong to."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    String,
    Table,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, inserted_id, time_column

SANDBOXES = Table(
    "sandboxes",
    METADATA,
    Column("SBId", Serial, primary_key=True, autoincrement=True),
    Column("PFN", String(512), nullable=False, unique=True),
    Column("Owner", String(64), nullable=False),
    Column("OwnerGroup", String(128), nullable=False),
    Column("VO", String(64), nullable=False),
    Column("Checksum", String(64), nullable=False),
    Column("Bytes", BigInteger, nullable=False),
    Column("Stored", Boolean, nullable=False),
    time_column("RegistrationTime", nullable=False),
    sqlite_autoincrement=True,
)
MAPPING = Table(
    "sandbox_mapping",
    METADATA,
    Column("SBId", Serial, nullable=False),
    Column("JobID", Serial, nullable=False, index=True),
    Column("Type", String(16), nullable=False),
    UniqueConstraint("SBId", "JobID", "Type"),
)
#: What becomes of the name of a sandbox whose content is still to be removed: no request can name it.
REMOVED = "removed/"
_is_removed = and_(SANDBOXES.c["PFN"] >= REMOVED, SANDBOXES.c["PFN"] < "removed0")
_is_assigned = select(MAPPING.c.SBId).where(MAPPING.c.SBId == SANDBOXES.c.SBId).exists()


class SandboxMetadataDB:
    """Sandboxes, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, attributes: dict[str, object]) -> int:
        """A sandbox that may be uploaded; its number."""
        return inserted_id(self._connection.execute(insert(SANDBOXES), attributes))

    def get(self, pfn: str) -> Row | None:
        """The sandbox with that name (without the SB: prefix)."""
        return self._connection.execute(select(SANDBOXES).where(SANDBOXES.c["PFN"] == pfn)).mappings().first()

    def set_stored(self, sandbox_id: int, size_bytes: int) -> None:
        """Its content has arrived."""
        statement = update(SANDBOXES).where(SANDBOXES.c.SBId == sandbox_id)
        self._connection.execute(statement, {"Stored": True, "Bytes": size_bytes})

    def assign(self, sandbox_id: int, job_id: int, kind: str) -> bool:
        """Make it the job's input or output sandbox; False if it is already."""
        present = select(MAPPING.c.SBId).where(
            MAPPING.c.SBId == sandbox_id, MAPPING.c.JobID == job_id, MAPPING.c.Type == kind
        )
        if self._connection.scalar(present) is not None:
            return False
        self._connection.execute(insert(MAPPING), {"SBId": sandbox_id, "JobID": job_id, "Type": kind})
        return True

    def renew(self, sandbox_id: int, now_ns: int, size_bytes: int) -> None:
        """Somebody wants it just now: count its age from here."""
        values = {"RegistrationTime": now_ns, "Bytes": size_bytes}
        self._connection.execute(update(SANDBOXES).where(SANDBOXES.c.SBId == sandbox_id), values)

    def bytes_of(self, owner: str, vo: str, *, but: int = 0) -> int:
        """Size of all that an owner has stored, or has announced and may still bring; *but* one sandbox."""
        mine = (SANDBOXES.c.Owner == owner, SANDBOXES.c["VO"] == vo, SANDBOXES.c.SBId != but)
        return int(self._connection.scalar(select(func.sum(SANDBOXES.c.Bytes)).where(*mine)) or 0)

    def announced(self, before_ns: int, count: int) -> list[Row]:
        """Some that were announced before that moment, and of which it is not known that they were brought."""
        query = select(SANDBOXES).where(SANDBOXES.c.Stored.is_(False), SANDBOXES.c.RegistrationTime < before_ns)
        query = query.where(~_is_removed).order_by(SANDBOXES.c.SBId).limit(count)
        return list(self._connection.execute(query).mappings())

    def unassigned(self, before_ns: int, count: int) -> list[int]:
        """Some sandboxes that belong to no job, registered before that moment."""
        query = select(SANDBOXES.c.SBId).where(~_is_assigned, ~_is_removed, SANDBOXES.c.RegistrationTime < before_ns)
        return [int(each) for each in self._connection.scalars(query.order_by(SANDBOXES.c.SBId).limit(count))]

    def remove_unassigned(self, sandbox_id: int, before_ns: int) -> bool:
        """Take the name from a sandbox, if it belongs to no job and is that old; whether it was.

        Its content is still to be removed, see `removed`.
        """
        mine = (SANDBOXES.c.SBId == sandbox_id, ~_is_assigned, SANDBOXES.c.RegistrationTime < before_ns)
        values = {"PFN": f"{REMOVED}{sandbox_id}", "Stored": False, "Bytes": 0}
        return self._connection.execute(update(SANDBOXES).where(*mine), values).rowcount == 1

    def removed(self, count: int) -> list[Row]:
        """Some that have lost their names, and whose contents may still be there."""
        query = select(SANDBOXES).where(_is_removed).order_by(SANDBOXES.c.SBId).limit(count)
        return list(self._connection.execute(query).mappings())

    def forget(self, sandbox_id: int) -> None:
        """There is no such content any more."""
        self._connection.execute(delete(SANDBOXES).where(SANDBOXES.c.SBId == sandbox_id))

    def unassign(self, job_id: int) -> None:
        """Forget all sandboxes of a job; their content stays."""
        self._connection.execute(delete(MAPPING).where(MAPPING.c.JobID == job_id))

    def of_job(self, job_id: int) -> dict[str, list[str]]:
        """Names of a job's sandboxes by type (Input, Output), oldest first."""
        query = (
            select(MAPPING.c.Type, SANDBOXES.c.PFN)
            .join(SANDBOXES, SANDBOXES.c.SBId == MAPPING.c.SBId)
            .where(MAPPING.c.JobID == job_id)
            .order_by(SANDBOXES.c.SBId)
        )
        result: dict[str, list[str]] = {"Input": [], "Output": []}
        for row in self._connection.execute(query):
            result[row.Type].append(row.PFN)
        return result
