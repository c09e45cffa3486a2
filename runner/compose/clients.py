"""Clients of the WMS, for the roles of this folder."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from runner.config import Config
from runner.errors import ConfigError, UnavailableError
from runner.job.description import JobDescription
from runner.wms.client import WmsClient
from runner.wms.tokens import TOKEN_FILE, FileToken, FixedToken, TokenSource
from runner.wms.transport import HttpCall

Role: TypeAlias = Literal["user", "pilot", "admin"]
#: Jobs to run, by number, with what they are to do; None: as submitted from this folder.
Jobs: TypeAlias = Mapping[int, JobDescription | None]
Observe: TypeAlias = Callable[[HttpCall], None]
URL_FILE = "wms.url"
METRICS_URL_FILE = "metrics.url"


def wms_url(config: Config) -> str:
    """Address of the WMS: configured, else what `jobspan wms` wrote into the folder.

    Raises:
        UnavailableError: neither.
    """
    if config.wms.url:
        return config.wms.url
    try:
        return (config.folder / URL_FILE).read_text().strip()
    except FileNotFoundError:
        raise UnavailableError(
            f"no WMS runs on {config.folder}; start one with `jobspan wms`, or set URL in [WMS] of the configuration"
        ) from None


def token_path(config: Config, role: Role) -> Path:
    """The file with the token of *role*."""
    configured = {"user": config.wms.token_file, "pilot": config.wms.pilot_token_file, "admin": ""}[role]
    return Path(configured).expanduser() if configured else config.tokens_folder / f"{role}.token"


def client_with(config: Config, token: TokenSource, url: str, *, observe: Observe | None = None) -> WmsClient:
    """A client with *token*, and with this configuration's way out to the network."""
    return WmsClient(url, token, http=config.http, timeout_seconds=config.wms.timeout_seconds, observe=observe)


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
        path = token_path(self._config, role)
        if not path.is_file():
            raise ConfigError(f"{path}: no {role} token there; the owner of the WMS's folder has it, or set TokenFile")
        return client_with(self._config, FileToken(path), self.url)

    def token(self, role: Role = "user") -> TokenSource:
        """The token of *role*."""
        return FileToken(token_path(self._config, role))

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
