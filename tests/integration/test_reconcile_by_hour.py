"""Digests by hour: a WMS and its database give those that the engine makes, and only hours that differ are fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.compose import database_records
from runner.server.tokens import Role
from runner.wms.client import WmsClient
from runner.wms.tokens import FixedToken
from telemetry.clock import utc_text
from telemetry.ledger.fingerprint import HOUR_NS, HourDigest, fingerprint
from telemetry.reconcile.columns import COLUMNS
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sides import Loaded
from telemetry.reconcile.sources import by_hour, records
from telemetry.reconcile.sources.wanted import Wanted
from telemetry.reconcile.workbench import Workbench
from tests.support.ledger import matched, whole_life
from tests.support.sides import workbench
from tests.support.wms import RunningWms, running_wms

#: Four in an hour.
RECORDS = 40
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN_US = round(BEGIN.timestamp()) * 1_000_000
WMS = Wanted(name="wms", kind="wms")


def body(number: int, **changes: Any) -> dict[str, Any]:
    """The record of an attempt of another WMS, for which this one keeps the accounting."""
    end = (BEGIN + timedelta(minutes=15 * number)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    values = {
        "EndTime": end,
        "CPUTime": 1.5 + number / 7,
        "Site": f"LCG.Zürich{number % 3}.org",
        "BenchmarkValue": 12.345678,
    }
    record = whole_life(matched(number + 1)).record().replace(**{**values, **changes})
    return {name: value for name, value in record.items() if value is not None}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """A WMS on each kind of database with RECORDS records, one of them in two revisions and one twice."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        sent = [*map(body, range(RECORDS)), body(0, Revision=2, CPUTime=9.0), body(1)]
        answer = running.call("POST", "/api/jobspan/accounting", {"Records": sent}, token=running.pilot_token)
        outcomes = [each["Outcome"] for each in answer.json()["Results"]]
        assert outcomes == ["inserted"] * (RECORDS + 1) + ["duplicate"]
        yield running


@pytest.fixture
def client(wms: RunningWms) -> Iterator[WmsClient]:
    """Whoever may read all."""
    found = WmsClient(wms.url, FixedToken(wms.admin_token))
    yield found
    found.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    """A database of the engine."""
    with workbench(tmp_path / "work") as opened:
        yield opened


def held() -> list[dict[str, Any]]:
    """The records that count."""
    return [body(0, Revision=2, CPUTime=9.0), *map(body, range(1, RECORDS))]


def times(span: Window) -> tuple[str, str]:
    """As the client writes them."""
    since, until = ("" if each is None else utc_text(each * 1000) for each in (span.since_us, span.until_us))
    return since, until


def compared(digests: list[HourDigest]) -> list[HourDigest]:
    """Without what is not compared."""
    return [replace(each, delay_ns=0) for each in digests]


@pytest.mark.parametrize(
    "span", [Window(), Window(since_us=BEGIN_US + 20 * 60_000_000, until_us=BEGIN_US + 135 * 60_000_000)]
)
def test_all_make_the_same_digests(
    wms: RunningWms, client: WmsClient, bench: Workbench, database: str, span: Window
) -> None:
    """The WMS, its database and the engine make the same digests of the same records, also of a part of an hour;
    what is superseded, or came twice, counts once."""
    made = sorted(
        by_hour.digests(bench, records.accounting(bench, "engine", held()), span), key=lambda each: each.hour_ns
    )
    assert compared(client.accounting_digests(times(span))) == made
    address = database or f"sqlite:///{wms.folder / 'wms' / 'wms.sqlite'}"
    assert compared(database_records.digests(address, span) or []) == made
    assert [each.records for each in made] == ([4] * 10 if span == Window() else [2, 4, 1])
    first = [fingerprint(each) for each in held()[:4]]
    if span == Window():
        assert (made[0].high, made[0].low) == (sum(high for high, _ in first), sum(low for _, low in first))
    texts = [each["UID"] for each in database_records.records(address, span)]
    assert len(texts) == sum(each.records for each in made)


def test_who_sees_no_records_sees_no_digests(wms: RunningWms) -> None:
    """The digests that somebody gets are of the records that he may read."""
    path = "/api/jobspan/accounting/digests"
    assert wms.call("GET", path).json() == {"Digests": []}
    assert wms.call("GET", path, token=wms.token_for("eve", Role.MONITOR)).status_code == 403
    assert len(wms.call("GET", path, token=wms.admin_token).json()["Digests"]) == 10


class Asking:
    """Asks the WMS, and notes for what time."""

    def __init__(self, client: WmsClient) -> None:
        self._client = client
        self.spans: list[Window] = []

    def hourly(self) -> by_hour.Hourly:
        """As the sources want it."""
        return by_hour.Hourly(
            digests=lambda _, span: self._client.accounting_digests(times(span)), records=self._records
        )

    def hours(self) -> list[int]:
        """Those that were asked for, counted from the first one."""
        hour_us = HOUR_NS // 1000
        return [
            hour
            for span in self.spans
            for hour in range(
                ((span.since_us or 0) - BEGIN_US) // hour_us, ((span.until_us or 0) - BEGIN_US) // hour_us
            )
        ]

    def _records(self, _: Wanted, span: Window) -> Iterator[Mapping[str, Any]]:
        self.spans.append(span)
        for each in self._client.accounting_history(ended=times(span)):
            if each.is_current:
                yield each.record


def relation(bench: Workbench, asking: Asking, known: list[dict[str, Any]], late_us: int) -> str:
    """The records of the WMS, where *known* are there already."""
    side = Loaded(name="known", kind="otlp", where="", relation=records.accounting(bench, "known", known))
    asked = by_hour.Asked(hourly=asking.hourly(), known=side, late_us=late_us)
    found = by_hour.relation(bench, WMS, Window(), asked)
    assert found
    return found


def check(bench: Workbench, found: str) -> None:
    """The relation holds what the WMS holds, nothing else, and nothing twice."""
    whole = records.accounting(bench, "whole", held())
    columns = ", ".join(each for each in COLUMNS if each != "arrived_us")
    for one, other in ((whole, found), (found, whole)):
        assert bench.rows(f"SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other}") == []


def test_only_hours_that_differ_are_fetched(client: WmsClient, bench: Workbench) -> None:
    """One record that differs by a microsecond, one that is missing, one that ended in another hour and one that is
    there twice: their hours are fetched, no others, and what is there in the end is what the WMS holds."""
    known = held()
    known[13]["CPUTime"] += 0.000001
    known[30]["EndTime"] = body(38)["EndTime"]
    known.append(known[4])
    del known[22]
    asking = Asking(client)
    check(bench, relation(bench, asking, known, late_us=1 << 60))
    assert asking.hours() == [1, 3, 5, 7, 9]


def test_hours_with_a_late_record_are_fetched(client: WmsClient, bench: Workbench) -> None:
    """When a record arrived is not in the digests, so what came late is fetched though it agrees."""
    asking = Asking(client)
    check(bench, relation(bench, asking, held(), late_us=86_400_000_000))
    assert asking.hours() == list(range(10))
    unasked = Asking(client)
    check(bench, relation(bench, unasked, held(), late_us=1 << 60))
    assert unasked.hours() == []
