"""Sides in, an `Outcome` out: every further side is held against the first one."""

from dataclasses import dataclass, replace
from pathlib import Path

from telemetry.reconcile import ledgers, pilots, sums
from telemetry.reconcile.columns import literal
from telemetry.reconcile.digests import narrow
from telemetry.reconcile.faults import counted, make_faults
from telemetry.reconcile.findings import find
from telemetry.reconcile.pairs import join, join_without_key, make_cases
from telemetry.reconcile.result import ClassTotal, Difference, DigestUse, Finding, Outcome, Side, Waiting
from telemetry.reconcile.settings import Tolerances, Window
from telemetry.reconcile.sides import Loaded, Surveyed, prepare, survey
from telemetry.reconcile.workbench import Row, Workbench

#: The file of all differences; its name in the engine's folder.
DIFFERENCES = "differences.parquet"


def reconcile(
    bench: Workbench,
    sides: tuple[Loaded, ...],
    *,
    now_utc_ns: int,
    allowed: Tolerances | None = None,
    window: Window | None = None,
    digest: bool = False,
) -> Outcome:
    """Hold every side against the first one. Witnesses are heard when that has whole records."""
    tolerances, ends, now_us = allowed or Tolerances(), window or Window(), now_utc_ns // 1000
    bench.run("CREATE OR REPLACE TABLE differences AS " + _empty())
    first = survey(bench, sides[0], ends)
    whole, others = _whole(sides)
    results = [_with_whole(bench, first, whole, tolerances, now_utc_ns, ends)] if whole else []
    for loaded in others:
        if loaded.level == "sum":
            results.append(_with_sums(bench, first, loaded, tolerances))
        elif loaded.level == "pilot":
            results.append(_with_pilots(bench, (sides[0], loaded), tolerances, now_us, ends))
        else:
            both = first, survey(bench, loaded, ends.wider())
            results.append(_with_attempts(bench, both, tolerances, now_us, ends, digest=digest))
        bench.run("INSERT INTO differences " + _differences(sides[0].name, loaded.name))
    file = _keep(bench)
    order = "core_hours DESC, job_id, attempt, kind, key"
    listed = bench.rows(f"SELECT * FROM differences ORDER BY {order} LIMIT {bench.engine.listed}")
    told = {first.side.name: first.side, **{side.name: side for each in results for side in each.sides}}
    return Outcome(
        made_utc_ns=now_utc_ns,
        sides=tuple(told[each.name] for each in sides if each.name in told),
        totals=tuple(total for each in results for total in each.totals),
        findings=tuple(finding for each in results for finding in each.findings),
        differences=tuple(_difference(row) for row in listed),
        core_hours_at_stake=float(bench.value(_AT_STAKE)),
        problems=tuple(problem for each in sides for problem in each.problems),
        file=file,
        digests=tuple(each.digest for each in results if each.digest is not None),
        waiting=tuple(waiting for each in results for waiting in each.waiting),
        late=tuple(key for each in results for key in each.late),
    )


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """What comes of holding further sides against the first one, and those sides as they are shown."""

    sides: tuple[Side, ...]
    totals: tuple[ClassTotal, ...]
    findings: tuple[Finding, ...] = ()
    digest: DigestUse | None = None
    waiting: tuple[Waiting, ...] = ()
    late: tuple[str, ...] = ()


def _whole(sides: tuple[Loaded, ...]) -> tuple[list[Loaded], list[Loaded]]:
    """Of the further sides those that are held against the first one's whole records; and the others.

    These are one other ledger, and all witnesses.
    """
    witnesses = [each for each in sides[1:] if each.level == "witness"]
    others = [each for each in sides[1:] if each.level != "witness"]
    if not sides[0].is_whole:
        return [], others
    partner = next((each for each in others if each.is_whole), None)
    return [*([partner] if partner else []), *witnesses], [each for each in others if each is not partner]


def _with_whole(
    bench: Workbench, first: Surveyed, whole: list[Loaded], allowed: Tolerances, now_utc_ns: int, window: Window
) -> _Compared:
    partners = [survey(bench, each, window.wider()) for each in whole if each.level == "attempt"]
    witnesses = [each for each in whole if each.level == "witness"]
    held = [prepare(bench, each, each.records) for each in (first, *partners)]
    tally, totals = ledgers.compare(bench, held, witnesses, allowed, now_utc_ns, window)
    findings = find(bench, held[0], held[-1], allowed)
    bench.run("INSERT INTO differences " + _differences(*ledgers.names(held, witnesses)))
    return _Compared(
        sides=(
            *(ledgers.folded(bench, each) for each in held),
            *(ledgers.described(bench, each) for each in witnesses),
        ),
        totals=tuple(totals),
        findings=findings,
        waiting=tuple(sorted(tally.waiting, key=lambda each: (each.job_id, each.attempt, each.key))),
        late=tuple(sorted(tally.late)),
    )


def _with_sums(bench: Workbench, first: Surveyed, loaded: Loaded, allowed: Tolerances) -> _Compared:
    mine = prepare(bench, first, first.records)
    side = sums.described(bench, loaded)
    return _Compared(sides=(side,), totals=tuple(sums.compare(bench, mine, loaded, allowed)))


def _with_pilots(
    bench: Workbench, sides: tuple[Loaded, Loaded], allowed: Tolerances, now_us: int, window: Window
) -> _Compared:
    # Pilots that end within the window, with all that ran in them, also before it. Which these are shows when all are
    # known: what has ended in one that goes on beyond the window is not missing.
    first = survey(bench, sides[0], window.wider(), under="of_pilots")
    asked, other = survey(bench, sides[1], window), survey(bench, sides[1], Window(), under="all_pilots")
    mine, theirs = prepare(bench, first, first.records), prepare(bench, other, other.records)
    return _Compared(sides=(asked.side,), totals=tuple(pilots.compare(bench, mine, theirs, allowed, now_us, window)))


def _with_attempts(
    bench: Workbench, both: tuple[Surveyed, Surveyed], allowed: Tolerances, now_us: int, window: Window, *, digest: bool
) -> _Compared:
    first, other = both
    narrowed = narrow(bench, both, allowed, now_us, window, digest=digest)
    left, right = prepare(bench, first, narrowed.left), prepare(bench, other, narrowed.right)
    join(bench, left, right, allowed, now_us)
    join_without_key(bench, allowed)
    joined = make_cases(bench, left, right, allowed, now_us, window)
    names = first.loaded.name, other.loaded.name
    make_faults(bench, *names, allowed)
    matched = ClassTotal(
        left=names[0],
        right=names[1],
        kind="matched",
        pairs=joined.matched + narrowed.spared,
        core_hours=joined.matched_core_hours + narrowed.spared_core_hours,
    )
    pending = replace(matched, kind="pending", pairs=joined.pending, core_hours=joined.pending_core_hours)
    return _Compared(
        sides=(other.side,),
        totals=(matched, pending, *counted(bench, *names)),
        findings=find(bench, left, right, allowed),
        digest=narrowed.use,
    )


#: Columns of `differences` (the fields of `Difference`), and how `faults` and `cases` give them.
_COLUMNS = {
    "left": ("VARCHAR", ""),
    "right": ("VARCHAR", ""),
    "kind": ("VARCHAR", "f.kind"),
    "absent": ("VARCHAR", "f.absent"),
    "key": ("VARCHAR", "coalesce(c.key, concat_ws('/', c.batch, c.job_id, c.attempt))"),
    "job_id": ("BIGINT", "c.job_id"),
    "attempt": ("INTEGER", "c.attempt"),
    "site": ("VARCHAR", "coalesce(c.site, '')"),
    "group": ("VARCHAR", "coalesce(c.grp, '')"),
    "host": ("VARCHAR", "coalesce(c.host, '')"),
    "pilot": ("VARCHAR", "coalesce(c.pilot, '')"),
    "cores": ("INTEGER", "coalesce(c.l_cores, c.r_cores)"),
    "end": (
        "VARCHAR",
        "coalesce(strftime(make_timestamp(coalesce(c.l_end_us, c.r_end_us)), '%Y-%m-%dT%H:%M:%S.%fZ'), '')",
    ),
    "left_value": ("DOUBLE", "f.left_value"),
    "right_value": ("DOUBLE", "f.right_value"),
    "cause": ("VARCHAR", "f.cause"),
    "core_hours": ("DOUBLE", "f.core_hours"),
    "is_systematic": ("BOOLEAN", "f.systematic"),
    "fields": ("VARCHAR", "coalesce(d.fields, '')"),
    "said": ("VARCHAR", "coalesce(d.said, '')"),
}
_AT_STAKE = (
    'SELECT coalesce(sum(most), 0) FROM (SELECT max(core_hours) AS most FROM differences GROUP BY "left", "right", key)'
)


def _empty() -> str:
    return "SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, (kind, _) in _COLUMNS.items()) + " WHERE false"


def _differences(left: str, right: str) -> str:
    named = {"left": literal(left), "right": literal(right)}
    chosen = ", ".join(named.get(name, expression) for name, (_, expression) in _COLUMNS.items())
    detailed = "LEFT JOIN details d ON d.id = f.id AND d.kind = f.kind"
    return f"SELECT {chosen} FROM faults f JOIN cases c USING (id) {detailed}"


def _keep(bench: Workbench) -> Path:
    path = bench.engine.folder / DIFFERENCES
    bench.run(f"COPY (FROM differences ORDER BY core_hours DESC) TO {literal(str(path))} (FORMAT parquet)")
    return path


def _difference(row: Row) -> Difference:
    return Difference(**dict(zip(_COLUMNS, row, strict=True)))
