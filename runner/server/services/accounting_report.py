"""Questions to the accounting: sums by time, site, group, type ..., and export of the records themselves."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.server.db import accounting_type_db
from runner.server.db.accounting_db import Span
from runner.server.db.engine import Transaction
from runner.server.errors import InvalidRequestError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, visible_owner
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS, parse_utc, utc_text
from telemetry.ledger.fingerprint import fingerprint

#: What records are chosen and summed by.
KEYS = tuple(accounting_type_db.KEYS)
#: Most rows of one answer: a year in hours.
MOST_ROWS = 10_000
#: Most hours of one answer: eleven years.
MOST_HOURS = 100_000


class AccountingReport:
    """Sums and exports. Whoever sees only the own records gets the sums of those."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def sums(
        self, identity: Identity, wanted: Mapping[str, Any], group_by: Sequence[str], bucket_seconds: int | None
    ) -> list[dict[str, Any]]:
        """For each bucket and combination of *group_by* the number of jobs and the sum of each value of the type.

        Raises:
            InvalidRequestError: an unknown key, or more rows than an answer can have.
        """
        if unknown := [name for name in group_by if name not in KEYS]:
            raise InvalidRequestError(f"Unknown key {unknown[0]}; there are {', '.join(KEYS)}")
        chosen = self._visible(identity, wanted)
        if chosen is None:
            return []
        bucket_ns = None if bucket_seconds is None else bucket_seconds * NANOSECONDS
        with self._context.databases.read() as transaction:
            rows = transaction.accounting_types.sums(chosen, list(dict.fromkeys(group_by)), bucket_ns)
        if len(rows) > MOST_ROWS:
            raise InvalidRequestError(f"the answer has {len(rows)} rows, at most {MOST_ROWS}; ask for larger buckets")
        return [{name: utc_text(each[name]) if name == "Bucket" else each[name] for name in each} for each in rows]

    def export(self, identity: Identity, wanted: Mapping[str, Any], first: int, count: int) -> list[dict[str, Any]]:
        """The records that count, whole, in the order in which the attempts ended."""
        chosen = self._visible(identity, wanted)
        if chosen is None:
            return []
        with self._context.databases.read() as transaction:
            return [json.loads(body) for body in transaction.accounting_types.bodies(chosen, first, count)]

    def digests(self, identity: Identity, ended: Span) -> list[dict[str, Any]]:
        """The digest of each hour in which attempts *ended*, of the records that count and that the caller may read.

        Raises:
            InvalidRequestError: more hours than an answer can have.
        """
        owner = visible_owner(identity, Right.READ_RECORDS)
        with self._context.databases.read() as transaction:
            rows = transaction.accounting_types.digests(owner, ended, MOST_HOURS + 1)
        if len(rows) > MOST_HOURS:
            raise InvalidRequestError(f"records ended in more than {MOST_HOURS} hours; ask for a shorter time")
        return [
            {
                "Hour": utc_text(int(row["Hour"])),
                **{name: int(row[name]) for name in ("Records", "HashHigh", "HashLow")},
                "DelayMicroseconds": int(row["Delay"]) // 1000,
            }
            for row in rows
        ]

    def fill(self) -> int:
        """Make rows for records from before there were any; how many there were."""
        total = 0
        while True:
            with self._context.databases.write() as transaction:
                rows = transaction.accounting_types.missing(500)
                for row in rows:
                    add_type(transaction, int(row["RecordID"]), json.loads(row["Body"]))
            total += len(rows)
            if not rows:
                return total

    def _visible(self, identity: Identity, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """What of *wanted* the caller may see; None: he asks for nothing but what he may not.

        Records of another WMS are for administrators alone: its users need not be ours of the same name.
        """
        owner = visible_owner(identity, Right.READ_RECORDS)
        seen = {"VO": identity.vo} | ({} if owner is None else {"User": owner[0], "WMSID": self._context.wms_id})
        is_hidden = any(wanted.get(name, value) != value for name, value in seen.items())
        return None if is_hidden else {**wanted, **seen}


def add_type(transaction: Transaction, record_id: int, record: Mapping[str, Any]) -> None:
    """Write the columns of the Job type for a record that is stored under that number.

    Whose it is, this WMS knows better than the node, as long as it knows the attempt: a job of another WMS may have
    the number of one that is here.
    """
    end_ns = parse_utc(str(record["EndTime"])) if record.get("EndTime") else parse_utc(str(record["RecordTime"]))
    keys = {name: str(record.get(name) or "") for name in (*KEYS, "WMSID")}
    attempt = transaction.attempts.by_uid(str(record["UID"]))
    if attempt is not None and (job := transaction.jobs.get(attempt["JobID"])) is not None:
        keys |= {"VO": job["VO"], "User": job["Owner"], "UserGroup": job["OwnerGroup"]}
    values = {name: float(record.get(name) or 0.0) for name in accounting_type_db.VALUES}
    transaction.accounting_types.add(record_id, end_ns, keys, values, fingerprint(record))


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """*rows* with a line of names; the names of the first row are those of all."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in listed)
    return text.getvalue()


def _harmless(value: Any) -> Any:
    """A spreadsheet takes a text that begins like a formula for one, whoever has written it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
