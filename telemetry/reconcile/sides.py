"""One side: its records by key, each attempt once, those without a key apart; and what it holds in all."""

from dataclasses import dataclass, field

from telemetry.clock import utc_text
from telemetry.reconcile import kept
from telemetry.reconcile.columns import COLUMNS, literal
from telemetry.reconcile.result import Level, Side
from telemetry.reconcile.settings import Window
from telemetry.reconcile.workbench import Workbench

# Sums as decimals, since a file of Parquet has no other whole numbers of that size.
_TOTALS = (
    "count(*) AS n, sum(cpu_us)::DECIMAL(38, 0) AS cpu,"
    " sum(wall_us * coalesce(cores, 1)::BIGINT)::DECIMAL(38, 0) AS core, min(end_us) AS first, max(end_us) AS last"
)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A source that has been read: `relation` has our COLUMNS (of a pilot's or a sum's level: those that make sense).

    What it does not hold is missing only `grace_seconds` after the end. `is_whole`: it has the `body` of every record.
    Of a witness the columns are `key` and what it has `said`, as JSON.
    """

    name: str
    kind: str
    where: str
    relation: str
    level: Level = "attempt"
    grace_seconds: float = 0.0
    is_whole: bool = False
    problems: tuple[str, ...] = field(default=())
    #: What the relation follows from, if that is files alone; empty: not known (see `kept`).
    identity: str = ""


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """A side as a whole: the view of its `records`, the name of the table of its `groups`, and what it holds in all.

    `side` counts every record, also copies and those that another supersedes. `identity`: what the records follow from,
    as that of `Loaded`. `last_us`: the latest end.
    """

    loaded: Loaded
    records: str
    groups: str
    identity: str
    last_us: int
    side: Side


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A side that can be joined: `keyed` has every key once, `loose` what has none (with an `id`), `copies` the rest.

    `copies` has a row for each key that is held more than once: key, copies, bodies, and how many copies there are
    beyond the first of each body (`extra`). `surveyed` is the whole side, of which only that is here which needs a
    closer look.
    """

    loaded: Loaded
    keyed: str
    loose: str
    copies: str
    surveyed: Surveyed
    keyed_records: int
    loose_records: int


def survey(bench: Workbench, loaded: Loaded, window: Window, *, under: str = "") -> Surveyed:
    """Look at a side once: what it holds in all.

    The relations are named after the side, or *under* another name beside those.
    """
    name = under or loaded.name
    records, totals, groups = f"all_{name}", f"totals_{name}", f"groups_{name}"
    bench.run(
        f"CREATE OR REPLACE VIEW {records} AS SELECT {', '.join(COLUMNS)} FROM {loaded.relation} WHERE {inside(window)}"
    )
    identity = f"{loaded.identity} {inside(window)}" if loaded.identity else ""
    kept.table(bench, totals, f"SELECT {_TOTALS} FROM {{}}", records, identity)
    bench.run(f"DROP TABLE IF EXISTS {groups}")
    count, cpu, core, first, last = bench.one(f"SELECT n, cpu, core, first, last FROM {totals}")
    return Surveyed(
        loaded=loaded,
        records=records,
        groups=groups,
        identity=identity,
        last_us=int(last or 0),
        side=Side(
            name=loaded.name,
            kind=loaded.kind,
            where=loaded.where,
            level=loaded.level,
            records=int(count),
            cpu_seconds=float(cpu or 0) / 1e6,
            core_seconds=float(core or 0) / 1e6,
            first_end=moment_text(first),
            last_end=moment_text(last),
        ),
    )


def groups_of(bench: Workbench, surveyed: Surveyed) -> str:
    """The table of how many records there are of each site, group, cores and host; made when it is wanted first."""
    name = surveyed.groups
    if not bench.value(f"SELECT count(*) FROM duckdb_tables() WHERE table_name = {literal(name)}"):
        query = "SELECT site, grp, cores, host, count(*) AS n FROM {} GROUP BY ALL"
        kept.table(bench, name, query, surveyed.records, surveyed.identity)
    return name


def prepare(bench: Workbench, surveyed: Surveyed, records: str) -> Prepared:
    """Make the relations of *records* of the side. Of several records under one key the one of the highest rank counts.

    The same key and rank twice is a copy, and of several bodies the first by digest counts, so that order decides
    nothing.
    """
    side = f"side_{surveyed.loaded.name}"
    bench.run(f"CREATE OR REPLACE VIEW {side} AS FROM {records}")
    _find_copies(bench, side)
    has_several = bool(bench.value(f"SELECT count(*) FROM {side}_several"))
    is_several = f"hash(key) IN (SELECT h FROM {side}_several)" if has_several else "false"
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_folded AS SELECT * EXCLUDE (digest) FROM ("
        f"  SELECT *, md5({side}::VARCHAR) AS digest FROM {side} WHERE key IS NOT NULL AND {is_several}"
        ") QUALIFY row_number() OVER (PARTITION BY key ORDER BY rank DESC, digest) = 1"
    )
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_copies AS SELECT key, max(n) AS copies, max(bodies) AS bodies,"
        " sum(n - bodies)::BIGINT AS extra FROM ("
        f"  SELECT key, rank, count(*) AS n, count(DISTINCT md5({side}::VARCHAR)) AS bodies"
        f"  FROM {side} WHERE key IS NOT NULL AND {is_several} GROUP BY key, rank"
        ") WHERE n > 1 GROUP BY key"
    )
    if has_several:
        once = f"SELECT * FROM {side} WHERE key IS NOT NULL AND NOT ({is_several}) UNION ALL FROM {side}_folded"
    else:
        once = f"SELECT * FROM {side} WHERE key IS NOT NULL"
    bench.run(f"CREATE OR REPLACE VIEW {side}_keyed AS {once}")
    bench.run(
        f"CREATE OR REPLACE TABLE {side}_loose AS SELECT row_number() OVER () AS id, * FROM {side} WHERE key IS NULL"
    )
    return Prepared(
        loaded=surveyed.loaded,
        keyed=f"{side}_keyed",
        loose=f"{side}_loose",
        copies=f"{side}_copies",
        surveyed=surveyed,
        keyed_records=int(bench.value(f"SELECT count(*) FROM {side}_keyed")),
        loose_records=int(bench.value(f"SELECT count(*) FROM {side}_loose")),
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


def inside(window: Window, end: str = "end_us") -> str:
    """The condition that the time *end* lies within *window*."""
    bounds = []
    if window.since_us is not None:
        bounds.append(f"{end} >= {window.since_us}")
    if window.until_us is not None:
        bounds.append(f"{end} < {window.until_us}")
    return " AND ".join(bounds) or "true"
