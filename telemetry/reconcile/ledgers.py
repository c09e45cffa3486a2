"""Whole records: two ledgers field by field, and each record against what others saw of its attempt.

The engine brings together what belongs to one attempt; `attempts` says what is wrong with it, one after the other, so
that memory does not grow with them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from telemetry.ledger.record import Record
from telemetry.reconcile.attempts import Case, Fault, Held, Judged, Ledger, judge
from telemetry.reconcile.columns import literal
from telemetry.reconcile.faults import begin, counted
from telemetry.reconcile.result import ClassTotal, Side, Waiting
from telemetry.reconcile.settings import Tolerances, Window
from telemetry.reconcile.sides import Loaded, Prepared
from telemetry.reconcile.witnesses import SEEN, bystanders
from telemetry.reconcile.workbench import Row, Workbench

#: How sentences call a source of a kind.
_PLACES: Mapping[str, str] = {"ledger": "the WMS", "events": "the telemetry"}
#: Kinds that the nodes write themselves.
_OF_NODES = frozenset({"events"})
_TYPES: Mapping[str, str] = {
    "id": "BIGINT",
    "key": "VARCHAR",
    "job_id": "BIGINT",
    "attempt": "INTEGER",
    "kind": "VARCHAR",
    "absent": "VARCHAR",
    "left_value": "DOUBLE",
    "right_value": "DOUBLE",
    "core_hours": "DOUBLE",
    "cause": "VARCHAR",
    "fields": "VARCHAR",
    "said": "VARCHAR",
}
_OF_CASE = ("batch", "site", "grp", "host", "pilot")


@dataclass
class Tally:
    """What is counted while attempts are judged, one after the other."""

    matched: int = 0
    matched_core_hours: float = 0.0
    pending_core_hours: float = 0.0
    witnessed: dict[str, int] = field(default_factory=dict)
    waiting: list[Waiting] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def add(self, case: Case, judged: Judged) -> None:
        """Count *case*."""
        hours = case.core_seconds / 3600
        if judged.pending:
            job_id, attempt = case.name
            self.waiting.append(Waiting(key=case.uid, job_id=job_id, attempt=attempt, reason=judged.pending))
            self.pending_core_hours += hours
        elif case.is_held and not judged.faults:
            self.matched += 1
            self.matched_core_hours += hours
        if judged.is_late:
            self.late.append(case.uid)
        if case.any_record is not None:
            for witness in case.others.testimony():
                self.witnessed[witness] = self.witnessed.get(witness, 0) + 1

    def totals(self, left: str, right: str) -> Iterator[ClassTotal]:
        """What is no difference, by class."""
        matched, pending = self.matched_core_hours, self.pending_core_hours
        yield ClassTotal(left=left, right=right, kind="matched", pairs=self.matched, core_hours=matched)
        yield ClassTotal(left=left, right=right, kind="pending", pairs=len(self.waiting), core_hours=pending)
        for witness, count in sorted(self.witnessed.items()):
            yield ClassTotal(left=left, right=witness, kind="witnessed", pairs=count, core_hours=0.0)


def compare(
    bench: Workbench,
    ledgers: Sequence[Prepared],
    witnesses: Sequence[Loaded],
    allowed: Tolerances,
    now_utc_ns: int,
    window: Window,
) -> tuple[Tally, list[ClassTotal]]:
    """The tables `cases`, `faults` and `details` of one ledger or two, and what was counted."""
    left, right = names(ledgers, witnesses)
    tally = Tally()
    grace = max(each.grace_seconds for each in (*(each.loaded for each in ledgers), *witnesses))
    path = bench.engine.folder / "judged.jsonl"
    with path.open("w") as file:
        for number, case in enumerate(_cases(bench, ledgers, witnesses)):
            if not _is_asked(case, window):
                continue
            judged = judge(case, now_utc_ns, allowed.witnesses, grace)
            tally.add(case, judged)
            for fault in judged.faults:
                file.write(json.dumps({"id": number, **_row(case, fault)}) + "\n")
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in _TYPES.items())
    bench.run(
        f"CREATE OR REPLACE TABLE judged AS FROM read_json({literal(str(path))}, format = 'newline_delimited',"
        f" columns = {{{types}}})"
    )
    path.unlink()
    _make_cases(bench, ledgers)
    begin(bench)
    bench.run(
        "INSERT INTO faults SELECT id, kind, absent, left_value, right_value, core_hours, cause, false FROM judged"
    )
    bench.run("INSERT INTO details SELECT id, kind, fields, said FROM judged")
    return tally, [*tally.totals(left, right), *counted(bench, left, right)]


def names(ledgers: Sequence[Prepared], witnesses: Sequence[Loaded]) -> tuple[str, str]:
    """What the two sides are called: of one ledger the other side is who has seen it."""
    loaded = [*(each.loaded for each in ledgers), *witnesses]
    return loaded[0].name, loaded[1].name


def folded(bench: Workbench, prepared: Prepared) -> Side:
    """The side with the records that count alone: copies and superseded ones are told elsewhere."""
    cpu, core = bench.one(
        f"SELECT coalesce(sum(cpu_us), 0), coalesce(sum(wall_us * coalesce(cores, 1)::BIGINT), 0) FROM {prepared.keyed}"
    )
    return replace(
        prepared.surveyed.side,
        records=prepared.keyed_records,
        cpu_seconds=float(cpu) / 1e6,
        core_seconds=float(core) / 1e6,
    )


def described(bench: Workbench, witness: Loaded) -> Side:
    """A witness as a side: it has attempts, and no sums."""
    count = int(bench.value(f"SELECT count(*) FROM {witness.relation}"))
    return Side(
        name=witness.name,
        kind=witness.kind,
        where=witness.where,
        level=witness.level,
        records=count,
        cpu_seconds=0.0,
        core_seconds=0.0,
    )


def _cases(bench: Workbench, ledgers: Sequence[Prepared], witnesses: Sequence[Loaded]) -> Iterator[Case]:
    """All attempts of which a ledger has a record, or of which the WMS has seen something."""
    known = [*(each.keyed for each in ledgers), *(each.relation for each in witnesses if each.kind == SEEN)]
    keys = " UNION ".join(f"SELECT key FROM {each}" for each in known)
    columns, joins = ["k.key"], []
    for number, ledger in enumerate(ledgers):
        columns += [f"l{number}.body", f"coalesce(c{number}.extra, 0)", f"coalesce(c{number}.bodies, 1)"]
        joins.append(f"LEFT JOIN {ledger.keyed} l{number} ON l{number}.key = k.key")
        joins.append(f"LEFT JOIN {ledger.copies} c{number} ON c{number}.key = k.key")
    for number, witness in enumerate(witnesses):
        once = f"(SELECT key, any_value(said) AS said FROM {witness.relation} GROUP BY key)"
        columns.append(f"w{number}.said")
        joins.append(f"LEFT JOIN {once} w{number} ON w{number}.key = k.key")
    called = [_called(each.loaded) for each in ledgers]
    for row in bench.stream(f"SELECT {', '.join(columns)} FROM ({keys}) k {' '.join(joins)}"):
        yield _case(row, called, [each.kind for each in witnesses])


def _called(loaded: Loaded) -> Ledger:
    return Ledger(loaded.name, _PLACES.get(loaded.kind, loaded.name), loaded.kind in _OF_NODES)


def _case(row: Row, ledgers: Sequence[Ledger], witnesses: Sequence[str]) -> Case:
    held: list[Held] = []
    read: dict[str, Record] = {}
    for number, ledger in enumerate(ledgers):
        body, extra, bodies = row[1 + 3 * number : 4 + 3 * number]
        if body is not None and body not in read:  # mostly both ledgers have the same
            read[body] = Record.from_json(body)
        held.append(Held(ledger, read.get(body), int(extra), int(bodies)))
    said = dict(zip(witnesses, row[1 + 3 * len(ledgers) :], strict=True))
    return Case(str(row[0]), tuple(held), bystanders(said))


def _is_asked(case: Case, window: Window) -> bool:
    """Whether *case* is within the window: by the first ledger, which has that of the window alone, else by its end."""
    if case.held[0].record is not None or case.end_utc_ns is None:
        return True
    end_us = case.end_utc_ns // 1000
    is_early = window.since_us is not None and end_us < window.since_us
    return not is_early and (window.until_us is None or end_us < window.until_us)


def _row(case: Case, fault: Fault) -> dict[str, Any]:
    """A fault as a row of `judged`."""
    job_id, attempt = case.name
    values = [_figure(fault, each.ledger.name) for each in case.held]
    return {
        "key": case.uid,
        "job_id": job_id,
        "attempt": attempt,
        "kind": fault.kind,
        "absent": fault.absent,
        "left_value": values[0],
        "right_value": values[1] if len(values) > 1 else None,
        "core_hours": fault.core_seconds / 3600,
        "cause": fault.message,
        "fields": ", ".join(fault.fields),
        "said": json.dumps(fault.said),
    }


def _figure(fault: Fault, name: str) -> float | None:
    """The number that the ledger *name* says about it, if it is one."""
    said = fault.said.get(name, {})
    value = next((said[each] for each in (*fault.fields, "copies", "ExecTime") if each in said), None)
    return None if value is None or isinstance(value, bool | str) else float(value)


def _make_cases(bench: Workbench, ledgers: Sequence[Prepared]) -> None:
    """`cases`: a row for each attempt with a fault."""
    left = ledgers[0].keyed
    right = ledgers[1].keyed if len(ledgers) > 1 else f"(SELECT * FROM {left} WHERE false)"
    shared = ", ".join(f"coalesce(l.{each}, r.{each}) AS {each}" for each in _OF_CASE)
    own = ", ".join(f"{letter}.{each} AS {letter}_{each}" for letter in "lr" for each in ("cores", "end_us"))
    bench.run(
        f"CREATE OR REPLACE TABLE cases AS SELECT j.id, j.key, j.job_id, j.attempt, {shared}, {own}"
        " FROM (SELECT DISTINCT id, key, job_id, attempt FROM judged) j"
        f" LEFT JOIN {left} l ON l.key = j.key LEFT JOIN {right} r ON r.key = j.key"
    )
