"""Two ledgers of whole records and whoever saw their attempts: one fault is one difference, of the right class, and
nothing else is.

Many faults go through the engine at once, each done to an attempt of its own.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from telemetry.clock import NANOSECONDS
from telemetry.ledger.record import Record
from telemetry.reconcile import engine
from telemetry.reconcile.result import Outcome
from telemetry.reconcile.settings import Window
from telemetry.reconcile.sources.reading import load
from telemetry.reconcile.sources.wanted import parse
from telemetry.reconcile.witnesses import AttemptWitness, Contribution, Heartbeat, counted
from tests.support.clock import NOON_UTC_NS
from tests.support.evidence import contribution_of, honest, kinds, reconcile, witness_of, witnessed
from tests.support.ledger import matched, whole_life
from tests.support.sides import attempt, of_rows, workbench

SECOND_US = 1_000_000


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [whole_life(matched(job_id), user=float(job_id)).record() for job_id in (1, 2, 3)]


def made(count: int) -> list[Record]:
    """Records of so many jobs, all with the same figures."""
    return [whole_life(matched(job_id)).record() for job_id in range(1, count + 1)]


def swapped(records: list[Record], index: int, **changes: Any) -> tuple[Record, ...]:
    """*records* with one of them changed."""
    return tuple(each.replace(**changes) if number == index else each for number, each in enumerate(records))


def of_jobs(outcome: Outcome, count: int) -> list[list[str]]:
    """The classes of each job's differences."""
    found: dict[int | None, list[str]] = {}
    for job_id, kind in kinds(outcome):
        found.setdefault(job_id, []).append(kind)
    return [found.get(job_id, []) for job_id in range(1, count + 1)]


def said(outcome: Outcome, job_id: int) -> dict[str, dict[str, Any]]:
    """What each ledger and witness says about the only difference of a job."""
    (difference,) = (each for each in outcome.differences if each.job_id == job_id)
    values: dict[str, dict[str, Any]] = json.loads(difference.said)
    return values


def test_agreement_is_clean(records: list[Record]) -> None:
    """When everybody agrees there is nothing to say, and what was held against what is counted."""
    outcome = reconcile(honest(records))
    assert outcome.is_clean
    assert (outcome.matched, outcome.core_hours_at_stake) == (3, 0)
    assert witnessed(outcome) == {"counters": 3, "heartbeat": 3, "wms_clock": 3, "wms_status": 3}
    wms, otlp, *witnesses = outcome.sides
    assert (wms.records, wms.core_seconds, wms.cpu_seconds) == (3, otlp.core_seconds, otlp.cpu_seconds)
    assert [(each.name, each.level, each.records) for each in witnesses] == [
        ("seen", "witness", 3),
        ("counters", "witness", 3),
    ]


def test_three_faults_are_three_differences(records: list[Record]) -> None:
    """One event deleted, one doubled, CPUTime changed in one row: exactly these three, of the right class; the most
    expensive comes first."""
    evidence = honest(records, otlp=(records[1], records[1], records[2]), wms=swapped(records, 2, CPUTime=1000.0))
    outcome = reconcile(evidence)
    assert kinds(outcome) == [(1, "missing_in_otlp"), (2, "duplicate"), (3, "cpu")]
    cpu = outcome.differences[0]
    assert (cpu.kind, cpu.fields, cpu.left_value, cpu.right_value) == ("cpu", "CPUTime", 1000.0, 3.25)
    assert said(outcome, 3) == {
        "wms": {"CPUTime": 1000.0},
        "otlp": {"CPUTime": 3.25},
        "counters": {"CPUTime": 3.25, "WallClockTime": records[2]["WallClockTime"], "ExecTime": records[2]["ExecTime"]},
        "heartbeat": {"CPUTime": 1.625, "ExecTime": records[2].number("WallClockTime") / 2},
    }
    assert cpu.core_hours * 3600 == pytest.approx(996.75)
    stakes = [each.core_hours for each in outcome.differences]
    assert stakes == sorted(stakes, reverse=True)
    assert outcome.core_hours_at_stake == pytest.approx(sum(stakes))
    assert outcome.matched == 0


@pytest.mark.parametrize("alone", [False, True])
def test_a_changed_cpu_time_is_one_difference_however_large(*, alone: bool) -> None:
    """With or without witnesses, an impossible CPUTime in one ledger is not also anything else."""
    blind: dict[str, Any] = {"witnesses": (), "contributions": {}} if alone else {}
    values = [0.0, 0.001, 3.0, 3.3, 1e6]
    held = made(len(values))
    wrong = [each.replace(CPUTime=value) for each, value in zip(held, values, strict=True)]
    assert of_jobs(reconcile(honest(held, wms=wrong, **blind)), len(held)) == [["cpu"]] * len(held)


#: What may be changed in a record, and the class that it is of.
CHANGES: tuple[tuple[Mapping[str, Any], str], ...] = (
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
    ({"CPUNormalizationFactor": 2.0, "NormCPUTime": 3.5}, "benchmark"),
    ({"BenchmarkName": "HEPscore23"}, "benchmark"),
    ({"FinalMajorStatus": "Failed"}, "status"),
    ({"ExitCode": 1, "ErrorType": "x"}, "status"),
    ({"User": "bob"}, "value"),
    ({"OutputLines": 0, "OutputBytes": 0}, "value"),
    ({"Site": "Elsewhere", "Queue": "long"}, "value"),
    ({"PeakPSS": 5}, "value"),
    ({"ClockOffset": 500.0}, "value"),
    ({"JobType": "Test", "RecordTime": "2020-01-01T00:00:00Z"}, "value"),
)


@pytest.mark.parametrize("side", ["wms", "otlp"])
def test_a_change_in_one_ledger_is_one_difference_of_its_class(side: str) -> None:
    """Whatever is changed, on whichever side: one difference, and the fields are named."""
    held = made(len(CHANGES))
    wrong = [each.replace(**changes) for each, (changes, _) in zip(held, CHANGES, strict=True)]
    outcome = reconcile(honest(held, **{side: wrong}))
    assert of_jobs(outcome, len(held)) == [[kind] for _, kind in CHANGES]
    fields = {each.job_id: set(each.fields.split(", ")) for each in outcome.differences}
    assert [fields[job_id] for job_id in range(1, len(held) + 1)] == [set(changes) for changes, _ in CHANGES]


def test_a_record_may_be_missing_on_either_side_or_on_both(records: list[Record]) -> None:
    """What only one ledger has, and what neither has although the WMS saw it end."""
    outcome = reconcile(honest(records, wms=records[1:2], otlp=records[0:1]))
    assert kinds(outcome) == [(1, "missing_in_wms"), (2, "missing_in_otlp"), (3, "missing")]
    missing = next(each for each in outcome.differences if each.name == "missing")
    assert missing.core_hours * 3600 == pytest.approx(3.011)
    assert said(outcome, 3)["wms_status"]["FinalMajorStatus"] == "Done"


def test_a_wms_without_accounting(records: list[Record]) -> None:
    """The telemetry is the only ledger: it is held against what others saw, and nothing is missing in the WMS."""
    clean = reconcile(honest(records, one_ledger=True))
    assert clean.is_clean
    assert (clean.matched, witnessed(clean)["wms_status"]) == (3, 3)
    others = swapped(records[1:], 0, FinalMajorStatus="Failed")
    wrong = reconcile(honest(records, otlp=others, one_ledger=True))
    assert kinds(wrong) == [(1, "missing"), (2, "status")]


def test_attempts_without_records() -> None:
    """A running one is pending, an ended one is missing, one that never reached a node owes nothing."""
    stories: tuple[tuple[str, int | None, str, str], ...] = (
        ("Running", None, "p", "pending"),
        ("Matched", None, "p", "pending"),
        ("Stalled", None, "p", "pending"),
        ("Killed", None, "p", "pending"),
        ("Killed", NOON_UTC_NS, "p", "missing"),
        ("Failed", NOON_UTC_NS, "p", "missing"),
        ("Rescheduled", NOON_UTC_NS, "p", "missing"),
        ("Waiting", None, "", "nothing"),
        ("Killed", NOON_UTC_NS, "", "nothing"),
        ("Failed", NOON_UTC_NS, "", "nothing"),
    )
    witnesses = tuple(
        AttemptWitness(
            uid=f"u{number}",
            job_id=number,
            attempt=1,
            status=status,
            minor_status="",
            end_utc_ns=end,
            pilot_stamp=pilot,
        )
        for number, (status, end, pilot, _) in enumerate(stories)
    )
    outcome = reconcile(honest([], witnesses=witnesses))
    expected = [number for number, (*_, what) in enumerate(stories) if what == "pending"]
    assert [each.job_id for each in outcome.waiting] == expected
    reasons = {each.reason for each in outcome.waiting}
    assert reasons == {"still Running", "still Matched", "still Stalled", "still Killed"}
    assert kinds(outcome) == [(number, "missing") for number, (*_, what) in enumerate(stories) if what == "missing"]


def test_within_the_grace_nothing_is_missing_yet(records: list[Record]) -> None:
    """Delivery takes its time: inside the grace a record that one side lacks is pending, afterwards it is missing."""
    evidence = honest(records, otlp=())
    young = replace(evidence, now_utc_ns=records[0].utc_ns("EndTime") + 30 * NANOSECONDS)
    early, late = reconcile(young, grace_seconds=60), reconcile(evidence, grace_seconds=60)
    assert (len(early.waiting), early.pending, early.different) == (3, 3, 0)
    assert kinds(late) == [(job_id, "missing_in_otlp") for job_id in (1, 2, 3)]


def test_within_the_grace_a_status_on_its_way_is_no_difference(records: list[Record]) -> None:
    """The record may overtake the final status by a moment, not for good."""
    witnesses = (witness_of(records[0], status="Completing", end_utc_ns=None),)
    evidence = honest(records[:1], witnesses=witnesses, now_utc_ns=records[0].utc_ns("EndTime") + NANOSECONDS)
    assert len(reconcile(evidence, grace_seconds=60).waiting) == 1
    assert kinds(reconcile(evidence)) == [(1, "status")]


def test_only_what_ended_in_the_window_is_asked_about() -> None:
    """Bounds of time hold for records of either side, and for attempts that nobody has a record of."""
    held = made(4)
    end_us = held[0].utc_ns("EndTime") // 1000
    evidence = honest(held, wms=held[:2], otlp=held[1:3])
    inside = reconcile(evidence, window=Window(since_us=end_us - SECOND_US, until_us=end_us + SECOND_US))
    assert kinds(inside) == [(1, "missing_in_otlp"), (3, "missing_in_wms"), (4, "missing")]
    for outside in (Window(until_us=end_us - SECOND_US), Window(since_us=end_us + SECOND_US)):
        nothing = reconcile(evidence, window=outside)
        assert (nothing.is_clean, nothing.matched) == (True, 0)


def test_an_estimate_of_the_wms_needs_no_event(records: list[Record]) -> None:
    """A stalled job's record is made by the WMS, so no node has told of it."""
    estimate = records[0].replace(RecordedBy="wms")
    assert reconcile(honest([estimate], otlp=())).is_clean


def test_a_better_record_that_reached_only_one_ledger_is_missing_in_the_other() -> None:
    """The wrapper's record at one place and the agent's at the other: the truer one is missing there."""
    held = made(3)
    agent = [each.replace(RecordedBy="agent", CPUTime=1.0) for each in held]
    evidence = honest(held, wms=(agent[0], *held[1:]), otlp=(held[0], agent[1], agent[2], held[2]))
    assert of_jobs(reconcile(evidence), 3) == [["missing_in_wms"], ["missing_in_otlp"], []]


def test_another_body_under_one_name_is_one_conflict() -> None:
    """Two bodies of one key in the telemetry are an error; the other ledger's is held against the witnesses."""
    values = (0.5, 1.0, 2.0, 20.0, 50.0, 100.0, 200.0, 500.0)  # digests below and above that of the true body
    held = made(len(values))
    altered = [each.replace(CPUTime=cpu) for each, cpu in zip(held, values, strict=True)]
    assert of_jobs(reconcile(honest(held, otlp=(*held, *altered))), len(held)) == [["conflict"]] * len(held)


def test_copies_and_conflicts_are_told_apart(records: list[Record]) -> None:
    """A record held five times is one difference, with four times its core seconds at stake; with another body under
    its name it is a conflict too."""
    other = records[1].replace(User="eve")
    outcome = reconcile(honest(records, otlp=(*records, *records[:1] * 4, other, records[1])))
    assert kinds(outcome) == [(1, "duplicate"), (2, "conflict"), (2, "duplicate")]
    copied = next(each for each in outcome.differences if each.job_id == 1)
    assert (copied.left_value, copied.right_value) == (None, 5)
    assert said(outcome, 1)["otlp"] == {"copies": 5}
    assert copied.core_hours * 3600 == pytest.approx(4 * records[0].number("ExecTime"))


def test_each_witness_of_the_wms_is_heard() -> None:
    """A record on which both ledgers agree is still wrong when the WMS saw something else."""
    stories: tuple[tuple[dict[str, Any], str, str], ...] = (
        ({"last_heartbeat": Heartbeat(cpu_seconds=4.4)}, "cpu", "last heartbeat"),
        ({"last_heartbeat": Heartbeat(cpu_seconds=1, wall_core_seconds=60)}, "wall", "last heartbeat"),
        ({"status": "Failed"}, "status", "the WMS has Failed / Execution Complete"),
        ({"minor_status": "Pending Requests"}, "status", "Pending Requests"),
        ({"status": "Running"}, "status", "Running"),
    )
    held = made(len(stories))
    witnesses = [witness_of(each, **changes) for each, (changes, *_) in zip(held, stories, strict=True)]
    outcome = reconcile(honest(held, witnesses=witnesses))
    assert of_jobs(outcome, len(held)) == [[kind] for _, kind, _ in stories]
    causes = {each.job_id: each.cause for each in outcome.differences}
    assert [words in causes[number] for number, (*_, words) in enumerate(stories, 1)] == [True] * len(stories)


def test_what_happens_to_a_job_after_its_end_is_no_difference() -> None:
    """Requests that are done later, and deletion, say nothing against the record."""
    held = [each.replace(FinalMajorStatus="Completed", FinalMinorStatus="Pending Requests") for each in made(2)]
    witnesses = [
        witness_of(each, status=status, minor_status="Requests done")
        for each, status in zip(held, ("Deleted", "Done"), strict=True)
    ]
    assert reconcile(honest(held, witnesses=witnesses)).is_clean


def test_who_is_fenced_learns_only_that_the_wms_has_gone_on() -> None:
    """The words with which the WMS ended a fenced attempt may be others, if it was given up or replaced; that
    it is Done there is a difference."""
    ends = (("Rescheduled", "Job Wrapper Initialization"), ("Failed", "Job stalled: pilot not running"))
    held = [
        each.replace(FinalMajorStatus="Rescheduled", FinalMinorStatus="Job Rescheduled", ErrorType=error_type)
        for each, error_type in zip(made(4), ("fenced", "fenced", "fenced", "wrapper_died"), strict=True)
    ]
    seen = (*ends, ("Done", "Execution Complete"), ends[0])
    witnesses = [
        witness_of(each, status=status, minor_status=minor) for each, (status, minor) in zip(held, seen, strict=True)
    ]
    assert of_jobs(reconcile(honest(held, witnesses=witnesses)), 4) == [[], [], ["status"], ["status"]]


def test_the_agents_counters_are_heard() -> None:
    """What the agent counted for an attempt must be what its record says."""
    wall = whole_life().record().number("WallClockTime")
    stories: tuple[tuple[float | None, float | None, float | None, list[str]], ...] = (
        (1.8, wall, wall, ["cpu"]),
        (1.75, 3.2, 3.2, ["wall"]),
        (1.75, wall, 2 * wall, ["cores"]),
        (1.8, 3.2, 3.2, ["cpu", "wall"]),
        (None, None, None, []),
        (1.75, None, None, []),
    )
    held = made(len(stories))
    counts = {
        record.text("UID"): Contribution(cpu_seconds=cpu, wall_seconds=wall, core_seconds=core)
        for record, (cpu, wall, core, _) in zip(held, stories, strict=True)
    }
    outcome = reconcile(honest(held, contributions=counts))
    assert of_jobs(outcome, len(held)) == [expected for *_, expected in stories]


def _by_wms_clock(record: Record, running: float, end: float) -> AttemptWitness:
    """A WMS that heard Running and the final status this long after the record's start and end."""
    return witness_of(
        record,
        running_utc_ns=record.utc_ns("StartTime") + round(running * NANOSECONDS),
        end_utc_ns=record.utc_ns("EndTime") + round(end * NANOSECONDS),
    )


def test_the_wmss_clock_is_heard() -> None:
    """Running arrives after the start and the end after the end, within tolerance. An outage makes both late."""
    stories = (
        (0.1, 0.1, ""),
        (0.1, 7200.0, ""),
        (-100.0, 0.1, "wall"),
        (0.1, -100.0, "wall"),
        (90.0, 0.0, "wall"),
        (300.0, 0.0, ""),
        (-100.0, -100.0, "skew"),
        (3.0, 3.0, ""),
        (-4.0, -4.0, ""),
    )
    hour = {"WallClockTime": 103.051, "ExecTime": 103.051, "StageWallClockTime.execute": 102.001}
    held = [each.replace(**hour, EndTime="2026-01-15T12:01:43.051000Z") for each in made(len(stories))]
    witnesses = [_by_wms_clock(each, *story[:2]) for each, story in zip(held, stories, strict=True)]
    outcome = reconcile(honest(held, witnesses=witnesses))
    assert of_jobs(outcome, len(held)) == [[kind] if kind else [] for *_, kind in stories]
    late = [record.text("UID") for record, (_, end, _) in zip(held, stories, strict=True) if end > 60]
    assert outcome.late == tuple(late)


def test_a_clock_offset_that_is_known_is_no_skew() -> None:
    """A node whose clock is an hour behind says so in ClockOffset, and nothing is wrong."""
    aware = [whole_life(matched(job_id, clock_offset_seconds=3600.0)).record() for job_id in (1, 2, 3)]
    unaware = [each.replace(ClockOffset=0.0) for each in aware]
    held = (aware[0], unaware[1], aware[2])
    witnesses = (witness_of(aware[0]), witness_of(aware[1]), witness_of(unaware[2]))
    outcome = reconcile(honest(held, witnesses=witnesses))
    assert of_jobs(outcome, 3) == [[], [], ["skew"]]
    assert outcome.late == (held[1]["UID"],)


def test_a_long_initialize_is_not_a_wrong_wall_clock() -> None:
    """The WMS was away when the wrapper started: Running arrived late, and the record is still right."""
    changes: dict[str, Any] = {
        "WallClockTime": 603.051,
        "ExecTime": 603.051,
        "StageWallClockTime.initialize": 600.15,
        "EndTime": "2026-01-15T12:10:03.051000Z",
    }
    record = whole_life().record().replace(**changes)
    assert reconcile(honest([record], witnesses=(_by_wms_clock(record, 600.0, 0.1),))).is_clean


def test_what_cannot_be_is_a_difference_even_when_both_ledgers_agree() -> None:
    """The same impossible record in both ledgers is one difference of the class impossible."""
    wrong: tuple[dict[str, Any], ...] = (
        {"CPUTime": 50.0, "CPUUserTime": 49.75, "NormCPUTime": 50.0},
        {"ReadBytes": -5},
        {"QueueWaitTime": -5.0},
        {"TraceID": "0" * 32},
    )
    held = [each.replace(**changes) for each, changes in zip(made(len(wrong)), wrong, strict=True)]
    witnesses = [witness_of(each, last_heartbeat=None) for each in held]
    outcome = reconcile(honest(held, witnesses=witnesses, contributions={}))
    assert of_jobs(outcome, len(held)) == [["impossible"]] * len(held)


def test_a_fault_that_counters_explain_is_not_also_impossible() -> None:
    """CPU inflated in both ledgers: the counters know better, and that is the one difference."""
    true = whole_life().record()
    record = true.replace(CPUTime=50.0, CPUUserTime=49.75, NormCPUTime=50.0)
    contributions = {true.text("UID"): contribution_of(true)}
    outcome = reconcile(honest([record], witnesses=(witness_of(true),), contributions=contributions))
    assert kinds(outcome) == [(1, "cpu")]


def test_three_that_disagree_are_one_difference(records: list[Record]) -> None:
    """WMS, telemetry and counters each with a CPUTime of its own: one difference that shows all three."""
    evidence = honest(records, wms=swapped(records, 2, CPUTime=9.0))
    uid = records[2].text("UID")
    counts = {**evidence.contributions, uid: replace(evidence.contributions[uid], cpu_seconds=5.0)}
    outcome = reconcile(replace(evidence, contributions=counts))
    assert kinds(outcome) == [(3, "cpu")]
    assert {side: values.get("CPUTime") for side, values in said(outcome, 3).items()} == {
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
    outcome = reconcile(honest(records, otlp=swapped(records, 0, FinalMajorStatus="Failed", User="eve")))
    assert kinds(outcome) == [(1, "status"), (1, "value")]


def test_a_tally_of_the_agent_is_read_in_the_ledgers_terms() -> None:
    """Modes are added up, finalize is left out, what is not counted stays unknown."""
    tally = {
        ("jobspan_payload_cpu_seconds_total", ("user",)): 1.5,
        ("jobspan_payload_cpu_seconds_total", ("system",)): 0.25,
        ("jobspan_wall_seconds_total", ("execute",)): 2.0,
        ("jobspan_wall_seconds_total", ("finalize",)): 9.0,
    }
    assert counted("u", tally) == {"UID": "u", "CPUTime": 1.75, "WallClockTime": 2.0, "ExecTime": None}


def test_the_order_of_the_evidence_decides_nothing(records: list[Record]) -> None:
    """The same evidence in another order gives the same result."""
    evidence = honest(
        records,
        otlp=(records[1], records[1], records[2], records[0].replace(User="eve"), records[0]),
        wms=swapped(records, 2, CPUTime=9.0),
    )
    shuffled: dict[str, Any] = {
        name: random.Random(7).sample(values, len(values))
        for name, values in (("wms", evidence.wms), ("otlp", evidence.otlp), ("witnesses", evidence.witnesses))
    }
    backwards = dict(reversed(evidence.contributions.items()))
    one, other = reconcile(evidence), reconcile(replace(evidence, **shuffled, contributions=backwards))
    assert one.differences == other.differences
    assert [(each.name, each.pairs) for each in one.totals] == [(each.name, each.pairs) for each in other.totals]


def test_what_is_no_record_is_told(records: list[Record]) -> None:
    """A body that is no record is a problem, not an agreement; the others are compared."""
    broken = {**records[0], "CPUTime": "much"}
    outcome = reconcile(honest(records, otlp=[broken, *records[1:]]))
    assert kinds(outcome) == [(1, "missing_in_otlp")]
    assert [problem.startswith(f"otlp: record {records[0]['UID']}: CPUTime") for problem in outcome.problems] == [True]


def test_many_faults_of_one_site_have_one_cause() -> None:
    """Whole records are told apart by cause too: what is wrong with most attempts of a site is said once."""
    held = made(8)
    wrong = [each.replace(Processors=8, ExecTime=each.number("WallClockTime") * 8) for each in held]
    outcome = reconcile(honest(held, wms=wrong))
    assert [(each.name, each.pairs, each.among) for each in outcome.findings] == [("cores", 8, 8)]
    assert {each.is_systematic for each in outcome.differences} == {True}


def test_whole_records_are_compared_with_other_sources_too(records: list[Record], tmp_path: Path) -> None:
    """Beside the other ledger and the witnesses any source is held against the first one, within tolerances."""
    evidence = honest(records)
    rows = [
        attempt(0, key=each["UID"], cores=1, cpu_us=each.micros("CPUTime"), wall_us=each.micros("WallClockTime"),
                start_us=each.utc_ns("StartTime") // 1000, end_us=each.utc_ns("EndTime") // 1000,
                benchmark=None, benchmark_name=None)
        for each in records[1:]
    ]  # fmt: skip
    with workbench(tmp_path) as bench:
        wms = load(bench, parse("wms=ledger"), Window(), lambda _: evidence.wms)
        otlp = load(bench, parse("otlp=events"), Window(), lambda _: evidence.otlp[:2])
        sides = (wms, of_rows(bench, "other", rows), otlp)
        outcome = engine.reconcile(bench, sides, now_utc_ns=evidence.now_utc_ns)
    assert [(each.name, each.records) for each in outcome.sides] == [("wms", 3), ("other", 2), ("otlp", 2)]
    assert sorted((each.right, each.name) for each in outcome.differences) == [
        ("other", "missing_in_other"),
        ("otlp", "missing_in_otlp"),
    ]
