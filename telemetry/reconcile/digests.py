"""What needs a closer look: most records of two sides are the very same, and those are found by hashes alone.

First, when that is asked for, digests by site and hour of the end: how many, their sums, and a hash of all that is
compared. Hours that have the same digest on both sides are not looked at again. What digests cannot see: one record
twice on both sides alike. Then, of all records or of those hours, by key: whether each side has one, the same, and with
nothing wrong by itself (late, impossible). Only what is left is joined, judged and explained.

The hashes are those of the engine, which another version may compute otherwise: both sides are hashed by one engine.
"""

from dataclasses import dataclass

from telemetry.reconcile.judge import COMPARED, flags
from telemetry.reconcile.result import DigestUse
from telemetry.reconcile.settings import Tolerances
from telemetry.reconcile.sides import Surveyed
from telemetry.reconcile.workbench import Workbench

_HOUR = f"hash(site, end_us // {3_600_000_000})"
# Hashed twice: the last column goes into a hash by XOR alone, so that two equal changes of it would cancel in a sum.
_RECORD = f"hash(hash({', '.join(COMPARED)}))"
_CORE_HOURS = "sum(wall_us / 3.6e9 * coalesce(cores, 1))"


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """The tables of what is left of both sides. `spared` records of the left side agree; their core hours."""

    left: str
    right: str
    spared: int
    spared_core_hours: float
    use: DigestUse | None


def narrow(
    bench: Workbench, left: Surveyed, right: Surveyed, allowed: Tolerances, now_us: int, *, digest: bool
) -> Narrowed:
    """Take out what is the same on both sides; with *digest* by hours first."""
    own = flags(allowed, now_us)
    where = "key IS NOT NULL"
    if digest:
        _find_hours(bench, left, right, own)
        where += f" AND {_HOUR} IN (SELECT hour FROM hours)"
    # Bits of who has it, and of what is wrong by itself; few and small states make this fast.
    each = f"SELECT hash(key) AS h, ({{}} + 4 * {own})::UTINYINT AS marks, {_RECORD} AS record FROM {{}} WHERE {where}"
    bench.run(
        "CREATE OR REPLACE TABLE odd_keys AS SELECT h FROM ("
        f"{each.format(1, left.records)} UNION ALL {each.format(2, right.records)}) GROUP BY h"
        " HAVING count(*) <> 2 OR bit_or(marks) <> 3 OR bit_xor(record) <> 0"
    )
    for letter, side in (("l", left), ("r", right)):
        bench.run(
            f"CREATE OR REPLACE TABLE near_{letter} AS SELECT * FROM {side.records}"
            " WHERE key IS NULL OR hash(key) IN (SELECT h FROM odd_keys)"
        )
    rows, hours = bench.one(f"SELECT count(*), coalesce({_CORE_HOURS}, 0) FROM near_l")
    use = None
    if digest:
        count, differing = bench.one("SELECT (SELECT count(*) FROM digest_l), (SELECT count(*) FROM hours)")
        use = DigestUse(hours=count, differing_hours=differing, rows=left.side.records, compared_rows=rows)
    return Narrowed(
        left="near_l",
        right="near_r",
        spared=left.side.records - int(rows),
        spared_core_hours=max(left.side.core_hours - float(hours), 0.0),
        use=use,
    )


def _find_hours(bench: Workbench, left: Surveyed, right: Surveyed, own: str) -> None:
    """`hours`: those whose digests differ, and those with something that is wrong by itself."""
    for letter, side in (("l", left), ("r", right)):
        bench.run(
            f"CREATE OR REPLACE TABLE digest_{letter} AS SELECT {_HOUR} AS hour, count(*) AS n, sum(cpu_us) AS cpu,"
            f" bit_xor(hash(hash(key, {', '.join(COMPARED)}))) AS digest, bit_or({own}) AS flags"
            f" FROM {side.records} GROUP BY 1"
        )
    bench.run(
        "CREATE OR REPLACE TABLE hours AS SELECT coalesce(l.hour, r.hour) AS hour FROM digest_l l FULL JOIN digest_r r"
        " ON l.hour = r.hour WHERE l.n IS DISTINCT FROM r.n OR l.digest IS DISTINCT FROM r.digest"
        " OR l.cpu IS DISTINCT FROM r.cpu OR l.flags > 0 OR r.flags > 0"
    )
