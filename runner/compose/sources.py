"""What the records of a reconciliation are fetched from: the WMS, a database, the files of a node."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from runner.compose import database_records
from runner.compose.accounts import Accounts
from runner.compose.clients import Role, token_path
from runner.compose.kinds import open_client, open_wms
from runner.compose.users import user_names
from runner.config import Config
from runner.errors import ConfigError
from runner.wms.answers import AccountingPage
from runner.wms.client import WmsClient
from telemetry.clock import utc_text
from telemetry.identity import UserName
from telemetry.ledger.fingerprint import HourDigest
from telemetry.live.counters import read_counters
from telemetry.live.lines import complete_lines
from telemetry.live.otlp import NotOtlp, accounting_of
from telemetry.live.otlp_files import OtlpFiles
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sources.files import paths
from telemetry.reconcile.sources.wanted import Wanted
from telemetry.reconcile.witnesses import counted

Values = Mapping[str, Any]
_EVER = Window()
#: Kinds that belong to one WMS: next to these the events of another one are left out.
_OF_WMS = frozenset({"ledger", "seen"})


class Fetched:
    """Fetches what is reached through a client, a database, or a file of the folder; counts what it leaves out."""

    def __init__(self, config: Config, client: WmsClient | None = None) -> None:
        """*client*: of this folder's WMS; else one is opened when it is needed."""
        self._config = config
        self._given = client
        self._accounts: dict[str, Accounts] = {}
        self._damaged: list[str] = []
        self._is_of_wms = False
        #: Copies that a source has folded by itself, and records of another WMS, by the name of the source.
        self.folded: dict[str, int] = {}
        self.left_out: dict[str, int] = {}

    def of_node(self) -> tuple[str, ...]:
        """What is held against each other where nobody names sources: the two ledgers of a node, and who saw it.

        A WMS that keeps no accounting leaves the telemetry alone.
        """
        ledger = () if self._keeper is None else ("wms=ledger",)
        return (*ledger, "otlp=events", "seen=seen", "counters=counters")

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """What will be fetched."""
        self._is_of_wms = any(each.kind in _OF_WMS for each in wanted)

    @property
    def problems(self) -> Iterator[str]:
        """What could not be read."""
        for each in self._accounts.values():
            yield from each.problems
        yield from self._damaged

    def records(self, wanted: Wanted, span: Window = _EVER) -> Iterable[Values]:
        """The records of *wanted*, with their arrival where it is known, of some only those within *span*; of a witness
        what it says."""
        match wanted.kind:
            case "sql":
                return database_records.records(wanted.where, span)
            case "ledger":
                return self._ledger(wanted)
            case "events":
                return self._events(wanted)
            case "seen":
                return self._client.witness()
            case "counters":
                path = Path(wanted.where).expanduser() if wanted.where else None
                return _counters(path or self._config.folder / "agent" / "counters.jsonl")
        found = self._of(wanted).records(_texts(span))
        return ({**record, "ArrivalTime": utc_text(arrived)} for record, arrived in found)

    def digests(self, wanted: Wanted, span: Window) -> Sequence[HourDigest] | None:
        """Digests of records, by hour; None: these have none."""
        if wanted.kind == "sql":
            return database_records.digests(wanted.where, span)
        return self._of(wanted).digests(_texts(span))

    def _of(self, wanted: Wanted) -> Accounts:
        if wanted.name not in self._accounts:
            self._accounts[wanted.name] = Accounts(self._config)
        return self._accounts[wanted.name]

    @cached_property
    def _client(self) -> WmsClient:
        # The records of all users are compared where we may see them.
        role: Role = "admin" if token_path(self._config, "admin").is_file() else "user"
        return open_client(self._config, role) if self._given is None else self._given

    @cached_property
    def _keeper(self) -> WmsClient | None:
        return open_wms(self._config).accounting(self._client)

    @cached_property
    def _wms_id(self) -> str:
        return str(self._client.info()["WMSID"])

    @cached_property
    def _users(self) -> UserName:
        return user_names(self._config)

    def _ledger(self, wanted: Wanted) -> Iterator[Values]:
        """One service may keep the accounting of several WMSs, as one collector may serve them."""
        if self._keeper is None:
            raise ConfigError("this WMS keeps no accounting; set AccountingURL in [WMS] to one that does")
        page: AccountingPage = self._keeper.all_accounting()
        self.folded[wanted.name] = page.duplicates
        records = [each for each in page.records if each.get("WMSID") == self._wms_id]
        yield from map(self._named, [*records, *page.conflicts])

    def _events(self, wanted: Wanted) -> Iterator[Values]:
        left_out = damaged = 0
        for path in paths(wanted.where) if wanted.where else [OtlpFiles(self._config.telemetry_folder).logs]:
            for number, line in complete_lines(path):
                try:
                    for event in accounting_of(line, number):
                        if self._is_of_wms and event.record.get("WMSID") != self._wms_id:
                            left_out += 1
                        else:
                            yield self._named(event.record)
                except NotOtlp:
                    damaged += 1
        self.left_out[wanted.name] = left_out
        if damaged:
            self._damaged.append(f"{damaged} lines of the OTLP log file are damaged")

    def _named(self, body: Values) -> Values:
        """The WMS knows the user, the telemetry perhaps a hash: held against each other as such."""
        user = body.get("User")
        return {**body, "User": self._users(user)} if isinstance(user, str) and user else body


def _counters(path: Path) -> Iterator[Values]:
    for uid, tally in read_counters(path).attempts.items():
        yield counted(uid, tally.values)


def _texts(span: Window) -> tuple[str, str]:
    since, until = ("" if each is None else utc_text(each * 1000) for each in (span.since_us, span.until_us))
    return since, until
