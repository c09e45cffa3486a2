"""The site mask: which sites get jobs, who said so and why. A site of which nobody spoke is allowed."""

from sqlalchemy import Column, Connection, Index, String, Table, insert, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

ACTIVE, BANNED = "Active", "Banned"
_SAID = (
    ("Status", String(16)),
    ("Author", String(64)),
    ("Comment", String(255)),
)
SITE_MASK = Table(
    "site_mask",
    METADATA,
    Column("Site", String(100), primary_key=True),
    *(Column(name, kind, nullable=False) for name, kind in _SAID),
    time_column("LastUpdateTime", nullable=False),
)
HISTORY = Table(
    "site_mask_history",
    METADATA,
    Column("ChangeID", Serial, primary_key=True, autoincrement=True),
    Column("Site", String(100), nullable=False),
    *(Column(name, kind, nullable=False) for name, kind in _SAID),
    time_column("ChangeTime", nullable=False),
    Index("mask_history_by_site", "Site", "ChangeID"),
)


class SiteMaskDB:
    """The mask and its history, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def status(self, site: str) -> str:
        """Active or Banned."""
        return self._connection.scalar(select(SITE_MASK.c.Status).where(SITE_MASK.c.Site == site)) or ACTIVE

    def set(self, site: str, said: dict[str, str], now_ns: int) -> None:
        """Write *said* (Status, Author, Comment) into mask and history."""
        values = {**said, "LastUpdateTime": now_ns}
        if self._connection.scalar(select(SITE_MASK.c.Site).where(SITE_MASK.c.Site == site)) is None:
            self._connection.execute(insert(SITE_MASK), {"Site": site, **values})
        else:
            self._connection.execute(update(SITE_MASK).where(SITE_MASK.c.Site == site), values)
        self._connection.execute(insert(HISTORY), {"Site": site, **said, "ChangeTime": now_ns})

    def listing(self) -> list[Row]:
        """All sites of which somebody has spoken."""
        return list(self._connection.execute(select(SITE_MASK).order_by(SITE_MASK.c.Site)).mappings())

    def history(self, site: str | None) -> list[Row]:
        """What was said, of one site or of all, the oldest first."""
        query = select(HISTORY).order_by(HISTORY.c.ChangeID)
        return list(self._connection.execute(query if site is None else query.where(HISTORY.c.Site == site)).mappings())
