"""What the databases share: one catalogue of tables, the form of times, and how rows are locked.

Times are whole nanoseconds since 1970 in UTC, cut to microseconds: exact on every database, free
of zones, and comparable. They become ISO 8601 text only on the wire.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, CursorResult, Integer, MetaData, Select

import runner.server.db.dialects  # noqa: F401 - how the databases spell what is declared with this
from telemetry.clock import Clock

METADATA = MetaData()
MICROSECOND = 1000

#: A key that counts upwards: SQLite does so only for INTEGER.
Serial = BigInteger().with_variant(Integer(), "sqlite")


def time_column(name: str, *, nullable: bool = True) -> Column[int]:
    """A column that holds a moment."""
    return Column(name, BigInteger, nullable=nullable)


def now_ns(clock: Clock) -> int:
    """The present moment as the databases and the wire can both hold it."""
    return clock.utc_ns() // MICROSECOND * MICROSECOND


def inserted_id(result: CursorResult[Any]) -> int:
    """The number that the database gave to the row that was inserted."""
    key = result.inserted_primary_key
    assert key is not None  # noqa: S101 - there is one after every single insert
    return int(key[0])


def for_decision(query: Select[Any], locks: bool, *, skip_taken: bool = False) -> Select[Any]:
    """*query* such that, where a database locks rows, what it finds stays as it is until the transaction ends.

    *skip_taken*: rows that another transaction holds are not found.
    """
    return query.with_for_update(skip_locked=skip_taken) if locks else query
