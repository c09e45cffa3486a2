"""Any fact survives its way through JSON."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.entries import KINDS, Entry, UnknownFact, UnreadableFact, from_json, to_json
from telemetry.facts import Fact, UsageSampled, UsageSettled
from tests.support.strategies import FACTS, SCALARS, TEXT, of_kind

LINE = {"v": 1, "writer": "w", "sequence": 1, "utc_ns": 1, "boottime_ns": 1, "boot_id": "b", "fact": "Fenced"}


@given(FACTS)
def test_round_trip(fact: Fact) -> None:
    """What is read back is what was written."""
    entry = Entry("wrapper", 3, 1_700_000_000_000_000_001, 12_345_678_901, "boot", fact)
    assert from_json(json.loads(json.dumps(to_json(entry)))) == entry


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.__name__)
def test_every_kind_can_be_written(kind: type[Fact]) -> None:
    """Each kind consists of plain JSON values only."""

    @given(of_kind(kind))
    def check(fact: Fact) -> None:
        json.dumps(to_json(Entry("w", 1, 0, 0, "b", fact)), allow_nan=False)

    check()


@given(st.dictionaries(TEXT, SCALARS, max_size=4))
def test_kinds_of_a_newer_version_are_kept(data: dict[str, object]) -> None:
    """A kind that this version does not know is carried along, whole."""
    line = {**LINE, "fact": "SomethingNew", "data": data}
    entry = from_json(line)
    assert entry.fact == UnknownFact(kind="SomethingNew", data=data)
    assert to_json(entry) == line


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("OutputSeen", {"stream": "trace", "lines": 1, "bytes": 1}),
        ("StageStarted", {"stage": "rest", "at_boottime_ns": 1}),
        ("AttemptEnded", {"status": "Done", "minor_status": "", "recorded_by": "xrapper"}),
    ],
)
def test_words_of_a_newer_version_are_kept(kind: str, data: dict[str, object]) -> None:
    """A word that is not in the vocabulary of this version, or a damaged one, is no fact that anybody here could count;
    it is carried along, whole."""
    line = {**LINE, "fact": kind, "data": data}
    entry = from_json(line)
    assert entry.fact == UnknownFact(kind=kind, data=data)
    assert to_json(entry) == line


def test_fields_of_a_newer_version_are_skipped() -> None:
    """A known kind with an additional field is read without it."""
    assert (
        from_json({**LINE, "data": {"reason": "x", "colour": "blue"}}).fact
        == from_json({**LINE, "data": {"reason": "x"}}).fact
    )


@pytest.mark.parametrize("kind", [UsageSampled, UsageSettled])
@given(data=st.data())
def test_what_was_measured_before_methods_were_named_is_read(kind: type[Fact], data: st.DataObject) -> None:
    """A journal of before has no `methods`: nobody knows them, and all else is as it was."""
    fact = data.draw(of_kind(kind))
    line = to_json(Entry("w", 1, 0, 0, "b", fact))
    del line["data"]["methods"]
    assert from_json(json.loads(json.dumps(line))).fact == replace(fact, methods={})  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "line",
    [
        {},
        {**LINE, "v": 2, "data": {"reason": "x"}},
        {**LINE, "data": {}},
        {**LINE, "data": None},
        {**LINE, "sequence": None},
    ],
)
def test_what_is_no_fact_is_refused(line: dict[str, object]) -> None:
    """Another format, a missing field or a damaged envelope is one kind of error, never a crash of another."""
    with pytest.raises(UnreadableFact):
        from_json(line)
