"""Sources held against each other, as somebody asks for them: by the engine of `telemetry.reconcile`."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

from runner.compose.sources import Fetched
from runner.config import USERINFO, Config
from runner.errors import ConfigError
from runner.wms.client import WmsClient
from telemetry.clock import SystemClock, parse_utc
from telemetry.reconcile.engine import reconcile
from telemetry.reconcile.result import Outcome, Side
from telemetry.reconcile.settings import Engine, Tolerances, Window
from telemetry.reconcile.sides import Loaded
from telemetry.reconcile.sources.by_hour import Asked, Hourly
from telemetry.reconcile.sources.otlp import Spread
from telemetry.reconcile.sources.otlp_events import Piece
from telemetry.reconcile.sources.reading import FETCHED, load
from telemetry.reconcile.sources.wanted import SourceError, Wanted, parse
from telemetry.reconcile.workbench import Workbench, open_workbench

#: Kinds whose records may be those of a WMS, so that these need not be fetched once more.
_OF_RECORDS = ("otlp", "parquet", "csv", *FETCHED)
#: A WMS has no times from then on, nor before 1970; much later ones would be too large for a database.
_LATEST_US = parse_utc("2200-01-01T00:00:00Z") // 1000
#: So many differences of a node's own ledgers are listed; of other sources, the engine's default.
_LISTED_OF_NODE = 100_000


@contextmanager
def reconciled(
    config: Config,
    sources: Sequence[str] = (),
    *,
    since: str = "",
    until: str = "",
    digest: bool = False,
    client: WmsClient | None = None,
) -> Iterator[Outcome]:
    """What comes of holding *sources* (`NAME=KIND:WHERE`) against each other; its file is there within the block.

    Without any: the WMS's accounting, the telemetry of the folder, and what others saw. *client*: of the folder's WMS.

    Raises:
        ConfigError: a source or a time is not as it must be, or cannot be read. UnavailableError: no WMS is known.
    """
    fetched, options = Fetched(config, client), config.reconcile
    window = Window(since_us=_moment(since), until_us=_moment(until))
    try:
        wanted = _wanted(sources or fetched.of_node())
        fetched.expect(wanted)
        with _place(config) as folder:
            listed = Engine.listed if sources else _LISTED_OF_NODE
            engine = Engine(
                folder=folder,
                memory=f"{options.memory_mb}MB",
                threads=options.threads,
                listed=listed,
                kept=folder.parent / "kept",
            )
            with open_workbench(engine) as bench:
                sides = _loaded(bench, wanted, window, config, fetched, digest=digest)
                now_ns = SystemClock().utc_ns()
                outcome = reconcile(
                    bench, _ordered(sides), now_utc_ns=now_ns, allowed=_tolerances(config), window=window, digest=digest
                )
                problems = (*outcome.problems, *fetched.problems)
                shown = tuple(_shown(each, fetched) for each in outcome.sides)
                yield replace(outcome, problems=problems, sides=shown)
    except SourceError as error:
        raise ConfigError(str(error)) from error


def of_node(config: Config, client: WmsClient) -> Outcome:
    """The two ledgers of a node and whoever saw it held against each other, without the file of the differences."""
    with reconciled(config, client=client) as outcome:
        return replace(outcome, file=None)


def _loaded(
    bench: Workbench, wanted: Sequence[Wanted], window: Window, config: Config, fetched: Fetched, *, digest: bool
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


@contextmanager
def _place(config: Config) -> Iterator[Path]:
    """A folder for the engine, which is not there any more afterwards.

    Raises:
        ConfigError: there is no room for one.
    """
    place = Path(config.reconcile.spill_folder or config.folder / "reconcile").expanduser()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{place}: {error.strerror}; set SpillFolder in [Reconcile] to a folder of yours") from error
    try:
        with tempfile.TemporaryDirectory(prefix="reconcile-", dir=place) as folder:
            yield Path(folder)
    finally:
        if not config.reconcile.spill_folder:
            with suppress(OSError):  # somebody else reconciles too
                place.rmdir()


def _wanted(sources: Sequence[str]) -> list[Wanted]:
    wanted = [parse(each) for each in sources]
    if len({each.name for each in wanted}) < max(len(wanted), 2):
        raise SourceError("a reconciliation needs two sources or more, each with a name of its own")
    return wanted


def _shown(side: Side, fetched: Fetched) -> Side:
    """*side* without passwords, with what was left out when it was fetched."""
    folded, left_out = fetched.folded.get(side.name, 0), fetched.left_out.get(side.name, 0)
    return replace(side, where=USERINFO.sub("***@", side.where), folded=folded, left_out=left_out)


def _tolerances(config: Config) -> Tolerances:
    """As configured."""
    names = {each.name for each in fields(Tolerances)}
    values = {
        each.name: getattr(config.reconcile, each.name) for each in fields(config.reconcile) if each.name in names
    }
    return Tolerances(**values)


def _ordered(sides: Sequence[Loaded]) -> tuple[Loaded, ...]:
    """The first one of attempts comes first: all others are held against it. Witnesses need whole records there."""
    attempts = [each for each in sides if each.level == "attempt"]
    witnesses = [each for each in sides if each.level == "witness"]
    if not attempts:
        raise SourceError("one source at least must hold attempts; pilots and sums are held against these")
    if witnesses and not attempts[0].is_whole:
        raise SourceError(
            f"{witnesses[0].name}: what others saw is held against whole records; begin with a source of kind ledger"
            " or events"
        )
    if len({each.kind for each in witnesses}) < len(witnesses):
        raise SourceError(f"{witnesses[-1].name}: one source of kind {witnesses[-1].kind} is heard, not more")
    return (attempts[0], *(each for each in sides if each is not attempts[0]))


def _moment(text: str) -> int | None:
    """Microseconds since 1970 of a day, or of a moment in UTC."""
    if not text:
        return None
    with suppress(ValueError):
        moment_us = parse_utc(f"{text}T00:00:00Z" if len(text) == len("2026-11-21") else text) // 1000
        if 0 <= moment_us < _LATEST_US:
            return moment_us
    raise ConfigError(f"{text!r} is no time; write 2026-11-21, or 2026-11-21T12:00:00Z")
