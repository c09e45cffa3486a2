"""Facts about this WMS: its random id and the version of its tables."""

import uuid

from sqlalchemy import Column, Connection, String, Table, insert, select

from runner.errors import ConfigError
from runner.server.db.schema import METADATA, SCHEMA_VERSION

FACTS = Table("system_facts", METADATA, Column("Name", String(64), primary_key=True), Column("Value", String(255)))


class SystemDB:
    """Name and value, written once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def wms_id(self) -> str:
        """The random id of this WMS, made with the database.

        Raises:
            ConfigError: the database belongs to another version of jobspan.
        """
        self._once("SchemaVersion", str(SCHEMA_VERSION))
        self.check_version()
        return self._once("WMSID", str(uuid.uuid4()))

    def check_version(self) -> None:
        """Look at the version without changing anything.

        Raises:
            ConfigError: the tables are of another version, or are not there.
        """
        version = self._connection.scalar(select(FACTS.c.Value).where(FACTS.c.Name == "SchemaVersion"))
        if version != str(SCHEMA_VERSION):
            raise ConfigError(f"the database has tables of version {version}, this jobspan needs {SCHEMA_VERSION}")

    def _once(self, name: str, value: str) -> str:
        found = self._connection.scalar(select(FACTS.c.Value).where(FACTS.c.Name == name))
        if found is not None:
            return str(found)
        self._connection.execute(insert(FACTS).values(Name=name, Value=value))
        return value
