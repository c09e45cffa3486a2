"""The statement of a node's two ledgers: one sentence, an aligned table, JSON, and an exit code."""

import json
from dataclasses import replace

import pytest

from telemetry.ledger.record import Record
from telemetry.reconcile.result import Outcome
from telemetry.reconcile.statement import exit_code, render_text, summary, to_json
from telemetry.reconcile.witnesses import AttemptWitness
from tests.support.evidence import honest, reconcile, witness_of
from tests.support.ledger import matched, whole_life


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [whole_life(matched(job_id)).record() for job_id in (1, 2)]


@pytest.fixture(scope="module")
def faulty(records: list[Record]) -> Outcome:
    """A difference in each job, one attempt that runs, copies on the wire, events of another WMS."""
    running = AttemptWitness(uid="u", job_id=3, attempt=1, status="Running", minor_status="", pilot_stamp="p")
    outcome = reconcile(
        honest(
            records,
            wms=(records[0], records[1].replace(CPUTime=7200.0)),
            otlp=records[1:],
            witnesses=(*(witness_of(each) for each in records), running),
        )
    )
    wms, otlp, *witnesses = outcome.sides
    return replace(outcome, sides=(replace(wms, folded=1), replace(otlp, left_out=2), *witnesses))


def test_a_clean_reconciliation_says_so(records: list[Record]) -> None:
    """Agreement is one sentence with the totals, and exit code 0."""
    outcome = reconcile(honest(records))
    assert exit_code(outcome) == 0
    assert summary(outcome) == (
        "The WMS holds 2 records and the telemetry 2: they agree on every one, 0.001695 core hours in all."
    )


def test_one_ledger_is_said_to_be_one(records: list[Record]) -> None:
    """Where the WMS keeps no accounting nobody reads that its ledger is empty."""
    outcome = reconcile(honest(records, one_ledger=True))
    assert summary(outcome) == (
        "The WMS keeps no accounting, the telemetry holds 2 records: what others saw agrees with every one, 0.001695 "
        "core hours in all."
    )
    assert "WMS: " not in render_text(outcome)
    assert to_json(outcome)["totals"]["wms"]["records"] == 0


def test_differences_are_counted_in_words_that_an_accountant_understands(faulty: Outcome) -> None:
    """How many, in how many attempts, what is at stake, and what is not due yet; exit code 1."""
    assert exit_code(faulty) == 1
    assert summary(faulty) == (
        "The WMS holds 2 records and the telemetry 1: 2 differences in 2 attempts, "
        "2.000361 core hours at stake; 1 attempt not due yet."
    )


def test_what_could_not_be_read_is_not_called_clean(records: list[Record]) -> None:
    """Without a difference, but with something unreadable, the exit code is 2; a difference found is still 1."""
    outcome = replace(reconcile(honest(records)), problems=("logs.jsonl: line 7 is damaged",))
    assert exit_code(outcome) == 2
    assert "not everything could be read" in summary(outcome)
    assert "could not be read: logs.jsonl: line 7 is damaged" in render_text(outcome)
    assert not outcome.is_clean


def test_the_table_is_aligned_and_the_most_expensive_comes_first(faulty: Outcome) -> None:
    """Columns line up, so that a person can read down them."""
    lines = render_text(faulty).splitlines()
    head = next(line for line in lines if line.startswith("JOB"))
    rows = lines[lines.index(head) + 1 : lines.index(head) + 3]
    assert [row.split()[2] for row in rows] == ["cpu", "missing_in_otlp"]
    assert {row.index("CPUTime is" if "CPUTime is" in row else "the WMS has") for row in rows} == {head.index("WHAT")}
    assert "not due yet: job 3 attempt 1 (still Running)" in lines
    assert "copies sent again and folded by the WMS: 1" in lines
    assert "events of another WMS, left out: 2" in lines


def test_colour_is_there_only_when_asked_for(faulty: Outcome) -> None:
    """Files and pipes get plain text."""
    assert "\x1b[" not in render_text(faulty)
    assert "\x1b[31m" in render_text(faulty, colour=True)


def test_json_names_its_form_and_holds_everything(faulty: Outcome) -> None:
    """Scripts get every number, with what each witness says."""
    document = json.loads(json.dumps(to_json(faulty), allow_nan=False))
    assert document["schema"] == "jobspan.reconciliation/1"
    assert document["exit_code"] == 1
    cpu, missing = document["differences"]
    assert (cpu["kind"], cpu["job_id"], cpu["fields"]) == ("cpu", 2, ["CPUTime"])
    assert cpu["values"]["wms"] == {"CPUTime": 7200.0}
    assert missing["kind"] == "missing_in_otlp"
    assert document["pending"] == [{"uid": "u", "job_id": 3, "attempt": 1, "reason": "still Running"}]
    assert (document["foreign"], document["duplicates_on_wire"]) == (2, 1)
    assert document["totals"]["otlp"]["records"] == 1
    assert document["witnessed"] == {"counters": 2, "heartbeat": 2, "wms_clock": 2, "wms_status": 2}
    assert document["core_hours_at_stake"] == pytest.approx(2.000361, abs=1e-6)
