"""TargetsDB: where agents and wrappers serve their metrics, for Prometheus to find them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Index, Integer, String, Table, delete, func, insert, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

TARGETS = Table(
    "metrics_targets",
    METADATA,
    Column("Host", String(64), primary_key=True),
    Column("Port", Integer, primary_key=True, autoincrement=False),
    Column("VO", String(128), nullable=False),
    Column("Path", String(64), nullable=False),
    Column("Role", String(16), nullable=False),
    Column("Site", String(128), nullable=False),
    Column("PilotStamp", String(32), nullable=False),
    Column("JobID", Serial, nullable=False, default=0),
    time_column("ExpiryTime", nullable=False),
    Index("targets_by_expiry", "VO", "ExpiryTime"),
)


class TargetsDB:
    """Targets, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, host: str, port: int, values: Mapping[str, Any]) -> None:
        """What answers at *port* of *host*; whatever was there before has gone."""
        where = (TARGETS.c.Host == host, TARGETS.c.Port == port)
        if self._connection.execute(update(TARGETS).where(*where), dict(values)).rowcount == 0:
            self._connection.execute(insert(TARGETS), {"Host": host, "Port": port, **values})

    def count_others(self, host: str, port: int, now_ns: int) -> int:
        """How many other ports of *host* are listed."""
        query = select(func.count()).where(TARGETS.c.Host == host, TARGETS.c.Port != port)
        return int(self._connection.scalar(query.where(TARGETS.c.ExpiryTime > now_ns)) or 0)

    def remove(self, host: str, port: int) -> None:
        """Nothing answers there any more."""
        self._connection.execute(delete(TARGETS).where(TARGETS.c.Host == host, TARGETS.c.Port == port))

    def listed(self, vo: str, now_ns: int) -> list[Row]:
        """Those of *vo* whose time is not over."""
        query = select(TARGETS).where(TARGETS.c["VO"] == vo, TARGETS.c.ExpiryTime > now_ns)
        return list(self._connection.execute(query.order_by(TARGETS.c.Host, TARGETS.c.Port)).mappings())

    def of_pilot(self, vo: str, stamp: str, role: str, now_ns: int) -> list[Row]:
        """Those that a pilot has listed as *role* and whose time is not over, the one that was said last first."""
        query = select(TARGETS).where(TARGETS.c["VO"] == vo, TARGETS.c.PilotStamp == stamp, TARGETS.c.Role == role)
        query = query.where(TARGETS.c.ExpiryTime > now_ns).order_by(TARGETS.c.ExpiryTime.desc())
        return list(self._connection.execute(query).mappings())

    def forget(self, before_ns: int) -> int:
        """Remove those whose time was over at that moment; how many there were."""
        return self._connection.execute(delete(TARGETS).where(TARGETS.c.ExpiryTime <= before_ns)).rowcount
