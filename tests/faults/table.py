"""The table at the end: zeros where zeros belong."""

import re
from collections.abc import Mapping, Sequence, Set

from tests.faults.plan import Verdict

#: In a whole run.
LEAST_FAULTS = 500
COLUMNS = ("what", "jobs", "faults", "attempts", "ends", "records", "events", "copies", "survivors", "failed")


def table(verdicts: Sequence[Verdict]) -> str:
    """*verdicts* by group, with a line for all of them.

    *copies* are duplicates on the wire, in all sinks: folded by every reader, and harmless. ends, records and events
    must be as many as attempts; survivors and failed must be zero.
    """
    groups = list(dict.fromkeys(each.group for each in verdicts))
    rows = [(name, [each for each in verdicts if each.group == name]) for name in groups]
    lines = [COLUMNS, *(_row(name, found) for name, found in rows), _row("all", list(verdicts))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    shown = [
        "  ".join(cell.ljust(width) if not number else cell.rjust(width) for number, (cell, width) in enumerate(cells))
        for cells in (zip(line, widths, strict=True) for line in lines)
    ]
    return "\n".join(["", *shown])


def shortcomings(verdicts: Sequence[Verdict], kinds: Set[str], left_out: Sequence[str]) -> list[str]:
    """What is missing in a whole run: faults, campaigns, or some of the *kinds* of facts that are emitted."""
    count = sum(len(each.faults) for each in verdicts)
    found = [f"only {count} faults, not {LEAST_FAULTS}"] if count < LEAST_FAULTS else []
    found += [f"{name} was left out" for name in left_out]
    return found + [f"not struck: {kind}" for kind in sorted(kinds - _struck(verdicts, kinds))]


def _struck(verdicts: Sequence[Verdict], kinds: Set[str]) -> set[str]:
    said = [fault["fault"] for each in verdicts for fault in each.faults]
    return {kind for kind in kinds if any(re.search(rf" (wrapper|agent):{kind}[\[#]", each) for each in said)}


def coverage(verdicts: Sequence[Verdict], kinds: Set[str], others: Mapping[str, str]) -> str:
    """Which *kinds* of a wrapper's facts were struck by a signal while it wrote them; *others* are no wrapper's."""
    struck = _struck(verdicts, kinds)
    lines = ["", f"facts of a wrapper: {len(kinds)} kinds, {len(struck)} struck"]
    if left := sorted(kinds - struck):
        lines.append(f"  not struck: {', '.join(left)}")
    lines += [f"  no wrapper's: {kind}, {reason}" for kind, reason in others.items()]
    excused = [each for each in verdicts if each.excused]
    lines.append(f"excused, as their point did not come along in any of the tries: {len(excused)} trials")
    lines += [f"  {each.trial}: {each.excused}" for each in excused]
    return "\n".join(lines)


def _row(name: str, verdicts: list[Verdict]) -> tuple[str, ...]:
    figures = (
        sum(1 for each in verdicts if each.job_id),
        sum(len(each.faults) for each in verdicts),
        *(sum(getattr(each, what) for each in verdicts) for what in ("attempts", "ends", "records", "events")),
        sum(each.duplicates for each in verdicts),
        sum(each.survivors for each in verdicts),
        sum(1 for each in verdicts if each.problems),
    )
    return (name, *map(str, figures))
