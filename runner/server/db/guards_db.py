"""Guards: rows that stand for what is counted, so that only one transaction at a time decides by the count.

On a database server two transactions that count the same rows before they add one both find room. Each holds the
guard first. On SQLite there is one writer at a time anyway.
Others count changes, so that what was read once need not be read again.
"""

from sqlalchemy import BigInteger, Column, Connection, String, Table, select, update

from runner.server.db.dialects import upsert
from runner.server.db.schema import METADATA, for_decision

GUARDS = Table(
    "guards",
    METADATA,
    Column("Name", String(255), primary_key=True),
    Column("LastTime", BigInteger, nullable=False),  # or what is counted up
)


class GuardsDB:
    """Guards, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hold(self, name: str) -> None:
        """Until the transaction ends, *name* is nobody else's. Whoever holds several takes them in one order."""
        query = for_decision(select(GUARDS.c.Name).where(GUARDS.c.Name == name), True)
        if self._connection.scalar(query) is None:  # made once; of two that make it, the second waits and finds it
            statement = upsert(GUARDS, self._connection.dialect.name, replaces=False)
            self._connection.execute(statement, {"Name": name, "LastTime": 0})

    def count_up(self, name: str) -> None:
        """One more change of what *name* stands for. Until the transaction ends nobody else makes one."""
        self.hold(name)
        changed = update(GUARDS).where(GUARDS.c.Name == name).values(LastTime=GUARDS.c.LastTime + 1)
        self._connection.execute(changed)

    def changes(self, name: str) -> int:
        """How many changes were counted."""
        return self.last_ns(name)

    def last_ns(self, name: str) -> int:
        """The moment that was noted last; 0 if none was."""
        return self._connection.scalar(select(GUARDS.c.LastTime).where(GUARDS.c.Name == name)) or 0

    def note(self, name: str, now_ns: int) -> None:
        """Note a moment with what is held."""
        self._connection.execute(update(GUARDS).where(GUARDS.c.Name == name), {"LastTime": now_ns})
