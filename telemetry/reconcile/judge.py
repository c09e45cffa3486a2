"""What is wrong with a pair: SQL expressions over the columns of both records. Pure: makes SQL, runs none.

A pair gets a mask of bits. A question that an earlier one has answered is not asked again: what is impossible, or the
record of another attempt, is not also too long; and an end that is later because the record is longer is no skew.
"""

from collections.abc import Mapping

from telemetry.reconcile.result import Kind
from telemetry.reconcile.settings import Tolerances

_US = 1_000_000
#: Start of 2000 UTC: a record from before it has lost its times.
_OLDEST_US = 946_684_800 * _US

#: What of a record takes part in the comparison.
COMPARED = ("cores", "wall_us", "cpu_us", "end_us", "benchmark", "benchmark_name")
#: Computed for each record before the join, so that less goes through it.
BAD, OVER, TARDY = 1, 2, 4

BITS: Mapping[Kind, int] = {"impossible": 1, "cores": 2, "wall": 4, "cpu": 8, "benchmark": 16, "skew": 32, "late": 64}
_OVER_BIT = 128
#: Bits of which a pair with a fault of a kind has one.
ANY: Mapping[Kind, int] = {**BITS, "impossible": BITS["impossible"] | _OVER_BIT, "swapped": 0}


def flags(allowed: Tolerances, now_us: int) -> str:
    """Bits about one record by itself: cannot be; more CPU than its cores can give; arrived late."""
    bad = " OR ".join(
        (
            "end_us < start_us",
            "wall_us < 0",
            "cpu_us < 0",
            "cores < 1",
            f"end_us < {_OLDEST_US}",
            f"end_us > {now_us + round(allowed.future_seconds * _US)}",
            f"cpu_us > {round(allowed.most_cpu_seconds * _US)}",
        )
    )
    over = f"cpu_us > wall_us::DOUBLE * cores * {allowed.cpu_per_core_second} + {_US}"
    tardy = f"arrived_us - end_us > {round(allowed.late_seconds * _US)}"
    return f"({_bit(bad, BAD)} + {_bit(over, OVER)} + {_bit(tardy, TARDY)})::UTINYINT"


def mask(allowed: Tolerances) -> str:
    """Bits about a pair of `l` and `r`; 0: they agree. NULL is not compared."""
    wall = _apart("wall_us", allowed.wall_seconds, allowed.wall_fraction)
    cpu = _apart("cpu_us", allowed.cpu_seconds, allowed.cpu_fraction)
    name_differs = "nullif(l.benchmark_name, '') <> nullif(r.benchmark_name, '')"
    value_differs = (
        f"abs(l.benchmark - r.benchmark) > {allowed.benchmark_fraction} * greatest(l.benchmark, r.benchmark)"
    )
    skew_us = round(allowed.skew_seconds * _US)
    skew = (
        f"abs(r.end_us - l.end_us) > {skew_us} AND"
        f" abs((r.end_us - l.end_us) - coalesce(r.wall_us - l.wall_us, 0)) > {skew_us}"
    )
    parts = (
        _bit(f"(l.flags & {BAD}) > 0 OR (r.flags & {BAD}) > 0", BITS["impossible"]),
        _bit("l.cores <> r.cores", BITS["cores"]),
        _bit(wall, BITS["wall"]),
        _bit(cpu, BITS["cpu"]),
        _bit(f"{name_differs} OR {value_differs}", BITS["benchmark"]),
        _bit(skew, BITS["skew"]),
        _bit(f"(l.flags & {TARDY}) > 0 OR (r.flags & {TARDY}) > 0", BITS["late"]),
        _bit(f"(l.flags & {OVER}) > 0 OR (r.flags & {OVER}) > 0", _OVER_BIT),
    )
    return f"({' + '.join(parts)})::UTINYINT"


def has(kind: Kind) -> str:
    """Whether a pair that is in the table of faults has a difference of *kind*."""
    if kind == "impossible":
        explained = BITS["cores"] | BITS["wall"] | BITS["cpu"]
        return f"(NOT swapped AND ((mask & 1) > 0 OR ((mask & {_OVER_BIT}) > 0 AND (mask & {explained}) = 0)))"
    if kind == "swapped":
        return "swapped"
    return f"((mask & {BITS[kind]}) > 0 AND (mask & 1) = 0 AND NOT swapped)"


#: What the sides say about a difference of a kind (left and right in the place of `{}`).
VALUES: Mapping[Kind, str] = {
    "impossible": "{}_end_us / 1e6",
    "swapped": "{}_end_us / 1e6",
    "cores": "{}_cores",
    "wall": "{}_wall_us / 1e6",
    "cpu": "{}_cpu_us / 1e6",
    "benchmark": "{}_benchmark",
    "skew": "{}_end_us / 1e6",
    "late": "CASE WHEN ({}_flags & 4) > 0 THEN ({}_arrived_us - {}_end_us) / 1e6 END",
}

_CORE = "abs({0}_wall_us / 3.6e9 * coalesce({0}_cores, 1))"
_LARGER = f"greatest({_CORE.format('l')}, {_CORE.format('r')}, 0)"
#: Core hours in question.
STAKES: Mapping[Kind, str] = {
    "impossible": f"CASE WHEN (l_flags & {BAD}) = 0 THEN {_CORE.format('l')} WHEN (r_flags & {BAD}) = 0"
    f" THEN {_CORE.format('r')} ELSE least({_LARGER}, 1e6) END",
    "swapped": f"abs({_CORE.format('l')} - {_CORE.format('r')})",
    "cores": "abs(l_cores - r_cores) * greatest(l_wall_us, r_wall_us) / 3.6e9",
    "wall": "abs(l_wall_us - r_wall_us) * greatest(l_cores, r_cores, 1) / 3.6e9",
    "cpu": "abs(l_cpu_us - r_cpu_us) / 3.6e9",
    "benchmark": f"coalesce(abs(l_benchmark - r_benchmark) / nullif(greatest(l_benchmark, r_benchmark), 0), 1)"
    f" * {_LARGER}",
    "skew": "0",
    "late": _LARGER,
}


def _apart(column: str, seconds: float, fraction: float) -> str:
    larger = f"greatest(l.{column}, r.{column})"
    return f"abs(l.{column} - r.{column}) > greatest({round(seconds * _US)}, {fraction} * {larger})"


def _bit(condition: str, bit: int) -> str:
    return f"CASE WHEN {condition} THEN {bit} ELSE 0 END"
