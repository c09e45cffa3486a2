"""A reconciliation for people and for scripts: text, JSON, one sentence, an exit code."""

from collections.abc import Iterable
from typing import Any

from telemetry.ledger.differences import Difference, Reconciliation

SCHEMA = "jobspan.reconciliation/1"
CLEAN, DIFFERENT, INCOMPARABLE = 0, 1, 2

_RED, _GREEN, _YELLOW, _BOLD, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
_SIDES = {"wms": "WMS", "otlp": "telemetry"}
_WITNESSES = {
    "wms_status": "the WMS's status",
    "wms_clock": "the WMS's clock",
    "heartbeat": "the last heartbeat",
    "counters": "the agent's counters",
}


def exit_code(result: Reconciliation) -> int:
    """0: clean. 1: there are differences. 2: none was found, but not everything could be read."""
    if result.differences:
        return DIFFERENT
    return INCOMPARABLE if result.problems else CLEAN


def summary(result: Reconciliation) -> str:
    """One sentence that an accountant understands."""
    wms, otlp = result.totals["wms"], result.totals["otlp"]
    held = f"The WMS holds {_count(wms.records, 'record')} and the telemetry {otlp.records}"
    if result.one_ledger:
        held = f"The WMS keeps no accounting, the telemetry holds {_count(otlp.records, 'record')}"
    if result.differences:
        attempts = len({each.uid for each in result.differences})
        verdict = (
            f"{_count(len(result.differences), 'difference')} in {_count(attempts, 'attempt')}, "
            f"{_core_hours(result.core_seconds_at_stake)} at stake"
        )
    elif result.problems:
        verdict = "no difference, but not everything could be read"
    elif result.one_ledger:
        verdict = f"what others saw agrees with every one, {_core_hours(otlp.core_seconds)} in all"
    else:
        verdict = f"they agree on every one, {_core_hours(wms.core_seconds)} in all"
    waiting = f"; {_count(len(result.pending), 'attempt')} not due yet" if result.pending else ""
    return f"{held}: {verdict}{waiting}."


def render_text(result: Reconciliation, *, colour: bool = False) -> str:
    """The whole report for a terminal: the sentence, a table of the differences, what was looked at."""
    lines = [_painted(summary(result), _verdict_colour(result), colour)]
    if result.differences:
        lines += ["", *_table(result.differences, colour=colour)]
    lines += ["", *_footer(result)]
    return "\n".join(lines) + "\n"


def to_json(result: Reconciliation) -> dict[str, Any]:
    """The whole report as JSON values; `schema` names this form, to which fields are only ever added."""
    return {
        "schema": SCHEMA,
        "exit_code": exit_code(result),
        "summary": summary(result),
        "matched": result.matched,
        "differences": [_difference_json(each) for each in result.differences],
        "pending": [
            {"uid": each.uid, "job_id": each.job_id, "attempt": each.attempt, "reason": each.reason}
            for each in result.pending
        ],
        "late": list(result.late),
        "foreign": result.foreign,
        "duplicates_on_wire": result.duplicates_on_wire,
        "totals": {
            side: {"records": each.records, "cpu_seconds": each.cpu_seconds, "core_seconds": each.core_seconds}
            for side, each in result.totals.items()
        },
        "witnessed": dict(result.witnessed),
        "core_hours_at_stake": round(result.core_seconds_at_stake / 3600, 9),
        "problems": list(result.problems),
    }


def _difference_json(each: Difference) -> dict[str, Any]:
    return {
        "uid": each.uid,
        "job_id": each.job_id,
        "attempt": each.attempt,
        "kind": each.kind,
        "fields": list(each.fields),
        "values": {witness: dict(values) for witness, values in each.values.items()},
        "message": each.message,
        "core_seconds": round(each.core_seconds, 6),
    }


def _table(differences: Iterable[Difference], *, colour: bool) -> list[str]:
    rows = [("JOB", "ATTEMPT", "CLASS", "CORE-HOURS", "WHAT")]
    for each in differences:
        job = str(each.job_id) if each.uid else "-"
        attempt = str(each.attempt) if each.uid else "-"
        rows.append((job, attempt, each.kind, f"{each.core_seconds / 3600:.6f}", each.message))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    aligned = [
        "  ".join((job.rjust(widths[0]), attempt.rjust(widths[1]), kind.ljust(widths[2]), hours.rjust(widths[3]), what))
        for job, attempt, kind, hours, what in rows
    ]
    return [_painted(aligned[0], _BOLD, colour), *aligned[1:]]


def _footer(result: Reconciliation) -> list[str]:
    lines = []
    for side, name in _SIDES.items():
        if side == "wms" and result.one_ledger:
            continue
        each = result.totals[side]
        used = f"{_core_hours(each.core_seconds)}, {each.cpu_seconds / 3600:.6f} CPU hours"
        lines.append(f"{name + ':':<11}{_count(each.records, 'record')}, {used}")
    seen = [f"{_WITNESSES[witness]} ({count})" for witness, count in result.witnessed.items() if count]
    lines.append(f"also held against: {', '.join(seen) if seen else 'nothing'}")
    if result.duplicates_on_wire:
        lines.append(f"copies sent again and folded by the WMS: {result.duplicates_on_wire}")
    if result.foreign:
        lines.append(f"events of another WMS, left out: {result.foreign}")
    if result.late:
        lines.append(f"final status reached the WMS late: {_count(len(result.late), 'attempt')}")
    lines += [f"not due yet: job {each.job_id} attempt {each.attempt} ({each.reason})" for each in result.pending]
    return lines + [f"could not be read: {problem}" for problem in result.problems]


def _verdict_colour(result: Reconciliation) -> str:
    return {CLEAN: _GREEN, DIFFERENT: _RED, INCOMPARABLE: _YELLOW}[exit_code(result)]


def _painted(text: str, paint: str, colour: bool) -> str:
    return f"{paint}{text}{_PLAIN}" if colour else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _core_hours(core_seconds: float) -> str:
    return f"{core_seconds / 3600:.6f} core hours"
