"""One side: its records by key, each attempt once, those without a key apart; and what it holds in all."""

from dataclasses import dataclass, field

from telemetry.clock import utc_text
from telemetry.reconcile.columns import COLUMNS
from telemetry.reconcile.result import Level, Side
from telemetry.reconcile.settings import Window
from telemetry.reconcile.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A source that has been read: `relation` has our COLUMNS (of a pilot's or a sum's level: those that make sense).

    What it does not hold is missing only `grace_seconds` after the end.
    """

    name: str
    kind: str
    where: str
    relation: str
    level: Level = "attempt"
    grace_seconds: float = 0.0
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A side that can be joined: `keyed` has every key once, `loose` what has none (with an `id`), `copies` the rest.

    `copies` has a row for each key that is held more than once: key, copies, bodies. `whole` has all records, also
    where digests have taken most of them out of what is joined.
    """

    loaded: Loaded
    keyed: str
    loose: str
    copies: str
    whole: str
    keyed_records: int
    loose_records: int


def prepare(bench: Workbench, loaded: Loaded, window: Window, *, whole: str = "") -> Prepared:
    """Make the side's relations. Of several records under one key the one of the highest rank counts.

    The same key and rank twice is a copy, and of several bodies the first by digest counts, so that order decides
    nothing.
    """
    side = f"side_{loaded.name}"
    columns = ", ".join(COLUMNS)
    bench.run(f"CREATE OR REPLACE VIEW {side} AS SELECT {columns} FROM {loaded.relation} WHERE {inside(window)}")
    _find_copies(bench, side)
    is_several = f"hash(key) IN (SELECT h FROM {side}_several)"
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_folded AS SELECT * EXCLUDE (body) FROM ("
        f"  SELECT *, md5({side}::VARCHAR) AS body FROM {side} WHERE key IS NOT NULL AND {is_several}"
        ") QUALIFY row_number() OVER (PARTITION BY key ORDER BY rank DESC, body) = 1"
    )
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_copies AS SELECT key, max(n) AS copies, max(bodies) AS bodies FROM ("
        f"  SELECT key, rank, count(*) AS n, count(DISTINCT md5({side}::VARCHAR)) AS bodies"
        f"  FROM {side} WHERE key IS NOT NULL AND {is_several} GROUP BY key, rank"
        ") WHERE n > 1 GROUP BY key"
    )
    if bench.value(f"SELECT count(*) FROM {side}_several"):
        once = f"SELECT * FROM {side} WHERE key IS NOT NULL AND NOT ({is_several}) UNION ALL FROM {side}_folded"
    else:
        once = f"SELECT * FROM {side} WHERE key IS NOT NULL"
    bench.run(f"CREATE OR REPLACE VIEW {side}_keyed AS {once}")
    bench.run(
        f"CREATE OR REPLACE VIEW {side}_once AS SELECT * FROM {side}_keyed UNION ALL SELECT * FROM {side} WHERE"
        " key IS NULL"
    )
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_loose AS SELECT row_number() OVER () AS id, * FROM {side} WHERE key IS NULL"
    )
    return Prepared(
        loaded=loaded,
        keyed=f"{side}_keyed",
        loose=f"{side}_loose",
        copies=f"{side}_copies",
        whole=whole or f"{side}_once",
        keyed_records=int(bench.value(f"SELECT count(*) FROM {side}_keyed")),
        loose_records=int(bench.value(f"SELECT count(*) FROM {side}_loose")),
    )


def totals(bench: Workbench, side: Prepared) -> Side:
    """What the side holds in all, each attempt once."""
    parts = [side.keyed] + ([side.loose] if side.loose_records else [])
    union = " UNION ALL ".join(f"SELECT cpu_us, wall_us, cores, end_us FROM {each}" for each in parts)
    records, cpu, core, first, last = bench.one(
        "SELECT count(*), sum(cpu_us), sum(wall_us::HUGEINT * coalesce(cores, 1)), min(end_us), max(end_us)"
        f" FROM ({union})"
    )
    return Side(
        name=side.loaded.name,
        kind=side.loaded.kind,
        where=side.loaded.where,
        level=side.loaded.level,
        records=int(records),
        cpu_seconds=float(cpu or 0) / 1e6,
        core_seconds=float(core or 0) / 1e6,
        first_end=moment_text(first),
        last_end=moment_text(last),
    )


def moment_text(us: int | None) -> str:
    """Microseconds since 1970 as text; empty for none, and for what no calendar has."""
    try:
        return "" if us is None else utc_text(int(us) * 1000)
    except (ValueError, OverflowError):
        return ""


def _find_copies(bench: Workbench, side: str) -> None:
    """`<side>_several`: hashes of keys that come more than once."""
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_several AS SELECT h FROM ("
        f"  SELECT hash(key) AS h, count(*) AS n FROM {side} WHERE key IS NOT NULL GROUP BY h"
        ") WHERE n > 1"
    )


def inside(window: Window) -> str:
    """The condition that a record ends within *window*."""
    bounds = []
    if window.since_us is not None:
        bounds.append(f"end_us >= {window.since_us}")
    if window.until_us is not None:
        bounds.append(f"end_us < {window.until_us}")
    return " AND ".join(bounds) or "true"
