"""FileStatusDB: what became of the files of a production (DIRAC keeps this in the TransformationDB)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Table, insert, select, update

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA, Serial, time_column

FILE_STATUS = Table(
    "file_status",
    METADATA,
    Column("VO", String(64), primary_key=True),
    Column("Owner", String(255), primary_key=True),
    Column("ProductionID", BigInteger, primary_key=True, autoincrement=False),
    Column("LFN", String(255), primary_key=True),
    Column("Status", String(64), nullable=False),
    Column("JobID", Serial, nullable=False),
    Column("Attempt", Integer, nullable=False),
    time_column("LastUpdateTime", nullable=False),
    Index("file_status_by_job", "JobID"),
)


class FileStatusDB:
    """Statuses of files, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, key: Mapping[str, Any]) -> Row | None:
        """The row of one file of a production; *key* has VO, Owner, ProductionID and LFN."""
        return self._connection.execute(_where(select(FILE_STATUS), key)).mappings().first()

    def set(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Set what is known of one file, new or not."""
        if self.get(key) is None:
            self._connection.execute(insert(FILE_STATUS), {**key, **values})
        else:
            self._connection.execute(_where(update(FILE_STATUS), key), dict(values))

    def listing(self, wanted: Mapping[str, Any], owner: tuple[str, str] | None, first: int, count: int) -> list[Row]:
        """Rows with the *wanted* columns, of one (owner, VO) or of everybody, by production and name."""
        query = _where(select(FILE_STATUS), wanted)
        if owner is not None:
            query = query.where(FILE_STATUS.c.Owner == owner[0], FILE_STATUS.c["VO"] == owner[1])
        query = query.order_by(FILE_STATUS.c.ProductionID, FILE_STATUS.c["LFN"]).offset(first).limit(count)
        return list(self._connection.execute(query).mappings())


def _where(statement: Any, values: Mapping[str, Any]) -> Any:
    for name, value in values.items():
        statement = statement.where(FILE_STATUS.c[name] == value)
    return statement
