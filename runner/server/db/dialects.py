"""What the three databases spell differently, so that a table is declared once.

MySQL and MariaDB compare texts as bytes here, as SQLite does, trailing spaces included; a `Text`
there holds 64 KiB unless it is a LONGTEXT. PostgreSQL does both by itself.
"""

from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

MARIADB_COLLATION = "utf8mb4_nopad_bin"
MYSQL_COLLATION = "utf8mb4_0900_bin"


@compiles(Text, "mysql", "mariadb")
def _long_text(_kind: Text, _compiler: Any, **_more: Any) -> str:
    return "LONGTEXT"


@compiles(CreateTable, "mysql", "mariadb")
def _create_table(element: CreateTable, compiler: Any, **more: Any) -> str:
    collation = MARIADB_COLLATION if compiler.dialect.is_mariadb else MYSQL_COLLATION
    statement: str = compiler.visit_create_table(element, **more)
    return f"{statement.rstrip()} ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARSET=utf8mb4 COLLATE={collation}\n\n"
