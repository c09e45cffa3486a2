"""The Job type of DIRAC's accounting as columns, a row for each record: what can be summed, and by what."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Select,
    String,
    Table,
    func,
    insert,
    literal_column,
    select,
)

from runner.server.db.accounting_db import RECORDS, Span, visible, within
from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column
from telemetry.ledger.fingerprint import HOUR_NS

#: What records are grouped and chosen by: DIRAC's keys of the type, and the virtual organisation.
KEYS = {
    "VO": 64, "User": 64, "UserGroup": 128, "JobGroup": 64, "JobType": 64, "JobClass": 64, "ProcessingType": 64,
    "Site": 100, "FinalMajorStatus": 32, "FinalMinorStatus": 128,
}  # fmt: skip
#: What records are found by too: the WMS that had the attempt.
_FOUND_BY = {**KEYS, "WMSID": 36}
#: What is summed up.
VALUES = (
    "CPUTime", "NormCPUTime", "ExecTime", "WallClockTime", "InputDataSize", "OutputDataSize", "InputDataFiles",
    "OutputDataFiles", "DiskSpace", "InputSandBoxSize", "OutputSandBoxSize", "ProcessedEvents",
)  # fmt: skip
JOB_TYPE = Table(
    "accounting_type_job",
    METADATA,
    Column("RecordID", Serial, primary_key=True, autoincrement=False),
    time_column("EndTime", nullable=False),
    *(Column(name, String(length), nullable=False) for name, length in KEYS.items()),
    *(Column(name, Double, nullable=False) for name in VALUES),
    Column("HashHigh", BigInteger),  # the fingerprint of the record: see telemetry.ledger.fingerprint
    Column("HashLow", BigInteger),
    Column("WMSID", String(_FOUND_BY["WMSID"])),
    Index("accounting_by_end", "VO", "EndTime"),
)


class AccountingTypeDB:
    """Sums over records, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, record_id: int, end_ns: int, keys: Mapping[str, str], values: Mapping[str, float], hashes: tuple[int, int]
    ) -> None:
        """A row for the record with that number; *keys*: those of the type, and `WMSID`."""
        cut = {name: keys[name][:length] for name, length in _FOUND_BY.items()}
        high, low = hashes
        row = {"RecordID": record_id, "EndTime": end_ns, "HashHigh": high, "HashLow": low, **cut, **values}
        self._connection.execute(insert(JOB_TYPE), row)

    def digests(self, owner: tuple[str, str] | None, ended: Span, most: int) -> list[Row]:
        """For each hour in which attempts of *owner* *ended* how many records count, the sums of both numbers of their
        fingerprints, and after what time the latest one arrived; at most *most* hours."""
        hour: ColumnElement[int] = literal_column(str(HOUR_NS))  # written out, as in `sums`
        begin = (JOB_TYPE.c.EndTime - (JOB_TYPE.c.EndTime % hour + hour) % hour).label("Hour")
        sums = [func.sum(JOB_TYPE.c[name]).label(name) for name in ("HashHigh", "HashLow")]
        delay = func.max(RECORDS.c.ArrivalTime - JOB_TYPE.c.EndTime).label("Delay")
        query = visible(select(begin, func.count().label("Records"), *sums, delay), RECORDS, None, owner)
        query = query.join(JOB_TYPE, JOB_TYPE.c.RecordID == RECORDS.c.RecordID).where(RECORDS.c.IsCurrent == 1)
        query = within(query, JOB_TYPE.c.EndTime, ended).group_by(begin).order_by(begin).limit(most)
        return list(self._connection.execute(query).mappings())

    def missing(self, count: int) -> list[Row]:
        """Records (RecordID, Body) that have no row yet."""
        known = select(JOB_TYPE.c.RecordID).where(JOB_TYPE.c.RecordID == RECORDS.c.RecordID).exists()
        query = select(RECORDS.c.RecordID, RECORDS.c.Body).where(~known).order_by(RECORDS.c.RecordID).limit(count)
        return list(self._connection.execute(query).mappings())

    def sums(self, wanted: Mapping[str, Any], group_by: Sequence[str], bucket_ns: int | None) -> list[Row]:
        """Number of records, and sum of each value, for each bucket of time and each combination of *group_by*.

        A record counts in the bucket in which it ended. *wanted*: `VO`, perhaps other keys, `WMSID`,
        `start_ns`, `end_ns`.
        """
        by: list[ColumnElement[Any]] = [JOB_TYPE.c[name] for name in group_by]
        if bucket_ns is not None:
            # Written out, because PostgreSQL takes two parameters for two expressions, and one is in GROUP BY.
            width: ColumnElement[int] = literal_column(str(int(bucket_ns)))
            by.insert(0, (JOB_TYPE.c.EndTime - JOB_TYPE.c.EndTime % width).label("Bucket"))
        totals = [func.sum(JOB_TYPE.c[name]).label(name) for name in VALUES]
        query = _chosen(select(*by, func.count().label("Jobs"), *totals), wanted).group_by(*by).order_by(*by)
        return list(self._connection.execute(query).mappings())

    def bodies(self, wanted: Mapping[str, Any], first: int, count: int) -> list[str]:
        """The records themselves, in the order in which they ended."""
        query = _chosen(select(RECORDS.c.Body), wanted).order_by(JOB_TYPE.c.EndTime, JOB_TYPE.c.RecordID)
        return [str(body) for body in self._connection.scalars(query.offset(first).limit(count))]


def _chosen(query: Select[Any], wanted: Mapping[str, Any]) -> Select[Any]:
    query = query.select_from(JOB_TYPE).join(RECORDS, RECORDS.c.RecordID == JOB_TYPE.c.RecordID)
    query = query.where(RECORDS.c.IsCurrent == 1)
    for name, value in wanted.items():
        if name == "start_ns":
            query = query.where(JOB_TYPE.c.EndTime >= value)
        elif name == "end_ns":
            query = query.where(JOB_TYPE.c.EndTime < value)
        else:
            query = query.where(JOB_TYPE.c[name] == value)
    return query
