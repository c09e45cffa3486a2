"""The accounting records in a WMS's database, read there without the WMS."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from runner.compose.wms import needs_server
from telemetry.clock import utc_text
from telemetry.ledger.fingerprint import HourDigest
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sources.wanted import SourceError

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: More hours than there are.
_MOST_HOURS = 10_000_000


def records(address: str, span: Window) -> Iterator[Mapping[str, Any]]:
    """The records that count of attempts that ended within *span*, each with its arrival.

    Raises:
        SourceError: the database cannot be read.
    """
    with _connected(address) as connection:
        from sqlalchemy import select

        from runner.server.db.accounting_db import RECORDS, within
        from runner.server.db.accounting_type_db import JOB_TYPE

        chosen = select(RECORDS.c.Body, RECORDS.c.ArrivalTime).where(RECORDS.c.IsCurrent == 1)
        if span != Window():
            joined = chosen.join(JOB_TYPE, JOB_TYPE.c.RecordID == RECORDS.c.RecordID)
            chosen = within(joined, JOB_TYPE.c.EndTime, _nanoseconds(span))
        for body, arrived_ns in connection.execute(chosen):
            yield {**json.loads(body), "ArrivalTime": utc_text(arrived_ns)}


def digests(address: str, span: Window) -> list[HourDigest] | None:
    """Their digests, by hour; None: not all of them have what digests are made of.

    Raises:
        SourceError: the database cannot be read.
    """
    with _connected(address) as connection:
        from sqlalchemy import inspect

        from runner.server.db.accounting_type_db import JOB_TYPE, AccountingTypeDB

        held = {column["name"] for column in inspect(connection).get_columns(JOB_TYPE.name)}
        accounting = AccountingTypeDB(connection)
        if "HashHigh" not in held or accounting.missing(1):
            return None
        return [
            HourDigest(
                hour_ns=int(row["Hour"]),
                records=int(row["Records"]),
                high=int(row["HashHigh"]),
                low=int(row["HashLow"]),
                delay_ns=int(row["Delay"]),
            )
            for row in accounting.digests(None, _nanoseconds(span), _MOST_HOURS)
        ]


@contextmanager
def _connected(address: str) -> Iterator["Connection"]:
    with needs_server():
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError

        from runner.server.db.address import DatabaseAddress
    parsed = DatabaseAddress.parse(address)
    if parsed.is_sqlite and not parsed.path.is_file():
        raise SourceError(f"{parsed.shown}: there is no such file")
    engine = create_engine(parsed.url)
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise SourceError(f"{parsed.shown}: {type(error).__name__}") from error
    finally:
        engine.dispose()


def _nanoseconds(span: Window) -> tuple[int | None, int | None]:
    since, until = (None if each is None else each * 1000 for each in (span.since_us, span.until_us))
    return since, until
