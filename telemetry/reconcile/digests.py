"""Digests first: by site and hour of the end, how many, their sums, and a hash of all that is compared.

Hours that have the same digest on both sides are not looked at again; of the others only those records that are not
the same on both sides. So what is joined in the end are the records that differ. Records that are wrong by themselves
(late, impossible) are looked at in every hour. What digests cannot see: one record twice on both sides alike.

The hash is that of the engine, which another version may compute otherwise: both sides are digested by one engine.
"""

from dataclasses import dataclass, replace

from telemetry.reconcile.columns import COLUMNS
from telemetry.reconcile.judge import COMPARED, flags
from telemetry.reconcile.result import DigestUse, Side
from telemetry.reconcile.settings import Tolerances, Window
from telemetry.reconcile.sides import Loaded, inside, moment_text
from telemetry.reconcile.workbench import Workbench

_HOUR = f"hash(site, end_us // {3_600_000_000})"
_RECORD = f"hash(key, rank, {', '.join(COMPARED)})"


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """Both sides with only those records that are to be joined; what the sides hold in all; what was spared.

    `spared` of the left side agree, `spared_core_hours` are theirs.
    """

    left: Loaded
    right: Loaded
    sides: tuple[Side, Side]
    use: DigestUse
    spared: int
    spared_core_hours: float


def narrow(
    bench: Workbench, sides: tuple[Loaded, Loaded], allowed: Tolerances, now_us: int, windows: tuple[Window, Window]
) -> Narrowed:
    """Compare the digests of both *sides*."""
    for letter, side, window in zip("lr", sides, windows, strict=True):
        bench.run(
            f"CREATE OR REPLACE VIEW whole_{letter} AS SELECT {', '.join(COLUMNS)} FROM {side.relation}"
            f" WHERE {inside(window)}"
        )
        bench.run(
            f"CREATE OR REPLACE TABLE digest_{letter} AS SELECT {_HOUR} AS hour, count(*) AS n, sum(cpu_us) AS cpu,"
            f" sum(wall_us::DOUBLE * coalesce(cores, 1)) AS core, bit_xor({_RECORD}) AS digest, min(end_us) AS first,"
            f" max(end_us) AS last, bit_or({flags(allowed, now_us)}) AS flags, count(*) - count(key) AS loose"
            f" FROM whole_{letter} GROUP BY 1"
        )
    bench.run(
        "CREATE OR REPLACE TABLE hours AS SELECT coalesce(l.hour, r.hour) AS hour FROM digest_l l FULL JOIN digest_r r"
        " ON l.hour = r.hour WHERE l.n IS DISTINCT FROM r.n OR l.digest IS DISTINCT FROM r.digest"
        " OR l.cpu IS DISTINCT FROM r.cpu OR l.flags > 0 OR r.flags > 0 OR l.loose > 0 OR r.loose > 0"
    )
    _find_odd_keys(bench, allowed, now_us)
    narrowed = [
        replace(side, relation=f"(SELECT * FROM whole_{letter} WHERE key IS NULL OR key IN (SELECT key FROM odd_keys))")
        for letter, side in zip("lr", sides, strict=True)
    ]
    held = [bench.one(f"SELECT count(*), sum({_CORE}) FROM {each.relation}") for each in narrowed]
    hours, rows, core = bench.one("SELECT count(*), sum(n), sum(core) / 3.6e9 FROM digest_l")
    return Narrowed(
        left=narrowed[0],
        right=narrowed[1],
        sides=(_described(bench, sides[0], "l"), _described(bench, sides[1], "r")),
        use=DigestUse(
            hours=int(hours),
            differing_hours=int(bench.value("SELECT count(*) FROM hours")),
            rows=int(rows or 0),
            compared_rows=int(held[0][0]),
        ),
        spared=int(rows or 0) - int(held[0][0]),
        spared_core_hours=max(float(core or 0) - float(held[0][1] or 0), 0.0),
    )


_CORE = "wall_us / 3.6e9 * coalesce(cores, 1)"


def _find_odd_keys(bench: Workbench, allowed: Tolerances, now_us: int) -> None:
    """`odd_keys`: keys of which the sides do not have the very same record, and those with a record that is wrong."""
    there = f"{_HOUR} IN (SELECT hour FROM hours)"
    for letter in "lr":
        bench.run(
            f"CREATE OR REPLACE TABLE records_{letter} AS SELECT {_RECORD} AS h FROM whole_{letter} WHERE {there}"
        )
    bench.run(
        "CREATE OR REPLACE TABLE odd_records AS SELECT h FROM ("
        " SELECT h, 1 AS l, 0 AS r FROM records_l UNION ALL SELECT h, 0, 1 FROM records_r"
        ") GROUP BY h HAVING sum(l) <> 1 OR sum(r) <> 1"
    )
    wrong = f"{flags(allowed, now_us)} > 0"
    keys = " UNION ALL ".join(
        f"SELECT key FROM whole_{letter} WHERE {there} AND key IS NOT NULL"
        f" AND ({_RECORD} IN (SELECT h FROM odd_records) OR {wrong})"
        for letter in "lr"
    )
    bench.run(f"CREATE OR REPLACE TABLE odd_keys AS SELECT DISTINCT key FROM ({keys})")


def _described(bench: Workbench, side: Loaded, letter: str) -> Side:
    records, cpu, core, first, last = bench.one(
        f"SELECT sum(n), sum(cpu), sum(core), min(first), max(last) FROM digest_{letter}"
    )
    return Side(
        name=side.name,
        kind=side.kind,
        where=side.where,
        level=side.level,
        records=int(records or 0),
        cpu_seconds=float(cpu or 0) / 1e6,
        core_seconds=float(core or 0) / 1e6,
        first_end=moment_text(first),
        last_end=moment_text(last),
    )
