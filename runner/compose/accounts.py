"""The whole accounting that a WMS keeps, for reports and exports."""

from collections.abc import Iterator
from datetime import date

from runner.compose.clients import Role, token_path
from runner.compose.kinds import open_wms
from runner.config import Config
from runner.errors import ConfigError, NotFoundError
from runner.wms.client import EVER, Ended, WmsClient
from telemetry.clock import SystemClock, parse_utc
from telemetry.ledger.fingerprint import HourDigest
from telemetry.ledger.monthly import Month, MonthFold, MonthReport
from telemetry.ledger.record import InvalidRecord, Record


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

    def digests(self, ended: Ended = EVER) -> list[HourDigest] | None:
        """Digests of the records that count, by the hour of their end; None: this WMS gives none."""
        try:
            return self._keeper.accounting_digests(ended)
        except NotFoundError:  # an earlier version
            return None

    def month(self, month: Month, closing: date) -> MonthReport:
        """The records of a month, and the attempts that have none."""
        fold = MonthFold(month, closing, SystemClock().utc_ns(), self._is_recorded)
        for record, arrived_ns in self.records(month.bounds):
            fold.add(record, arrived_ns)
        for seen in self._client.witness(ended=month.bounds):
            end_ns = parse_utc(str(seen["EndTime"]))
            fold.add_attempt(str(seen["UID"]), int(seen["JobID"]), int(seen["Attempt"]), end_ns)
        return fold.report()

    def _is_recorded(self, uid: str, job_id: int) -> bool:
        return any(past.record.get("UID") == uid for past in self._keeper.accounting_history(job_id))
