"""Two ledgers of one site federation, with differences put in on purpose, and the list of what was put in.

Everything follows from a seed by hashes. The rows are made by the database, but what is wrong with each is decided
here, by its own arithmetic, and not by the expressions that are tested. Most pairs agree exactly; every tenth lies on
the last value that a tolerance lets through.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb

US = 1_000_000
#: The first attempt starts here (2026-03-01 UTC), the last ends long before NOW.
BEGIN_US = 1_772_323_200 * US
NOW_NS = (BEGIN_US + 200 * 86_400 * US) * 1000
#: Classes of single differences, each in one of so many attempts.
CLASSES = (
    *("missing_in_right", "missing_in_left", "copy", "again", "wall_longer", "wall_shorter", "cpu_more", "cpu_less"),
    *("cores", "benchmark", "benchmark_name", "end_later", "end_earlier", "late", "negative", "of_1970", "ends_first"),
    *("future", "swapped"),
)
INSIDE = (
    "wall_inside",
    "wall_share_inside",
    "cpu_inside",
    "cpu_share_inside",
    "benchmark_inside",
    "skew_inside",
    "late_inside",
)
RARITY = 2000
#: Attempts of a pilot, one after the other.
PER_PILOT = 40


@dataclass(frozen=True, kw_only=True)
class Injected:
    """Both sides as Parquet files of accounting records, and what is wrong: (uid, class) of every difference."""

    left: Path
    right: Path
    wrong: frozenset[tuple[str, str]]
    #: (class, what it is named by): hosts with a wrong clock, sites that scale, pilots with a gap.
    systematic: frozenset[tuple[str, str]]
    #: UIDs of what is wrong that the left side holds.
    held: frozenset[str]


def inject(folder: Path, count: int, seed: int, *, rarity: int = RARITY) -> Injected:
    """Write both sides, with *count* attempts."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:", config={"threads": 2}) as db:
        db.execute(f"CREATE MACRO pick(a, b, n) AS (hash(a, b, {seed}) % n)::BIGINT")
        db.execute(_attempts(count, seed))
        db.execute(_chosen(rarity, seed))
        db.execute(_right())
        left, right = folder / "left.parquet", folder / "right.parquet"
        db.execute(
            f"COPY (SELECT {_record('')} FROM chosen WHERE what <> 'missing_in_left') TO '{left}' (FORMAT parquet)"
        )
        db.execute(f"COPY (SELECT {_record('r_')} FROM changed ORDER BY hash(uid)) TO '{right}' (FORMAT parquet)")
        wrong = frozenset(db.execute("SELECT uid, class FROM truth").fetchall())
        systematic = frozenset(db.execute("SELECT class, name FROM common").fetchall())
        held = frozenset(
            uid
            for (uid,) in db.execute(
                f"SELECT DISTINCT t.uid FROM truth t SEMI JOIN read_parquet('{left}') l ON t.uid = l.UID"
            ).fetchall()
        )
    return Injected(left=left, right=right, wrong=wrong, systematic=systematic, held=held)


def _attempts(count: int, seed: int) -> str:
    """`attempts`: pilots one after the other on hosts of twelve sites, each with its jobs in a row."""
    share = "pick(i, '{}', 1000000) / 1e6"
    return f"""
    CREATE TABLE attempts AS
    SELECT i, md5('{seed}/' || i)::UUID::VARCHAR AS uid, i + 1 AS job_id, i // {PER_PILOT} AS pilot,
        'LCG.Site' || pick(i // {PER_PILOT}, 'site', 12) || '.org' AS site,
        'vo/group' || pick(i, 'group', 4) AS grp,
        'wn' || pick(i // {PER_PILOT}, 'site', 12) || '-' || pick(i // {PER_PILOT}, 'host', 20) AS host,
        [1, 1, 4, 8][1 + pick(i // {PER_PILOT}, 'cores', 4)]::INTEGER AS cores,
        {BEGIN_US} + pick(i // {PER_PILOT}, 'begin', 2000000) * {US} + (i % {PER_PILOT}) * {30000 * US}
            + pick(i, 'start', 10000000000) AS start_us,
        ({600 * US} + round({share.format("wall")} * {15000 * US}))::BIGINT AS wall_us,
        0.2 + 0.6 * {share.format("cpu")} AS efficiency,
        10 + pick(i // {PER_PILOT}, 'site', 7) AS benchmark
    FROM (SELECT range AS i FROM range({count}));
    CREATE TABLE base AS SELECT * EXCLUDE (efficiency), (wall_us * cores * efficiency)::BIGINT AS cpu_us,
        start_us + wall_us AS end_us, end_us + {60 * US} AS arrived_us FROM attempts
    """


def _chosen(rarity: int, seed: int) -> str:
    """`chosen`: what is done to each attempt. Hosts, groups and pilots with one cause have nothing else."""
    each = f"CASE {' '.join(f'WHEN {n} THEN {what!r}' for n, what in enumerate(CLASSES))} END"
    inside = f"CASE {' '.join(f'WHEN {n} THEN {what!r}' for n, what in enumerate(INSIDE))} ELSE '' END"
    return f"""
    CREATE TABLE pilots AS SELECT pilot, any_value(host) AS host, any_value(site) AS site, any_value(cores) AS cores
        FROM base GROUP BY pilot HAVING count(*) = {PER_PILOT};
    CREATE TABLE hosts AS SELECT host, row_number() OVER (ORDER BY pick(host, 'host', 1000000)) AS n
        FROM pilots GROUP BY host;
    CREATE TABLE chosen AS SELECT b.*, CASE
        WHEN h.n = 1 THEN 'host_ahead' WHEN h.n = 2 THEN 'host_summer'
        WHEN p.gap AND i % {PER_PILOT} BETWEEN 10 AND 16 THEN 'gap'
        WHEN p.gap THEN ''
        WHEN b.site = 'LCG.Site0.org' AND b.grp = 'vo/group0' AND b.cores = 8 THEN 'one_core'
        WHEN b.site = 'LCG.Site1.org' AND b.grp = 'vo/group1' AND b.cores = 4 THEN 'wall_times_cores'
        WHEN pick(i, 'wrong', {rarity}) < {len(CLASSES)} THEN
            CASE pick(i, 'wrong', {rarity}) {each.removeprefix("CASE ")}
        ELSE CASE pick(i, 'inside', 70) {inside.removeprefix("CASE ")} END AS what
    FROM base b JOIN hosts h USING (host)
    LEFT JOIN (SELECT pilot, pick(pilot, 'gap', 50) = 7 AS gap FROM pilots) p USING (pilot);
    -- two of one kind exchange keys; they differ by much, and an odd one is left alone
    CREATE VIEW odd AS SELECT uid, cores, end_us, row_number() OVER (PARTITION BY cores ORDER BY i) AS n
        FROM chosen WHERE what = 'swapped';
    CREATE TABLE exchanged AS SELECT a.uid AS uid, b.uid AS other FROM odd a JOIN odd b ON a.cores = b.cores
        AND b.n = CASE WHEN a.n % 2 = 1 THEN a.n + 1 ELSE a.n - 1 END
        AND abs(a.end_us - b.end_us) > {60 * US};
    UPDATE chosen SET what = '' WHERE what = 'swapped' AND uid NOT IN (SELECT uid FROM exchanged)
    """


def _right() -> str:
    """`changed`: the right side; `truth` and `common`: what is wrong with it."""
    wall_limit = f"greatest({120 * US}, floor(0.02 * wall_us))::BIGINT"
    cpu_limit = f"greatest({60 * US}, floor(0.05 * cpu_us))::BIGINT"
    # The larger of two values is what a fraction is taken of: 1 / 0.98 upwards is 2 % of the larger.
    wall_by = f"""CASE what WHEN 'wall_longer' THEN greatest({121 * US}, round(wall_us * 0.0206)::BIGINT)
        WHEN 'wall_shorter' THEN -greatest({121 * US}, round(wall_us * 0.0202)::BIGINT)
        WHEN 'wall_inside' THEN {120 * US} WHEN 'wall_share_inside' THEN -{wall_limit}
        WHEN 'wall_times_cores' THEN wall_us * (cores - 1) ELSE 0 END"""
    cpu_by = f"""CASE what WHEN 'cpu_more' THEN greatest({61 * US}, round(cpu_us * 0.054)::BIGINT)
        WHEN 'cpu_less' THEN -greatest({61 * US}, round(cpu_us * 0.0503)::BIGINT)
        WHEN 'cpu_inside' THEN {60 * US} WHEN 'cpu_share_inside' THEN -least({cpu_limit}, cpu_us) ELSE 0 END"""
    end_by = f"""CASE what WHEN 'end_later' THEN {6 * US} + pick(i, 'end', 900) * {US}
        WHEN 'end_earlier' THEN -{5 * US} - 1 WHEN 'skew_inside' THEN {5 * US}
        WHEN 'host_ahead' THEN {47 * US} WHEN 'host_summer' THEN {3600 * US} ELSE 0 END::BIGINT"""
    return f"""
    CREATE TABLE changed AS
    SELECT c.uid, what, coalesce(x.other, c.uid) AS r_uid, job_id AS r_job_id, pilot AS r_pilot, site AS r_site,
        grp AS r_grp, host AS r_host,
        CASE what WHEN 'cores' THEN cores + 1 WHEN 'one_core' THEN 1 ELSE cores END AS r_cores,
        CASE what WHEN 'negative' THEN -wall_us ELSE wall_us + {wall_by} END AS r_wall_us,
        cpu_us + {cpu_by} AS r_cpu_us,
        start_us + CASE WHEN what LIKE 'host_%' THEN {end_by} ELSE 0 END AS r_start_us,
        CASE what WHEN 'of_1970' THEN 0 WHEN 'ends_first' THEN start_us - {US} WHEN 'future' THEN {NOW_NS // 1000}
            + {90000 * US} WHEN 'wall_times_cores' THEN end_us ELSE end_us + {wall_by} + {end_by} END AS r_end_us,
        benchmark * CASE what WHEN 'benchmark' THEN 1.011 WHEN 'benchmark_inside' THEN 0.9901 ELSE 1 END AS r_benchmark,
        CASE what WHEN 'benchmark_name' THEN 'hepspec' ELSE 'hepscore23' END AS r_benchmark_name,
        CASE what WHEN 'late' THEN end_us + {86400 * US} + 1 WHEN 'late_inside' THEN end_us + {86400 * US}
            ELSE r_end_us + {60 * US} END AS r_arrived_us
    FROM chosen c LEFT JOIN exchanged x ON x.uid = c.uid WHERE what NOT IN ('missing_in_right', 'gap');
    INSERT INTO changed SELECT * FROM changed WHERE what = 'copy';
    INSERT INTO changed SELECT * REPLACE (md5(uid)::UUID::VARCHAR AS r_uid, r_end_us + {33 * US} AS r_end_us,
        r_wall_us + {33 * US} AS r_wall_us) FROM changed WHERE what = 'again';
    CREATE TABLE truth AS SELECT CASE what WHEN 'again' THEN md5(uid)::UUID::VARCHAR ELSE uid END AS uid, CASE
        WHEN what IN ('gap', 'missing_in_right') THEN 'missing_in_right'
        WHEN what IN ('copy', 'again') THEN 'duplicate'
        WHEN what IN ('wall_longer', 'wall_shorter', 'wall_times_cores') THEN 'wall'
        WHEN what IN ('cpu_more', 'cpu_less') THEN 'cpu'
        WHEN what IN ('cores', 'one_core') THEN 'cores'
        WHEN what IN ('benchmark', 'benchmark_name') THEN 'benchmark'
        WHEN what IN ('end_later', 'end_earlier', 'host_ahead', 'host_summer') THEN 'skew'
        WHEN what IN ('negative', 'of_1970', 'ends_first', 'future') THEN 'impossible'
        ELSE what END AS class FROM chosen WHERE what <> '' AND what NOT LIKE '%inside';
    CREATE TABLE common AS SELECT DISTINCT
        CASE WHEN what LIKE 'host_%' THEN 'skew' WHEN what = 'gap' THEN 'missing_in_right'
            WHEN what = 'one_core' THEN 'cores' ELSE 'wall' END AS class,
        CASE WHEN what LIKE 'host_%' THEN host WHEN what = 'gap' THEN pilot::VARCHAR ELSE site END AS name
        FROM chosen WHERE what IN ('host_ahead', 'host_summer', 'gap', 'one_core', 'wall_times_cores')
    """


def _record(prefix: str) -> str:
    """The columns of an accounting record."""
    fields = {
        "UID": "{}uid",
        "JobID": "{}job_id",
        "Attempt": "1",
        "RecordedBy": "'wrapper'",
        "Revision": "1",
        "Site": "{}site",
        "VO": "split_part({}grp, '/', 1)",
        "UserGroup": "split_part({}grp, '/', 2)",
        "HostName": "{}host",
        "PilotStamp": "{}pilot::VARCHAR",
        "BatchJobID": "({}pilot + 1000)::VARCHAR",
        "Processors": "{}cores",
        "WallClockTime": "{}wall_us / 1e6",
        "CPUTime": "{}cpu_us / 1e6",
        "StartTime": "make_timestamp({}start_us::BIGINT)",
        "EndTime": "make_timestamp({}end_us::BIGINT)",
        "BenchmarkValue": "{}benchmark",
        "BenchmarkName": f"{prefix}benchmark_name" if prefix else "'hepscore23'",
        "ArrivalTime": "make_timestamp({}arrived_us::BIGINT)",
    }
    return ", ".join(f'{expression.replace("{}", prefix)} AS "{name}"' for name, expression in fields.items())
