"""A node that works with a DiracX server: its clients, and where the accounting goes."""

from pathlib import Path
from typing import Any

from runner.compose.clients import Jobs, Observe, Role, client_with, credentials_path
from runner.config import Config
from runner.errors import ConfigError
from runner.wms.client import WmsClient
from runner.wms.credentials import read_credentials
from runner.wms.diracx.attempt import DiracxAttemptClient
from runner.wms.diracx.client import DiracxClient
from runner.wms.diracx.credentials import Credentials, default_path
from runner.wms.diracx.descriptions import Descriptions
from runner.wms.diracx.matching import DiracxAgentClient
from runner.wms.tokens import FileToken, FixedToken
from telemetry.clock import SystemClock

#: Below the folder: descriptions of the jobs that were submitted from it.
DESCRIPTIONS = "diracx"


class DiracxWms:
    """Clients of a DiracX server at *url*: all with the token of the jobs' owner, since it knows no others."""

    def __init__(self, config: Config, url: str) -> None:
        self._config = config
        self.url = url

    def user(self, role: Role = "user") -> WmsClient:
        """With the owner's rights, whatever the *role*.

        Raises:
            ConfigError: there is no token.
        """
        credentials = self.token()
        credentials.token()  # rather an error now than at the first call
        return DiracxClient(self.url, credentials, self._descriptions(), **self._options())

    def agent(self, jobs: Jobs) -> WmsClient:
        """For an agent that takes *jobs*.

        Raises:
            ConfigError: there are none, or there is no token. NotFoundError: nobody knows what one of them is to do.
        """
        if not jobs:
            raise ConfigError("a DiracX server matches no jobs: name those to run with --job ID")
        kept, credentials = self._descriptions(), self.token()
        credentials.token()
        described = {job_id: given or kept.of(job_id) for job_id, given in jobs.items()}
        return DiracxAgentClient(self.url, credentials, kept, jobs=described, **self._options())

    def attempt(self, control: Path, attempt: int, observe: Observe | None = None) -> WmsClient:
        """For an attempt, of which the number tells whether it is over."""
        options = self._options() | {"observe": observe}
        return DiracxAttemptClient(self.url, self.token(), self._descriptions(), attempt=attempt, **options)

    def visitor(self, token: str) -> WmsClient:
        """With somebody's *token*."""
        return DiracxClient(self.url, FixedToken(token), self._descriptions(), **self._options())

    def accounting(self, client: WmsClient) -> WmsClient | None:
        """Our accounting service, where one is configured.

        Raises:
            ConfigError: there is no token for it.
        """
        return self._open_accounting() if self._config.wms.accounting_url else None

    def _open_accounting(self) -> WmsClient:
        options = self._config.wms
        path = Path(options.accounting_token_file).expanduser()
        if not options.accounting_token_file or not path.is_file():
            raise ConfigError("[WMS] AccountingURL needs AccountingTokenFile, the token of a JobAdministrator there")
        return client_with(self._config, FileToken(path), options.accounting_url)

    def token(self, role: Role = "user") -> Credentials:
        """The owner's, whatever the *role*: of TokenFile, of our own login there, or of the official client's."""
        path = self._token_path()
        timeout_seconds = self._config.wms.timeout_seconds
        return Credentials(path, self.url, http=self._config.http, timeout_seconds=timeout_seconds, clock=SystemClock())

    def _token_path(self) -> Path:
        if named := self._config.wms.token_file:
            return Path(named).expanduser()
        path = credentials_path(self._config)
        login = read_credentials(path)
        return path if login and login.url == self.url else default_path(self._config.environment)

    def _descriptions(self) -> Descriptions:
        return Descriptions(self._config.folder / DESCRIPTIONS)

    def _options(self) -> dict[str, Any]:
        return {"http": self._config.http, "timeout_seconds": self._config.wms.timeout_seconds}
