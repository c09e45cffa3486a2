"""Facts about this WMS: its random id."""

import uuid

from sqlalchemy import Column, Connection, String, Table, insert, select

from runner.server.db.schema import METADATA

#: What the first release looks at: it refuses anything but 1. Versions since then are Alembic's.
SCHEMA_VERSION = "2"
FACTS = Table("system_facts", METADATA, Column("Name", String(64), primary_key=True), Column("Value", String(255)))


class SystemDB:
    """Name and value, written once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def wms_id(self) -> str:
        """The random id of this WMS, made with the database."""
        self._once("SchemaVersion", SCHEMA_VERSION)
        return self._once("WMSID", str(uuid.uuid4()))

    def _once(self, name: str, value: str) -> str:
        found = self._connection.scalar(select(FACTS.c.Value).where(FACTS.c.Name == name))
        if found is not None:
            return str(found)
        self._connection.execute(insert(FACTS).values(Name=name, Value=value))
        return value
