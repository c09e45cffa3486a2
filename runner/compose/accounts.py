"""The whole accounting that a WMS keeps, for reports and exports; and how users are named in what leaves the site."""

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from runner.compose.clients import Role, token_path
from runner.compose.kinds import open_wms
from runner.config import Config
from runner.errors import ConfigError
from runner.wms.client import EVER, Ended, WmsClient
from telemetry.clock import SystemClock, parse_utc
from telemetry.identity import pseudonym
from telemetry.ledger.formats.usage import UserName
from telemetry.ledger.monthly import Month, MonthFold, MonthReport
from telemetry.ledger.record import InvalidRecord, Record

USER_KEY_FILE = "user-hash.key"
_LEAST_KEY_LENGTH = 16


def user_names(config: Config) -> UserName:
    """How a user is named outside: by a keyed hash, unless the configuration wants the name itself.

    Raises:
        ConfigError: the file of the key cannot be used.
    """
    if config.telemetry.user_names == "plain":
        return str
    chosen = config.telemetry.user_hash_key_file
    path = Path(chosen).expanduser() if chosen else config.folder / USER_KEY_FILE
    try:
        key = _key(path, make=not chosen)
    except OSError as error:
        raise ConfigError(f"[Telemetry] UserHashKeyFile {path}: {error.strerror}") from error
    if len(key) < _LEAST_KEY_LENGTH:
        raise ConfigError(f"{path}: a key has at least {_LEAST_KEY_LENGTH} characters")
    return lambda name: pseudonym(key, name)


def _key(path: Path, *, make: bool) -> bytes:
    """The key in the file; where there is none, one is made, by whoever is the first of several to do so."""
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
    return path.read_bytes().strip()


class Accounts:
    """The ledger of a WMS, seen with the widest rights that this folder has."""

    def __init__(self, config: Config) -> None:
        """Opens a client.

        Raises:
            ConfigError: the WMS keeps no accounting. UnavailableError: no WMS is known.
        """
        wms = open_wms(config)
        role: Role = "admin" if token_path(config, "admin").is_file() else "user"
        self._client: WmsClient = wms.user(role)
        keeper = wms.accounting(self._client)
        if keeper is None:
            raise ConfigError("this WMS keeps no accounting; set AccountingURL in [WMS] to one that does")
        self._keeper = keeper
        #: What could not be read, in sentences.
        self.problems: list[str] = []

    @property
    def wms_id(self) -> str:
        """Identity of the WMS that hands out the jobs."""
        return str(self._client.info()["WMSID"])

    def records(self, ended: Ended = EVER) -> Iterator[tuple[Record, int]]:
        """The records that count, of attempts that *ended* then, each with its arrival (UTC nanoseconds)."""
        for past in self._keeper.accounting_history(ended=ended):
            if not past.is_current:
                continue
            try:
                yield Record(past.record), parse_utc(past.arrival_time)
            except (InvalidRecord, ValueError) as error:
                self.problems.append(f"record {past.record.get('UID', 'without UID')}: {error}")

    def month(self, month: Month, closing: date) -> MonthReport:
        """The records of a month, and the attempts that have none."""
        fold = MonthFold(month, closing, SystemClock().utc_ns())
        for record, arrived_ns in self.records(month.bounds):
            fold.add(record, arrived_ns)
        for seen in self._client.witness(ended=month.bounds):
            end_ns = parse_utc(str(seen["EndTime"]))
            fold.add_attempt(str(seen["UID"]), int(seen["JobID"]), int(seen["Attempt"]), end_ns)
        return fold.report()
