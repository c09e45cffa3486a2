"""Reconciliation: one fault is one difference, of the right class, and nothing else is."""

from dataclasses import replace
from typing import Any

import pytest

from telemetry.clock import NANOSECONDS
from telemetry.ledger.differences import Difference, Reconciliation
from telemetry.ledger.evidence import (
    AttemptWitness,
    Contribution,
    Evidence,
    Heartbeat,
    Tolerances,
    contribution,
)
from telemetry.ledger.reconcile import reconcile
from telemetry.ledger.record import Record
from tests.support.ledger import WMS_ID, contribution_of, honest, matched, whole_life, witness_of

OTHER_WMS = "00000000-1111-4222-8333-444444444444"


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [whole_life(matched(job_id), user=float(job_id)).record() for job_id in (1, 2, 3)]


def kinds(result: Reconciliation) -> list[tuple[int, str]]:
    return sorted((each.job_id, each.kind) for each in result.differences)


def swapped(records: list[Record], index: int, **changes: Any) -> tuple[Record, ...]:
    """*records* with one of them changed."""
    return tuple(each.replace(**changes) if number == index else each for number, each in enumerate(records))


def changed(seen: tuple[Any, ...], index: int, **changes: Any) -> tuple[Any, ...]:
    """Witnesses or contributions with one of them changed."""
    return tuple(replace(each, **changes) if number == index else each for number, each in enumerate(seen))


def test_agreement_is_clean(records: list[Record]) -> None:
    """When everybody agrees there is nothing to say, and what was held against what is counted."""
    result = reconcile(honest(records))
    assert result.is_clean
    assert result.matched == 3
    assert result.core_seconds_at_stake == 0
    assert result.witnessed == {"counters": 3, "heartbeat": 3, "wms_clock": 3, "wms_status": 3}
    assert result.totals["wms"] == result.totals["otlp"]
    assert result.totals["wms"].records == 3


def test_three_faults_are_three_differences(records: list[Record]) -> None:
    """One event deleted, one doubled, CPUTime changed in one row: exactly these three, of the right class."""
    evidence = honest(records, otlp=(records[1], records[1], records[2]), wms=swapped(records, 2, CPUTime=1000.0))
    result = reconcile(evidence)
    assert kinds(result) == [(1, "missing_in_otlp"), (2, "duplicate"), (3, "cpu")]
    cpu = next(each for each in result.differences if each.kind == "cpu")
    assert cpu.fields == ("CPUTime",)
    assert cpu.values["wms"] == {"CPUTime": 1000.0}
    assert cpu.values["otlp"] == {"CPUTime": 3.25}
    assert cpu.values["counters"]["CPUTime"] == 3.25
    assert cpu.core_seconds == 996.75
    assert result.differences[0] is cpu
    assert result.matched == 0


@pytest.mark.parametrize("value", [0.0, 0.001, 3.0, 3.3, 1e6])
@pytest.mark.parametrize("alone", [False, True])
def test_a_changed_cpu_time_is_one_difference_however_large(
    records: list[Record], value: float, *, alone: bool
) -> None:
    """With or without witnesses, an impossible CPUTime in one ledger is not also anything else."""
    blind: dict[str, Any] = {"witnesses": (), "contributions": ()} if alone else {}
    evidence = honest(records, wms=swapped(records, 2, CPUTime=value), **blind)
    assert kinds(reconcile(evidence)) == [(3, "cpu")]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"CPUTime": 9.0, "CPUUserTime": 8.75, "NormCPUTime": 9.0}, "cpu"),
        ({"CPUUserTime": 0.0}, "cpu"),
        ({"NormCPUTime": 0.0}, "cpu"),
        ({"CPUMethod": "sampled"}, "cpu"),
        ({"WallClockTime": 7200.0}, "wall"),
        ({"WallClockTime": 7200.0, "ExecTime": 7200.0}, "wall"),
        ({"ExecTime": 7200.0}, "wall"),
        ({"EndTime": "2020-01-01T00:00:00Z"}, "wall"),
        ({"StageWallClockTime.execute": 0.0}, "wall"),
        ({"Processors": 8}, "cores"),
        ({"Processors": 8, "ExecTime": 24.408}, "cores"),
        ({"CPUNormalizationFactor": 2.0, "NormCPUTime": 4.5}, "benchmark"),
        ({"BenchmarkName": "HEPscore23"}, "benchmark"),
        ({"FinalMajorStatus": "Failed"}, "status"),
        ({"ExitCode": 1, "ErrorType": "x"}, "status"),
        ({"User": "bob"}, "value"),
        ({"OutputLines": 0, "OutputBytes": 0}, "value"),
        ({"Site": "Elsewhere", "Queue": "long"}, "value"),
        ({"PeakPSS": 5}, "value"),
        ({"ClockOffset": 500.0}, "value"),
        ({"JobType": "Test", "RecordTime": "2020-01-01T00:00:00Z"}, "value"),
    ],
)
@pytest.mark.parametrize("side", ["wms", "otlp"])
def test_a_change_in_one_ledger_is_one_difference_of_its_class(
    records: list[Record], changes: dict[str, Any], kind: str, side: str
) -> None:
    """Whatever is changed, on whichever side: one difference, and the fields are named."""
    result = reconcile(honest(records, **{side: swapped(records, 1, **changes)}))
    assert kinds(result) == [(2, kind)]
    assert set(result.differences[0].fields) == set(changes)


def test_a_record_may_be_missing_on_either_side_or_on_both(records: list[Record]) -> None:
    """What only one ledger has, and what neither has although the WMS saw it end."""
    result = reconcile(honest(records, wms=records[1:2], otlp=records[0:1]))
    assert kinds(result) == [(1, "missing_in_wms"), (2, "missing_in_otlp"), (3, "missing")]
    missing = next(each for each in result.differences if each.kind == "missing")
    assert missing.core_seconds == pytest.approx(3.011)
    assert missing.values["wms_status"]["FinalMajorStatus"] == "Done"


def test_a_wms_without_accounting(records: list[Record]) -> None:
    """The telemetry is the only ledger: it is held against what others saw, and nothing is missing in the WMS."""
    clean = reconcile(honest(records, wms=(), one_ledger=True))
    assert clean.is_clean
    assert (clean.matched, clean.witnessed["wms_status"]) == (3, 3)
    lost = reconcile(honest(records, wms=(), otlp=records[1:], one_ledger=True))
    assert kinds(lost) == [(1, "missing")]
    wrong = reconcile(honest(records, wms=(), otlp=swapped(records, 1, FinalMajorStatus="Failed"), one_ledger=True))
    assert kinds(wrong) == [(2, "status")]


@pytest.mark.parametrize(
    ("status", "end", "pilot", "expected"),
    [
        ("Running", None, "p", "pending"),
        ("Matched", None, "p", "pending"),
        ("Stalled", None, "p", "pending"),
        ("Killed", None, "p", "pending"),
        ("Killed", 1, "p", "missing"),
        ("Failed", 1, "p", "missing"),
        ("Rescheduled", 1, "p", "missing"),
        ("Waiting", None, "", "nothing"),
        ("Killed", 1, "", "nothing"),
        ("Failed", 1, "", "nothing"),
    ],
)
def test_an_attempt_without_records(status: str, end: int | None, pilot: str, expected: str) -> None:
    """A running one is pending, an ended one is missing, one that never reached a node owes nothing."""
    witness = AttemptWitness(
        uid="u", job_id=1, attempt=1, status=status, minor_status="", end_utc_ns=end, pilot_stamp=pilot
    )
    result = reconcile(honest([], witnesses=(witness,)))
    assert len(result.pending) == (expected == "pending")
    assert [each.kind for each in result.differences] == (["missing"] if expected == "missing" else [])


def test_within_the_grace_nothing_is_missing_yet(records: list[Record]) -> None:
    """Delivery takes its time: inside the grace a record that one side lacks is pending, afterwards it is missing."""
    evidence = honest(records, otlp=())
    young = replace(evidence, now_utc_ns=records[0].utc_ns("EndTime") + 30 * NANOSECONDS)
    assert len(reconcile(young, Tolerances(grace_seconds=60)).pending) == 3
    assert not reconcile(young, Tolerances(grace_seconds=60)).differences
    assert len(reconcile(evidence, Tolerances(grace_seconds=60)).differences) == 3


def test_within_the_grace_a_status_on_its_way_is_no_difference(records: list[Record]) -> None:
    """The record may overtake the final status by a moment, not for good."""
    witnesses = (witness_of(records[0], status="Completing", end_utc_ns=None),)
    evidence = honest(records[:1], witnesses=witnesses, now_utc_ns=records[0].utc_ns("EndTime") + NANOSECONDS)
    assert len(reconcile(evidence, Tolerances(grace_seconds=60)).pending) == 1
    assert kinds(reconcile(evidence)) == [(1, "status")]


def test_events_of_another_wms_are_left_out(records: list[Record]) -> None:
    """Two WMS folders and one collector file: each reconciles only its own."""
    foreign = whole_life(matched(1, wms_id=OTHER_WMS)).record()
    result = reconcile(honest(records, otlp=(*records, foreign)))
    assert result.is_clean
    assert result.foreign == 1
    assert foreign["UID"] != records[0]["UID"]


def test_an_estimate_of_the_wms_needs_no_event(records: list[Record]) -> None:
    """A stalled job's record is made by the WMS, so no node has told of it."""
    estimate = records[0].replace(RecordedBy="wms")
    assert reconcile(honest([estimate], otlp=())).is_clean


def test_a_better_record_that_reached_only_one_ledger_is_missing_in_the_other(records: list[Record]) -> None:
    """The wrapper's record at one place and the agent's at the other: the truer one is missing there."""
    agent = records[0].replace(RecordedBy="agent", CPUTime=1.0)
    assert kinds(reconcile(honest(records[:1], wms=(agent,)))) == [(1, "missing_in_wms")]
    assert kinds(reconcile(honest(records[:1], otlp=(agent,)))) == [(1, "missing_in_otlp")]
    assert reconcile(honest(records[:1], otlp=(agent, *records[:1]))).is_clean


def test_another_body_under_one_name_is_one_conflict(records: list[Record]) -> None:
    """Two bodies of one key in the telemetry are an error; the other ledger's is held against the witnesses."""
    for cpu in (0.5, 1.0, 2.0, 20.0, 50.0, 100.0, 200.0, 500.0):  # digests below and above that of the true body
        altered = records[0].replace(CPUTime=cpu)
        assert kinds(reconcile(honest(records, otlp=(*records, altered)))) == [(1, "conflict")]


def test_many_copies_are_one_difference(records: list[Record]) -> None:
    """A record held five times is one difference, with four times its core seconds at stake."""
    result = reconcile(honest(records, otlp=(*records, *records[:1] * 4)))
    assert kinds(result) == [(1, "duplicate")]
    assert result.differences[0].values["otlp"] == {"copies": 5}
    assert result.differences[0].core_seconds == pytest.approx(4 * records[0].number("ExecTime"))


def test_copies_folded_by_the_wms_are_told_and_are_no_difference(records: list[Record]) -> None:
    """At-least-once delivery sends copies; folding them is what the WMS is for."""
    result = reconcile(honest(records, duplicates_on_wire=2))
    assert result.is_clean
    assert result.duplicates_on_wire == 2


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"last_heartbeat": Heartbeat(cpu_seconds=4.4)}, "cpu", "last heartbeat"),
        ({"last_heartbeat": Heartbeat(cpu_seconds=1, wall_core_seconds=60)}, "wall", "last heartbeat"),
        ({"status": "Failed"}, "status", "the WMS has Failed / Execution Complete"),
        ({"minor_status": "Pending Requests"}, "status", "Pending Requests"),
        ({"status": "Running"}, "status", "Running"),
    ],
)
def test_each_witness_of_the_wms_is_heard(records: list[Record], changes: Any, kind: str, words: str) -> None:
    """A record on which both ledgers agree is still wrong when the WMS saw something else."""
    evidence = honest(records)
    result = reconcile(replace(evidence, witnesses=changed(tuple(evidence.witnesses), 2, **changes)))
    assert kinds(result) == [(3, kind)]
    assert words in result.differences[0].message


@pytest.mark.parametrize("status", ["Deleted", "Done"])
def test_what_happens_to_a_job_after_its_end_is_no_difference(status: str) -> None:
    """Requests that are done later, and deletion, say nothing against the record."""
    life = whole_life()
    record = life.record().replace(FinalMajorStatus="Completed", FinalMinorStatus="Pending Requests")
    witness = witness_of(record, status=status, minor_status="Requests done")
    assert reconcile(honest([record], witnesses=(witness,))).is_clean


@pytest.mark.parametrize(
    ("cpu", "wall", "core", "expected"),
    [
        (3.3, 3.051, 3.051, ["cpu"]),
        (3.25, 3.2, 3.2, ["wall"]),
        (3.25, 3.051, 6.102, ["cores"]),
        (3.3, 3.2, 3.2, ["cpu", "wall"]),
        (None, None, None, []),
        (3.25, None, None, []),
    ],
)
def test_the_agents_counters_are_heard(
    records: list[Record], cpu: float | None, wall: float | None, core: float | None, expected: list[str]
) -> None:
    """What the agent counted for an attempt must be what its record says."""
    seen = Contribution(uid=records[2].text("UID"), cpu_seconds=cpu, wall_seconds=wall, core_seconds=core)
    result = reconcile(honest(records, contributions=(seen,)))
    assert kinds(result) == [(3, each) for each in expected]


def _by_wms_clock(record: Record, running: float, end: float) -> AttemptWitness:
    """A WMS that heard Running and the final status this long after the record's start and end."""
    return witness_of(
        record,
        running_utc_ns=record.utc_ns("StartTime") + round(running * NANOSECONDS),
        end_utc_ns=record.utc_ns("EndTime") + round(end * NANOSECONDS),
    )


@pytest.mark.parametrize(
    ("running", "end", "expected"),
    [
        (0.1, 0.1, ""),
        (0.1, 7200.0, ""),
        (-100.0, 0.1, "wall"),
        (0.1, -100.0, "wall"),
        (90.0, 0.0, "wall"),
        (300.0, 0.0, ""),
        (-100.0, -100.0, "skew"),
        (3.0, 3.0, ""),
        (-4.0, -4.0, ""),
    ],
)
def test_the_wmss_clock_is_heard(running: float, end: float, expected: str) -> None:
    """Running arrives after the start and the end after the end, within tolerance. An outage makes both late."""
    life = whole_life()
    base = life.record()
    hour = {"WallClockTime": 103.051, "ExecTime": 103.051, "StageWallClockTime.execute": 102.001}
    record = base.replace(**hour, EndTime="2026-01-15T12:01:43.051000Z")
    result = reconcile(honest([record], witnesses=(_by_wms_clock(record, running, end),)))
    assert [each.kind for each in result.differences] == ([expected] if expected else [])
    assert len(result.late) == (end > 60)


def test_a_clock_offset_that_is_known_is_no_skew() -> None:
    """A node whose clock is an hour behind says so in ClockOffset, and nothing is wrong."""
    record = whole_life(matched(clock_offset_seconds=3600.0)).record()
    assert reconcile(honest([record])).is_clean
    unaware = record.replace(ClockOffset=0.0)
    result = reconcile(honest([unaware], witnesses=(witness_of(record),)))
    assert result.late == (record["UID"],)
    ahead = reconcile(honest([record], witnesses=(witness_of(unaware),)))
    assert [each.kind for each in ahead.differences] == ["skew"]


def test_a_long_initialize_is_not_a_wrong_wall_clock() -> None:
    """The WMS was away when the wrapper started: Running arrived late, and the record is still right."""
    record = (
        whole_life()
        .record()
        .replace(
            **{
                "WallClockTime": 603.051,
                "ExecTime": 603.051,
                "StageWallClockTime.initialize": 600.15,
                "EndTime": "2026-01-15T12:10:03.051000Z",
            }
        )
    )
    assert reconcile(honest([record], witnesses=(_by_wms_clock(record, 600.0, 0.1),))).is_clean


@pytest.mark.parametrize(
    "changes",
    [
        {"CPUTime": 50.0, "CPUUserTime": 49.75, "NormCPUTime": 50.0},
        {"ReadBytes": -5},
        {"QueueWaitTime": -5.0},
        {"TraceID": "0" * 32},
    ],
)
def test_what_cannot_be_is_a_difference_even_when_both_ledgers_agree(changes: dict[str, Any]) -> None:
    """The same impossible record in both ledgers is one difference of the class impossible."""
    record = whole_life().record().replace(**changes)
    witnesses = (witness_of(record, last_heartbeat=None),)
    result = reconcile(honest([record], witnesses=witnesses, contributions=()))
    assert [each.kind for each in result.differences] == ["impossible"]


def test_a_fault_that_counters_explain_is_not_also_impossible() -> None:
    """CPU inflated in both ledgers: the counters know better, and that is the one difference."""
    true = whole_life().record()
    record = true.replace(CPUTime=50.0, CPUUserTime=49.75, NormCPUTime=50.0)
    witnesses = (witness_of(true),)
    result = reconcile(honest([record], witnesses=witnesses, contributions=(contribution_of(true),)))
    assert [each.kind for each in result.differences] == ["cpu"]


def test_three_that_disagree_are_one_difference(records: list[Record]) -> None:
    """WMS, telemetry and counters each with a CPUTime of its own: one difference that shows all three."""
    seen = changed(tuple(honest(records).contributions), 2, cpu_seconds=5.0)
    result = reconcile(honest(records, wms=swapped(records, 2, CPUTime=9.0), contributions=seen))
    assert kinds(result) == [(3, "cpu")]
    assert {side: values.get("CPUTime") for side, values in result.differences[0].values.items()} == {
        "wms": 9.0,
        "otlp": 3.25,
        "counters": 5.0,
        "heartbeat": 1.625,
    }


def test_a_heartbeat_within_the_stated_uncertainty_is_no_difference(records: list[Record]) -> None:
    """A record that says how much it may lack is not wrong by that much."""
    record = records[2].replace(CPUUncertainty=30.0)
    witness = witness_of(record, last_heartbeat=Heartbeat(cpu_seconds=30.0))
    assert reconcile(honest([record], witnesses=(witness,))).is_clean


def test_the_witnesses_are_held_against_the_body_that_they_support(records: list[Record]) -> None:
    """A telemetry line with a false status is one difference: the WMS's own status stands by the other ledger."""
    result = reconcile(honest(records, otlp=swapped(records, 0, FinalMajorStatus="Failed", User="eve")))
    assert kinds(result) == [(1, "status"), (1, "value")]


def test_a_tally_of_the_agent_is_read_in_the_ledgers_terms() -> None:
    """Modes are added up, finalize is left out, what is not counted stays unknown."""
    tally = {
        ("jobspan_payload_cpu_seconds_total", ("user",)): 1.5,
        ("jobspan_payload_cpu_seconds_total", ("system",)): 0.25,
        ("jobspan_wall_seconds_total", ("execute",)): 2.0,
        ("jobspan_wall_seconds_total", ("finalize",)): 9.0,
    }
    assert contribution("u", tally) == Contribution(uid="u", cpu_seconds=1.75, wall_seconds=2.0)


def test_the_order_of_the_evidence_decides_nothing(records: list[Record]) -> None:
    """The same evidence the other way round gives the same result."""
    evidence = honest(records, otlp=(records[1], records[1], records[2]), wms=swapped(records, 2, CPUTime=9.0))
    backwards = Evidence(
        wms_id=WMS_ID,
        now_utc_ns=evidence.now_utc_ns,
        wms=evidence.wms[::-1],
        otlp=evidence.otlp[::-1],
        witnesses=evidence.witnesses[::-1],
        contributions=evidence.contributions[::-1],
    )
    assert reconcile(backwards) == reconcile(evidence)


def test_differences_are_ordered_by_what_is_at_stake(records: list[Record]) -> None:
    """The accountant reads the most expensive fault first."""
    result = reconcile(honest(records, wms=swapped(records, 2, CPUTime=9000.0), otlp=records[1:]))
    stakes: list[Difference] = list(result.differences)
    assert [each.kind for each in stakes] == ["cpu", "missing_in_otlp"]
    assert result.core_seconds_at_stake == pytest.approx(sum(each.core_seconds for each in stakes))
