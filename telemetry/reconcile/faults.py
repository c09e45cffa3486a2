"""The odd pairs as differences: the table `faults`, a row for each case and class, with a likely cause."""

from telemetry.reconcile.columns import literal
from telemetry.reconcile.judge import ANY, BAD, STAKES, VALUES, has
from telemetry.reconcile.result import ClassTotal, Kind
from telemetry.reconcile.settings import Tolerances
from telemetry.reconcile.workbench import Workbench

_US = 1_000_000
_CORE_HOURS = "abs(coalesce({0}_wall_us / 3.6e9 * coalesce({0}_cores, 1), 0))"
#: What there is among the cases: each kind of fault costs a look at all of them.
_PRESENT = (
    "SELECT coalesce(bit_or(mask), 0), count(absent) > 0, coalesce(bool_or(again), false)"
    " OR count(l_copies) + count(r_copies) > 0, coalesce(bool_or(swapped), false) FROM cases"
)


def begin(bench: Workbench) -> None:
    """`faults`, and the `details` of some of them: empty."""
    bench.run(
        "CREATE OR REPLACE TABLE faults (id BIGINT, kind VARCHAR, absent VARCHAR, left_value DOUBLE,"
        " right_value DOUBLE, core_hours DOUBLE, cause VARCHAR, systematic BOOLEAN)"
    )
    bench.run("CREATE OR REPLACE TABLE details (id BIGINT, kind VARCHAR, fields VARCHAR, said VARCHAR)")


def counted(bench: Workbench, left: str, right: str) -> list[ClassTotal]:
    """How many differences of each class there are between *left* and *right*."""
    rows = bench.rows("SELECT kind, absent, count(*), sum(core_hours) FROM faults GROUP BY ALL ORDER BY kind, absent")
    return [
        ClassTotal(left=left, right=right, kind=kind, absent=absent, pairs=int(count), core_hours=float(hours))
        for kind, absent, count, hours in rows
    ]


def make_faults(bench: Workbench, left: str, right: str, allowed: Tolerances) -> None:
    """Make `faults` of `cases`; *left* and *right* are the names of the sides."""
    begin(bench)
    masks, has_lone, has_copies, has_swapped = bench.one(_PRESENT)
    if has_lone:
        _add_lone(bench, left, right)
    if has_copies:
        bench.run(_duplicates(left, right))
    for kind, value in VALUES.items():
        if masks & ANY[kind] or (kind == "swapped" and has_swapped):
            bench.run(
                f"INSERT INTO faults SELECT id, '{kind}', '', {_both(value)},"
                f" coalesce({STAKES[kind]}, 0), {_cause(kind, left, right, allowed)}, false"
                f" FROM cases WHERE absent IS NULL AND {has(kind)}"
            )


def _add_lone(bench: Workbench, left: str, right: str) -> None:
    """What one side alone has, and what is wrong with that by itself."""
    for absent, name, letter in (("l", left, "r"), ("r", right, "l")):
        mine = VALUES["wall"].format(letter)
        values = ("NULL", mine) if letter == "r" else (mine, "NULL")
        bench.run(
            f"INSERT INTO faults SELECT id, 'missing', {literal(name)}, {', '.join(values)},"
            f" {_CORE_HOURS.format(letter)}, {literal(f'{name} never had it, or has lost it')}, false"
            f" FROM cases WHERE absent = '{absent}' AND NOT again"
        )
        bench.run(
            f"INSERT INTO faults SELECT id, 'impossible', '', {_both(VALUES['impossible'])},"
            f" least({_CORE_HOURS.format(letter)}, 1e6), {_impossible(left, right)}, false"
            f" FROM cases WHERE absent = '{absent}' AND ({letter}_flags & {BAD}) > 0"
        )


def _both(value: str) -> str:
    return ", ".join(value.replace("{}", letter) for letter in "lr")


def _duplicates(left: str, right: str) -> str:
    core = f"greatest({_CORE_HOURS.format('l')}, {_CORE_HOURS.format('r')})"
    extra = "(coalesce(l_copies - 1, 0) + coalesce(r_copies - 1, 0) + again::INTEGER)"
    return (
        "INSERT INTO faults SELECT id, 'duplicate', '', coalesce(l_copies, if(l_end_us IS NULL, NULL, 1)),"
        f" coalesce(r_copies, if(r_end_us IS NULL, NULL, 1)), {extra} * {core}, CASE"
        " WHEN again THEN 'the attempt is there under another key too: an end that is shifted makes a new record'"
        f" WHEN l_copies IS NOT NULL AND r_copies IS NOT NULL THEN 'sent more than once, and not folded on either side'"
        f" WHEN l_copies IS NOT NULL THEN {literal(f'{left} holds it more than once, and does not fold by key')}"
        f" ELSE {literal(f'{right} holds it more than once, and does not fold by key')} END, false"
        " FROM cases WHERE again OR l_copies IS NOT NULL OR r_copies IS NOT NULL"
    )


def _cause(kind: Kind, left: str, right: str, allowed: Tolerances) -> str:
    hour = f"{3600 * _US}"
    near = f"{round(2 * allowed.skew_seconds * _US)}"
    moved = "(r_end_us - l_end_us)"
    hours_off = f"round({moved} / {hour}) <> 0 AND abs({moved} - round({moved} / {hour}) * {hour}) <= {near}"
    match kind:
        case "impossible":
            return _impossible(left, right)
        case "swapped":
            return literal("the keys of two attempts are exchanged: each holds the other's record")
        case "cores":
            return _chosen(
                ("r_cores = 1", f"{right} counts one core"),
                ("l_cores = 1", f"{left} counts one core"),
                ("greatest(l_cores, r_cores) = 2 * least(l_cores, r_cores)", "one side counts hardware threads"),
                otherwise="the sides count other cores",
            )
        case "wall":
            return _chosen(
                (
                    _is_ratio("r_wall_us", "l_wall_us", "l_cores"),
                    f"{right} has wall clock x cores in place of wall clock",
                ),
                (
                    _is_ratio("l_wall_us", "r_wall_us", "l_cores"),
                    f"{left} has wall clock x cores in place of wall clock",
                ),
                (hours_off, "start or end in another time zone, or daylight saving"),
                ("r_wall_us > l_wall_us", f"{right} counts more: what surrounds the payload, or a late end"),
                otherwise=f"{right} counts less: it has lost a part, or the end was not seen",
            )
        case "cpu":
            return _cause_of_cpu(left, right)
        case "benchmark":
            return _chosen(
                ("nullif(l_benchmark_name, '') <> nullif(r_benchmark_name, '')", "other benchmarks"),
                otherwise="other scores of one benchmark: average of a site against the node's own, or measured anew",
            )
        case "skew":
            return _chosen(
                (hours_off, "time zone or daylight saving"), otherwise="the end is shifted, or a clock is wrong"
            )
        case _:
            return literal("it waited for its sink, or was sent again after a loss")


def _cause_of_cpu(left: str, right: str) -> str:
    return _chosen(
        ("l_cpu_us = l_wall_us * l_cores", f"{left} has wall clock x cores in place of CPU"),
        ("r_cpu_us = r_wall_us * r_cores", f"{right} has wall clock x cores in place of CPU"),
        (_is_ratio("l_cpu_us", "r_cpu_us", "l_cores"), f"{right} divides by cores, or has seen one process"),
        (_is_ratio("r_cpu_us", "l_cpu_us", "l_benchmark"), f"{right} has normalised CPU in place of CPU"),
        ("r_cpu_us = 0", f"{right} has measured nothing"),
        ("r_cpu_us < l_cpu_us", f"{right} has not seen all processes, or not to the end"),
        otherwise=f"{left} has not seen all processes, or not to the end",
    )


def _impossible(left: str, right: str) -> str:
    words = []
    for letter, name in (("l", left), ("r", right)):
        words += [
            (f"{letter}_wall_us < 0 OR {letter}_cpu_us < 0", f"{name} has a negative time"),
            (f"{letter}_end_us < 946684800000000", f"{name} has lost the times"),
            (f"{letter}_end_us < {letter}_start_us", f"{name} ends before it starts"),
            (f"{letter}_cores < 1", f"{name} has no cores"),
            (f"({letter}_flags & {BAD}) > 0", f"{name} ends in the future, or has more CPU than there is"),
        ]
    return _chosen(*words, otherwise="more CPU than the cores can give: not confined to them, or cores not told")


def _is_ratio(upper: str, lower: str, factor: str) -> str:
    return f"{factor} > 1 AND abs({upper} - {lower} * {factor}) <= 0.01 * abs({upper})"


def _chosen(*cases: tuple[str, str], otherwise: str) -> str:
    return f"CASE {' '.join(f'WHEN {when} THEN {literal(text)}' for when, text in cases)} ELSE {literal(otherwise)} END"
