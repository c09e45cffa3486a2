"""The accounting record: its schema, its canonical form, and which of several counts."""

import json
import random

import pytest

from telemetry.catalogue import RECORD_FIELDS, accounting_attribute, record_field
from telemetry.ledger.record import InvalidRecord, Record, current
from telemetry.ledger.sanity import inconsistencies
from telemetry.ledger.schema import FIELDS, SCHEMA
from tests.support.ledger import whole_life


@pytest.fixture
def record() -> Record:
    return whole_life().record()


def test_the_schema_has_exactly_the_fields_that_the_catalogue_names() -> None:
    """Ledger and telemetry speak of the same fields, in the same order."""
    assert tuple(spec.name for spec in SCHEMA) == RECORD_FIELDS


def test_every_field_has_a_meaning_and_measured_ones_a_unit() -> None:
    """Nobody has to guess what a number is."""
    unitless = {"JobID", "Attempt", "Revision", "SchemaVersion", "CPUNormalizationFactor", "BenchmarkValue"}
    unitless |= {"Processors", "ProcessorsRequested", "ExitCode", "Signal"}
    for spec in SCHEMA:
        assert spec.help, spec.name
        assert spec.unit or spec.type in ("text", "boolean") or spec.name in unitless, spec.name


def test_a_record_survives_the_way_through_attributes(record: Record) -> None:
    """Record to OTLP attributes and back is the same record, byte by byte."""
    attributes = {accounting_attribute(name): value for name, value in record.items() if value is not None}
    assert Record({record_field(name): value for name, value in attributes.items()}) == record


def test_canonical_form_is_sorted_dense_and_without_nulls(record: Record) -> None:
    """The canonical form is one text: sorted, no blanks, nulls left out."""
    text = record.canonical()
    values = json.loads(text)
    assert list(values) == sorted(values)
    assert None not in values.values()
    assert record["PeakPSS"] is None
    assert "PeakPSS" not in values
    assert ": " not in text
    assert Record.from_json(text) == record


def test_numbers_are_kept_to_the_microsecond(record: Record) -> None:
    """Noise below a microsecond, and a negative zero, do not make another body."""
    noisy = record.replace(CPUTime=record.number("CPUTime") + 2e-8, OrphanCPUTime=-0.0)
    assert noisy.body_digest() == record.body_digest()
    assert record.replace(CPUTime=record.number("CPUTime") + 1e-6).body_digest() != record.body_digest()


def test_whole_numbers_and_other_zones_are_brought_into_one_form(record: Record) -> None:
    """An integer for a number and a time in another zone are the same value."""
    same = record.replace(ClockOffset=0, StartTime=record.text("StartTime").replace("Z", "+00:00"))
    assert same.canonical() == record.canonical()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CPUTime", float("nan"), "finite"),
        ("CPUTime", float("inf"), "finite"),
        ("CPUTime", True, "must be a number"),
        ("CPUTime", "1", "must be a number"),
        ("CPUTime", None, "is missing"),
        ("JobID", 1.0, "whole number"),
        ("JobID", 1 << 70, "64 bits"),
        ("User", 7, "must be text"),
        ("User", "x" * 5000, "longer than"),
        ("StartTime", "2026-01-15T12:00:00", "time in UTC"),
        ("StartTime", "noon", "time in UTC"),
        ("PayloadStarted", 1, "must be boolean"),
        ("RecordedBy", "me", "must be one of"),
        ("Nonsense", 1, "not a field"),
    ],
)
def test_a_wrong_value_is_refused_by_name(record: Record, name: str, value: object, words: str) -> None:
    """The error says which field is wrong, and how."""
    with pytest.raises(InvalidRecord, match=words) as caught:
        Record({**record, name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '"x"', "{}"])
def test_what_is_not_a_record_is_refused(text: str) -> None:
    """JSON that is no record gives one clear error."""
    with pytest.raises(InvalidRecord):
        Record.from_json(text)


def test_fields_of_a_newer_version_are_kept(record: Record) -> None:
    """A record of a newer schema passes through an older reader unharmed."""
    newer = Record({**record, "SchemaVersion": 2, "EnergyUsed": 5.5})
    assert newer["EnergyUsed"] == 5.5
    assert Record.from_json(newer.canonical()) == newer


def test_a_record_cannot_be_changed(record: Record) -> None:
    """A record is a value."""
    with pytest.raises(TypeError):
        record["CPUTime"] = 0  # type: ignore[index]
    assert len({record, record.replace()}) == 1


def test_every_field_is_a_key_even_when_null(record: Record) -> None:
    """`dict(record)` shows the whole schema."""
    assert set(dict(record)) == set(FIELDS)


def test_a_wrappers_record_counts_more_than_an_agents_and_that_more_than_an_estimate(record: Record) -> None:
    """Truth supersedes estimates, later revisions supersede earlier ones, whatever arrives first."""
    best_last = [
        record.replace(RecordedBy="wms", Revision=9),
        record.replace(RecordedBy="agent", Revision=1),
        record.replace(RecordedBy="agent", Revision=2),
        record.replace(RecordedBy="wrapper", Revision=1),
        record.replace(RecordedBy="wrapper", Revision=2),
    ]
    for count in range(1, len(best_last) + 1):
        arrived = best_last[:count]
        random.Random(count).shuffle(arrived)
        assert current(arrived) == best_last[count - 1]
    assert current([]) is None


def test_a_records_name_is_that_of_its_acknowledgement(record: Record) -> None:
    """The key prints as UID/RecordedBy/Revision."""
    assert record.key.item == f"{record['UID']}/wrapper/1"


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"CPUTime": 1.0}, "cpu"),
        ({"CPUUserTime": 99.0, "CPUTime": 99.25, "NormCPUTime": 99.25}, "cpu"),
        ({"NormCPUTime": 1.0}, "cpu"),
        ({"OrphanCPUTime": 99.0}, "cpu"),
        ({"WallClockTime": 1.0}, "wall"),
        ({"ExecTime": 1.0}, "wall"),
        ({"EndTime": "2025-01-01T00:00:00Z"}, "wall"),
        ({"StartTime": "1970-01-01T00:00:00Z"}, "wall"),
        ({"PayloadWallClockTime": 99.0}, "wall"),
        ({"Processors": 0}, "cores"),
        ({"ReadBytes": -1}, "value"),
        ({"QueueWaitTime": 5.0}, "value"),
        ({"TraceID": "0" * 32}, "value"),
        ({"JobID": 77}, "value"),
        ({"WMSID": "nobody"}, "value"),
    ],
)
def test_what_cannot_be_is_found(record: Record, changes: dict, about: str) -> None:
    """A record in which something does not add up, or is impossible, is told from a sound one."""
    assert inconsistencies(record) == ()
    found = inconsistencies(record.replace(**changes))
    assert found
    assert about in {each for one in found for each in one.about}
