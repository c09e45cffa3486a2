"""The two ledgers held against each other, and each record against what others saw. Pure.

The order of questions for one attempt: does each ledger hold it, once and under one body; do the
two bodies agree; does what others saw agree with the body that they support. A question that an
earlier one has answered is not asked again, so one fault is one difference: a changed CPUTime in
one ledger is a `cpu` difference, and not also an impossible record and a missed heartbeat.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from telemetry.facts import Scalar
from telemetry.ledger.checks import Bystanders, Objection, is_late, objections
from telemetry.ledger.differences import Difference, Kind, Pending, Reconciliation, SideTotals, Values
from telemetry.ledger.evidence import AttemptWitness, Evidence, Tolerances
from telemetry.ledger.record import Folded, Record, fold
from telemetry.ledger.sanity import ABOUT
from telemetry.ledger.schema import SCHEMA, FieldSpec

_PLACES = {"wms": "the WMS", "otlp": "the telemetry"}
#: What a bystander's testimony is shown with.
_TESTIMONY: Mapping[str, tuple[Kind, ...]] = {
    "counters": ("cpu", "wall", "cores"),
    "heartbeat": ("cpu", "wall"),
    "wms_clock": ("wall", "skew", "missing"),
    "wms_status": ("status", "missing"),
}


@dataclass(frozen=True)
class _Case:
    """All that is known of one attempt."""

    uid: str
    wms: Record | None
    otlp: Record | None
    copies: Mapping[str, int]
    conflicts: tuple[str, ...]
    others: Bystanders
    one_ledger: bool = False

    @property
    def is_held(self) -> bool:
        """Whether every ledger has a record of it."""
        return self.otlp is not None and (self.one_ledger or self.wms is not None)

    @property
    def any_record(self) -> Record | None:
        return self.otlp or self.wms

    @property
    def name(self) -> tuple[int, int]:
        """Job and attempt, from whoever knows them."""
        record, witness = self.any_record, self.others.witness
        if record is not None:
            return record.integer("JobID"), record.integer("Attempt")
        return (witness.job_id, witness.attempt) if witness else (0, 0)

    @property
    def core_seconds(self) -> float:
        """The whole attempt, as the larger of the records has it."""
        known = [abs(each.number("ExecTime")) for each in (self.wms, self.otlp) if each is not None]
        witness = self.others.witness
        return max(known, default=abs((witness.wall_seconds if witness else None) or 0.0))


def reconcile(evidence: Evidence, tolerances: Tolerances | None = None) -> Reconciliation:
    """Compare everything in *evidence*; the same evidence in any order gives the same result."""
    allowed = tolerances or Tolerances()
    here = [each for each in evidence.otlp if each.text("WMSID") == evidence.wms_id]
    wms, otlp = fold(evidence.wms), fold(here)
    cases = _cases(evidence, wms, otlp)
    pending = {case.uid: reason for case in cases if (reason := _pending(case, evidence.now_utc_ns, allowed))}
    differences = [each for case in cases for each in _differences(case, allowed, is_pending=case.uid in pending)]
    faulty = {each.uid for each in differences}
    return Reconciliation(
        matched=sum(1 for case in cases if case.is_held and case.uid not in faulty and case.uid not in pending),
        differences=tuple(
            sorted(differences, key=lambda d: (-d.core_seconds, d.job_id, d.attempt, d.kind, d.uid)),
        ),
        pending=tuple(Pending(case.uid, *case.name, pending[case.uid]) for case in cases if case.uid in pending),
        late=tuple(case.uid for case in cases if _is_late(case, allowed)),
        foreign=len(evidence.otlp) - len(here),
        duplicates_on_wire=evidence.duplicates_on_wire,
        totals={"wms": _totals(wms), "otlp": _totals(otlp)},
        witnessed=_witnessed(cases),
        problems=tuple(evidence.problems),
        one_ledger=evidence.one_ledger,
    )


def _cases(evidence: Evidence, wms: Folded, otlp: Folded) -> list[_Case]:
    witnesses = {each.uid: each for each in evidence.witnesses}
    contributions = {each.uid: each for each in evidence.contributions}
    copies: dict[str, dict[str, int]] = {}
    conflicts: dict[str, list[str]] = {}
    for side, folded in (("wms", wms), ("otlp", otlp)):
        for key, count in folded.copies.items():
            held = copies.setdefault(key.uid, {})
            held[side] = held.get(side, 0) + count
        for key in sorted(folded.conflicts):
            conflicts.setdefault(key.uid, []).append(side)
    return [
        _Case(
            uid,
            wms.current.get(uid),
            otlp.current.get(uid),
            copies.get(uid, {}),
            tuple(conflicts.get(uid, ())),
            Bystanders(witnesses.get(uid), contributions.get(uid)),
            evidence.one_ledger,
        )
        for uid in sorted({*wms.current, *otlp.current, *witnesses})
    ]


def _pending(case: _Case, now_utc_ns: int, tolerances: Tolerances) -> str:
    """Why not everything about *case* is due yet; empty when it is."""
    witness, record = case.others.witness, case.any_record
    is_open = witness is not None and witness.is_open
    if record is None:
        if is_open and witness is not None:
            return f"still {witness.status}"
        ended_ns = witness.end_utc_ns if witness is not None and witness.has_ended else None
    else:
        ended_ns = record.utc_ns("EndTime") + record.micros("ClockOffset") * 1000
    is_everywhere = case.is_held and not is_open
    is_young = ended_ns is not None and now_utc_ns - ended_ns < tolerances.grace_seconds * 1e9
    return "ended a moment ago" if is_young and not is_everywhere else ""


def _differences(case: _Case, tolerances: Tolerances, *, is_pending: bool) -> list[Difference]:
    found = [*_copies(case)]
    presence = _presence(case)
    if presence is None and case.wms is not None and case.otlp is not None and not case.conflicts:
        found.extend(_compared(case, case.wms, case.otlp))
    if not is_pending:
        found.extend([] if presence is None else [presence])
        believed = _believed(case, tolerances)
        if believed is not None:
            found.extend(_objected(case, believed, {each.kind for each in found}, tolerances))
    return [_with_testimony(each, case.others) for each in found]


def _copies(case: _Case) -> Iterable[Difference]:
    if case.copies:
        extra = sum(case.copies.values())
        where = " and ".join(f"{count + 1} in {_PLACES[side]}" for side, count in sorted(case.copies.items()))
        values: Values = {side: {"copies": count + 1} for side, count in case.copies.items()}
        yield _difference(case, "duplicate", f"the same record is held more than once: {where}", values=values,
                          core_seconds=case.core_seconds * extra)  # fmt: skip
    if case.conflicts:
        yield _difference(
            case, "conflict", f"records of one name differ in {' and '.join(_PLACES[each] for each in case.conflicts)}"
        )


def _presence(case: _Case) -> Difference | None:
    wms, otlp, witness = case.wms, case.otlp, case.others.witness
    if wms is None and otlp is None:
        if witness is None or not witness.has_ended:
            return None
        return _difference(case, "missing", f"the WMS saw it end as {witness.status}, and nobody has a record")
    if case.one_ledger and otlp is not None:
        return None
    if wms is None:
        return _difference(case, "missing_in_wms", "the telemetry has the record, the WMS has not")
    if wms.key.recorded_by == "wms" and otlp is None:
        return None  # an estimate of a stalled job: no node has made it, so no node has told of it
    if otlp is None:
        return _difference(case, "missing_in_otlp", "the WMS has the record, the telemetry has not")
    if wms.key == otlp.key:
        return None
    kind: Kind = "missing_in_wms" if otlp.key.rank > wms.key.rank else "missing_in_otlp"
    better = max((wms, otlp), key=lambda each: each.key.rank).key
    message = f"the record by {better.recorded_by}, revision {better.revision}, has reached only one of the two"
    return _difference(case, kind, message)


def _compared(case: _Case, wms: Record, otlp: Record) -> Iterable[Difference]:
    """The fields in which two renderings of the same facts differ, one difference for each kind."""
    changed = [spec.name for spec in SCHEMA if _differs(spec, wms, otlp)]
    by_kind: dict[Kind, list[str]] = {}
    for name in changed:
        by_kind.setdefault(_kind_of(name, changed), []).append(name)
    for kind, names in by_kind.items():
        values: Values = {
            "wms": {name: wms[name] for name in names},
            "otlp": {name: otlp[name] for name in names},
        }
        first = names[0]
        message = f"{first} is {_shown(wms[first])} in the WMS and {_shown(otlp[first])} in the telemetry"
        if len(names) > 1:
            message += f" (also {', '.join(names[1:])})"
        stake = _stake(kind, wms, otlp)
        yield replace(_difference(case, kind, message, values=values, core_seconds=stake), fields=tuple(names))


def _differs(spec: FieldSpec, wms: Record, otlp: Record) -> bool:
    """Whether a field differs; a number by more than the last digit, which a database may turn."""
    mine, theirs = wms[spec.name], otlp[spec.name]
    if spec.type == "number" and mine is not None and theirs is not None:
        return abs(wms.micros(spec.name) - otlp.micros(spec.name)) > 1
    return mine != theirs


def _kind_of(name: str, changed: list[str]) -> Kind:
    """What a changed field is about; what follows from another changed field goes with that one."""
    if name == "ExecTime" and "WallClockTime" not in changed and "Processors" in changed:
        return "cores"
    if name == "NormCPUTime" and "CPUTime" not in changed and "CPUNormalizationFactor" in changed:
        return "benchmark"
    return ABOUT.get(name, "value")


def _stake(kind: Kind, wms: Record, otlp: Record) -> float:
    """How much time two bodies disagree about."""
    processors = max(wms.integer("Processors"), otlp.integer("Processors"), 1)
    if kind == "cpu":
        return abs(wms.number("CPUTime") - otlp.number("CPUTime"))
    if kind == "wall":
        wall = abs(wms.number("WallClockTime") - otlp.number("WallClockTime")) * processors
        return wall or abs(wms.number("ExecTime") - otlp.number("ExecTime"))
    if kind == "cores":
        cores = abs(wms.integer("Processors") - otlp.integer("Processors"))
        return cores * max(wms.number("WallClockTime"), otlp.number("WallClockTime"))
    if kind == "benchmark":
        return abs(wms.number("NormCPUTime") - otlp.number("NormCPUTime"))
    return max(abs(wms.number("ExecTime")), abs(otlp.number("ExecTime"))) if kind == "status" else 0.0


def _believed(case: _Case, tolerances: Tolerances) -> Record | None:
    """The body to hold against the bystanders: the one with fewer objections, and of equals the node's own."""
    if case.wms is None or case.otlp is None or case.wms == case.otlp:
        return case.any_record
    if case.wms.key != case.otlp.key:
        return max((case.wms, case.otlp), key=lambda each: each.key.rank)
    against = {each: len(objections(each, case.others, tolerances)) for each in (case.otlp, case.wms)}
    return min(against, key=lambda each: against[each])


def _objected(case: _Case, record: Record, known: set[Kind], tolerances: Tolerances) -> Iterable[Difference]:
    """The objections to the believed body that no known difference explains, one difference for each kind."""
    raised = objections(record, case.others, tolerances)
    kinds = known | {each.kind for each in raised}
    open_kinds: dict[Kind, list[Objection]] = {}
    for each in raised:
        if each.kind not in known and not kinds.intersection(each.explained_by):
            open_kinds.setdefault(each.kind, []).append(each)
    side = "otlp" if record is case.otlp else "wms"
    for kind, several in open_kinds.items():
        fields = tuple(dict.fromkeys(name for each in several for name in each.fields))
        message = "; ".join(each.message for each in several)
        stake = max(each.core_seconds for each in several)
        values: Values = {side: {name: record[name] for name in fields}}
        yield replace(_difference(case, kind, message, values=values, core_seconds=stake), fields=fields)


def _with_testimony(difference: Difference, others: Bystanders) -> Difference:
    said = {witness: values for witness, values in others.testimony().items() if difference.kind in _TESTIMONY[witness]}
    return replace(difference, values={**difference.values, **said})


def _difference(
    case: _Case, kind: Kind, message: str, *, values: Values | None = None, core_seconds: float | None = None
) -> Difference:
    job_id, attempt = case.name
    if values is None:
        values = {
            side: {"RecordedBy": record["RecordedBy"], "Revision": record["Revision"], "ExecTime": record["ExecTime"]}
            for side, record in (("wms", case.wms), ("otlp", case.otlp))
            if record is not None
        }
    stake = case.core_seconds if core_seconds is None else core_seconds
    return Difference(case.uid, job_id, attempt, kind, (), values, message, stake)


def _totals(folded: Folded) -> SideTotals:
    records = folded.current.values()
    return SideTotals(
        len(folded.current),
        sum(each.micros("CPUTime") for each in records) / 1e6,
        sum(each.micros("ExecTime") for each in records) / 1e6,
    )


def _witnessed(cases: list[_Case]) -> dict[str, int]:
    seen: dict[str, int] = dict.fromkeys(_TESTIMONY, 0)
    for case in cases:
        if case.any_record is not None:
            for witness in case.others.testimony():
                seen[witness] += 1
    return seen


def _is_late(case: _Case, tolerances: Tolerances) -> bool:
    record, witness = case.any_record, case.others.witness
    return record is not None and isinstance(witness, AttemptWitness) and is_late(record, witness, tolerances)


def _shown(value: Scalar | None) -> str:
    return "nothing" if value is None else str(value)
