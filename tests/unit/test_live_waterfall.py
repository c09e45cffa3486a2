"""The waterfall: a job's traces as text."""

import unicodedata

import pytest

from telemetry.live.otlp import span_line, spans_of
from telemetry.live.otlp_files import read_spans
from telemetry.live.spans import render
from telemetry.live.traces import JobTrace, depth_first, fold, job_trace, trace_values
from telemetry.live.waterfall import bar, duration, fit, waterfall
from tests.support.attempts import Attempt, play, uid_of


@pytest.fixture
def trace(tmp_path) -> JobTrace:
    """Job 7 with two attempts, in a file that also holds job 77 and a damaged line."""
    first = play(status="Rescheduled", minor_status="Going to reschedule job", error_type="rescheduled")
    second = play(attempt=2, previous_uid=uid_of())
    path = tmp_path / "traces.jsonl"
    lines = [span_line(render(attempt.entries).spans) for attempt in (second, first, play(job_id=77))]
    path.write_bytes(b"".join(lines) + b'{"key":"jobspan.job.id","value":{"intValue":"7"}\n' + lines[0])
    return job_trace(path, 7)


def test_all_attempts_and_the_submission_are_found(trace: JobTrace) -> None:
    """Both attempts in order, the submission once, no other job, each span once though a line is doubled."""
    assert [attempt.attempt for attempt in trace.attempts] == [1, 2]
    assert [span.name for span in trace.submit] == ["submit"]
    assert trace.damaged == 1
    for attempt in trace.attempts:
        assert len({span.span_id for span in attempt.spans}) == len(attempt.spans) == len(depth_first(attempt))


def test_text_names_everything_and_keeps_its_width(trace: JobTrace) -> None:
    """Every line fits the width, every span is named, errors say their type, and nothing is coloured."""
    for width in (50, 80, 200):
        text = waterfall(trace, width=width)
        assert all(len(line) <= width for line in text.splitlines())
        assert "\033" not in text
        for name in ("job", "stage.execute", "simulate", "queue", "match", "submit", "submitted"):
            assert name in text
    assert "! rescheduled: Going to reschedule job" in waterfall(trace)
    assert "Rescheduled / Going to reschedule job" in waterfall(trace)


def test_colours_only_when_asked(trace: JobTrace) -> None:
    """With the flag failed spans are red; without colours the text is the same."""
    coloured = waterfall(trace, colour=True)
    assert "\033[31m" in coloured
    for code in ("\033[31m", "\033[32m", "\033[2m", "\033[1m", "\033[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == waterfall(trace)


def test_children_stand_below_their_parents(trace: JobTrace) -> None:
    """The payload stands two levels below the root, right under execute."""
    names = [(depth, span.name) for depth, span in depth_first(trace.attempts[0])]
    assert names[0] == (0, "jobspan.job")
    index = names.index((2, "simulate"))
    assert names[index - 1] == (1, "jobspan.stage.execute")


def test_a_job_that_is_not_there(tmp_path) -> None:
    """An unknown job, or no file at all, is said in words."""
    assert "no attempt of job 9" in waterfall(job_trace(tmp_path / "traces.jsonl", 9))


def test_two_wms_with_one_file_are_told_apart(tmp_path) -> None:
    """The same JobID of two WMS gives different traces, which the WMS's id separates."""
    other = "00000000-0000-4000-8000-000000000000"
    path = tmp_path / "traces.jsonl"
    attempts = [Attempt(), Attempt(wms_id=other, uid="another")]
    for attempt in attempts:
        attempt.begin()
    path.write_bytes(b"".join(span_line(render(attempt.entries).spans) for attempt in attempts))
    assert len(job_trace(path, 7).attempts) == 2
    assert [each.uid for each in job_trace(path, 7, wms_id=other).attempts] == ["another"]


def test_orphans_are_shown_below_the_root(trace: JobTrace) -> None:
    """A span whose parent is missing is not lost."""
    spans = [span for span in spans_of(span_line(render(play().entries).spans)) if span.name != "jobspan.stage.execute"]
    whole = trace.attempts[0]
    orphaned = type(whole)(uid=whole.uid, attempt=1, root=whole.root, spans=tuple(
        span for span in fold(spans) if span.trace_id == whole.root.trace_id
    ))  # fmt: skip
    assert (1, "simulate") in [(depth, span.name) for depth, span in depth_first(orphaned)]


def test_values_for_json_have_every_span(trace: JobTrace) -> None:
    """The JSON form has both attempts with all spans, their parents and seconds."""
    values = trace_values(trace)
    assert [each["attempt"] for each in values["attempts"]] == [1, 2]
    root = values["attempts"][0]["spans"][0]
    assert root["name"] == "jobspan.job"
    assert root["seconds"] == (root["end_ns"] - root["start_ns"]) / 1e9
    assert values["damaged_lines"] == 1


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0.0 ms"), (1_500_000, "1.5 ms"), (2_000_000_000, "2.00 s"), (600 * 10**9, "10.0 min"), (10**14, "27.8 h")],
)
def test_durations_are_for_people(nanoseconds: int, text: str) -> None:
    """A duration has the unit that fits."""
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0.5, 0.50001), (0.3, 0.9)])
def test_bars_have_their_width_and_are_never_invisible(start: float, end: float) -> None:
    """Every bar fills exactly its columns and shows something."""
    assert len(bar(start, end, 17)) == 17
    assert bar(start, end, 17).strip()


@pytest.mark.parametrize("text", ["", "abc", "x" * 30, "日本語日本語日本語", "a\033[31m\nb", "e\u0301" * 20])
def test_fit_gives_exactly_the_columns(text: str) -> None:
    """Wide, combining and control characters do not shift what follows, and no escape gets through."""
    fitted = fit(text, 10)
    columns = sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in fitted
    )
    assert columns == 10
    assert "\033" not in fitted
    assert "\n" not in fitted


def test_a_missing_file_is_an_empty_one(tmp_path) -> None:
    """A node that has shipped nothing yet has no spans, and that is no error."""
    assert read_spans(tmp_path / "none.jsonl").spans == ()
