"""What needs a closer look: most records of two sides are the very same, and those are found by hashes alone.

Either by key: whether each side has one, the same, and with nothing wrong by itself (late, impossible). Or by digests
of groups: keys are put into groups by their hash, and the digest of a group is how many records it has, the sum of
their 64-bit hashes (of key and all that is compared, as they are: rows that differ within the tolerances have other
hashes too, and are found equal afterwards), and what is wrong by itself. Groups with the same digest on both sides are
not looked at again. What digests cannot see: one record twice on both sides alike. Only what is left is joined, judged
and explained.

The hashes are those of the engine, which another version may compute otherwise: both sides are hashed by one engine.
Digests of files are kept until these change (`kept`). Those that a WMS gives itself are in `sources.by_hour`.
"""

from dataclasses import dataclass

from telemetry.reconcile import kept
from telemetry.reconcile.judge import COMPARED, flags
from telemetry.reconcile.result import DigestUse
from telemetry.reconcile.settings import Tolerances, Window
from telemetry.reconcile.sides import Surveyed, inside
from telemetry.reconcile.workbench import Workbench

# Hashed twice: the last column goes into a hash by XOR alone, so that two equal changes of it would cancel in a sum.
_RECORD = f"hash(hash({', '.join(COMPARED)}))"
_KEY_AND_RECORD = f"hash(hash(key, {', '.join(COMPARED)}))"
_CORE_HOURS = "sum(wall_us / 3.6e9 * coalesce(cores, 1))"
#: A group has about so many records, as long as there are not more groups than fit into memory well.
_PER_GROUP, _MOST_BITS = 4, 20
#: Of hashes of keys that are looked for one by one, so many bits.
_KEY_BITS = 24
#: No end is later: what lies in the future is told by the clock, and is no property of a file.
_NO_END_US = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Narrowed:
    """The tables of what is left of both sides. `spared` records of the left side agree; their core hours."""

    left: str
    right: str
    spared: int
    spared_core_hours: float
    use: DigestUse | None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Two sides, and what is asked about them."""

    left: Surveyed
    right: Surveyed
    allowed: Tolerances
    now_us: int
    window: Window


def narrow(
    bench: Workbench,
    both: tuple[Surveyed, Surveyed],
    allowed: Tolerances,
    now_us: int,
    window: Window,
    *,
    digest: bool,
) -> Narrowed:
    """Take out what is the same on both sides; with *digest* by groups."""
    left, right = both
    asked = _Asked(left=left, right=right, allowed=allowed, now_us=now_us, window=window)
    bits = (_find_groups if digest else _find_keys)(bench, asked)
    # A map of bits is a constant of the query, and looked at before anything but the key is read.
    bench.run(f"SET VARIABLE marked = (SELECT bitstring_agg(part::INTEGER, 0, {(1 << bits) - 1}) FROM marked)")
    near = f"key IS NULL OR get_bit(getvariable('marked'), {_part(bits)}::INTEGER) = 1"
    for letter, side in (("l", left), ("r", right)):
        bench.run(f"CREATE OR REPLACE TABLE near_{letter} AS SELECT * FROM {side.records} WHERE {near}")
    bench.run("RESET VARIABLE marked")
    rows, hours = bench.one(f"SELECT count(*), coalesce({_CORE_HOURS}, 0) FROM near_l")
    use = None
    if digest:
        count, differing = bench.one(
            "SELECT (SELECT count(*) FROM digest_l), (SELECT count(DISTINCT part) FROM marked)"
        )
        use = DigestUse(groups=count, differing_groups=differing, rows=left.side.records, compared_rows=rows)
    return Narrowed(
        left="near_l",
        right="near_r",
        spared=left.side.records - int(rows),
        spared_core_hours=max(left.side.core_hours - float(hours), 0.0),
        use=use,
    )


def _part(bits: int) -> str:
    """The first *bits* of the hash of the key."""
    return f"(hash(key) >> {64 - bits})"


def _find_keys(bench: Workbench, asked: _Asked) -> int:
    """Make `marked` of the parts of keys with something odd about them; of how many bits these are."""
    # Bits of who has it, and of what is wrong by itself; few and small states make this fast.
    marks = f"({{}} + 4 * {flags(asked.allowed, asked.now_us)})::UTINYINT AS marks"
    each = f"SELECT hash(key) AS h, {marks}, {_RECORD} AS record FROM {{}} WHERE key IS NOT NULL"
    bench.run(
        f"CREATE OR REPLACE TABLE marked AS SELECT h >> {64 - _KEY_BITS} AS part FROM ("
        f"{each.format(1, asked.left.records)} UNION ALL {each.format(2, asked.right.records)}) GROUP BY h"
        " HAVING count(*) <> 2 OR bit_or(marks) <> 3 OR bit_xor(record) <> 0"
    )
    return _KEY_BITS


def _find_groups(bench: Workbench, asked: _Asked) -> int:
    """Make `marked` of the groups whose digests differ, or with something that is wrong by itself; of how many bits
    their numbers are."""
    records = max(asked.left.side.records, asked.right.side.records)
    bits = min(max((records // _PER_GROUP).bit_length(), 1), _MOST_BITS)
    part, asked_about = _part(bits), inside(asked.window)
    query = (
        f"SELECT {part} AS part, count(*)::UINTEGER AS n, (sum({_KEY_AND_RECORD}) % {1 << 64})::UBIGINT AS digest,"
        f" bit_or({flags(asked.allowed, _NO_END_US)}) AS flags FROM {{}}"
        f" WHERE key IS NOT NULL AND {asked_about} GROUP BY part"
    )
    for letter, side in (("l", asked.left), ("r", asked.right)):
        kept.table(bench, f"digest_{letter}", query, side.records, side.loaded.identity)
    bench.run(
        "CREATE OR REPLACE TABLE marked AS SELECT coalesce(l.part, r.part) AS part FROM digest_l l"
        " FULL JOIN digest_r r ON l.part = r.part WHERE l.n IS DISTINCT FROM r.n"
        " OR l.digest IS DISTINCT FROM r.digest OR l.flags > 0 OR r.flags > 0"
    )
    latest_us = asked.now_us + round(asked.allowed.future_seconds * 1e6)
    for side in (asked.left, asked.right):
        if side.last_us > latest_us:
            bench.run(f"INSERT INTO marked SELECT DISTINCT {part} FROM {side.records} WHERE end_us > {latest_us}")
    if asked.window != Window():
        _add_straddling(bench, asked.right.records, part, asked_about)
    return bits


def _add_straddling(bench: Workbench, records: str, part: str, asked_about: str) -> None:
    """Keys with a record outside the window too, which may be the one that counts."""
    outside = f"SELECT hash(key) FROM {records} WHERE NOT ({asked_about})"
    bench.run(
        f"INSERT INTO marked SELECT DISTINCT {part} FROM {records} WHERE {asked_about} AND hash(key) IN ({outside})"
    )
