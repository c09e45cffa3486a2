"""What is shown of a month, and of a reconciliation: results in, a `Report` out."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from dashboards.charts import Bar
from dashboards.report_page import BarChart, Card, Column, Report, Section, Table, Value
from telemetry.clock import SystemClock, utc_text
from telemetry.ledger.monthly import Gap, MonthReport, Share, Used, summed
from telemetry.reconcile.result import ClassTotal, Difference, Finding, Outcome, Side

#: Bars that a chart shows; the others are summed up in one more.
MOST_BARS = 15

_USED = (
    Column("vo", "VO"),
    Column("group", "Group"),
    Column("site", "Site"),
    Column("cores", "Cores", "count"),
    Column("benchmark", "Benchmark"),
    Column("jobs", "Jobs", "count"),
    Column("not_done", "Not done", "count"),
    Column("wall_hours", "Wall hours", "hours"),
    Column("core_hours", "Core hours", "hours"),
    Column("cpu_hours", "CPU hours", "hours"),
    Column("efficiency", "Efficiency", "share"),
    Column("norm_cpu_hours", "Normalised CPU hours", "hours"),
    Column("work_hours", "Benchmark hours", "hours"),
)
_GAPS = (
    Column("kind", "What", "status"),
    Column("job_id", "Job", "id"),
    Column("attempt", "Attempt", "id"),
    Column("site", "Site"),
    Column("end", "Ended (UTC)", "time"),
    Column("arrived", "Record came (UTC)", "time"),
    Column("core_hours", "Core hours", "hours"),
    Column("uid", "UID"),
)


# --- a month --------------------------------------------------------------------------------------


def month_view(month: MonthReport, problems: Sequence[str], wms_id: str) -> Report:
    """A month of the WMS with that id."""
    total = summed(month.used, Share("", "", "", 0, ""))
    counts = month.gap_counts
    gaps = sum(counts.values())
    wrong = [f"{count} {kind}" for kind, count in counts.items() if count]
    said = f"{total.jobs} attempts, {total.core_hours:,.3f} core hours"
    verdict = f"{said}; of those that ended in {month.month}: {', '.join(wrong)}." if wrong else f"{said}; complete."
    return Report(
        name="month",
        title=f"Accounting of {month.month}",
        verdict=" ".join((verdict, *problems)),
        mood="bad" if problems or counts["missing"] else "warn" if gaps else "good",
        cards=(
            Card(label="Attempts", value=total.jobs, kind="count"),
            Card(label="Core hours", value=total.core_hours, kind="hours"),
            Card(label="CPU hours", value=total.cpu_hours, kind="hours"),
            Card(label="Efficiency", value=total.efficiency, kind="share"),
            Card(label="Normalised CPU hours", value=total.norm_cpu_hours, kind="hours"),
            Card(label="Closing date", value=month.closing.isoformat()),
        ),
        sections=(
            *_month_charts(month.used),
            Section(
                title="By VO, group, site and cores",
                text="Core hours are wall clock times processors; normalised CPU hours are CPU times the node's "
                "CPUNormalizationFactor; benchmark hours are core hours times the score of a core.",
                table=Table(
                    name="used", columns=_USED, rows=[_used_row(each) for each in month.used],
                    empty="No attempt ended in this month.",
                ),
            ),
            Section(
                title="Missing and late",
                text="missing: an attempt that the WMS saw end has no record; estimated: it has only the WMS's own "
                f"estimate; late: the record that counts came after {month.closing}.",
                table=Table(
                    name="gaps", columns=_GAPS, rows=[_gap_row(each) for each in month.gaps],
                    empty="Every attempt has its record, and every record was in time.", total=gaps,
                ),
            ),
        ),
        main="used",
        source=f"Made {_now()} from the accounting of the WMS {wms_id}.",
    )  # fmt: skip


def _month_charts(used: Sequence[Used]) -> Iterable[Section]:
    by: tuple[tuple[str, Callable[[Share], str]], ...] = (
        ("Core hours by VO and group", lambda share: f"{share.vo or '-'} / {share.group or '-'}"),
        ("Core hours by site", lambda share: share.site or "-"),
        ("Core hours by cores of a job", lambda share: f"{share.cores} core{'s' * (share.cores != 1)}"),
    )
    for title, name in by:
        groups: dict[str, list[Used]] = {}
        for each in used:
            groups.setdefault(name(each.share), []).append(each)
        sums = {label: summed(rows, rows[0].share) for label, rows in groups.items()}
        bars = [(label, (each.cpu_hours, max(0.0, each.core_hours - each.cpu_hours))) for label, each in sums.items()]
        yield from _drawn(title, ("used by the CPU", "waiting"), bars)


def _used_row(each: Used) -> tuple[Value, ...]:
    share = each.share
    return (
        *(share.vo, share.group, share.site, share.cores, share.benchmark, each.jobs, each.not_done),
        *(each.wall_hours, each.core_hours, each.cpu_hours, each.efficiency, each.norm_cpu_hours),
        each.work_hours if share.benchmark else None,
    )


def _gap_row(each: Gap) -> tuple[Value, ...]:
    return (each.kind, each.job_id, each.attempt, each.site, each.end, each.arrived, each.core_hours, each.uid)


# --- a reconciliation -----------------------------------------------------------------------------

_DIFFERENCES = (
    Column("class", "Class", "status"),
    Column("job_id", "Job", "id"),
    Column("attempt", "Attempt", "id"),
    Column("left", "Left"),
    Column("left_value", "Left says", "number"),
    Column("right", "Right"),
    Column("right_value", "Right says", "number"),
    Column("core_hours", "Core hours at stake", "hours"),
    Column("cause", "Likely cause", "long"),
    Column("is_systematic", "Systematic"),
    Column("site", "Site"),
    Column("group", "Group"),
    Column("host", "Host"),
    Column("cores", "Cores", "count"),
    Column("end", "Ended (UTC)", "time"),
    Column("key", "Key"),
)
_FINDINGS = (
    Column("class", "Class", "status"),
    Column("where", "Where", "long"),
    Column("cause", "Likely cause", "long"),
    Column("pairs", "Pairs", "count"),
    Column("among", "Among", "count"),
    Column("core_hours", "Core hours at stake", "hours"),
    Column("ratio", "Right / left", "number"),
    Column("offset", "Right - left, s", "number"),
    Column("between", "Between"),
)
_TOTALS = (
    Column("left", "Left"),
    Column("right", "Right"),
    Column("class", "Class", "status"),
    Column("pairs", "Pairs", "count"),
    Column("core_hours", "Core hours", "hours"),
)
_SIDES = (
    Column("name", "Source"),
    Column("kind", "Kind"),
    Column("where", "Where"),
    Column("level", "Level"),
    Column("records", "Records", "count"),
    Column("core_hours", "Core hours", "hours"),
    Column("cpu_hours", "CPU hours", "hours"),
    Column("between", "Ends between"),
)


def reconciliation_view(outcome: Outcome) -> Report:
    """What several sources say of the same jobs."""
    at_stake = [each for each in outcome.totals if each.is_difference]
    listed = [_difference_row(each) for each in outcome.differences]
    classes = [(each.name, (each.core_hours,)) for each in _by_class(at_stake)]
    return Report(
        name="reconciliation",
        title="Reconciliation",
        verdict=" ".join((_reconciled(outcome), *outcome.problems)),
        mood="bad" if outcome.different else "warn" if outcome.problems else "good",
        cards=(
            Card(label="Matched", value=outcome.matched, kind="count"),
            Card(label="Differences", value=outcome.different, kind="count"),
            Card(label="Not due yet", value=outcome.pending, kind="count"),
            Card(label="Core hours at stake", value=outcome.core_hours_at_stake, kind="hours"),
            Card(label="Systematic", value=len(outcome.findings), kind="count"),
        ),
        sections=(
            *_drawn("Core hours at stake by class", ("core hours",), classes),
            Section(
                title="Systematic differences",
                text="Many differences of one class with one cause: these are worth a look first.",
                table=Table(
                    name="findings", columns=_FINDINGS, rows=[_finding_row(each) for each in outcome.findings],
                    empty="There are none.",
                ),
            ),
            Section(
                title="Differences",
                text="The largest first, by what is at stake.",
                table=Table(
                    name="differences", columns=_DIFFERENCES, rows=listed, empty="There are none.",
                    total=outcome.different,
                ),
            ),
            Section(
                title="Classes",
                table=Table(name="classes", columns=_TOTALS, rows=[_total_row(each) for each in outcome.totals]),
            ),
            Section(
                title="Sources",
                text="All others are held against the first.",
                table=Table(name="sides", columns=_SIDES, rows=[_side_row(each) for each in outcome.sides]),
            ),
        ),
        main="differences",
        source=f"Made {utc_text(outcome.made_utc_ns)}.",
    )  # fmt: skip


def _reconciled(outcome: Outcome) -> str:
    names = " and ".join(each.name for each in outcome.sides)
    if outcome.is_clean:
        return f"{names} agree on all {outcome.matched:,} attempts."
    if outcome.different:
        stake = f"{outcome.core_hours_at_stake:,.3f} core hours at stake"
        return f"{outcome.different:,} differences between {names}, {stake}."
    return f"No difference between {names}, but not everything could be read."


def _by_class(totals: Iterable[ClassTotal]) -> list[ClassTotal]:
    """One for each class, whatever the two sides are."""
    found: dict[str, ClassTotal] = {}
    for each in totals:
        known = found.get(each.name)
        pairs, hours = (known.pairs, known.core_hours) if known else (0, 0.0)
        found[each.name] = ClassTotal(
            left=each.left, right=each.right, kind=each.kind, absent=each.absent, pairs=pairs + each.pairs,
            core_hours=hours + each.core_hours,
        )  # fmt: skip
    return list(found.values())


def _difference_row(each: Difference) -> tuple[Value, ...]:
    return (
        *(each.name, each.job_id, each.attempt, each.left, each.left_value, each.right, each.right_value),
        *(each.core_hours, each.cause, "yes" if each.is_systematic else "no"),
        *(each.site, each.group, each.host, each.cores, each.end, each.key),
    )


def _finding_row(each: Finding) -> tuple[Value, ...]:
    where = ", ".join(f"{name} {value}" for name, value in each.where.items())
    return (
        *(each.name, where, each.cause, each.pairs, each.among, each.core_hours, each.ratio, each.offset_seconds),
        _between(each.first_end, each.last_end),
    )


def _total_row(each: ClassTotal) -> tuple[Value, ...]:
    return (each.left, each.right, each.name, each.pairs, each.core_hours)


def _side_row(each: Side) -> tuple[Value, ...]:
    return (
        *(each.name, each.kind, each.where, each.level, each.records, each.core_hours, each.cpu_seconds / 3600),
        _between(each.first_end, each.last_end),
    )


def _between(first: str, last: str) -> str:
    return f"{first[:16]} and {last[:16]}" if first and last else ""


def _drawn(title: str, series: tuple[str, ...], bars: Sequence[tuple[str, tuple[float, ...]]]) -> Iterable[Section]:
    """A chart; where there is nothing to draw, nothing."""
    if bars:
        yield Section(title=title, chart=BarChart(series=series, bars=_largest(bars)))


def _largest(bars: Sequence[tuple[str, tuple[float, ...]]]) -> tuple[Bar, ...]:
    """The largest first; what does not fit in one."""
    ordered = sorted(bars, key=lambda each: -sum(each[1]))
    shown, rest = ordered[:MOST_BARS], ordered[MOST_BARS:]
    if rest:
        sums = tuple(sum(values) for values in zip(*(values for _, values in rest), strict=True))
        shown.append((f"{len(rest)} others", sums))
    return tuple(Bar(label, values) for label, values in shown)


def _now() -> str:
    return f"{datetime.fromtimestamp(SystemClock().utc_ns() // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"
