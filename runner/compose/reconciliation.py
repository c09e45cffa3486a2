"""Sources held against each other, as somebody asks for them: by the engine of `telemetry.reconcile`."""

import json
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from runner.compose.accounts import Accounts
from runner.compose.wms import needs_server
from runner.config import USERINFO, Config
from runner.errors import ConfigError
from telemetry.clock import SystemClock, parse_utc, utc_text
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.result import Outcome
from telemetry.reconcile.settings import Engine, Tolerances, Window
from telemetry.reconcile.sides import Loaded
from telemetry.reconcile.sources.otlp import Spread
from telemetry.reconcile.sources.otlp_events import Piece
from telemetry.reconcile.sources.reading import load
from telemetry.reconcile.sources.wanted import SourceError, Wanted, parse
from telemetry.reconcile.workbench import open_workbench


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
                spread = by_processes(options.threads)
                sides = [load(bench, each, window, fetched, spread) for each in wanted]
                now_ns = SystemClock().utc_ns()
                outcome = reconcile(
                    bench, _ordered(sides), now_utc_ns=now_ns, allowed=_tolerances(config), window=window, digest=digest
                )
                problems = (*outcome.problems, *fetched.problems)
                sides_shown = tuple(replace(each, where=USERINFO.sub("***@", each.where)) for each in outcome.sides)
                yield replace(outcome, problems=problems, sides=sides_shown)
        except SourceError as error:
            raise ConfigError(str(error)) from error


def by_processes(count: int) -> Spread:
    """Works on pieces of files with so many processes: this one, and others, which take a while to begin.

    Those are fresh ones: the engine's threads do not survive a fork.
    """

    def spread(work: Callable[[Piece], int], pieces: Iterable[Piece]) -> Iterable[int]:
        with ProcessPoolExecutor(count - 1, mp_context=multiprocessing.get_context("spawn")) as pool:
            given = [(pool.submit(work, each), each) for each in pieces]
            for future, piece in reversed(given):  # the others take them from the front
                yield work(piece) if future.cancel() else future.result()

    return spread if count > 1 else map


class _Fetched:
    """Fetches the records of those sources that are reached through a client or a database."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._accounts: list[Accounts] = []

    @property
    def problems(self) -> Iterator[str]:
        """What could not be read."""
        for each in self._accounts:
            yield from each.problems

    def __call__(self, wanted: Wanted) -> Iterator[Mapping[str, Any]]:
        """The records of *wanted*, each with its arrival."""
        if wanted.kind == "sql":
            return _of_database(wanted.where)
        accounts = Accounts(self._config)
        self._accounts.append(accounts)
        return ({**record, "ArrivalTime": utc_text(arrived)} for record, arrived in accounts.records())


def _of_database(address: str) -> Iterator[Mapping[str, Any]]:
    with needs_server():
        from sqlalchemy import create_engine, select
        from sqlalchemy.exc import SQLAlchemyError

        from runner.server.db.accounting_db import RECORDS
        from runner.server.db.address import DatabaseAddress
    chosen = select(RECORDS.c.Body, RECORDS.c.ArrivalTime).where(RECORDS.c.IsCurrent == 1)
    parsed = DatabaseAddress.parse(address)
    if parsed.is_sqlite and not parsed.path.is_file():
        raise SourceError(f"{parsed.shown}: there is no such file")
    engine = create_engine(parsed.url)
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            for body, arrived_ns in connection.execute(chosen):
                yield {**json.loads(body), "ArrivalTime": utc_text(arrived_ns)}
    except SQLAlchemyError as error:
        raise SourceError(f"{parsed.shown}: {type(error).__name__}") from error
    finally:
        engine.dispose()


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
