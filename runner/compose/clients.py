"""Clients of the WMS, for the roles of this folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from runner.config import Config, HttpConfig
from runner.errors import UnavailableError
from runner.job.description import JobDescription
from runner.wms.client import WmsClient
from runner.wms.credentials import CredentialsToken, read_credentials
from runner.wms.login import LoginClient
from runner.wms.tokens import FileToken, TokenSource
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
