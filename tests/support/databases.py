"""Real database servers: started once in a run of the tests, on loopback, in a temporary folder; fresh databases."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from itertools import count
from pathlib import Path

from sqlalchemy import URL, create_engine
from sqlalchemy.exc import OperationalError

from tests.support.components import require
from tests.support.ports import free_port
from tests.support.waiting import eventually

#: What the tests that concern databases run on.
KINDS = ("sqlite", "mariadb", "postgresql")
READY_SECONDS = 120.0
COMMON = "jobspan_common"
ROOM_BYTES = 1 << 30
PASSWORD = "p@ss:word/1 %"


def program(name: str) -> str:
    """The path of a server's program; Debian keeps them out of PATH."""
    folders = ["/usr/sbin", "/usr/bin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)]
    return shutil.which(name) or shutil.which(name, path=":".join(folders)) or ""


class DatabaseServer(ABC):
    """A server of ours, and its fresh databases."""

    #: Of the component that must be there, and of the backend in addresses.
    kind: str
    #: Databases that are always there.
    first: str
    #: PostgreSQL must tell its own processes.
    ends_with = signal.SIGKILL

    def __init__(self, *, options: tuple[str, ...] = (), on_disk: bool = False) -> None:
        """Start it, with more *options* of its command."""
        require(self.kind)
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="jobspan-test-", dir=None if on_disk else _roomy_memory()))
        self.port = free_port()
        self._numbers = count(1)
        self._has_common = False
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def prepare(self) -> None:
        """Make what the server stores its databases in."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs the server in the foreground."""

    @abstractmethod
    def made(self, name: str) -> list[str]:
        """The statements that make the database *name*."""

    @abstractmethod
    def emptied(self, name: str) -> None:
        """Make the database *name* anew."""

    def url(self, name: str, *, password: bool = True) -> str:
        """The address of the database *name*."""
        secret = PASSWORD if password else None
        made = URL.create(self.kind, "jobspan", secret, "127.0.0.1", self.port, name)
        return made.render_as_string(hide_password=False)

    def fresh(self) -> str:
        """The address of a new, empty database."""
        name = f"jobspan_{next(self._numbers)}"
        self.execute(self.made(name))
        return self.url(name)

    def again(self) -> str:
        """The address of an empty database that was that of the call before: quicker, for one test after another."""
        if not self._has_common:
            self._has_common = True
            self.execute(self.made(COMMON))
        else:
            self.emptied(COMMON)
        return self.url(COMMON)

    def execute(self, statements: list[str], database: str = "") -> None:
        """Run *statements* as the server's administrator, each on its own."""
        engine = create_engine(self._administrator(database or self.first), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for each in statements:
                    connection.exec_driver_sql(each)
        finally:
            engine.dispose()

    def start(self) -> None:
        """Start it, also again, and wait until it answers."""
        self._process = spawn(self.command(), self.folder / "log")
        eventually(self._answers, READY_SECONDS, f"{self.kind}: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """End it, whoever is connected; its databases stay."""
        if self._process is not None:
            self._process.send_signal(self.ends_with)
            self._process.wait(READY_SECONDS)
            self._process = None

    def close(self) -> None:
        """End it, and remove its databases."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        with contextlib.suppress(OperationalError, ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.port), timeout=READY_SECONDS).close()
            self.execute(["SELECT 1"])
            return True
        return False

    @abstractmethod
    def _administrator(self, database: str) -> URL:
        """The address for administrators."""


class MariaDB(DatabaseServer):
    """MariaDB as Debian has it; without forcing every commit to the disk, which is not what tests are about."""

    kind, first = "mariadb", "mysql"

    def prepare(self) -> None:
        """Its system tables."""
        installer = [program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data", *self._user()]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=8M"]
        subprocess.run([*installer, *options], check=True, capture_output=True, timeout=300)

    def command(self) -> list[str]:
        """The server."""
        return [
            program("mariadbd"), "--no-defaults", *self._user(), f"--datadir={self.folder}/data",
            f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid", "--bind-address=127.0.0.1",
            f"--port={self.port}", "--innodb-flush-log-at-trx-commit=2", "--innodb-log-file-size=8M",
            "--performance-schema=OFF", "--innodb-file-per-table=OFF",
            "--skip-name-resolve", "--max-connections=300", *self.options,
        ]  # fmt: skip

    def made(self, name: str) -> list[str]:
        """The database, with a default collation that takes upper and lower case for the same."""
        user, password = "'jobspan'@'127.0.0.1'", PASSWORD.replace("%", "%%")
        return [
            f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{password}'",
            f"CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_general_ci",
            f"GRANT ALL ON {name}.* TO {user}",
        ]

    def emptied(self, name: str) -> None:
        """Without what is in it, and made again."""
        self.execute([f"DROP DATABASE {name}", *self.made(name)])

    def _administrator(self, database: str) -> URL:
        socket_path = {"unix_socket": f"{self.folder}/socket"}
        return URL.create("mariadb+pymysql", "root", host="localhost", database=database, query=socket_path)

    def _user(self) -> list[str]:
        return [f"--user={pwd.getpwuid(os.geteuid()).pw_name}"]


class PostgreSQL(DatabaseServer):
    """PostgreSQL, which never runs as root: then the user postgres runs it."""

    kind, first, ends_with = "postgresql", "postgres", signal.SIGINT

    def prepare(self) -> None:
        """A cluster."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        (password := self.folder / "password").write_text(PASSWORD + "\n")
        password.chmod(0o644)
        options = ["-A", "scram-sha-256", "-U", "jobspan", "--pwfile", str(password), "-N", "-E", "UTF8", "--locale=C"]
        command = [*self._as_user(), program("initdb"), "-D", f"{self.folder}/data", *options]
        subprocess.run(command, check=True, capture_output=True, timeout=300, cwd="/")

    def command(self) -> list[str]:
        """The server."""
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off",
            "max_connections": 200, "shared_buffers": "32MB",
        }  # fmt: skip
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self._as_user()[1:], program("postgres"), "-D", f"{self.folder}/data", *options]

    def made(self, name: str) -> list[str]:
        """The database, as the README has it."""
        return [f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"]

    def emptied(self, name: str) -> None:
        """Without what is in it."""
        self.execute(["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"], name)

    def _administrator(self, database: str) -> URL:
        return URL.create("postgresql+psycopg", "jobspan", PASSWORD, "127.0.0.1", self.port, database)

    def _as_user(self) -> list[str]:
        identity = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return ["setpriv", *(identity or ["--no-new-privs"])]


class DatabaseServers:
    """All kinds, each started when it is first asked for."""

    def __init__(self) -> None:
        self._servers: dict[str, DatabaseServer] = {}

    def server(self, kind: str) -> DatabaseServer:
        """The server of that kind; the test is skipped, or fails in CI, where it is not installed."""
        if kind not in self._servers:
            self._servers[kind] = {"mariadb": MariaDB, "postgresql": PostgreSQL}[kind]()
        return self._servers[kind]

    def fresh(self, kind: str) -> str:
        """The address of a new, empty database of that kind; empty for SQLite in the folder of the WMS."""
        return "" if kind == "sqlite" else self.server(kind).fresh()

    def again(self, kind: str) -> str:
        """The same, but it was that of the test before, and what that left is gone."""
        return "" if kind == "sqlite" else self.server(kind).again()

    def close(self) -> None:
        """End all that were started."""
        for server in self._servers.values():
            server.close()


def _roomy_memory() -> str | None:
    """Making tables is a matter of syncing files, dozens for each: in memory, where there is room."""
    memory = Path("/dev/shm")
    is_roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM_BYTES
    return str(memory) if is_roomy else None


def spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A server that ends with us, whatever becomes of us, and has nothing of the tests' environment."""
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": os.defpath, "LANG": "C"},
        )
