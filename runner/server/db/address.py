"""Where the databases are: an address as SQLAlchemy writes it, its driver, and what of it may be shown."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from runner.errors import ConfigError

SQLITE = "sqlite"
#: What an address may begin with, and the module of the driver. `postgres` is what libpq writes.
_BACKENDS = {
    SQLITE: ("sqlite", "pysqlite", ""),
    "mysql": ("mysql", "pymysql", "mysql"),
    "mariadb": ("mariadb", "pymysql", "mysql"),
    "postgresql": ("postgresql", "psycopg", "postgresql"),
    "postgres": ("postgresql", "psycopg", "postgresql"),
}


@dataclass(frozen=True)
class DatabaseAddress:
    """An address with the one driver of its kind that is supported."""

    url: URL

    @classmethod
    def of_file(cls, path: Path) -> "DatabaseAddress":
        """The SQLite file *path*."""
        return cls(URL.create("sqlite+pysqlite", database=str(path)))

    @classmethod
    def parse(cls, text: str, *, password_file: str = "") -> "DatabaseAddress":
        """Read an address; the content of *password_file* is its password.

        Raises:
            ConfigError: it is none, of a kind that is not supported, or its driver is not installed.
        """
        try:
            url = make_url(text)
            name = url.get_backend_name()
        except (ArgumentError, ValueError) as error:
            raise ConfigError(
                "[WMS] Database: not an address such as mariadb://user@host/name (its text is not shown: "
                "it may hold a password)"
            ) from error
        if name not in _BACKENDS:
            raise ConfigError(f"[WMS] Database: there is no support for {name}; known are {', '.join(_BACKENDS)}")
        backend, driver, extra = _BACKENDS[name]
        if url.drivername.partition("+")[2] not in ("", driver):
            raise ConfigError(f"[WMS] Database: {backend} is reached through {driver}, write {backend}://...")
        if extra and importlib.util.find_spec(driver) is None:
            raise ConfigError(f"{backend} needs the driver {driver}; install it with: pip install 'jobspan[{extra}]'")
        if not url.database:
            raise ConfigError(f"[WMS] Database: the address names no database, write {backend}://.../name")
        url = url.set(drivername=f"{backend}+{driver}")
        return cls(url.set(password=_read(password_file)) if password_file else url)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file on this machine, with one writer at a time."""
        return self.url.get_backend_name() == SQLITE

    @property
    def path(self) -> Path:
        """The file, where it is one."""
        return Path(self.url.database or "")

    @property
    def shown(self) -> str:
        """The address without user, password and options."""
        if self.is_sqlite:
            return str(self.url.database)
        port = f":{self.url.port}" if self.url.port else ""
        return f"{self.url.get_backend_name()}://{self.url.host or ''}{port}/{self.url.database}"


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[WMS] DatabasePasswordFile: {path} cannot be read") from error
