"""The kinds of sources, and how each becomes a side."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from telemetry.ledger.formats import apel, auditor
from telemetry.ledger.formats.usage import FormatError, SummedUsage, Usage
from telemetry.reconcile.result import Level
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sides import Loaded
from telemetry.reconcile.sources import by_hour, files, otlp, prometheus, records, sacct
from telemetry.reconcile.sources.wanted import SourceError, Wanted
from telemetry.reconcile.witnesses import COUNTERS, SEEN
from telemetry.reconcile.workbench import Workbench

#: Kinds that we read ourselves, with how long after an end nothing is missing there (seconds).
KINDS: Mapping[str, float] = {
    "parquet": 0,
    "csv": 0,
    "otlp": 86400,
    "sacct": 172800,
    "prometheus": 0,
    "apel": 172800,
    "auditor": 172800,
}
#: Kinds whose records somebody else fetches, by a client or a database, as (body with ArrivalTime).
FETCHED: Mapping[str, float] = {"wms": 3600, "sql": 3600}
#: The same for whole records: of them every field is compared, without tolerance.
WHOLE: Mapping[str, float] = {"ledger": 0, "events": 0}
#: What others saw of the attempts that whole records are about.
WITNESSES: Mapping[str, float] = {SEEN: 0, COUNTERS: 0}
#: So much of a line that cannot be read is shown.
_SHOWN = 80
_ALL: Mapping[str, float] = {**KINDS, **FETCHED, **WHOLE, **WITNESSES}

_Told = TypeVar("_Told", Usage, SummedUsage)
Fetch = Callable[[Wanted], Iterable[Mapping[str, Any]]]


def load(
    bench: Workbench,
    wanted: Wanted,
    window: Window,
    fetch: Fetch,
    spread: otlp.Spread = map,
    asked: by_hour.Asked | None = None,
) -> Loaded:
    """Read the source *wanted*; *fetch* gives the records, or what a witness says, of kinds that are not read here,
    *spread* works on large files with several processes. Where somebody is *asked* by hour, only what is not known yet
    is fetched.

    Raises:
        SourceError: it cannot be read.
    """
    level, relation, problems = _read(bench, wanted, window, fetch, spread, asked)
    if wanted.kind in ("otlp", *FETCHED, *WHOLE):
        problems = [*problems, *_incomplete(bench, wanted, relation)]
    return Loaded(
        name=wanted.name,
        kind=wanted.kind,
        where=wanted.where,
        relation=relation,
        level=level,
        grace_seconds=_grace(wanted),
        is_whole=wanted.kind in WHOLE,
        problems=tuple(problems),
        identity=files.identity(bench, wanted) if wanted.kind == "parquet" else "",
    )


def _read(
    bench: Workbench,
    wanted: Wanted,
    window: Window,
    fetch: Fetch,
    spread: otlp.Spread,
    asked: by_hour.Asked | None,
) -> tuple[Level, str, list[str]]:
    """What a record of the source stands for, the relation of them, and what could not be read."""
    match wanted.kind:
        case "parquet":
            return _level(wanted), *files.parquet(bench, wanted)
        case "csv":
            return _level(wanted), *files.csv(bench, wanted)
        case "otlp":
            return "attempt", *otlp.read(bench, wanted.name, files.paths(wanted.where), spread)
        case "sacct":
            return "pilot", *_sacct(bench, wanted)
        case "prometheus":
            return "sum", *_prometheus(bench, wanted, window)
        case "apel" | "auditor":
            return *_foreign(bench, wanted), []
        case kind if kind in (*FETCHED, *WHOLE, *WITNESSES):
            known = by_hour.relation(bench, wanted, window.wider(), asked) if asked and kind in FETCHED else None
            return ("attempt", known, []) if known else _fetched(bench, wanted, fetch(wanted))
    names = ", ".join(sorted(_ALL))
    raise SourceError(f"{wanted.name}: there is no kind of source {wanted.kind!r}; known are {names}")


def _fetched(bench: Workbench, wanted: Wanted, given: Iterable[Mapping[str, Any]]) -> tuple[Level, str, list[str]]:
    if wanted.kind in WITNESSES:
        return "witness", records.testimonies(bench, wanted.name, given), []
    if wanted.kind in WHOLE:
        return "attempt", *records.whole(bench, wanted.name, given)
    return "attempt", records.accounting(bench, wanted.name, given), []


def _level(wanted: Wanted) -> Level:
    return "pilot" if wanted.options.get("level") == "pilot" else "attempt"


def _incomplete(bench: Workbench, wanted: Wanted, relation: str) -> list[str]:
    """What is not read of a record is not compared, so it must be said."""
    needed = " OR ".join(f"{each} IS NULL" for each in ("key", "end_us", "wall_us", "cpu_us", "cores"))
    count = bench.value(f"SELECT count(*) FROM {relation} WHERE {needed}")
    return [f"{wanted.name}: {count} records lack UID, end, times or processors, or these are none"] if count else []


def _grace(wanted: Wanted) -> float:
    given = wanted.options.get("grace")
    try:
        return float(given) if given is not None else _ALL[wanted.kind]
    except ValueError as error:
        raise SourceError(f"{wanted.name}: grace={given} is no number of seconds") from error


def _sacct(bench: Workbench, wanted: Wanted) -> tuple[str, list[str]]:
    options = wanted.options
    unread, example = 0, ""

    def note(line: str) -> None:
        nonlocal unread, example
        unread, example = unread + 1, example or line[:_SHOWN]

    with ExitStack() as stack:
        lines = _lines(files.paths(wanted.where), stack)
        rows = sacct.pilots(lines, unread=note, site=options.get("site", ""), zone=options.get("zone", ""))
        relation = records.columns(bench, wanted.name, rows)
    told = f"{wanted.name}: {unread} lines of sacct cannot be read, such as {example!r}"
    return relation, [told] if unread else []


def _prometheus(bench: Workbench, wanted: Wanted, window: Window) -> tuple[str, list[str]]:
    since, until = (None if each is None else each / 1e6 for each in (window.since_us, window.until_us))
    options = wanted.options
    found, problems = prometheus.sums(
        wanted.where, site_label=options.get("by", ""), matching=options.get("matching", ""), since=since, until=until
    )
    return records.sums(bench, wanted.name, found), [f"{wanted.name}: {each}" for each in problems]


def _foreign(bench: Workbench, wanted: Wanted) -> tuple[Level, str]:
    """Messages of APEL (jobs or sums, by what the first record is) and lines of AUDITOR."""
    parse: Callable[[Iterable[str]], Iterator[Usage | SummedUsage]] = (
        apel.parse if wanted.kind == "apel" else auditor.parse
    )
    try:
        with ExitStack() as stack:
            usages = parse(_lines(files.paths(wanted.where), stack))
            first = next(usages, None)
            given = chain(() if first is None else (first,), usages)
            if isinstance(first, SummedUsage):
                summed = records.of_summed(_only(SummedUsage, given, wanted.name))
                return "sum", records.sums(bench, wanted.name, summed)
            return "attempt", records.columns(bench, wanted.name, records.of_usage(_only(Usage, given, wanted.name)))
    except (FormatError, UnicodeDecodeError) as error:
        raise SourceError(f"{wanted.name}: {error}") from error


def _only(kind: type[_Told], usages: Iterable[Usage | SummedUsage], name: str) -> Iterator[_Told]:
    for each in usages:
        if not isinstance(each, kind):
            raise SourceError(f"{name}: sums and single jobs together count the same twice; name them apart")
        yield each


def _lines(paths: Iterable[Path], stack: ExitStack) -> Iterator[str]:
    for path in paths:
        yield from stack.enter_context(path.open(encoding="utf-8", newline=""))
