"""PilotAgentsDB: pilots, and which job ran in which."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Float, Index, Integer, String, Table, Text, delete, insert, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

PILOTS = Table(
    "pilots",
    METADATA,
    Column("PilotID", Serial, primary_key=True, autoincrement=True),
    Column("PilotStamp", String(32), nullable=False, unique=True),
    Column("VO", String(128), nullable=False),
    Column("GridType", String(32), nullable=False),
    Column("GridSite", String(128), nullable=False),
    Column("DestinationSite", String(128), nullable=False),
    Column("PilotJobReference", String(255), nullable=False),
    Column("Queue", String(128), nullable=False, default="Unknown"),
    Column("Status", String(32), nullable=False),
    Column("StatusReason", String(255), nullable=False, default="Unknown"),
    Column("BenchMark", Float, nullable=False, default=0.0),
    Column("CurrentJobID", Serial, nullable=False, default=0),
    time_column("SubmissionTime", nullable=False),
    time_column("LastUpdateTime", nullable=False),
    sqlite_autoincrement=True,
)
JOB_TO_PILOT = Table(
    "job_to_pilot",
    METADATA,
    Column("JobID", Serial, primary_key=True, autoincrement=False),
    Column("Attempt", Integer, primary_key=True, autoincrement=False),
    Column("PilotStamp", String(32), nullable=False),
    time_column("StartTime", nullable=False),
    Index("jobs_of_pilot", "PilotStamp"),
)
OFFERS = Table(
    "pilot_offers",
    METADATA,
    Column("PilotStamp", String(32), primary_key=True),
    Column("VO", String(64), nullable=False),
    Column("Offer", Text, nullable=False),
    time_column("OfferTime", nullable=False),
    Index("offers_by_time", "VO", "OfferTime"),
)


class PilotAgentsDB:
    """Pilots, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, attributes: Mapping[str, Any]) -> None:
        """A new pilot."""
        self._connection.execute(insert(PILOTS), dict(attributes))

    def get(self, stamp: str) -> Row | None:
        """The pilot with that stamp."""
        return self._connection.execute(select(PILOTS).where(PILOTS.c.PilotStamp == stamp)).mappings().first()

    def change(self, stamp: str, changes: Mapping[str, Any]) -> None:
        """Set columns of one pilot."""
        self._connection.execute(update(PILOTS).where(PILOTS.c.PilotStamp == stamp), dict(changes))

    def assign_job(self, job_id: int, attempt: int, stamp: str, now_ns: int) -> None:
        """Remember that this attempt runs in that pilot."""
        values = {"JobID": job_id, "Attempt": attempt, "PilotStamp": stamp, "StartTime": now_ns}
        self._connection.execute(insert(JOB_TO_PILOT), values)

    def move_job(self, job_id: int, attempt: int, stamp: str) -> None:
        """This attempt runs in that pilot after all."""
        row = (JOB_TO_PILOT.c.JobID == job_id, JOB_TO_PILOT.c.Attempt == attempt)
        self._connection.execute(update(JOB_TO_PILOT).where(*row), {"PilotStamp": stamp})

    def stamps_of(self, job_ids: Iterable[int]) -> dict[int, str]:
        """The pilot of the newest attempt of each of *job_ids*."""
        query = select(JOB_TO_PILOT).where(JOB_TO_PILOT.c.JobID.in_(list(job_ids))).order_by(JOB_TO_PILOT.c.Attempt)
        return {row.JobID: row.PilotStamp for row in self._connection.execute(query)}

    def set_offer(self, stamp: str, vo: str, offer: str, now_ns: int) -> None:
        """What the agent *stamp* offered just now."""
        values = {"VO": vo, "Offer": offer, "OfferTime": now_ns}
        if self._connection.execute(update(OFFERS).where(OFFERS.c.PilotStamp == stamp), values).rowcount == 0:
            self._connection.execute(insert(OFFERS), {"PilotStamp": stamp, **values})

    def offers(self, vo: str, since_ns: int) -> list[Row]:
        """What agents of *vo* have offered since that moment, the newest first."""
        query = select(OFFERS).where(OFFERS.c["VO"] == vo, OFFERS.c.OfferTime >= since_ns)
        return list(self._connection.execute(query.order_by(OFFERS.c.OfferTime.desc())).mappings())

    def forget_offers(self, before_ns: int) -> int:
        """Remove what was offered before that moment; how many there were."""
        return self._connection.execute(delete(OFFERS).where(OFFERS.c.OfferTime < before_ns)).rowcount
