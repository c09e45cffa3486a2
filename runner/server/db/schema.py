"""What the databases share: one catalogue of tables, and the form of times.

Times are whole nanoseconds since 1970 in UTC, cut to microseconds: exact on every database, free
of zones, and comparable. They become ISO 8601 text only on the wire.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, CursorResult, Integer, MetaData

from telemetry.clock import Clock

METADATA = MetaData()
SCHEMA_VERSION = 1
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
