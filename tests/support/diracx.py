"""A real DiracX server, as it comes from PyPI, in an environment of its own (`make diracx` installs it).

Everything listens on loopback, on free ports, and lives in one folder. Real are DiracX, its database (MariaDB, or
SQLite, which locks under several clients) and its S3 protocol (moto). OpenSearch and the
identity provider are stand-ins (`opensearch_stand_in.py`, `identity_provider.py`). For tests and benchmarks alike:

    with running_diracx(folder, "mariadb") as diracx:
        requests.post(diracx.url + "/api/jobs/search", headers=diracx.headers("alice"), ...)

By hand `python -m tests.support.diracx [sqlite|mariadb]` says its address and where alice's token and credentials are,
and ends with its standard input.
"""

import base64
import ctypes
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import requests

from tests.support.identity_provider import CLIENT_ID, sit_down
from tests.support.ports import free_port
from tests.support.waiting import eventually

Database: TypeAlias = Literal["sqlite", "mariadb"]
ROOT = Path(__file__).resolve().parents[2]
#: Where `make diracx` puts it.
ENVIRONMENT = ROOT / ".cache" / "diracx"
INSTALLED = ENVIRONMENT / ".installed"
START_SECONDS = 180.0
CALL_SECONDS = 60.0
VO = "testvo"
_SQL = (
    "TaskDB", "AuthDB", "JobDB", "JobLoggingDB", "PilotAgentsDB", "ResourceStatusDB", "SandboxMetadataDB",
    "TaskQueueDB", "TransformationDB",
)  # fmt: skip
#: Name, group and properties; a subject is made of the name.
_USERS = ("alice", "bob", "carol", "pilotuser", "dave")
_GROUPS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dirac_user": (("NormalUser",), ("alice", "bob")),
    "dirac_admin": (("NormalUser", "JobAdministrator"), ("carol",)),
    "dirac_pilot": (("GenericPilot", "LimitedDelegation"), ("pilotuser",)),
    "dirac_vacuum": (("NormalUser", "GenericPilot"), ("dave",)),
}
_GROUP_OF = {user: group for group, (_, users) in _GROUPS.items() for user in users}


def subject(user: str) -> str:
    """What the identity provider calls *user*."""
    return f"00000000-0000-0000-0000-{_USERS.index(user) + 1:012d}"


def missing() -> str:
    """Why there is no DiracX server here; empty when there is one."""
    if not INSTALLED.exists():
        return "no DiracX server is installed; `make diracx` does it"
    return "" if shutil.which("git") else "git is not installed, in which DiracX keeps its configuration"


def best_database() -> Database:
    """MariaDB where it is installed: on SQLite a DiracX server locks."""
    return "mariadb" if mariadbd() else "sqlite"


def mariadbd() -> str:
    """The database server; empty when it is not installed."""
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin") or ""


@dataclass
class RunningDiracx:
    """A DiracX server that listens, and what one needs to talk to it."""

    url: str
    folder: Path
    database: Database
    #: Where it keeps job parameters, which it has no call to read.
    search_url: str
    _api_key: str
    _identity_url: str
    _tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    vo: str = VO

    def sit_down(self, user: str) -> None:
        """From now on *user* is at the browser."""
        sit_down(self._identity_url, subject(user))

    def tokens(self, user: str = "alice") -> dict[str, Any]:
        """The server's own answer to a login of *user*: access_token, refresh_token, expires_in."""
        if user not in self._tokens:
            key = base64.urlsafe_b64encode(self._api_key.encode()).decode()
            scope = f"vo:{VO} group:{_GROUP_OF[user]}"
            answer = requests.get(
                f"{self.url}/api/auth/legacy-exchange",
                params={"preferred_username": user, "scope": scope, "expires_minutes": 1440},
                headers={"Authorization": f"Bearer diracx:legacy:{key}"},
                timeout=CALL_SECONDS,
            )
            answer.raise_for_status()
            self._tokens[user] = answer.json()
        return self._tokens[user]

    def token(self, user: str = "alice") -> str:
        """An access token of *user*."""
        return str(self.tokens(user)["access_token"])

    def headers(self, user: str = "alice") -> dict[str, str]:
        """What a call of *user* carries."""
        return {"Authorization": f"Bearer {self.token(user)}"}

    def credentials(self, target: Path, user: str = "alice", seconds_left: int = 86000) -> Path:
        """A credentials file as DiracX's own command line writes it; the access token is said to last so long."""
        tokens = self.tokens(user)
        from telemetry.clock import SystemClock

        document = {
            "access_token": tokens["access_token"],
            "refresh_token": tokens["refresh_token"],
            "expires_on": SystemClock().utc_ns() // 10**9 + seconds_left,
        }
        target.write_text(json.dumps(document))
        target.chmod(0o600)
        return target

    def call(self, method: str, path: str, body: Any = None, *, user: str = "alice", **more: Any) -> requests.Response:
        """One call with a JSON *body*."""
        if body is not None:
            more["json"] = body
        return requests.request(
            method, self.url + path, headers=self.headers(user), timeout=CALL_SECONDS, allow_redirects=False, **more
        )


@contextmanager
def running_diracx(folder: Path, database: Database | None = None) -> Iterator[RunningDiracx]:
    """Start everything on the empty *folder*, end it all after.

    Raises:
        AssertionError: something did not start; the logs in *folder* say why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database = database or best_database()
    with ExitStack() as stack:
        processes = _Processes(folder)
        stack.callback(processes.stop)
        yield _start(folder, database, processes)


def _start(folder: Path, database: Database, processes: "_Processes") -> RunningDiracx:
    url = f"http://127.0.0.1:{free_port()}"
    api_key = secrets.token_hex(16)
    environment = _clean_environment()
    keystore = folder / "jwks.json"
    _run([_program("python"), "-m", "diracx.logic", "rotate-jwk", "--jwks-path", str(keystore)], environment, folder)
    identity_url = processes.first_line("identity_provider")
    _write_configuration(folder / "cs", environment, identity_url)
    s3_url = f"http://127.0.0.1:{free_port()}"
    environment |= {
        "DIRACX_CONFIG_BACKEND_URL": f"git+file://{folder}/cs",
        "DIRACX_SERVICE_AUTH_TOKEN_KEYSTORE": f"file://{keystore}",
        "DIRACX_SERVICE_AUTH_STATE_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "DIRACX_SERVICE_AUTH_TOKEN_ISSUER": url,
        "DIRACX_SERVICE_AUTH_ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
        "DIRACX_LEGACY_EXCHANGE_HASHED_API_KEY": hashlib.sha256(api_key.encode()).hexdigest(),
        "DIRACX_SANDBOX_STORE_BUCKET_NAME": "sandboxes",
        "DIRACX_SANDBOX_STORE_AUTO_CREATE_BUCKET": "true",
        "DIRACX_SANDBOX_STORE_S3_CLIENT_KWARGS": json.dumps(
            {"endpoint_url": s3_url, "aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        ),
    }
    databases = _start_mariadb(folder / "mariadb", processes) if database == "mariadb" else ""
    for name in _SQL:
        address = f"{databases}/{name}" if databases else f"sqlite+aiosqlite:///{folder}/{name.lower()}.db"
        environment[f"DIRACX_DB_URL_{name.upper()}"] = address
    search_url = processes.first_line("opensearch_stand_in")
    environment["DIRACX_OS_DB_JOBPARAMETERSDB"] = json.dumps({"hosts": search_url})
    port = s3_url.rpartition(":")[2]
    processes.start([_program("moto_server"), "-H", "127.0.0.1", "-p", port], environment, "s3")
    for command in ("init-sql", "init-os"):
        _run([_program("python"), "-m", "diracx.db", command], environment, folder)
    _await_http(f"{s3_url}/moto-api/", processes)
    serve = [_program("uvicorn"), "--factory", "diracx.routers.factory:create_app", "--host", "127.0.0.1"]
    processes.start([*serve, "--port", url.rpartition(":")[2], "--no-access-log"], environment, "diracx")
    _await_http(f"{url}/api/health/ready", processes)
    return RunningDiracx(url, folder, database, search_url, api_key, identity_url)


class _Processes:
    """Children of ours: they die with us, and none outlives the fixture."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, command: Sequence[str], environment: Mapping[str, str], name: str, **more: Any) -> Any:
        """Start *command*; it writes into the log *name*."""
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=dict(environment), stderr=log, cwd="/",
                preexec_fn=_die_with_parent, process_group=0, **({"stdout": log} | more),
            )  # fmt: skip
        self._running.append(process)
        return process

    def first_line(self, module: str) -> str:
        """Start a *module* of this folder, which says its address when it listens."""
        command = [sys.executable, str(Path(__file__).with_name(f"{module}.py"))]
        process = self.start(command, _clean_environment(), module, stdout=subprocess.PIPE)
        with process.stdout as output:
            return output.readline().decode().strip()

    def alive(self) -> bool:
        """Whether none has ended."""
        return all(process.poll() is None for process in self._running)

    def log(self) -> str:
        """The end of what they said."""
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in self._folder.glob("*.log"))

    def stop(self) -> None:
        """End them all, the last one first."""
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start_mariadb(folder: Path, processes: _Processes) -> str:
    folder.mkdir()
    data, sock = folder / "data", folder / "sock"
    own = ["--no-defaults", f"--datadir={data}"] + (["--user=root"] if os.geteuid() == 0 else [])
    environment = _clean_environment()
    install = ["mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db"]
    _run(install, environment, folder)
    port = free_port()
    processes.start(
        [mariadbd(), *own, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={sock}",
         f"--pid-file={folder}/pid", "--innodb-buffer-pool-size=64M", "--sql-mode=STRICT_TRANS_TABLES",
         "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", "--skip-log-bin"],
        environment, "mariadb",
    )  # fmt: skip
    password = secrets.token_hex(8)
    statements = "".join(f"create database {name};" for name in _SQL)
    statements += f"create user 'dirac'@'127.0.0.1' identified by '{password}'; grant all on *.* to 'dirac'@'127.0.0.1'"
    client = ["mariadb", "--no-defaults", "-S", str(sock), "-u", "root", "-e", statements]

    def created() -> bool:
        assert processes.alive(), processes.log()
        return subprocess.run(client, env=environment, capture_output=True, check=False).returncode == 0

    eventually(created, START_SECONDS, "MariaDB")
    return f"mysql+aiomysql://dirac:{password}@127.0.0.1:{port}"


def _write_configuration(folder: Path, environment: Mapping[str, str], identities: str) -> None:
    """DiracX reads its configuration from a git repository; JSON is YAML."""
    subjects = {user: subject(user) for user in _USERS}
    groups = {
        name: {"Properties": list(properties), "Quota": None, "Users": [subjects[user] for user in users]}
        for name, (properties, users) in _GROUPS.items()
    }
    registry = {
        "IdP": {"URL": identities, "ClientID": CLIENT_ID},
        "DefaultGroup": "dirac_user",
        "Users": {subject: {"PreferedUsername": user} for user, subject in subjects.items()},
        "Groups": groups,
    }
    scheduling = {"Services": {"JobScheduling": {"MaxRescheduling": 3}}}
    document = {
        "DIRAC": {"NoSetup": False},
        "Operations": {"Defaults": scheduling, VO: {}},
        "Resources": {"Computing": {"OSCompatibility": {"ANY": ["ANY"]}}},
        "Registry": {VO: registry},
    }
    folder.mkdir()
    (folder / "default.yml").write_text(json.dumps(document))
    identity = ["-c", "user.name=tests", "-c", "user.email=tests@example.invalid"]
    for command in (["init", "-q", "-b", "master"], ["add", "default.yml"], ["commit", "-q", "-m", "Configure"]):
        _run(["git", *identity, "-C", str(folder), *command], environment, folder.parent)


def _await_http(url: str, processes: _Processes) -> None:
    def answers() -> bool:
        assert processes.alive(), processes.log()
        try:
            return requests.get(url, timeout=5).status_code < 500
        except requests.RequestException:
            return False

    try:
        eventually(answers, START_SECONDS, url)
    except AssertionError as error:
        raise AssertionError(f"{error}; {processes.log()}") from None


def _run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    done = subprocess.run(command, env=dict(environment), cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode()[-2000:]}"


def _program(name: str) -> str:
    return str(ENVIRONMENT / "bin" / name)


def _clean_environment() -> dict[str, str]:
    """No mark of a test's (the server may outlive it), and nothing that would configure it otherwise."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONWARNINGS": "ignore"}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main() -> None:
    """Serve until standard input ends."""
    if reason := missing():
        sys.exit(reason)
    given = sys.argv[1] if len(sys.argv) > 1 else best_database()
    database: Database = "mariadb" if given == "mariadb" else "sqlite"
    with (
        tempfile.TemporaryDirectory(prefix="jobspan-diracx-") as folder,
        running_diracx(Path(folder), database) as server,
    ):
        token, credentials = Path(folder) / "alice.token", server.credentials(Path(folder) / "alice.json")
        token.write_text(server.token())
        print(json.dumps({"url": server.url, "token": str(token), "credentials": str(credentials)}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
