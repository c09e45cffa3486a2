"""Clients of the WMS, for the roles of this folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from runner.config import Config
from runner.errors import ConfigError, UnavailableError
from runner.wms.client import WmsClient
from runner.wms.tokens import FileToken, TokenSource
from runner.wms.transport import HttpCall

Role: TypeAlias = Literal["user", "pilot", "admin"]
URL_FILE = "wms.url"
METRICS_URL_FILE = "metrics.url"
WMS_METRICS_URL_FILE = "wms-metrics.url"


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


def open_client(config: Config, role: Role = "user") -> WmsClient:
    """A client with the rights of *role*.

    Raises:
        UnavailableError: no WMS is known. ConfigError: there is no such token.
    """
    url, path = wms_url(config), token_path(config, role)
    if not path.is_file():
        raise ConfigError(f"{path}: no {role} token there; the owner of the WMS's folder has it, or set TokenFile")
    return client_with(config, FileToken(path), url)


def client_with(
    config: Config, token: TokenSource, url: str, *, observe: Callable[[HttpCall], None] | None = None
) -> WmsClient:
    """A client with *token*, and with this configuration's way out to the network."""
    return WmsClient(url, token, http=config.http, timeout_seconds=config.wms.timeout_seconds, observe=observe)
