"""The ledger under Hypothesis: exact sums, one record for one set of facts, and exactly the faults that are there."""

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.catalogue import accounting_attribute, record_field
from telemetry.entries import Entry
from telemetry.facts import STAGES, AttemptEnded
from telemetry.ledger.builder import build
from telemetry.ledger.record import Record, current
from telemetry.ledger.sanity import inconsistencies
from telemetry.ledger.schema import STAGE_FIELDS
from tests.support.evidence import Evidence, honest, kinds, reconcile
from tests.support.ledger import Life, matched, whole_life

#: Durations with parts below the microsecond, as real clocks have them.
SECONDS = st.integers(0, 10**12).map(lambda ns: ns / 1e9)
CPU = st.floats(0, 10**5, allow_nan=False)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """A wrapper's life with any durations, steps of the wall clock, samples, and any point of death."""
    processors = draw(st.integers(1, 64))
    life = Life()
    life.match(matched(processors=processors, cpu_normalization_factor=draw(st.floats(0.1, 30))))
    life.start_wrapper(draw(SECONDS))
    for stage in STAGES[:-1]:
        if draw(st.booleans()):
            life.clock.step_utc(draw(st.integers(-7200, 7200)))
        if stage == "execute":
            _payload(draw, life, processors)
        life.next_stage(stage, draw(SECONDS))
    life.end()
    return life


def _payload(draw: st.DrawFn, life: Life, processors: int) -> None:
    life.payload_starts()
    user, system = 0.0, 0.0
    for _ in range(draw(st.integers(0, 3))):
        seconds = draw(st.integers(0, 10**6)) / 1e3
        user += seconds * processors * 0.5
        system += seconds * processors * 0.25
        life.sample(user, system, seconds)
    life.payload_ends(user, system, draw(SECONDS))


def died(life: Life, cut: int) -> list[Entry]:
    """The same life, had the wrapper died after *cut* of its facts and the agent closed the attempt."""
    wrapper = life.journals["wrapper"].entries
    last = next(index for index, entry in enumerate(wrapper) if isinstance(entry.fact, AttemptEnded))
    rest = Life(clock=life.clock)
    rest.recover()
    return [*life.journals["agent"].entries, *wrapper[: cut % (last + 1)], *rest.entries]


@given(lives())
@settings(max_examples=40, deadline=None)
def test_the_stages_sum_to_the_wall_clock_exactly(life: Life) -> None:
    """Whatever the boundaries: five shares, one sum, and a record in which everything adds up."""
    record = life.record()
    assert sum(record.micros(name) for name in STAGE_FIELDS) == record.micros("WallClockTime")
    assert record.micros("CPUTime") == record.micros("CPUUserTime") + record.micros("CPUSystemTime")
    assert record.micros("ExecTime") == record.micros("WallClockTime") * record.integer("Processors")
    assert inconsistencies(record) == ()


@given(lives(), st.randoms(use_true_random=False), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_same_facts_give_the_same_bytes(life: Life, order: random.Random, cut: int) -> None:
    """In any order of reading and with any number of replays, for whole and for cut-off journals."""
    for entries in (life.entries, died(life, cut)):
        shuffled = entries + order.choices(entries, k=10)
        order.shuffle(shuffled)
        first, again = build(entries), build(shuffled)
        assert first is not None
        assert again is not None
        assert first.canonical() == again.canonical()


@given(lives(), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_death_at_any_point_leaves_a_sound_record(life: Life, cut: int) -> None:
    """Recovery's record exists, adds up, and claims no more CPU than the whole life used, uncertainty aside."""
    record = build(died(life, cut))
    assert record is not None
    assert record["RecordedBy"] == "agent"
    assert inconsistencies(record) == ()
    assert record.micros("CPUTime") <= life.record().micros("CPUTime")


@given(lives(), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_record_survives_json_and_attributes(life: Life, cut: int) -> None:
    """Canonical form and OTLP attributes lose nothing."""
    for record in (life.record(), build(died(life, cut))):
        assert record is not None
        assert Record.from_json(record.canonical()).canonical() == record.canonical()
        carried = {accounting_attribute(name): value for name, value in record.items() if value is not None}
        assert Record({record_field(name): value for name, value in carried.items()}) == record


@given(st.lists(st.tuples(st.sampled_from(["wrapper", "agent", "wms"]), st.integers(1, 3)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_counts_does_not_depend_on_the_order_of_arrival(names: list[tuple[str, int]]) -> None:
    """Of any arrivals that counts which counts of the same arrivals backwards; the best of them does."""
    base = whole_life().record()
    arrived = [base.replace(RecordedBy=by, Revision=revision) for by, revision in names]
    best = min(names, key=lambda each: (["wrapper", "agent", "wms"].index(each[0]), -each[1]))
    assert current(arrived) == current(reversed(arrived)) == base.replace(RecordedBy=best[0], Revision=best[1])


BASE = [whole_life(matched(job_id), user=1.0 + job_id / 16).record() for job_id in range(1, 25)]

#: A fault: its class, and what it does to the lists of the WMS and of the telemetry (by position of the job).
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lost row": ("missing_in_wms", {}),
    "lost event": ("missing_in_otlp", {}),
    "doubled event": ("duplicate", {}),
    "lost both": ("missing", {}),
    "cpu": ("cpu", {"CPUTime": 12345.0}),
    "wall": ("wall", {"WallClockTime": 777.0, "ExecTime": 777.0}),
    "cores": ("cores", {"Processors": 16, "ExecTime": 48.816}),
    "status": ("status", {"FinalMajorStatus": "Failed", "FinalMinorStatus": "x"}),
    "owner": ("value", {"User": "mallory"}),
    "benchmark": ("benchmark", {"BenchmarkValue": 11.0}),
}


def injected(faults: dict[int, tuple[str, str]]) -> Evidence:
    """Evidence about all jobs in which each of *faults* (position -> name and side) is done to one job."""
    sides: dict[str, list[Record]] = {"wms": [], "otlp": []}
    for position, record in enumerate(BASE):
        name, side = faults.get(position, ("", ""))
        for ledger, held in sides.items():
            if name == "lost both" or (name == "lost row" and ledger == "wms"):
                continue
            if name == "lost event" and ledger == "otlp":
                continue
            copies = 2 if name == "doubled event" and ledger == "otlp" else 1
            changes = FAULTS[name][1] if name and ledger == side else {}
            held.extend([record.replace(**changes)] * copies)
    return honest(BASE, wms=tuple(sides["wms"]), otlp=tuple(sides["otlp"]))


@given(
    st.dictionaries(
        st.integers(0, len(BASE) - 1),
        st.tuples(st.sampled_from(sorted(FAULTS)), st.sampled_from(["wms", "otlp"])),
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_exactly_the_injected_faults_are_found(faults: dict[int, tuple[str, str]], order: random.Random) -> None:
    """Recall and precision are 1: each fault is one difference of its class, and there is no other."""
    evidence = injected(faults)
    evidence = replace(evidence, wms=order.sample(evidence.wms, len(evidence.wms)))
    result = reconcile(evidence)
    found = kinds(result)
    assert found == sorted((position + 1, FAULTS[name][0]) for position, (name, _) in faults.items())
    assert result.matched == len(BASE) - len(faults)
    assert not result.waiting
