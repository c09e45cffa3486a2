"""Sandboxes that were announced, and may have been brought past us: to an S3 server, which tells nobody."""

from collections.abc import Iterable

from runner.server.db.job_db import Row
from runner.server.sandboxes.contents import Sandbox
from runner.server.services.context import ServiceContext


def note_arrivals(context: ServiceContext, names: Iterable[str]) -> None:
    """Look for the contents of the sandboxes *names* (without SB:) that are not known to be stored.

    Before a transaction that needs them, never within one: the S3 server may take its time.

    Raises:
        StoreAwayError: it cannot be found out now.
    """
    with context.databases.read() as transaction:
        rows = [transaction.sandboxes.get(name) for name in names]
    for row in rows:
        if row is not None and not row["Stored"]:
            note_arrival(context, row)


def note_arrival(context: ServiceContext, row: Row) -> bool:
    """Look for the content of one; whether it is there.

    Raises:
        StoreAwayError: it cannot be found out now.
    """
    size_bytes = context.contents.stored_bytes(Sandbox.of(row))
    if size_bytes is None:
        return False
    with context.databases.write(durable=True) as transaction:
        transaction.sandboxes.set_stored(row["SBId"], size_bytes)
    return True
