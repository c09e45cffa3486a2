"""What the two ledgers of a node come to, for people and for scripts: text, JSON, one sentence, an exit code."""

import json
from collections.abc import Iterable
from typing import Any

from telemetry.reconcile.attempts import TESTIMONY
from telemetry.reconcile.result import Difference, Outcome, Side

SCHEMA = "jobspan.reconciliation/1"
CLEAN, DIFFERENT, INCOMPARABLE = 0, 1, 2

_RED, _GREEN, _YELLOW, _BOLD, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"
#: The sides, as the sources are named where nobody names others.
_WMS, _OTLP = "wms", "otlp"
_SIDES = {_WMS: "WMS", _OTLP: "telemetry"}
_WITNESSES = {
    "wms_status": "the WMS's status",
    "wms_clock": "the WMS's clock",
    "heartbeat": "the last heartbeat",
    "counters": "the agent's counters",
}


def exit_code(outcome: Outcome) -> int:
    """0: clean. 1: there are differences. 2: none was found, but not everything could be read."""
    if outcome.different:
        return DIFFERENT
    return INCOMPARABLE if outcome.problems else CLEAN


def summary(outcome: Outcome) -> str:
    """One sentence that an accountant understands."""
    wms, otlp = _side(outcome, _WMS), _side(outcome, _OTLP)
    one_ledger = not _has(outcome, _WMS)
    held = f"The WMS holds {_count(wms.records, 'record')} and the telemetry {otlp.records}"
    if one_ledger:
        held = f"The WMS keeps no accounting, the telemetry holds {_count(otlp.records, 'record')}"
    if outcome.different:
        attempts = len({each.key for each in outcome.differences})
        verdict = (
            f"{_count(outcome.different, 'difference')} in {_count(attempts, 'attempt')}, "
            f"{outcome.core_hours_at_stake:.6f} core hours at stake"
        )
    elif outcome.problems:
        verdict = "no difference, but not everything could be read"
    elif one_ledger:
        verdict = f"what others saw agrees with every one, {otlp.core_hours:.6f} core hours in all"
    else:
        verdict = f"they agree on every one, {wms.core_hours:.6f} core hours in all"
    waiting = f"; {_count(len(outcome.waiting), 'attempt')} not due yet" if outcome.waiting else ""
    return f"{held}: {verdict}{waiting}."


def render_text(outcome: Outcome, *, colour: bool = False) -> str:
    """The whole statement for a terminal: the sentence, a table of the differences, what was looked at."""
    lines = [_painted(summary(outcome), _verdict_colour(outcome), colour)]
    if outcome.differences:
        lines += ["", *_table(outcome.differences, colour=colour)]
    lines += ["", *_footer(outcome)]
    return "\n".join(lines) + "\n"


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The whole statement as JSON values; `schema` names this form, to which fields are only ever added."""
    sides = {name: _side(outcome, name) for name in _SIDES}
    return {
        "schema": SCHEMA,
        "exit_code": exit_code(outcome),
        "summary": summary(outcome),
        "matched": outcome.matched,
        "differences": [_difference_json(each) for each in outcome.differences],
        "pending": [
            {"uid": each.key, "job_id": each.job_id, "attempt": each.attempt, "reason": each.reason}
            for each in outcome.waiting
        ],
        "late": list(outcome.late),
        "foreign": sum(each.left_out for each in sides.values()),
        "duplicates_on_wire": sides[_WMS].folded,
        "totals": {
            name: {"records": each.records, "cpu_seconds": each.cpu_seconds, "core_seconds": each.core_seconds}
            for name, each in sides.items()
        },
        "witnessed": _witnessed(outcome),
        "core_hours_at_stake": round(outcome.core_hours_at_stake, 9),
        "problems": list(outcome.problems),
    }


def _has(outcome: Outcome, name: str) -> bool:
    return any(each.name == name for each in outcome.sides)


def _side(outcome: Outcome, name: str) -> Side:
    """The side of that *name*; an empty one if it was not asked."""
    absent = Side(name=name, kind="", where="", level="attempt", records=0, cpu_seconds=0.0, core_seconds=0.0)
    return next((each for each in outcome.sides if each.name == name), absent)


def _witnessed(outcome: Outcome) -> dict[str, int]:
    """How many records were held against each witness."""
    counted = {each.right: each.pairs for each in outcome.totals if each.kind == "witnessed"}
    return {witness: counted.get(witness, 0) for witness in TESTIMONY}


def _difference_json(each: Difference) -> dict[str, Any]:
    return {
        "uid": each.key,
        "job_id": each.job_id,
        "attempt": each.attempt,
        "kind": each.name,
        "fields": each.fields.split(", ") if each.fields else [],
        "values": json.loads(each.said or "{}"),
        "message": each.cause,
        "core_seconds": round(each.core_hours * 3600, 6),
    }


def _table(differences: Iterable[Difference], *, colour: bool) -> list[str]:
    rows = [("JOB", "ATTEMPT", "CLASS", "CORE-HOURS", "WHAT")]
    rows += [
        (str(each.job_id), str(each.attempt), each.name, f"{each.core_hours:.6f}", each.cause) for each in differences
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    aligned = [
        "  ".join((job.rjust(widths[0]), attempt.rjust(widths[1]), kind.ljust(widths[2]), hours.rjust(widths[3]), what))
        for job, attempt, kind, hours, what in rows
    ]
    return [_painted(aligned[0], _BOLD, colour), *aligned[1:]]


def _footer(outcome: Outcome) -> list[str]:
    lines = []
    for name, called in _SIDES.items():
        if _has(outcome, name):
            each = _side(outcome, name)
            used = f"{each.core_hours:.6f} core hours, {each.cpu_seconds / 3600:.6f} CPU hours"
            lines.append(f"{called + ':':<11}{_count(each.records, 'record')}, {used}")
    seen = [f"{_WITNESSES[witness]} ({count})" for witness, count in _witnessed(outcome).items() if count]
    lines.append(f"also held against: {', '.join(seen) if seen else 'nothing'}")
    folded, left_out = sum(each.folded for each in outcome.sides), sum(each.left_out for each in outcome.sides)
    if folded:
        lines.append(f"copies sent again and folded by the WMS: {folded}")
    if left_out:
        lines.append(f"events of another WMS, left out: {left_out}")
    if outcome.late:
        lines.append(f"final status reached the WMS late: {_count(len(outcome.late), 'attempt')}")
    lines += [f"not due yet: job {each.job_id} attempt {each.attempt} ({each.reason})" for each in outcome.waiting]
    return lines + [f"could not be read: {problem}" for problem in outcome.problems]


def _verdict_colour(outcome: Outcome) -> str:
    return {CLEAN: _GREEN, DIFFERENT: _RED, INCOMPARABLE: _YELLOW}[exit_code(outcome)]


def _painted(text: str, paint: str, colour: bool) -> str:
    return f"{paint}{text}{_PLAIN}" if colour else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
