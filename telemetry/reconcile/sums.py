"""Attempts against sums: counters of Prometheus, summaries of a month. Compared by whatever the sums tell apart."""

from telemetry.reconcile.columns import literal
from telemetry.reconcile.faults import begin, counted
from telemetry.reconcile.result import ClassTotal, Side
from telemetry.reconcile.settings import Tolerances
from telemetry.reconcile.sides import Loaded, Prepared
from telemetry.reconcile.workbench import Workbench

_DIMENSIONS = ("site", "grp", "cores", "month")
_US = 1_000_000
_MONTH = "strftime(make_timestamp(end_us), '%Y-%m')"


def described(bench: Workbench, loaded: Loaded) -> Side:
    """What the sums hold in all."""
    jobs, cpu, core = bench.one(
        f"SELECT coalesce(sum(jobs), 0), coalesce(sum(cpu_us), 0), coalesce(sum(core_us), 0) FROM {loaded.relation}"
    )
    return Side(
        name=loaded.name,
        kind=loaded.kind,
        where=loaded.where,
        level="sum",
        records=int(jobs),
        cpu_seconds=float(cpu) / 1e6,
        core_seconds=float(core) / 1e6,
    )


def compare(bench: Workbench, attempts: Prepared, loaded: Loaded, allowed: Tolerances) -> list[ClassTotal]:
    """The tables `cases` and `faults` of sums, and how many of each class."""
    told = [each for each in _DIMENSIONS if bench.value(f"SELECT count({each}) FROM {loaded.relation}")]
    _make_cases(bench, attempts, loaded, told)
    left, right = attempts.loaded.name, loaded.name
    begin(bench)
    hours = "abs(coalesce(l_core_us, 0) - coalesce(r_core_us, 0)) / 3.6e9"
    for absent, fewer in ((right, "coalesce(r_jobs, 0) < coalesce(l_jobs, 0)"), (left, "coalesce(l_jobs, 0) < r_jobs")):
        bench.run(
            f"INSERT INTO faults SELECT id, 'missing', {literal(absent)}, l_jobs, r_jobs, {hours},"
            f" {literal(f'{absent} has fewer attempts')}, false FROM cases WHERE {fewer}"
        )
    for kind, column, seconds, fraction in (
        ("cpu", "cpu_us", allowed.cpu_seconds, allowed.cpu_fraction),
        ("wall", "core_us", allowed.wall_seconds, allowed.wall_fraction),
    ):
        apart = f"abs(l_{column} - r_{column})"
        bench.run(
            f"INSERT INTO faults SELECT id, '{kind}', '', l_{column} / 1e6, r_{column} / 1e6, {apart} / 3.6e9,"
            " 'the same number of attempts adds up to something else', false FROM cases"
            f" WHERE l_jobs = r_jobs AND {apart} > greatest({round(seconds * _US)}, {fraction}"
            f" * greatest(l_{column}, r_{column}))"
        )
    matched, spent = bench.one(
        "SELECT count(*), coalesce(sum(l_core_us), 0) / 3.6e9 FROM cases WHERE id NOT IN (SELECT id FROM faults)"
    )
    return [
        ClassTotal(left=left, right=right, kind="matched", pairs=int(matched), core_hours=float(spent)),
        *counted(bench, left, right),
    ]


def _make_cases(bench: Workbench, attempts: Prepared, loaded: Loaded, told: list[str]) -> None:
    """`cases`: a row for each sum, with that of the attempts as the left side."""
    own = {"site": "site", "grp": "grp", "cores": "cores", "month": _MONTH}
    mine = "".join(f"{own[each]} AS {each}, " for each in told)
    theirs = "".join(f"{each}, " for each in told)
    held = " UNION ALL ".join(
        f"SELECT site, grp, cores, end_us, cpu_us, wall_us FROM {each}" for each in (attempts.keyed, attempts.loose)
    )
    summed = (
        f"SELECT {mine}count(*) AS jobs, sum(cpu_us)::BIGINT AS cpu_us, max(end_us) AS end_us,"
        f" sum(wall_us * coalesce(cores, 1))::BIGINT AS core_us FROM ({held}) GROUP BY ALL HAVING jobs > 0"
    )
    given = (
        f"SELECT {theirs}sum(jobs)::BIGINT AS jobs, sum(cpu_us)::BIGINT AS cpu_us, sum(core_us)::BIGINT AS core_us"
        f" FROM {loaded.relation} GROUP BY ALL"
    )
    same = " AND ".join(f"l.{each} IS NOT DISTINCT FROM r.{each}" for each in told) or "true"
    names = {each: f"coalesce(l.{each}, r.{each})" if each in told else "NULL" for each in _DIMENSIONS}
    key = ", ".join(names[each] for each in _DIMENSIONS)
    bench.run(
        f"CREATE OR REPLACE TABLE cases AS SELECT row_number() OVER () AS id, 'sum/' || concat_ws('/', {key}) AS key,"
        f" {names['month']}::VARCHAR AS batch, NULL::BIGINT AS job_id, NULL::INTEGER AS attempt,"
        f" {names['site']}::VARCHAR AS site, {names['grp']}::VARCHAR AS grp, NULL::VARCHAR AS host,"
        " NULL::VARCHAR AS pilot,"
        f" {names['cores']}::INTEGER AS l_cores, NULL::INTEGER AS r_cores, l.end_us AS l_end_us, NULL::BIGINT"
        " AS r_end_us,"
        " l.jobs AS l_jobs, r.jobs AS r_jobs, l.cpu_us AS l_cpu_us, r.cpu_us AS r_cpu_us, l.core_us AS l_core_us,"
        f" r.core_us AS r_core_us FROM ({summed}) l FULL JOIN ({given}) r ON {same}"
    )
