"""Ledger and telemetry meet in files: what the one writes, the other reads back without a loss."""

import json
from pathlib import Path

import pytest

from telemetry.journal import Journal
from telemetry.ledger.deliver import pending
from telemetry.ledger.record import Record
from telemetry.live.counters import read_counters
from telemetry.live.metrics import JobMetrics
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from telemetry.live.shipping import Shipping
from telemetry.reconcile.witnesses import bystanders, counted
from tests.support.clock import JumpClock
from tests.support.evidence import honest, kinds, reconcile, witnessed
from tests.support.ledger import Life, matched, whole_life


def _died(job_id: int) -> Life:
    """A job whose wrapper dies in the middle of its payload."""
    life = Life()
    life.match(matched(job_id))
    life.start_wrapper(0.0123456)
    life.next_stage("initialize", 0.1)
    life.next_stage("transfer_input_sandbox")
    life.next_stage("resolve_input_data")
    life.payload_starts()
    life.sample(0.5, 0.1, 0.7)
    life.recover()
    return life


def _control(folder: Path, life: Life) -> Path:
    """A control folder with the journals of *life*, moments included."""
    folder.mkdir(parents=True)
    for writer, journal in life.journals.items():
        for entry in journal.entries:
            clock = JumpClock(entry.utc_ns, entry.boottime_ns, entry.boot_id)
            with Journal(folder, writer, clock) as file:
                file.append(entry.fact)
    return folder


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """Three attempts that have ended, shipped to files and counted."""
    lives = [whole_life(matched(1), user=1.2345678), whole_life(matched(2, processors=2)), _died(3)]
    shipping = Shipping(OtlpFiles(tmp_path / "telemetry"))
    metrics = JobMetrics(tmp_path / "counters.jsonl", JumpClock(), version="1")
    for number, life in enumerate(lives):
        control = _control(tmp_path / "jobs" / str(number) / "control", life)
        record = pending(control)
        assert shipping.ship(control, record).file == "accepted"
        metrics.attempt_ended(control, record)
    return tmp_path


def _records(node: Path) -> list[Record]:
    found = [pending(control) for control in sorted(node.glob("jobs/*/control"))]
    return [each for each in found if each is not None]


def _events(node: Path) -> list[Record]:
    read = read_accounting(node / "telemetry" / "logs.jsonl")
    assert not read.damaged
    return [Record(event.record) for event in read.events]


def test_a_record_comes_back_from_the_telemetry_byte_by_byte(node: Path) -> None:
    """Journal to record to OTLP event in a file and back: the same canonical form."""
    records = _records(node)
    assert len(records) == 3
    assert sorted(each.canonical() for each in _events(node)) == sorted(each.canonical() for each in records)


def test_records_events_and_counters_of_one_node_reconcile(node: Path) -> None:
    """Three renderings of the same facts agree, for whole lives and for a dead wrapper's."""
    tallies = read_counters(node / "counters.jsonl").attempts
    said = {uid: json.dumps(counted(uid, tally.values)) for uid, tally in tallies.items()}
    contributions = {uid: bystanders({"counters": each}).contribution for uid, each in said.items()}
    assert len(contributions) == 3
    result = reconcile(honest(_records(node), otlp=_events(node), contributions=contributions))
    assert result.is_clean
    assert witnessed(result)["counters"] == 3


def test_a_line_lost_a_line_doubled_and_a_row_changed(node: Path) -> None:
    """The accountant's three faults, done to the file itself: three differences of the right class."""
    path = node / "telemetry" / "logs.jsonl"
    _lost, second, third = path.read_text().splitlines()
    path.write_text("\n".join((second, second, third)) + "\n")
    records = _records(node)
    changed = [each.replace(CPUTime=500.0) if each["JobID"] == 3 else each for each in records]
    result = reconcile(honest(records, wms=changed, otlp=_events(node)))
    assert kinds(result) == [
        (1, "missing_in_otlp"),
        (2, "duplicate"),
        (3, "cpu"),
    ]
