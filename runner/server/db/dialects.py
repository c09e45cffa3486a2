"""What the three databases spell differently, so that a table is declared once.

MySQL and MariaDB compare texts as bytes here, as SQLite does, trailing spaces included; a `Text`
there holds 64 KiB unless it is a LONGTEXT. PostgreSQL does both by itself.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import Insert, Table, Text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

MARIADB_COLLATION = "utf8mb4_nopad_bin"
MYSQL_COLLATION = "utf8mb4_0900_bin"


@lru_cache(maxsize=100)
def upsert(table: Table, dialect: str, *, replaces: bool = True) -> Insert:
    """An insertion into *table* that replaces the row of the same key, for a dialect by its name.

    Unless it *replaces*, it only takes that row, as if it were changed.
    """
    rest = [column.name for column in table.columns if column.primary_key is not replaces]
    if dialect in ("mysql", "mariadb"):
        replacing = mysql.insert(table)
        mine: Insert = replacing.on_duplicate_key_update({name: replacing.inserted[name] for name in rest})
        return mine
    inserting = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    values = {name: inserting.excluded[name] for name in rest}
    theirs: Insert = inserting.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
    return theirs


@compiles(Text, "mysql", "mariadb")
def _long_text(_kind: Text, _compiler: Any, **_more: Any) -> str:
    return "LONGTEXT"


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(element: CreateTable, compiler: Any, **more: Any) -> str:
    collation = MARIADB_COLLATION if compiler.dialect.is_mariadb else MYSQL_COLLATION
    statement: str = compiler.visit_create_table(element, **more)
    return f"{statement.rstrip()} ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE={collation}\n\n"
