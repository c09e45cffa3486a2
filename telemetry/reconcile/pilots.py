"""Attempts against the jobs of a batch system: each pilot against the sum of what ran in it, never one to one.

A pilot's CPU is that of its payloads, of their wrappers, and the rest: the agent's share, and what else the site runs
in a pilot (`overhead`). Its core time is that of its attempts, and what no attempt had (`idle`). Both are no fault up
to a share; payloads with more than their pilot are. A pilot that runs is not due.
"""

from telemetry.reconcile.columns import literal
from telemetry.reconcile.faults import begin, counted
from telemetry.reconcile.judge import BAD, flags
from telemetry.reconcile.result import ClassTotal, Kind
from telemetry.reconcile.settings import Tolerances, Window
from telemetry.reconcile.sides import Prepared, inside
from telemetry.reconcile.workbench import Workbench

_US = 1_000_000
_HOURS = "/ 3.6e9"


def compare(
    bench: Workbench, attempts: Prepared, pilots: Prepared, allowed: Tolerances, now_us: int, window: Window
) -> list[ClassTotal]:
    """The tables `cases` and `faults` of pilots, and how many of each class."""
    left, right = attempts.loaded.name, pilots.loaded.name
    _make_cases(bench, attempts, pilots, allowed, now_us)
    begin(bench)
    grace_us = now_us - round(pilots.loaded.grace_seconds * _US)
    bench.run(f"DELETE FROM cases WHERE ({inside(window, 'coalesce(r_end_us, l_end_us)')}) IS NOT TRUE")
    young = f"r_end_us IS NULL AND (is_known OR l_end_us > {grace_us})"  # known and without an end: it runs
    bench.run(
        f"INSERT INTO faults SELECT id, 'missing', {literal(right)}, l_core_us / 1e6, NULL, l_core_us {_HOURS},"
        f" {literal(f'{right} does not know the pilot: another batch system, or its record is lost')}, false"
        f" FROM cases WHERE r_end_us IS NULL AND NOT ({young})"
    )
    for kind, condition, values, stake, cause in _rules(allowed):
        bench.run(
            f"INSERT INTO faults SELECT id, '{kind}', '', {values}, {stake}, {cause}, false FROM cases"
            f" WHERE r_end_us IS NOT NULL AND {condition} AND (l_end_us IS NOT NULL OR '{kind}' IN ('idle',"
            " 'impossible'))"
        )
    fine = "FROM cases WHERE id NOT IN (SELECT id FROM faults)"
    hours = "coalesce(sum(coalesce(r_core_us, l_core_us)), 0) / 3.6e9"
    matched = bench.one(f"SELECT count(*), {hours} {fine} AND NOT ({young})")
    pending = bench.one(f"SELECT count(*), {hours} {fine} AND {young}")
    return [
        ClassTotal(left=left, right=right, kind="matched", pairs=matched[0], core_hours=float(matched[1])),
        ClassTotal(left=left, right=right, kind="pending", pairs=pending[0], core_hours=float(pending[1])),
        *counted(bench, left, right),
    ]


def _make_cases(bench: Workbench, attempts: Prepared, pilots: Prepared, allowed: Tolerances, now_us: int) -> None:
    """`cases`: a row for each pilot, what ran in it as the left side. A requeued job has several rows in a batch
    system: these are one pilot.

    Two batch systems give the same numbers: where the pilots are said to be of a site, only its attempts are theirs.
    """
    has_site = bool(bench.value(f"SELECT count(site) FROM {pilots.loose}"))
    place = "coalesce(site, '')" if has_site else "''"
    asked = f" AND site IN (SELECT site FROM {pilots.loose})" if has_site else ""
    held = " UNION ALL ".join(
        f"SELECT * FROM {each} WHERE batch IS NOT NULL AND batch <> ''{asked}"
        for each in (f"(SELECT * FROM {attempts.keyed})", f"(SELECT * EXCLUDE (id) FROM {attempts.loose})")
    )
    summed = (
        f"SELECT batch, {place} AS place, count(*) AS payloads, any_value(site) AS site, any_value(host) AS host,"
        " any_value(pilot) AS pilot,"
        " any_value(grp) AS grp, max(cores) AS cores, sum(cpu_us)::BIGINT AS cpu_us,"
        " sum(coalesce(own_cpu_us, 0))::BIGINT AS own_cpu_us,"
        " sum(wall_us * coalesce(cores, 1))::BIGINT AS core_us, min(start_us) AS start_us, max(end_us) AS end_us"
        f" FROM ({held}) GROUP BY batch, place"
    )
    own = flags(allowed, now_us)
    jobs = (
        f"SELECT batch, {place} AS place, any_value(site) AS site, any_value(host) AS host, max(cores) AS cores,"
        " sum(wall_us)::BIGINT AS wall_us, CASE WHEN count(cpu_us) = count(*) THEN sum(cpu_us)::BIGINT END AS cpu_us,"
        " sum(wall_us * coalesce(cores, 1))::BIGINT AS core_us, min(start_us) AS start_us,"
        " CASE WHEN count(end_us) = count(*) THEN max(end_us) END AS end_us,"
        f" bit_or({own}) AS flags FROM {pilots.loose} GROUP BY batch, place"
    )
    bench.run(
        "CREATE OR REPLACE TABLE cases AS SELECT row_number() OVER () AS id, concat_ws('/', 'pilot',"
        " nullif(coalesce(l.place, r.place), ''), coalesce(l.batch, r.batch)) AS key,"
        " coalesce(l.batch, r.batch) AS batch, NULL::BIGINT AS job_id, NULL::INTEGER AS attempt,"
        " coalesce(l.site, r.site) AS site, l.grp, coalesce(l.host, r.host) AS host, coalesce(l.pilot, l.batch,"
        " r.batch) AS"
        " pilot, l.payloads, l.cores AS l_cores, r.cores AS r_cores, l.cpu_us AS l_cpu_us, r.cpu_us AS r_cpu_us,"
        " l.own_cpu_us, l.core_us AS l_core_us, r.core_us AS r_core_us, l.start_us AS l_start_us, r.start_us AS"
        " r_start_us,"
        " l.end_us AS l_end_us, r.end_us AS r_end_us, r.wall_us AS r_wall_us, r.flags AS r_flags,"
        " r.batch IS NOT NULL AS is_known"
        f" FROM ({summed}) l FULL JOIN ({jobs}) r ON l.batch = r.batch AND l.place = r.place"
    )


#: What the attempts of a pilot have used, and what their cores had.
_USED = "(coalesce(l_cpu_us, 0) + coalesce(own_cpu_us, 0))"
_HAD = "coalesce(l_core_us, 0)"
_SANE = f"(r_flags & {BAD}) = 0"


def _rules(allowed: Tolerances) -> list[tuple[Kind, str, str, str, str]]:
    """For each class: condition, values of both sides, core hours in question, cause."""
    return [*_contradictions(allowed), *_unused(allowed)]


def _contradictions(allowed: Tolerances) -> list[tuple[Kind, str, str, str, str]]:
    """What cannot be: a pilot that is less than what ran in it."""
    cpu_most = f"r_cpu_us * (1 + {allowed.pilot_fraction}) + {round(allowed.cpu_seconds * _US)}"
    core_most = f"r_core_us * (1 + {allowed.pilot_fraction}) + {round(allowed.wall_seconds * _US)} * r_cores"
    beyond = "greatest(r_start_us - l_start_us, l_end_us - r_end_us)"
    return [
        (
            "impossible",
            f"NOT {_SANE}",
            "l_end_us / 1e6, r_end_us / 1e6",
            "abs(coalesce(l_core_us, 0)) / 3.6e9",
            literal("the batch system has a negative or impossible time"),
        ),
        (
            "cores",
            f"{_SANE} AND l_cores > r_cores",
            "l_cores, r_cores",
            f"(l_cores - r_cores) * r_wall_us {_HOURS}",
            literal("an attempt has more cores than its pilot"),
        ),
        (
            "cpu",
            f"{_SANE} AND l_cpu_us > {cpu_most}",
            "l_cpu_us / 1e6, r_cpu_us / 1e6",
            f"(l_cpu_us - r_cpu_us) {_HOURS}",
            literal("payloads have more CPU than their pilot: the batch system has not seen all processes"),
        ),
        (
            "wall",
            f"{_SANE} AND l_cores <= r_cores AND l_core_us > {core_most}",
            "l_core_us / 1e6, r_core_us / 1e6",
            f"(l_core_us - r_core_us) {_HOURS}",
            literal("attempts have more core time than their pilot: they overlap, or its end is too early"),
        ),
        (
            "skew",
            f"{_SANE} AND {beyond} > {round(allowed.skew_seconds * _US)} AND l_core_us <= {core_most}",
            "l_end_us / 1e6, r_end_us / 1e6",
            "0",
            "CASE WHEN l_end_us - l_start_us <= r_end_us - r_start_us"
            " THEN 'the clocks differ, or a time zone: attempts lie outside of their pilot'"
            " ELSE 'attempts lie outside of their pilot, and do not fit into it' END",
        ),
    ]


def _unused(allowed: Tolerances) -> list[tuple[Kind, str, str, str, str]]:
    """What a pilot had, and nothing that ran in it."""
    return [
        (
            "overhead",
            f"{_SANE} AND r_cpu_us - {_USED} > greatest({allowed.overhead_fraction} * r_cpu_us,"
            f" {round(allowed.cpu_seconds * _US)}) AND l_end_us IS NOT NULL",
            f"{_USED} / 1e6, r_cpu_us / 1e6",
            f"(r_cpu_us - {_USED}) {_HOURS}",
            literal("CPU of the pilot that neither payloads nor wrappers have used: the agent, or other programs"),
        ),
        (
            "idle",
            f"{_SANE} AND r_core_us - {_HAD} > greatest({allowed.idle_fraction} * r_core_us,"
            f" {round(allowed.wall_seconds * _US)} * r_cores)",
            f"{_HAD} / 1e6, r_core_us / 1e6",
            f"(r_core_us - {_HAD}) {_HOURS}",
            "CASE WHEN payloads IS NULL THEN 'no attempt is known of this pilot: it got no job, or their"
            " records are lost'"
            " ELSE 'core time of the pilot that no attempt had' END",
        ),
    ]
