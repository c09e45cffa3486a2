"""Sources held against each other, as somebody asks for them: by the engine of `telemetry.reconcile`."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from runner.compose import database_records
from runner.compose.accounts import Accounts
from runner.config import USERINFO, Config
from runner.errors import ConfigError
from telemetry.clock import SystemClock, parse_utc, utc_text
from telemetry.ledger.fingerprint import HourDigest
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.result import Outcome
from telemetry.reconcile.settings import Engine, Tolerances, Window
from telemetry.reconcile.sides import Loaded
from telemetry.reconcile.sources.by_hour import Asked, Hourly
from telemetry.reconcile.sources.otlp import Spread
from telemetry.reconcile.sources.otlp_events import Piece
from telemetry.reconcile.sources.reading import FETCHED, load
from telemetry.reconcile.sources.wanted import SourceError, Wanted, parse
from telemetry.reconcile.workbench import Workbench, open_workbench

_EVER = Window()
#: Kinds whose records may be those of a WMS, so that these need not be fetched once more.
_OF_RECORDS = ("otlp", "parquet", "csv", *FETCHED)


@contextmanager
def reconciled(
    config: Config, sources: Sequence[str], *, since: str = "", until: str = "", digest: bool = False
) -> Iterator[Outcome]:
    """What comes of holding *sources* (`NAME=KIND:WHERE`) against each other; its file is there within the block.

    Raises:
        ConfigError: a source or a time is not as it must be, or cannot be read.
    """
    place = Path(config.reconcile.spill_folder or config.folder / "reconcile").expanduser()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reconcile-", dir=place) as folder:
        options = config.reconcile
        engine = Engine(
            folder=Path(folder), memory=f"{options.memory_mb}MB", threads=options.threads, kept=place / "kept"
        )
        window = Window(since_us=_moment(since), until_us=_moment(until))
        try:
            wanted = [parse(each) for each in sources]
            if len({each.name for each in wanted}) < max(len(wanted), 2):
                raise SourceError("a reconciliation needs two sources or more, each with a name of its own")
            with open_workbench(engine) as bench:
                fetched = _Fetched(config)
                sides = _loaded(bench, wanted, window, config, fetched, digest=digest)
                now_ns = SystemClock().utc_ns()
                outcome = reconcile(
                    bench, _ordered(sides), now_utc_ns=now_ns, allowed=_tolerances(config), window=window, digest=digest
                )
                problems = (*outcome.problems, *fetched.problems)
                sides_shown = tuple(replace(each, where=USERINFO.sub("***@", each.where)) for each in outcome.sides)
                yield replace(outcome, problems=problems, sides=sides_shown)
        except SourceError as error:
            raise ConfigError(str(error)) from error


def _loaded(
    bench: Workbench, wanted: Sequence[Wanted], window: Window, config: Config, fetched: "_Fetched", *, digest: bool
) -> list[Loaded]:
    """All sources. With *digest* those that give digests by hour are asked for what the first one of them lacks that
    is read whole."""
    spread = by_processes(config.reconcile.threads)
    hourly = Hourly(digests=fetched.digests, records=fetched.records)
    late_us = round(_tolerances(config).late_seconds * 1_000_000)
    sides: dict[str, Loaded] = {}
    known: Loaded | None = None
    for each in sorted(wanted, key=lambda each: each.kind in FETCHED):
        asked = Asked(hourly=hourly, known=known, late_us=late_us) if known is not None and digest else None
        sides[each.name] = load(bench, each, window, fetched.records, spread, asked)
        if known is None and each.kind in _OF_RECORDS and sides[each.name].level == "attempt":
            known = sides[each.name]
    return [sides[each.name] for each in wanted]


def by_processes(count: int) -> Spread:
    """Works on pieces of files with so many processes: this one, and others, which take a while to begin.

    Those are fresh ones: the engine's threads do not survive a fork.
    """

    def spread(work: Callable[[Piece], int], pieces: Iterable[Piece]) -> Iterable[int]:
        with ProcessPoolExecutor(count - 1, mp_context=multiprocessing.get_context("spawn")) as pool:
            given = [(pool.submit(work, each), each) for each in pieces]
            found = [  # the others take them from the front
                work(piece) if future.cancel() else future.result() for future, piece in reversed(given)
            ]
        return found[::-1]

    return spread if count > 1 else map


class _Fetched:
    """Fetches the records of those sources that are reached through a client or a database."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._accounts: dict[str, Accounts] = {}

    @property
    def problems(self) -> Iterator[str]:
        """What could not be read."""
        for each in self._accounts.values():
            yield from each.problems

    def records(self, wanted: Wanted, span: Window = _EVER) -> Iterator[Mapping[str, Any]]:
        """The records of *wanted* that ended within *span*, each with its arrival."""
        if wanted.kind == "sql":
            return database_records.records(wanted.where, span)
        found = self._of(wanted).records(_texts(span))
        return ({**record, "ArrivalTime": utc_text(arrived)} for record, arrived in found)

    def digests(self, wanted: Wanted, span: Window) -> Sequence[HourDigest] | None:
        """Digests of the same, by hour; None: these have none."""
        if wanted.kind == "sql":
            return database_records.digests(wanted.where, span)
        return self._of(wanted).digests(_texts(span))

    def _of(self, wanted: Wanted) -> Accounts:
        if wanted.name not in self._accounts:
            self._accounts[wanted.name] = Accounts(self._config)
        return self._accounts[wanted.name]


def _texts(span: Window) -> tuple[str, str]:
    since, until = ("" if each is None else utc_text(each * 1000) for each in (span.since_us, span.until_us))
    return since, until


def _tolerances(config: Config) -> Tolerances:
    """As configured."""
    names = {each.name for each in fields(Tolerances)}
    values = {
        each.name: getattr(config.reconcile, each.name) for each in fields(config.reconcile) if each.name in names
    }
    return Tolerances(**values)


def _ordered(sides: Sequence[Loaded]) -> tuple[Loaded, ...]:
    """The first one of attempts comes first: all others are held against it."""
    attempts = [each for each in sides if each.level == "attempt"]
    if not attempts:
        raise SourceError("one source at least must hold attempts; pilots and sums are held against these")
    return (attempts[0], *(each for each in sides if each is not attempts[0]))


def _moment(text: str) -> int | None:
    """Microseconds since 1970 of a day, or of a moment in UTC."""
    if not text:
        return None
    try:
        return parse_utc(f"{text}T00:00:00Z" if len(text) == len("2026-11-21") else text) // 1000
    except ValueError as error:
        raise ConfigError(f"{text!r} is no time; write 2026-11-21, or 2026-11-21T12:00:00Z") from error
