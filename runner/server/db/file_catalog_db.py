"""FileCatalogDB: logical files and where their replicas lie, for each catalogue."""

from collections.abc import Iterable

from sqlalchemy import BigInteger, Column, Connection, String, Table, delete, insert, select

from runner.server.db.job_db import Row
from runner.server.db.schema import METADATA

FILES = Table(
    "catalog_files",
    METADATA,
    Column("Catalog", String(64), primary_key=True),
    Column("LFN", String(512), primary_key=True),
    Column("Size", BigInteger, nullable=False),
    Column("Adler32", String(8), nullable=False),
)
REPLICAS = Table(
    "catalog_replicas",
    METADATA,
    Column("Catalog", String(64), primary_key=True),
    Column("LFN", String(512), primary_key=True),
    Column("SE", String(64), primary_key=True),
    Column("PFN", String(1024), nullable=False),
)


class FileCatalogDB:
    """The catalogues, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def file(self, catalog: str, lfn: str) -> Row | None:
        """One file."""
        query = select(FILES).where(FILES.c.Catalog == catalog, FILES.c["LFN"] == lfn)
        return self._connection.execute(query).mappings().first()

    def files(self, catalog: str, lfns: Iterable[str]) -> dict[str, Row]:
        """Those of *lfns* that are known."""
        found = ((lfn, self.file(catalog, lfn)) for lfn in lfns)
        return {lfn: row for lfn, row in found if row is not None}

    def replicas(self, catalog: str, lfn: str) -> dict[str, str]:
        """Where a file lies: PFN by storage element."""
        query = select(REPLICAS).where(REPLICAS.c.Catalog == catalog, REPLICAS.c["LFN"] == lfn).order_by(REPLICAS.c.SE)
        return {row.SE: row.PFN for row in self._connection.execute(query)}

    def add_file(self, catalog: str, lfn: str, size_bytes: int, adler32: str) -> None:
        """A new file."""
        values = {"Catalog": catalog, "LFN": lfn, "Size": size_bytes, "Adler32": adler32}
        self._connection.execute(insert(FILES), values)

    def add_replica(self, catalog: str, lfn: str, storage_element: str, pfn: str) -> None:
        """A new replica of a known file."""
        values = {"Catalog": catalog, "LFN": lfn, "SE": storage_element, "PFN": pfn}
        self._connection.execute(insert(REPLICAS), values)

    def remove_replica(self, catalog: str, lfn: str, storage_element: str) -> None:
        """The file lies there no longer; the file itself stays known."""
        where = (REPLICAS.c["Catalog"] == catalog) & (REPLICAS.c["LFN"] == lfn) & (REPLICAS.c["SE"] == storage_element)
        self._connection.execute(delete(REPLICAS).where(where))
