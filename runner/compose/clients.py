"""Clients of the WMS, for the roles of this folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from runner.config import Config, HttpConfig
from runner.errors import ConfigError, UnavailableError
from runner.job.description import JobDescription
from runner.wms.client import WmsClient
from runner.wms.credentials import CredentialsToken, read_credentials
from runner.wms.login import LoginClient
from runner.wms.tokens import TOKEN_FILE, FileToken, FixedToken, TokenSource
from runner.wms.transport import HttpCall, Transport
from telemetry.clock import SystemClock

Role: TypeAlias = Literal["user", "pilot", "admin"]
#: Jobs to run, by number, with what they are to do; None: as submitted from this folder.
Jobs: TypeAlias = Mapping[int, JobDescription | None]
Observe: TypeAlias = Callable[[HttpCall], None]
URL_FILE = "wms.url"
METRICS_URL_FILE = "metrics.url"
CREDENTIALS_FILE = "credentials.json"
WMS_METRICS_URL_FILE = "wms-metrics.url"


def wms_url(config: Config) -> str:
    """Address of the WMS: configured, else what `jobspan wms` wrote into the folder, else where we have logged in.

    Raises:
        UnavailableError: none of these.
    """
    if config.wms.url:
        return config.wms.url
    try:
        return (config.folder / URL_FILE).read_text().strip()
    except FileNotFoundError:
        login = read_credentials(credentials_path(config))
    if login is None or not login.url:
        raise UnavailableError(
            f"no WMS runs on {config.folder}; start one with `jobspan wms`, log in to one with `jobspan login URL`, "
            "or set URL in [WMS] of the configuration"
        )
    return login.url


def token_path(config: Config, role: Role) -> Path:
    """The file with the token of *role*."""
    configured = {"user": config.wms.token_file, "pilot": config.wms.pilot_token_file, "admin": ""}[role]
    return Path(configured).expanduser() if configured else config.tokens_folder / f"{role}.token"


def credentials_path(config: Config) -> Path:
    """Where `jobspan login` keeps what it was given."""
    return config.folder / CREDENTIALS_FILE


def token_source(config: Config, role: Role, url: str) -> TokenSource:
    """The token of *role* for the WMS at *url*.

    For a user the login comes first, if there is one at *url*; then the file of the role, which may hold a login too.
    Where the folder has no file for the role, the login is shown: the WMS decides what it allows.
    """
    path, login = token_path(config, role), credentials_path(config)
    is_chosen = bool(role == "user" and config.wms.token_file)
    if not is_chosen and (role == "user" or not path.is_file()):
        found = read_credentials(login)
        if found is not None and found.url == url:
            path = login
    if path != login and not _holds_login(path):
        return FileToken(path)
    return CredentialsToken(path, url, login_client(config, url).renew, SystemClock())


def login_client(config: Config, url: str) -> LoginClient:
    """What logs in at *url*."""
    return LoginClient(Transport(url, None, http=_way_out(config), timeout_seconds=config.wms.timeout_seconds))


def client_with(config: Config, token: TokenSource, url: str, *, observe: Observe | None = None) -> WmsClient:
    """A client with *token*, and with this configuration's way out to the network."""
    return WmsClient(url, token, http=_way_out(config), timeout_seconds=config.wms.timeout_seconds, observe=observe)


class Wms(Protocol):
    """A WMS of some kind, and clients for all that a node asks it."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    def user(self, role: Role = "user") -> WmsClient:
        """With the rights of *role*. Raises ConfigError: there is no such token."""
        ...

    def token(self, role: Role = "user") -> TokenSource:
        """The token of *role*."""
        ...

    def agent(self, jobs: Jobs) -> WmsClient:
        """For an agent that was named *jobs*, or none. Raises ConfigError: this WMS wants it otherwise."""
        ...

    def attempt(self, control: Path, attempt: int, observe: Observe | None = None) -> WmsClient:
        """For the attempt with that number, in the folder *control*."""
        ...

    def visitor(self, token: str) -> WmsClient:
        """With somebody's *token*."""
        ...

    def accounting(self, client: WmsClient) -> WmsClient | None:
        """Who keeps the accounting, seen with the rights of *client* if it is the WMS itself; None: nobody."""
        ...


class JobspanWms:
    """Clients of our own WMS at *url*."""

    def __init__(self, config: Config, url: str) -> None:
        self._config = config
        self.url = url

    def user(self, role: Role = "user") -> WmsClient:
        """With the rights of *role*.

        Raises:
            ConfigError: there is no such token.
        """
        source = self.token(role)
        if isinstance(source, FileToken) and not source.path.is_file():
            raise ConfigError(
                f"{source.path}: no {role} token there; the owner of the WMS's folder has it: set TokenFile, "
                "or log in with `jobspan login`"
            )
        return client_with(self._config, source, self.url)

    def token(self, role: Role = "user") -> TokenSource:
        """The token of *role*."""
        return token_source(self._config, role, self.url)

    def agent(self, jobs: Jobs) -> WmsClient:
        """For an agent, which gets its jobs from the matcher.

        Raises:
            ConfigError: it was named some.
        """
        if jobs:
            raise ConfigError("the WMS matches jobs itself; --job is for a DiracX server (Dialect in [WMS])")
        return client_with(self._config, self.token("pilot"), self.url)

    def attempt(self, control: Path, attempt: int, observe: Observe | None = None) -> WmsClient:
        """For the attempt in the folder *control*: with its job's token, which tells which attempt it is of."""
        return client_with(self._config, FileToken(control / TOKEN_FILE), self.url, observe=observe)

    def visitor(self, token: str) -> WmsClient:
        """With somebody's *token*."""
        return client_with(self._config, FixedToken(token), self.url)

    def accounting(self, client: WmsClient) -> WmsClient | None:
        """It keeps its accounting itself."""
        return client


def open_wms(config: Config, url: str = "") -> Wms:
    """The clients for the WMS at *url*, else for the one that this folder works with: the one place that tells one
    kind from the other.

    Raises:
        UnavailableError: no WMS is known.
    """
    if config.wms.dialect == "diracx":
        from runner.compose.diracx import DiracxWms

        return DiracxWms(config, url or wms_url(config))
    return JobspanWms(config, url or wms_url(config))


def open_client(config: Config, role: Role = "user") -> WmsClient:
    """A client with the rights of *role*.

    Raises:
        UnavailableError: no WMS is known. ConfigError: there is no such token.
    """
    return open_wms(config).user(role)


def _way_out(config: Config) -> HttpConfig:
    """How HTTP reaches the WMS: as everything else, but perhaps with certificate authorities of its own."""
    own = config.wms.ca_file
    return replace(config.http, ca_bundle=str(Path(own).expanduser())) if own else config.http


def _holds_login(path: Path) -> bool:
    """Whether a token file is one that `jobspan login --save` has made."""
    try:
        with path.open("rb") as file:
            return file.read(1) == b"{"
    except OSError:
        return False
