"""The kind of WMS that a folder works with, ours or a DiracX server, and its clients."""

from pathlib import Path
from typing import Protocol

from runner.compose.clients import Jobs, Observe, Role, client_with, token_source, wms_url
from runner.config import Config
from runner.errors import ConfigError
from runner.wms.client import WmsClient
from runner.wms.tokens import TOKEN_FILE, FileToken, FixedToken, TokenSource


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
        from runner.compose.diracx import DiracxWms  # of no use to the wrappers of our own WMS

        return DiracxWms(config, url or wms_url(config))
    return JobspanWms(config, url or wms_url(config))


def open_client(config: Config, role: Role = "user") -> WmsClient:
    """A client with the rights of *role*.

    Raises:
        UnavailableError: no WMS is known. ConfigError: there is no such token.
    """
    return open_wms(config).user(role)
