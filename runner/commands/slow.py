"""`jobspan slow`: which stages were slow, and where."""

import argparse
import re
from typing import TYPE_CHECKING, Any

from runner.commands.context import Command, Context

if TYPE_CHECKING:
    from telemetry.live.slow import KindTimes, SlowNode, SlowReport, SlowSpan

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: Fifty years: of much longer ago there is no date.
_LONGEST_SECONDS = 50 * 365 * 86400
_KINDS = ("STAGE", "TYPE", "SITE", "SPANS", "MEDIAN", "USUAL", "95 %", "ELSEWHERE", "SLOW", "LOST")
_SPANS = ("JOB", "ATTEMPT", "STAGE", "SITE", "NODE", "BEGAN", "TOOK", "USUAL", "TIMES")


def _configure(parser: argparse.ArgumentParser) -> None:
    from runner.commands.trace import further_files

    parser.add_argument(
        "--since", metavar="TIME", type=_duration, default="1d", help="attempts that ended since: 90m, 12h, 1d, 2w (1d)"
    )
    parser.add_argument(
        "--usual", metavar="TIME", type=_duration, default="4w", help="how far back usual times are taken from (4w)"
    )
    parser.add_argument("--site", default="", help="only this site")
    parser.add_argument("--type", default="", help="only jobs of this JobType")
    parser.add_argument("--stage", default="", help="only this stage (or queue, match), with its operations")
    parser.add_argument("--limit", metavar="N", type=_count, default=20, help="at most so many rows a table (20)")
    further_files(parser)


def _duration(text: str) -> int:
    """Seconds.

    Raises:
        ArgumentTypeError: not a number with a unit, or more than fifty years.
    """
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else None
    if seconds is None or seconds > _LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90m, 12h, 1d or 2w")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def _run(context: Context) -> int:
    from runner.compose.traces import attempts_file
    from telemetry.clock import NANOSECONDS, SystemClock, utc_text
    from telemetry.live.slow import Wanted, slow_stages

    arguments, now_ns = context.arguments, SystemClock().utc_ns()
    wanted = Wanted(
        since_ns=now_ns - arguments.since * NANOSECONDS,
        usual_since_ns=now_ns - max(arguments.since, arguments.usual) * NANOSECONDS,
        site=arguments.site,
        job_type=arguments.type,
        stage=arguments.stage,
    )
    report = slow_stages([attempts_file(context.config), *arguments.further], wanted)
    context.terminal.line(
        f"{report.spans} spans of {report.attempts} attempts that ended since {utc_text(wanted.since_ns)[:16]}Z, "
        f"beside {report.earlier_attempts} earlier attempts"
    )
    _show(context, report)
    context.terminal.json(_values(report, arguments.limit))
    return 0


def _show(context: Context, report: "SlowReport") -> None:
    from telemetry.live.slow import LEAST_USUAL

    terminal, limit = context.terminal, context.arguments.limit
    known = [each for each in report.kinds if each.usual_seconds is not None]
    unknown = [each for each in report.kinds if each.usual_seconds is None]
    if known:
        terminal.line()
        terminal.show_table(_KINDS, [_kind_row(each) for each in known[:limit]], flexible=2)
        _say_more(context, len(known), "kinds of stages")
    if report.slow:
        terminal.line()
        terminal.show_table(_SPANS, [_span_row(each) for each in report.slow[:limit]], flexible=3)
        _say_more(context, len(report.slow), "slow spans")
        for each in known:
            if each.slow_node is not None:
                terminal.line(_node_text(each, each.slow_node))
        terminal.line(f"next: jobspan trace {report.slow[0].timed.job_id}")
    elif known:
        terminal.line("nothing took much longer than usual")
    if unknown:
        spans = sum(each.looked_at for each in unknown)
        terminal.line(
            f"without a usual time: {spans} of the spans; it takes {LEAST_USUAL} of the same site, type and stage"
        )
    if report.damaged:
        terminal.line(f"{report.damaged} damaged lines were skipped")


def _node_text(each: "KindTimes", node: "SlowNode") -> str:
    from runner.commands.terminal import one_line

    return one_line(
        f"{each.kind.what} at {each.kind.site}: {node.slow} of {len(each.slow)} slow spans were on {node.name}, "
        f"which had {node.spans} of all {each.looked_at}"
    )


def _say_more(context: Context, count: int, what: str) -> None:
    if count > context.arguments.limit:
        context.terminal.line(f"and {count - context.arguments.limit} more {what}; --limit shows them")


def _kind_row(each: "KindTimes") -> tuple[object, ...]:
    from runner.commands.terminal import seconds_text

    times = (each.median_seconds, each.usual_seconds, each.usual_p95_seconds, each.elsewhere_seconds)
    lost = seconds_text(each.lost_seconds) if each.slow else ""
    kind = each.kind
    return (kind.what, kind.job_type, kind.site, each.looked_at, *map(seconds_text, times), len(each.slow) or "", lost)


def _span_row(each: "SlowSpan") -> tuple[object, ...]:
    from runner.commands.terminal import seconds_text
    from telemetry.clock import utc_text

    timed = each.timed
    began = utc_text(timed.start_ns)[:19].replace("T", " ")
    times = f"{timed.seconds / each.usual_seconds:.1f}x" if each.usual_seconds else ""
    seconds = (seconds_text(timed.seconds), seconds_text(each.usual_seconds))
    return (timed.job_id, timed.attempt, each.kind.what, each.kind.site, timed.node, began, *seconds, times)


def _values(report: "SlowReport", limit: int) -> dict[str, Any]:
    return {
        "attempts": report.attempts,
        "earlier_attempts": report.earlier_attempts,
        "spans": report.spans,
        "damaged_lines": report.damaged,
        "kinds": [_kind_values(each) for each in report.kinds],
        "slow_spans": len(report.slow),
        "slowest": [_span_values(each) for each in report.slow[:limit]],
    }


def _kind_values(each: "KindTimes") -> dict[str, Any]:
    return {
        "site": each.kind.site,
        "job_type": each.kind.job_type,
        "stage": each.kind.what,
        "spans": each.looked_at,
        "median_seconds": each.median_seconds,
        "usual_seconds": each.usual_seconds,
        "usual_p95_seconds": each.usual_p95_seconds,
        "usual_of": each.usual_of,
        "usual_is_earlier": each.usual_is_earlier,
        "elsewhere_seconds": each.elsewhere_seconds,
        "slow": len(each.slow),
        "lost_seconds": each.lost_seconds,
        "slow_node": each.slow_node.name if each.slow_node else "",
    }


def _span_values(each: "SlowSpan") -> dict[str, Any]:
    timed, kind = each.timed, each.kind
    return {
        "job_id": timed.job_id,
        "attempt": timed.attempt,
        "trace_id": timed.trace_id,
        "node": timed.node,
        "site": kind.site,
        "job_type": kind.job_type,
        "stage": kind.what,
        "start_ns": timed.start_ns,
        "seconds": timed.seconds,
        "usual_seconds": each.usual_seconds,
    }


COMMAND = Command(
    description=(
        "Show which stages were slow and where, from the spans in this folder: each against the usual time (median, "
        "95th percentile) of its stage, job type and site, taken from earlier attempts, or from all when those are "
        "few. Below stand the spans that took much longer, by job: `jobspan trace` shows them."
    ),
    examples=("jobspan slow --since 1d", "jobspan slow --site LCG.CERN.ch --stage execute --json"),
    configure=_configure,
    run=_run,
)
