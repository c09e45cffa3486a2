"""One attempt of which there are whole records: what is wrong with it. Pure.

The order of questions: does each ledger hold it, once and under one body; do the two bodies agree; does what others
saw agree with the body that they support. A question that an earlier one has answered is not asked again, so one fault
is one difference: a changed CPUTime in one ledger is a `cpu` difference, and not also an impossible record and a missed
heartbeat.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from telemetry.facts import Scalar
from telemetry.ledger.record import Record
from telemetry.ledger.sanity import ABOUT
from telemetry.ledger.schema import SCHEMA, FieldSpec
from telemetry.reconcile.objections import Objection, is_late, objections
from telemetry.reconcile.result import Kind
from telemetry.reconcile.settings import WitnessTolerances
from telemetry.reconcile.witnesses import Bystanders, Testimony

#: What a bystander's testimony is shown with.
TESTIMONY: Mapping[str, tuple[Kind, ...]] = {
    "counters": ("cpu", "wall", "cores"),
    "heartbeat": ("cpu", "wall"),
    "wms_clock": ("wall", "skew", "missing"),
    "wms_status": ("status", "missing"),
}


@dataclass(frozen=True)
class Ledger:
    """A source of whole records: its name, how sentences call it, and whether the nodes have written it themselves."""

    name: str
    place: str
    is_of_nodes: bool = False


@dataclass(frozen=True)
class Held:
    """What a ledger holds of an attempt: the record that counts, copies beyond the first, and bodies under one name."""

    ledger: Ledger
    record: Record | None
    extra: int = 0
    bodies: int = 1


@dataclass(frozen=True)
class Case:
    """All that is known of one attempt. One or two ledgers are asked; of two the second is believed more."""

    uid: str
    held: tuple[Held, ...]
    others: Bystanders

    @property
    def is_held(self) -> bool:
        """Whether every ledger has a record of it."""
        return all(each.record is not None for each in self.held)

    @property
    def any_record(self) -> Record | None:
        """That of the ledger that is believed most, of those that have one."""
        return next((each.record for each in reversed(self.held) if each.record is not None), None)

    @property
    def name(self) -> tuple[int, int]:
        """Job and attempt, from whoever knows them."""
        record, witness = self.any_record, self.others.witness
        if record is not None:
            return record.integer("JobID"), record.integer("Attempt")
        return (witness.job_id, witness.attempt) if witness else (0, 0)

    @property
    def end_utc_ns(self) -> int | None:
        """When it ended, by the WMS's clock; None as long as it has not."""
        record, witness = self.any_record, self.others.witness
        if record is not None:
            return record.utc_ns("EndTime") + record.micros("ClockOffset") * 1000
        return witness.end_utc_ns if witness is not None and witness.has_ended else None

    @property
    def core_seconds(self) -> float:
        """The whole attempt, as the larger of the records has it."""
        known = [abs(each.record.number("ExecTime")) for each in self.held if each.record is not None]
        witness = self.others.witness
        return max(known, default=abs((witness.wall_seconds if witness else None) or 0.0))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with an attempt; there is at most one of a kind.

    `said` is what each ledger and witness says about it, `core_seconds` how much of the site's time is in question.
    """

    kind: Kind
    message: str
    said: Testimony
    core_seconds: float
    absent: str = ""
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """What came out: faults, why not everything is due yet (empty: it is), whether the WMS learned of the end late."""

    faults: tuple[Fault, ...]
    pending: str
    is_late: bool


def judge(case: Case, now_utc_ns: int, allowed: WitnessTolerances, grace_seconds: float = 0.0) -> Judged:
    """What is wrong with *case*; within the grace after its end nothing is missing yet."""
    pending = _pending(case, now_utc_ns, grace_seconds)
    record, witness = case.any_record, case.others.witness
    late = record is not None and witness is not None and is_late(record, witness, allowed)
    found = tuple(_with_testimony(each, case.others) for each in _faults(case, allowed, is_pending=bool(pending)))
    return Judged(found, pending, late)


def _pending(case: Case, now_utc_ns: int, grace_seconds: float) -> str:
    """Why not everything about *case* is due yet; empty when it is."""
    witness, ended_ns = case.others.witness, case.end_utc_ns
    is_open = witness is not None and witness.is_open
    if case.any_record is None and is_open and witness is not None:
        return f"still {witness.status}"
    is_everywhere = case.is_held and not is_open
    is_young = ended_ns is not None and now_utc_ns - ended_ns < grace_seconds * 1e9
    return "ended a moment ago" if is_young and not is_everywhere else ""


def _faults(case: Case, allowed: WitnessTolerances, *, is_pending: bool) -> list[Fault]:
    found = [*_copies(case)]
    presence = _presence(case)
    records = [each.record for each in case.held if each.record is not None]
    if presence is None and len(records) > 1 and not _conflicts(case):
        found.extend(_compared(case, records[0], records[1]))
    if is_pending:
        return found
    found.extend([] if presence is None else [presence])
    believed = _believed(case, allowed)
    if believed is not None and believed.record is not None:
        found.extend(_objected(case, believed.ledger, believed.record, {each.kind for each in found}, allowed))
    return found


def _conflicts(case: Case) -> list[Ledger]:
    return [each.ledger for each in case.held if each.bodies > 1]


def _copies(case: Case) -> Iterator[Fault]:
    copied = [each for each in case.held if each.extra]
    if copied:
        where = " and ".join(f"{each.extra + 1} in {each.ledger.place}" for each in copied)
        yield Fault(
            kind="duplicate",
            message=f"the same record is held more than once: {where}",
            said={each.ledger.name: {"copies": each.extra + 1} for each in copied},
            core_seconds=case.core_seconds * sum(each.extra for each in copied),
        )
    if several := _conflicts(case):
        yield _about(case, "conflict", f"records of one name differ in {' and '.join(each.place for each in several)}")


def _presence(case: Case) -> Fault | None:
    witness = case.others.witness
    having = [each for each in case.held if each.record is not None]
    lacking = [each.ledger for each in case.held if each.record is None]
    if not having:
        if witness is None or not witness.has_ended:
            return None
        return _about(case, "missing", f"the WMS saw it end as {witness.status}, and nobody has a record")
    keys = [each.record.key for each in having if each.record is not None]
    if lacking:
        if lacking[0].is_of_nodes and keys[0].recorded_by == "wms":
            return None  # an estimate of a stalled job: no node has made it, so no node has told of it
        message = f"{having[0].ledger.place} has the record, {lacking[0].place} has not"
        return _about(case, "missing", message, absent=lacking[0].name)
    if len(set(keys)) == 1:
        return None
    worse, better = sorted(zip(keys, having, strict=True), key=lambda each: each[0].rank)
    said = f"the record by {better[0].recorded_by}, revision {better[0].revision}, has reached only one of the two"
    return _about(case, "missing", said, absent=worse[1].ledger.name)


def _compared(case: Case, one: Record, other: Record) -> Iterator[Fault]:
    """The fields in which two renderings of the same facts differ, one difference for each kind."""
    here, there = (each.ledger for each in case.held)
    changed = [spec.name for spec in SCHEMA if _differs(spec, one, other)]
    by_kind: dict[Kind, list[str]] = {}
    for name in changed:
        by_kind.setdefault(_kind_of(name, changed), []).append(name)
    for kind, names in by_kind.items():
        first = names[0]
        message = f"{first} is {_shown(one[first])} in {here.place} and {_shown(other[first])} in {there.place}"
        if len(names) > 1:
            message += f" (also {', '.join(names[1:])})"
        yield Fault(
            kind=kind,
            message=message,
            said={here.name: {name: one[name] for name in names}, there.name: {name: other[name] for name in names}},
            core_seconds=_stake(kind, one, other),
            fields=tuple(names),
        )


def _differs(spec: FieldSpec, one: Record, other: Record) -> bool:
    """Whether a field differs; a number by more than the last digit, which a database may turn."""
    mine, theirs = one[spec.name], other[spec.name]
    if spec.type == "number" and mine is not None and theirs is not None:
        return abs(one.micros(spec.name) - other.micros(spec.name)) > 1
    return mine != theirs


def _kind_of(name: str, changed: list[str]) -> Kind:
    """What a changed field is about; what follows from another changed field goes with that one."""
    if name == "ExecTime" and "WallClockTime" not in changed and "Processors" in changed:
        return "cores"
    if name == "NormCPUTime" and "CPUTime" not in changed and "CPUNormalizationFactor" in changed:
        return "benchmark"
    return ABOUT.get(name, "value")


def _stake(kind: Kind, one: Record, other: Record) -> float:
    """How much time two bodies disagree about."""
    processors = max(one.integer("Processors"), other.integer("Processors"), 1)
    if kind == "cpu":
        return abs(one.number("CPUTime") - other.number("CPUTime"))
    if kind == "wall":
        wall = abs(one.number("WallClockTime") - other.number("WallClockTime")) * processors
        return wall or abs(one.number("ExecTime") - other.number("ExecTime"))
    if kind == "cores":
        cores = abs(one.integer("Processors") - other.integer("Processors"))
        return cores * max(one.number("WallClockTime"), other.number("WallClockTime"))
    if kind == "benchmark":
        return abs(one.number("NormCPUTime") - other.number("NormCPUTime"))
    return max(abs(one.number("ExecTime")), abs(other.number("ExecTime"))) if kind == "status" else 0.0


def _believed(case: Case, allowed: WitnessTolerances) -> Held | None:
    """The body to hold against the bystanders: the better record, else that with fewer objections, else the node's."""
    having = [(each, each.record) for each in reversed(case.held) if each.record is not None]
    if len({record for _, record in having}) < 2:
        return having[0][0] if having else None
    if len({record.key for _, record in having}) > 1:
        return max(having, key=lambda each: each[1].key.rank)[0]
    return min(having, key=lambda each: len(objections(each[1], case.others, allowed)))[0]


def _objected(
    case: Case, ledger: Ledger, record: Record, known: set[Kind], allowed: WitnessTolerances
) -> Iterable[Fault]:
    """The objections to the believed body that no known difference explains, one difference for each kind."""
    raised = objections(record, case.others, allowed)
    kinds = known | {each.kind for each in raised}
    open_kinds: dict[Kind, list[Objection]] = {}
    for each in raised:
        if each.kind not in known and not kinds.intersection(each.explained_by):
            open_kinds.setdefault(each.kind, []).append(each)
    for kind, several in open_kinds.items():
        fields = tuple(dict.fromkeys(name for each in several for name in each.fields))
        yield Fault(
            kind=kind,
            message="; ".join(each.message for each in several),
            said={ledger.name: {name: record[name] for name in fields}},
            core_seconds=max(each.core_seconds for each in several),
            fields=fields,
        )


def _with_testimony(fault: Fault, others: Bystanders) -> Fault:
    said = {witness: values for witness, values in others.testimony().items() if fault.kind in TESTIMONY[witness]}
    return replace(fault, said={**fault.said, **said})


def _about(case: Case, kind: Kind, message: str, *, absent: str = "") -> Fault:
    """A fault of the whole attempt."""
    said = {
        each.ledger.name: {name: each.record[name] for name in ("RecordedBy", "Revision", "ExecTime")}
        for each in case.held
        if each.record is not None
    }
    return Fault(kind=kind, message=message, said=said, core_seconds=case.core_seconds, absent=absent)


def _shown(value: Scalar | None) -> str:
    return "nothing" if value is None else str(value)
