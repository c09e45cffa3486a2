"""Records of somebody who gives digests of hours: those that another side has too are not fetched.

Where the digests of an hour agree (`telemetry.ledger.fingerprint` says what they are), the other side holds the very
same records, which stand for those that are not fetched. When these arrived is not in the digests: hours with one that
came late are fetched.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from telemetry.ledger.fingerprint import HOUR_NS, HourDigest
from telemetry.reconcile.columns import COLUMNS
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sides import Loaded, inside
from telemetry.reconcile.sources import records
from telemetry.reconcile.sources.wanted import Wanted
from telemetry.reconcile.workbench import Workbench

_HOUR_US = HOUR_NS // 1000
#: The begin of the hour, before 1970 too.
_HOUR = f"(end_us - (end_us % {_HOUR_US} + {_HOUR_US}) % {_HOUR_US})"
_TEXTS = ("key", "site", "cores", "wall_us", "cpu_us", "end_us")
_LINE = ", ".join(
    f"coalesce({each}::VARCHAR, '')"
    for each in (*_TEXTS, "TRY_CAST(round(benchmark * 1000000) AS BIGINT)", "benchmark_name")
)


@dataclass(frozen=True, kw_only=True)
class Hourly:
    """Somebody who can be asked by hour: for digests (None: not this one), and for the records of a time."""

    digests: Callable[[Wanted, Window], Sequence[HourDigest] | None]
    records: Callable[[Wanted, Window], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who is asked, what is known already, and after what time a record that arrives is late."""

    hourly: Hourly
    known: Loaded
    late_us: int


def relation(bench: Workbench, wanted: Wanted, window: Window, asked: Asked) -> str | None:
    """A relation of the records of *wanted* within *window*; None: it gives no digests."""
    theirs = asked.hourly.digests(wanted, window)
    if theirs is None:
        return None
    ours = {(each.hour_ns, each.records, each.high, each.low) for each in digests(bench, asked.known.relation, window)}
    same: list[int] = []
    other: list[int] = []
    for each in sorted(theirs, key=lambda each: each.hour_ns):
        agrees = (each.hour_ns, each.records, each.high, each.low) in ours
        (same if agrees and each.delay_ns // 1000 <= asked.late_us else other).append(each.hour_ns // 1000)
    fetched = (body for span in _spans(other, window) for body in asked.hourly.records(wanted, span))
    there = records.accounting(bench, wanted.name, fetched)
    hours = f"same_{wanted.name}"
    bench.run(f"CREATE OR REPLACE TABLE {hours} AS SELECT unnest({same}::BIGINT[]) AS hour")
    chosen = ", ".join("NULL::BIGINT AS arrived_us" if each == "arrived_us" else each for each in COLUMNS)
    view = f"read_{wanted.name}"
    bench.run(
        f"CREATE OR REPLACE VIEW {view} AS SELECT {', '.join(COLUMNS)} FROM {there} UNION ALL"
        f" SELECT {chosen} FROM {asked.known.relation}"
        f" WHERE key IS NOT NULL AND {inside(window)} AND {_HOUR} IN (SELECT hour FROM {hours})"
    )
    return view


def digests(bench: Workbench, source: str, window: Window) -> Iterator[HourDigest]:
    """The digests of the records of a relation that ended within *window*."""
    number = "('0x' || substr(digits, {}, 8))::BIGINT"
    rows = bench.rows(
        f"SELECT hour, count(*), sum({number.format(1)}), sum({number.format(9)}) FROM"
        f" (SELECT {_HOUR} AS hour, md5(concat_ws('|', {_LINE})) AS digits FROM {source}"
        f" WHERE key IS NOT NULL AND end_us IS NOT NULL AND {inside(window)}) GROUP BY hour"
    )
    for hour_us, count, high, low in rows:
        yield HourDigest(hour_ns=int(hour_us) * 1000, records=int(count), high=int(high), low=int(low))


def _spans(hours: Sequence[int], window: Window) -> Iterator[Window]:
    """As few times as cover *hours*, no more than *window*."""
    begin = 0
    for number, hour in enumerate(hours):
        if number + 1 < len(hours) and hours[number + 1] == hour + _HOUR_US:
            continue
        since, until = hours[begin], hour + _HOUR_US
        begin = number + 1
        yield Window(
            since_us=since if window.since_us is None else max(since, window.since_us),
            until_us=until if window.until_us is None else min(until, window.until_us),
        )
