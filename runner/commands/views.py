"""What is shown of a month, and of a reconciliation: results in, a `Report` out."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from dashboards.charts import Bar
from dashboards.report_page import ATTEMPT, BarChart, Card, Column, Report, Section, Shape
from telemetry.clock import SystemClock, utc_text
from telemetry.ledger.monthly import Gap, MonthReport, Share, Used, summed
from telemetry.reconcile.result import ClassTotal, Difference, Finding, Outcome, Side

#: Bars that a chart shows; the others are summed up in one more.
MOST_BARS = 15

_USED = Shape[Used](
    "used",
    (
        (Column("vo", "VO"), lambda each: each.share.vo),
        (Column("group", "Group"), lambda each: each.share.group),
        (Column("site", "Site"), lambda each: each.share.site),
        (Column("cores", "Cores", "count"), lambda each: each.share.cores),
        (Column("benchmark", "Benchmark"), lambda each: each.share.benchmark),
        (Column("jobs", "Jobs", "count"), lambda each: each.jobs),
        (Column("not_done", "Not done", "count"), lambda each: each.not_done),
        (Column("wall_hours", "Wall hours", "hours"), lambda each: each.wall_hours),
        (Column("core_hours", "Core hours", "hours"), lambda each: each.core_hours),
        (Column("cpu_hours", "CPU hours", "hours"), lambda each: each.cpu_hours),
        (Column("efficiency", "Efficiency", "share"), lambda each: each.efficiency),
        (Column("norm_cpu_hours", "Normalised CPU hours", "hours"), lambda each: each.norm_cpu_hours),
        (
            Column("work_hours", "Benchmark hours", "hours"),
            lambda each: each.work_hours if each.share.benchmark else None,
        ),
    ),
    empty="No attempt ended in this month.",
)
_GAPS = Shape[Gap](
    "gaps",
    (
        (Column("kind", "What", "status"), lambda each: each.kind),
        *ATTEMPT,
        (Column("site", "Site"), lambda each: each.site),
        (Column("end", "Ended (UTC)", "time"), lambda each: each.end),
        (Column("arrived", "Record came (UTC)", "time"), lambda each: each.arrived),
        (Column("core_hours", "Core hours", "hours"), lambda each: each.core_hours),
        (Column("uid", "UID"), lambda each: each.uid),
    ),
    empty="Every attempt has its record, and every record was in time.",
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
                table=_USED.of(month.used),
            ),
            Section(
                title="Missing and late",
                text="missing: an attempt that the WMS saw end has no record; estimated: it has only the WMS's own "
                f"estimate; late: the record that counts came after {month.closing}.",
                table=_GAPS.of(month.gaps, gaps),
            ),
        ),
        main="used",
        source=f"Made {_now()} from the accounting of the WMS {wms_id}.",
    )


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


# --- a reconciliation -----------------------------------------------------------------------------

_DIFFERENCES = Shape[Difference](
    "differences",
    (
        (Column("class", "Class", "status"), lambda each: each.name),
        *ATTEMPT,
        (Column("left", "Left"), lambda each: each.left),
        (Column("left_value", "Left says", "number"), lambda each: each.left_value),
        (Column("right", "Right"), lambda each: each.right),
        (Column("right_value", "Right says", "number"), lambda each: each.right_value),
        (Column("core_hours", "Core hours at stake", "hours"), lambda each: each.core_hours),
        (Column("cause", "Likely cause", "long"), lambda each: each.cause),
        (Column("is_systematic", "Systematic"), lambda each: "yes" if each.is_systematic else "no"),
        (Column("site", "Site"), lambda each: each.site),
        (Column("group", "Group"), lambda each: each.group),
        (Column("host", "Host"), lambda each: each.host),
        (Column("cores", "Cores", "count"), lambda each: each.cores),
        (Column("end", "Ended (UTC)", "time"), lambda each: each.end),
        (Column("key", "Key"), lambda each: each.key),
    ),
    empty="There are none.",
)
_FINDINGS = Shape[Finding](
    "findings",
    (
        (Column("class", "Class", "status"), lambda each: each.name),
        (Column("where", "Where", "long"), lambda each: ", ".join(map(" ".join, each.where.items()))),
        (Column("cause", "Likely cause", "long"), lambda each: each.cause),
        (Column("pairs", "Pairs", "count"), lambda each: each.pairs),
        (Column("among", "Among", "count"), lambda each: each.among),
        (Column("core_hours", "Core hours at stake", "hours"), lambda each: each.core_hours),
        (Column("ratio", "Right / left", "number"), lambda each: each.ratio),
        (Column("offset", "Right - left, s", "number"), lambda each: each.offset_seconds),
        (Column("between", "Between"), lambda each: _between(each.first_end, each.last_end)),
    ),
    empty="There are none.",
)
_TOTALS = Shape[ClassTotal](
    "classes",
    (
        (Column("left", "Left"), lambda each: each.left),
        (Column("right", "Right"), lambda each: each.right),
        (Column("class", "Class", "status"), lambda each: each.name),
        (Column("pairs", "Pairs", "count"), lambda each: each.pairs),
        (Column("core_hours", "Core hours", "hours"), lambda each: each.core_hours),
    ),
)
_SIDES = Shape[Side](
    "sides",
    (
        (Column("name", "Source"), lambda each: each.name),
        (Column("kind", "Kind"), lambda each: each.kind),
        (Column("where", "Where"), lambda each: each.where),
        (Column("level", "Level"), lambda each: each.level),
        (Column("records", "Records", "count"), lambda each: each.records),
        (Column("core_hours", "Core hours", "hours"), lambda each: each.core_hours),
        (Column("cpu_hours", "CPU hours", "hours"), lambda each: each.cpu_seconds / 3600),
        (Column("between", "Ends between"), lambda each: _between(each.first_end, each.last_end)),
    ),
)


def reconciliation_view(outcome: Outcome) -> Report:
    """What several sources say of the same jobs."""
    at_stake = [each for each in outcome.totals if each.is_difference]
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
                table=_FINDINGS.of(outcome.findings),
            ),
            Section(
                title="Differences",
                text="The largest first, by what is at stake.",
                table=_DIFFERENCES.of(outcome.differences, outcome.different),
            ),
            Section(title="Classes", table=_TOTALS.of(outcome.totals)),
            Section(
                title="Sources",
                text="All others are held against the first.",
                table=_SIDES.of(outcome.sides),
            ),
        ),
        main="differences",
        source=f"Made {utc_text(outcome.made_utc_ns)}.",
    )


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
