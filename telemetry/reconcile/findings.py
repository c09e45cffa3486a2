"""Differences that have one cause, told apart from single ones: of a site, group and cores, a host, an hour, a pilot.

At each level only those are looked at that no coarser level has explained. A finding needs so many differences of one
class and such a share of all attempts there (`Tolerances`); a skew also the same offset, give or take.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.reconcile.columns import literal, name
from telemetry.reconcile.result import Finding
from telemetry.reconcile.settings import Tolerances
from telemetry.reconcile.sides import Prepared, groups_of, moment_text
from telemetry.reconcile.workbench import Row, Workbench

_HOUR_US = 3_600_000_000
#: So many records are looked at before all of them are.
_SOME = 200_000
#: What a level is named by: names for people, and the expression on a record.
_LEVELS: tuple[Mapping[str, str], ...] = (
    {"site": "site", "group": "grp", "cores": "cores"},
    {"site": "site", "group": "grp"},
    {"host": "host"},
    {"site": "site", "hour": f"end_us // {_HOUR_US}"},
)
_ON_CASES = {
    "cores": "coalesce({0}_cores, {1}_cores)",
    f"end_us // {_HOUR_US}": f"coalesce({{0}}_end_us, {{1}}_end_us) // {_HOUR_US}",
}


def find(bench: Workbench, left: Prepared, right: Prepared, allowed: Tolerances) -> tuple[Finding, ...]:
    """What `faults` have in common; those are marked as systematic."""
    found: list[Finding] = []
    frequent = {
        str(absent)
        for (absent,) in bench.rows(
            f"SELECT absent FROM faults GROUP BY absent HAVING count(*) >= {allowed.systematic_pairs}"
        )
    }
    for level in _LEVELS:
        for absent, known in (("", left), (right.loaded.name, left), (left.loaded.name, right)):
            if absent in frequent:
                found += _at_level(bench, _Question(left, right, level, absent, known), allowed)
    for has, lacking in ((left, right), (right, left)):
        if lacking.loaded.name in frequent:
            found += _gaps(bench, left, right, allowed, has=has, lacking=lacking)
    return tuple(sorted(found, key=lambda each: (-each.core_hours, -each.pairs, each.name, str(each.where))))


@dataclass(frozen=True)
class _Question:
    """What is asked: a level, and the classes in which *absent* lacks something. *known* knows all pairs."""

    left: Prepared
    right: Prepared
    level: Mapping[str, str]
    absent: str
    known: Prepared


def _at_level(bench: Workbench, asked: _Question, allowed: Tolerances) -> list[Finding]:
    """Findings at one level."""
    level, absent, known = asked.level, asked.absent, asked.known
    names = ", ".join(map(name, level))
    letters = ("l", "r") if known is asked.left else ("r", "l")
    on_cases = ", ".join(
        f"{_ON_CASES.get(each, 'c.' + each).format(*letters)} AS {name(ours)}" for ours, each in level.items()
    )
    there = ", ".join(f"{each} AS {name(ours)}" for ours, each in level.items())
    bench.run(
        f"CREATE OR REPLACE TABLE open AS SELECT f.*, {on_cases}, coalesce(c.l_end_us, c.r_end_us) AS end_us"
        f" FROM faults f JOIN cases c USING (id) WHERE NOT f.systematic AND f.absent = {literal(absent)}"
    )
    grouped = (
        f"SELECT kind, {names}, count(*) AS n, sum(core_hours) AS hours, median(right_value / nullif(left_value, 0)) AS"
        " ratio, median(right_value - left_value) AS offs, mad(right_value - left_value) AS spread,"
        " min(end_us) AS first, max(end_us) AS last, mode(cause) AS cause"
        f" FROM open GROUP BY ALL HAVING n >= {allowed.systematic_pairs}"
    )
    bench.run(f"CREATE OR REPLACE TABLE grouped AS {grouped}")
    if not bench.value("SELECT count(*) FROM grouped"):
        return []
    surveyed = known.surveyed
    same = " AND ".join(f"{{0}}.{name(each)} IS NOT DISTINCT FROM {{1}}.{name(each)}" for each in level)
    # Where the first records alone are too many for so few differences, all of them need not be counted.
    some = f"SELECT {names}, count(*) AS n FROM (SELECT {there} FROM {surveyed.records} LIMIT {_SOME}) GROUP BY ALL"
    bench.run(
        f"CREATE OR REPLACE TABLE likely AS SELECT g.* FROM grouped g LEFT JOIN ({some}) s ON {same.format('g', 's')}"
        f" WHERE g.n >= {allowed.systematic_fraction} * coalesce(s.n, 0)"
    )
    if not bench.value("SELECT count(*) FROM likely"):
        return []
    if "hour" in level:
        counts = f"SELECT {there}, 1 AS n FROM {surveyed.records}"
    else:
        counts = f"SELECT {there}, n FROM {groups_of(bench, surveyed)}"
    bench.run(
        "CREATE OR REPLACE TABLE found AS SELECT g.*, a.among FROM likely g JOIN"
        f" (SELECT {names}, sum(n)::BIGINT AS among FROM ({counts}) GROUP BY ALL) a ON {same.format('g', 'a')}"
        f" WHERE g.n >= {allowed.systematic_fraction} * a.among"
        f" AND (g.kind <> 'skew' OR g.spread <= {allowed.skew_seconds})"
    )
    bench.run(
        "UPDATE faults SET systematic = true WHERE (id, kind) IN"
        f" (SELECT o.id, o.kind FROM open o JOIN found f ON o.kind = f.kind AND {same.format('o', 'f')})"
    )
    rows = bench.rows(f"SELECT kind, n, among, hours, ratio, offs, first, last, cause, {names} FROM found")
    return [_finding(row, asked) for row in rows]


def _finding(row: Row, asked: _Question) -> Finding:
    kind, pairs, among, hours, ratio, offset, first, last, cause, *where = row
    named = {each: "" if value is None else str(value) for each, value in zip(asked.level, where, strict=True)}
    if named.get("hour"):
        named["hour"] = moment_text(int(named["hour"]) * _HOUR_US)
    return Finding(
        left=asked.left.loaded.name,
        right=asked.right.loaded.name,
        kind=kind,
        absent=asked.absent,
        where=named,
        cause=_common_cause(kind, named, cause),
        pairs=int(pairs),
        among=int(among),
        core_hours=float(hours),
        ratio=None if ratio is None or kind not in ("wall", "cpu", "cores", "benchmark") else float(ratio),
        offset_seconds=None if offset is None or kind not in ("skew", "wall", "cpu") else float(offset),
        first_end=moment_text(first),
        last_end=moment_text(last),
    )


def _common_cause(kind: str, where: Mapping[str, str], cause: str) -> str:
    if kind == "skew" and "time zone" not in cause:
        return f"the clock of {where['host']} is wrong" if "host" in where else "the clocks there are wrong"
    if kind == "missing":
        return f"nothing, or little, has arrived from there ({cause})"
    return cause


def _gaps(
    bench: Workbench, left: Prepared, right: Prepared, allowed: Tolerances, *, has: Prepared, lacking: Prepared
) -> list[Finding]:
    """Attempts of one pilot that are missing in a row: what it sent meanwhile has not arrived."""
    lacks = lacking.loaded.name
    lost = (
        "SELECT f.id, c.key, c.pilot FROM faults f JOIN cases c USING (id)"
        f" WHERE kind = 'missing' AND NOT systematic AND f.absent = {literal(lacks)}"
    )
    bench.run(
        f"CREATE OR REPLACE TABLE lost AS SELECT * FROM ({lost}) WHERE pilot IS NOT NULL AND key IS NOT NULL"
        f" QUALIFY count(*) OVER (PARTITION BY pilot) >= {allowed.systematic_pairs}"
    )
    if not bench.value("SELECT count(*) FROM lost"):
        return []
    order = "ORDER BY k.end_us, k.key"
    bench.run(
        "CREATE OR REPLACE TABLE gaps AS SELECT *, count(*) OVER (PARTITION BY pilot, run) AS n FROM ("
        "  SELECT k.pilot, k.host, k.end_us, l.id, row_number() OVER (PARTITION BY k.pilot"
        f" {order}) - row_number() OVER (PARTITION BY k.pilot, l.id IS NULL {order}) AS run,"
        " count(*) OVER (PARTITION BY k.pilot) AS among, abs(k.wall_us / 3.6e9 * coalesce(k.cores, 1)) AS hours"
        f"  FROM {has.surveyed.records} k LEFT JOIN lost l ON l.key = k.key WHERE k.pilot IN (SELECT pilot FROM lost)"
        f") WHERE id IS NOT NULL QUALIFY n >= {allowed.systematic_pairs}"
    )
    bench.run("UPDATE faults SET systematic = true WHERE kind = 'missing' AND id IN (SELECT id FROM gaps)")
    rows = bench.rows(
        "SELECT pilot, any_value(host), count(*), any_value(among), sum(hours), min(end_us), max(end_us)"
        " FROM gaps GROUP BY pilot, run"
    )
    return [
        Finding(
            left=left.loaded.name,
            right=right.loaded.name,
            kind="missing",
            absent=lacks,
            where={"pilot": str(pilot), "host": str(host or "")},
            cause=f"a gap: {count} attempts of one pilot in a row have not reached {lacks}",
            pairs=int(count),
            among=int(among),
            core_hours=float(hours),
            first_end=moment_text(first),
            last_end=moment_text(last),
        )
        for pilot, host, count, among, hours, first, last in rows
    ]
