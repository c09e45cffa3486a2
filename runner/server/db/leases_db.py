"""Leases: which of several processes of one WMS does a periodic task."""

from sqlalchemy import Column, Connection, String, Table, insert, select, update

from runner.server.db.schema import METADATA, for_decision, time_column

LEASES = Table(
    "leases",
    METADATA,
    Column("Name", String(64), primary_key=True),
    Column("Holder", String(64), nullable=False),
    time_column("ExpiryTime", nullable=False),
)


class LeasesDB:
    """Leases, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, name: str, holder: str, now_ns: int, lifetime_ns: int) -> bool:
        """Whether *holder* has the task *name* for a while from now on.

        A lease that would hold for longer than anybody takes one was made before the clock was set
        back, and counts as over.
        """
        query = for_decision(select(LEASES).where(LEASES.c.Name == name), True)
        row = self._connection.execute(query).mappings().first()
        values = {"Name": name, "Holder": holder, "ExpiryTime": now_ns + lifetime_ns}
        if row is None:
            self._connection.execute(insert(LEASES), values)
            return True
        if row["Holder"] != holder and now_ns < row["ExpiryTime"] <= now_ns + lifetime_ns:
            return False
        self._connection.execute(update(LEASES).where(LEASES.c.Name == name), values)
        return True
