"""Trace events for ui.perfetto.dev: the form that it reads, and nesting, without which it misdraws."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.live.perfetto import lanes, trace_events
from telemetry.live.traces import JobTrace, job_trace
from telemetry.live.traces_course import course
from tests.support.traces import killed_and_tried_again, span

#: Members that each phase must have, of Google's "Trace Event Format".
MEMBERS = {
    "X": {"name", "cat", "ts", "dur", "pid", "tid", "args"},
    "i": {"name", "cat", "ts", "pid", "tid", "s", "args"},
    "M": {"name", "pid", "tid", "args"},
    "C": {"name", "cat", "ts", "pid", "args"},
    "s": {"name", "cat", "id", "ts", "pid", "tid"},
    "f": {"name", "cat", "id", "ts", "pid", "tid", "bp"},
}


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    (node, *beside), attempts = killed_and_tried_again(tmp_path)
    courses = {uid: course(attempt.entries) for uid, attempt in attempts.items()}
    text = json.dumps(trace_events(job_trace(node, 7, beside=beside), courses), allow_nan=False)
    read: dict[str, Any] = json.loads(text)
    return read


def test_every_event_has_the_members_of_its_phase(document: dict[str, Any]) -> None:
    """All events are of known phases with exactly their members; times are numbers from 0 on, ids whole numbers."""
    events = document["traceEvents"]
    assert document["displayTimeUnit"] == "ms"
    assert {event["ph"] for event in events} == set(MEMBERS)
    for event in events:
        assert set(event) - {"ph"} == MEMBERS[event["ph"]]
        assert event["pid"] > 0  # 0 is the idle process
        assert event.get("tid", 1) > 0
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
    assert {event["name"] for event in events if event["ph"] == "M"} == {
        "process_name", "process_sort_index", "thread_name",
    }  # fmt: skip


def test_every_span_and_event_is_there(document: dict[str, Any], tmp_path: Path) -> None:
    """Nothing of the trace is lost: a slice for each span, an instant for each event, an arrow for each known link."""
    trace = job_trace(tmp_path / "traces.jsonl", 7, beside=[tmp_path / "wms-traces.jsonl"])
    spans = [*trace.submit, *(each for attempt in trace.attempts for each in attempt.spans)]
    by_phase = defaultdict(list)
    for event in document["traceEvents"]:
        by_phase[event["ph"]].append(event)
    assert len(by_phase["X"]) == len(spans)
    assert len(by_phase["i"]) == sum(len(each.events) for each in spans)
    # The submission leads to both attempts, which are of one time here; the call ends after what it has submitted.
    arrows = list(zip(by_phase["s"], by_phase["f"], strict=True))
    assert [(start["pid"], end["pid"]) for start, end in arrows] == [(1, 2), (1, 3)]
    assert all(start["ts"] <= end["ts"] for start, end in arrows)
    assert {event["id"] for event in by_phase["s"]} == {event["id"] for event in by_phase["f"]}
    assert {event["pid"] for event in by_phase["X"]} == {1, 2, 3}


def test_use_over_time_stands_above_the_spans(document: dict[str, Any]) -> None:
    """Processors and memory are counters of the attempt, at the times of its samples."""
    counters = [event for event in document["traceEvents"] if event["ph"] == "C" and event["pid"] == 2]
    memory = [event["args"]["value"] for event in counters if event["name"] == "memory (bytes)"]
    assert memory == [1 << 20, *(second << 20 for second in range(1, 5))]
    cores = [event["args"]["value"] for event in counters if event["name"] == "processors in use"]
    assert cores == pytest.approx([0.8, 0.8, 0.8, 0.8])


def test_slices_of_a_thread_nest(document: dict[str, Any]) -> None:
    """Of two slices of a thread one lies within the other, or they are apart."""
    threads: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in document["traceEvents"]:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for slices in threads.values():
        assert_nested(slices)


def test_a_job_without_spans_is_an_empty_document() -> None:
    """Nothing to draw is no error."""
    assert trace_events(JobTrace(job_id=7, submit=(), attempts=()))["traceEvents"] == []


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), max_size=40))
def test_lanes_nest_whatever_overlaps(times: list[tuple[int, int]]) -> None:
    """Any spans are spread over lanes in which they nest; those that nest by themselves need one lane."""
    spans = [span("s", start, length, span_id=f"{number:016x}") for number, (start, length) in enumerate(times)]
    found = lanes(spans)
    by_lane = defaultdict(list)
    for each in spans:
        by_lane[found[each.span_id]].append((each.start_ns / 1e9, each.end_ns / 1e9))
    for slices in by_lane.values():
        assert_nested(slices)
    nested = [span("n", depth, 100 - 2 * depth, span_id=f"{depth:016x}") for depth in range(10)]
    assert set(lanes(nested).values()) == {0}


def assert_nested(slices: list[tuple[float, float]]) -> None:
    ordered = sorted(slices, key=lambda each: (each[0], -each[1]))
    for index, (start, end) in enumerate(ordered):
        for other_start, other_end in ordered[index + 1 :]:
            assert other_start >= end - 1e-6 or other_end <= end + 1e-6, ((start, end), (other_start, other_end))
