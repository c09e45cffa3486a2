"""Two sides joined: by key, else by what both know of an attempt. Leaves the table `cases`, a row for each odd pair.

The join itself carries only what is compared; everything else of an odd pair is fetched afterwards, which is much less
work as long as most pairs agree. Columns of `cases`: those of an attempt (`key`, `job_id`, `site`, ...), `l_` and `r_`
values of both sides, `mask` (see `judge`), `swapped`, and for a missing one `absent` (`l` or `r`), else NULL;
`again`: this side holds the attempt under another key too.
"""

from dataclasses import dataclass

from telemetry.reconcile.judge import BITS, COMPARED, flags, mask
from telemetry.reconcile.settings import Tolerances, Window
from telemetry.reconcile.sides import Prepared
from telemetry.reconcile.workbench import Workbench

_VALUES = (*COMPARED, "start_us", "arrived_us", "flags", "copies", "rank")
_IDENTITY = ("key", "job_id", "attempt", "site", "grp", "host", "pilot", "batch")
_US = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Joined:
    """How the join went: left records, pairs that agree, records that are not due yet, each with its core hours."""

    matched: int
    matched_core_hours: float
    pending: int
    pending_core_hours: float


def join(bench: Workbench, left: Prepared, right: Prepared, allowed: Tolerances, now_us: int) -> None:
    """Make the tables `odd_l`, `odd_r` (full records that do not simply agree) and `pairs` (their ids, and a mask)."""
    own = flags(allowed, now_us)
    narrow = f"SELECT key, {', '.join(COMPARED)}, {own} AS flags FROM"
    bench.run(
        "CREATE OR REPLACE TABLE odd AS SELECT * FROM ("
        f"  SELECT l.key AS l_key, r.key AS r_key, {mask(allowed)} AS mask"
        f"  FROM ({narrow} {left.keyed}) l FULL JOIN ({narrow} {right.keyed}) r ON l.key = r.key"
        ") WHERE l_key IS NULL OR r_key IS NULL OR mask <> 0"
    )
    bench.run(
        "INSERT INTO odd SELECT DISTINCT key, key, 0 FROM ("
        f"  SELECT key FROM {left.copies} UNION ALL SELECT key FROM {right.copies})"
        " WHERE key NOT IN (SELECT coalesce(l_key, r_key) FROM odd)"
    )
    for letter, side in (("l", left), ("r", right)):
        bench.run(
            f"CREATE OR REPLACE TABLE odd_{letter} AS SELECT row_number() OVER () AS id, t.*, {own} AS flags, c.copies"
            f" FROM (SELECT * FROM {side.keyed} WHERE key IN (SELECT {letter}_key FROM odd)"
            f" UNION ALL SELECT * EXCLUDE (id) FROM {side.loose}) t LEFT JOIN {side.copies} c ON c.key = t.key"
        )
    bench.run(
        "CREATE OR REPLACE TABLE pairs AS SELECT l.id AS l_id, r.id AS r_id, odd.mask"
        " FROM odd JOIN odd_l l ON l.key = odd.l_key JOIN odd_r r ON r.key = odd.r_key"
    )


def join_without_key(bench: Workbench, allowed: Tolerances) -> None:
    """Pair what is left, where one side has no key: by batch job, by pilot, by job, then by site, cores and times."""
    agree = "coalesce(l.attempt, 1) = coalesce(r.attempt, 1) AND l.job_id = r.job_id"
    same_site = "(l.site = r.site OR l.site IS NULL OR r.site IS NULL)"
    for condition, by in (
        (f"l.batch = r.batch AND {agree} AND {same_site}", "batch, job_id, coalesce(attempt, 1)"),
        (f"l.pilot = r.pilot AND {agree}", "pilot, job_id, coalesce(attempt, 1)"),
        (f"{agree} AND {same_site}", "job_id, coalesce(attempt, 1)"),
    ):
        if not _left_over(bench):
            return
        # The n-th of one side with the n-th of the other, so that a copy finds no second partner.
        numbered = f"SELECT *, row_number() OVER (PARTITION BY {by} ORDER BY end_us) AS n FROM left_over_{{}}"
        bench.run(
            f"INSERT INTO pairs SELECT l.id, r.id, {mask(allowed)} FROM ({numbered.format('l')}) l"
            f" JOIN ({numbered.format('r')}) r ON {condition} AND l.n = r.n WHERE l.key IS NULL OR r.key IS NULL"
        )
    for _ in range(3):  # each round gives to those that lost theirs to a nearer one
        if not _left_over(bench) or not _pair_nearest(bench, allowed):
            return


def _left_over(bench: Workbench) -> bool:
    """The views of what has no partner yet; whether there may still be pairs among them."""
    for letter in "lr":
        bench.run(
            f"CREATE OR REPLACE TABLE left_over_{letter} AS SELECT * FROM odd_{letter}"
            f" WHERE id NOT IN (SELECT {letter}_id FROM pairs)"
        )
    counts = [bench.one(f"SELECT count(*), count(*) - count(key) FROM left_over_{letter}") for letter in "lr"]
    return all(count for count, _ in counts) and any(loose for _, loose in counts)


def _pair_nearest(bench: Workbench, allowed: Tolerances) -> bool:
    """Pair those that are each other's nearest in time; whether there were any."""
    far = round(allowed.fuzzy_seconds * _US)
    bench.run(
        "CREATE OR REPLACE TABLE near AS SELECT l.id AS l_id, r.id AS r_id,"
        " abs(l.start_us - r.start_us) + abs(l.end_us - r.end_us) AS distance"
        f" FROM left_over_l l JOIN (SELECT *, unnest([-1, 0, 1]) + start_us // {far} AS slot FROM left_over_r) r"
        f" ON l.site = r.site AND l.cores = r.cores AND l.start_us // {far} = r.slot"
        f" WHERE abs(l.start_us - r.start_us) <= {far} AND abs(l.end_us - r.end_us) <= {far}"
        " AND (l.key IS NULL OR r.key IS NULL)"
    )
    before = bench.value("SELECT count(*) FROM pairs")
    bench.run(
        f"INSERT INTO pairs SELECT l.id, r.id, {mask(allowed)} FROM (SELECT * FROM near"
        " QUALIFY row_number() OVER (PARTITION BY l_id ORDER BY distance, r_id) = 1"
        " AND row_number() OVER (PARTITION BY r_id ORDER BY distance, l_id) = 1) n"
        " JOIN odd_l l ON l.id = n.l_id JOIN odd_r r ON r.id = n.r_id"
    )
    return bool(bench.value("SELECT count(*) FROM pairs") > before)


def make_cases(
    bench: Workbench, left: Prepared, right: Prepared, allowed: Tolerances, now_us: int, window: Window
) -> Joined:
    """The table `cases` of everything odd; and what agrees or is not due yet."""
    identity = ", ".join(f"coalesce(l.{each}, r.{each}) AS {each}" for each in _IDENTITY)
    values = ", ".join(f"{letter}.{each} AS {letter}_{each}" for letter in "lr" for each in _VALUES)
    bench.run(
        "CREATE OR REPLACE TABLE cases AS SELECT row_number() OVER () AS id, * FROM ("
        f"  SELECT {identity}, {values}, p.mask, NULL AS absent FROM pairs p"
        "  JOIN odd_l l ON l.id = p.l_id JOIN odd_r r ON r.id = p.r_id"
        "  WHERE p.mask <> 0 OR l.copies IS NOT NULL OR r.copies IS NOT NULL"
        f"  UNION ALL SELECT {identity}, {values}, 0, CASE WHEN r.id IS NULL THEN 'r' ELSE 'l' END FROM"
        "  (SELECT * FROM odd_l WHERE id NOT IN (SELECT l_id FROM pairs)) l FULL JOIN"
        "  (SELECT * FROM odd_r WHERE id NOT IN (SELECT r_id FROM pairs)) r ON false)"
    )
    outside = [
        *([f"r_end_us < {window.since_us}"] if window.since_us is not None else []),
        *([f"r_end_us >= {window.until_us}"] if window.until_us is not None else []),
    ]
    if outside:
        bench.run(f"DELETE FROM cases WHERE absent = 'l' AND ({' OR '.join(outside)})")
    bench.run("ALTER TABLE cases ADD COLUMN swapped BOOLEAN DEFAULT false")
    bench.run("ALTER TABLE cases ADD COLUMN again BOOLEAN DEFAULT false")
    pending = _take_pending(bench, left, right, now_us)
    for letter, side in (("l", left), ("r", right)):
        _find_again(bench, letter, side, allowed)
    _find_swapped(bench, allowed)
    return _count_matched(bench, left, pending)


def _take_pending(bench: Workbench, left: Prepared, right: Prepared, now_us: int) -> tuple[int, float]:
    """Remove from `cases` what the other side need not have yet; how many, and their core hours."""
    young = " OR ".join(
        f"(absent = '{absent}' AND {has}_end_us > {now_us - round(lacking.loaded.grace_seconds * _US)})"
        for absent, has, lacking in (("r", "l", right), ("l", "r", left))
    )
    core = "abs(coalesce(l_wall_us, r_wall_us) / 3.6e9 * coalesce(l_cores, r_cores, 1))"
    bench.run(f"CREATE OR REPLACE TABLE pending AS SELECT *, {core} AS core_hours FROM cases WHERE {young}")
    bench.run("DELETE FROM cases WHERE id IN (SELECT id FROM pending)")
    count, hours = bench.one("SELECT count(*), coalesce(sum(core_hours), 0) FROM pending")
    return int(count), float(hours)


def _find_again(bench: Workbench, letter: str, side: Prepared, allowed: Tolerances) -> None:
    """Mark what seems to be missing on the other side, but is an attempt that this side has under another key too."""
    other = "l" if letter == "r" else "r"
    bench.run(
        f"CREATE OR REPLACE TABLE lone AS SELECT *, {letter}_start_us AS start_us FROM cases"
        f" WHERE absent = '{other}' AND key IS NOT NULL AND job_id IS NOT NULL"
    )
    if not bench.value("SELECT count(*) FROM lone"):
        return
    bench.run(
        f"UPDATE cases SET again = true WHERE id IN (SELECT c.id FROM {side.whole} k JOIN lone c ON"
        " c.job_id = k.job_id AND coalesce(c.attempt, 1) = coalesce(k.attempt, 1) AND c.site = k.site"
        " AND c.pilot IS NOT DISTINCT FROM k.pilot AND c.host IS NOT DISTINCT FROM k.host AND c.key <> k.key"
        f" AND abs(c.start_us - k.start_us) <= {round(allowed.fuzzy_seconds * _US)}"
        " WHERE c.key > k.key OR k.key NOT IN (SELECT key FROM lone))"
    )


def _find_swapped(bench: Workbench, allowed: Tolerances) -> None:
    """Mark pairs of pairs of which each left record is the other's right record."""
    near = round(allowed.skew_seconds * _US)
    # A shift that a whole host has makes pairs of its own jobs look alike: both must also be of the same length.
    same = " AND ".join(
        f"abs(a.{mine}_{column} - b.{yours}_{column}) <= {tolerance}"
        for mine, yours in (("l", "r"), ("r", "l"))
        for column, tolerance in (("end_us", near), ("wall_us", near), ("cpu_us", near), ("cores", 0))
    )
    other = BITS["cores"] | BITS["wall"] | BITS["cpu"] | BITS["skew"]
    bench.run(
        "CREATE OR REPLACE TABLE apart AS SELECT * FROM cases"
        f" WHERE absent IS NULL AND (mask & {other}) > 0 AND (mask & {BITS['impossible']}) = 0"
    )
    slot = f"_end_us // {2 * near}"
    bench.run(
        "UPDATE cases SET swapped = true WHERE id IN (SELECT a.id FROM apart a JOIN"
        f" (SELECT *, unnest([-1, 0, 1]) + r{slot} AS slot FROM apart) b"
        f" ON a.l{slot} = b.slot AND a.l_cores = b.r_cores AND a.id <> b.id WHERE {same})"
    )


def _count_matched(bench: Workbench, left: Prepared, pending: tuple[int, float]) -> Joined:
    """What of the left side is neither odd nor waits for its partner."""
    core = "sum(coalesce(abs({0}wall_us / 3.6e9 * coalesce({0}cores, 1)), 0))"
    parts = [left.keyed, *([left.loose] if left.loose_records else [])]
    hours = sum(float(bench.value(f"SELECT {core.format('')} FROM {each}") or 0) for each in parts)
    records = left.keyed_records + left.loose_records
    for table in ("cases", "pending"):
        odd, spent = bench.one(
            f"SELECT count(*), {core.format('l_')} FROM {table} WHERE absent IS NULL OR absent = 'r'"
        )
        hours -= float(spent or 0)
        records -= int(odd)
    return Joined(
        matched=records, matched_core_hours=max(hours, 0.0), pending=pending[0], pending_core_hours=pending[1]
    )
