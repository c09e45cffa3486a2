"""The page of a job's traces: all that is known is on it, and nothing of it can act."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dashboards.trace_page import JobView, page
from runner.trace_views import MOST_EXCERPTS, MOST_ROWS, job_view
from telemetry import catalogue as names
from telemetry.facts import HeartbeatMade
from telemetry.live.otlp import span_line, spans_of
from telemetry.live.spans import render
from telemetry.live.traces import AttemptTrace, JobTrace, job_trace
from telemetry.live.traces_course import course
from tests.support.attempts import Attempt, play
from tests.support.traces import killed_and_tried_again, span

#: All that a page of ours is made of.
TAGS = frozenset({
    *("html", "head", "meta", "title", "style", "body", "a", "header", "nav", "main", "footer", "section"),
    *("p", "span", "strong", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "div"),
    *("h1", "h2", "h3", "ol", "li"),
    *("details", "summary", "figure", "figcaption", "svg", "line", "rect", "path", "polyline", "text"),
})  # fmt: skip


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.references: set[str] = set()
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.references |= {value or "" for name, value in attrs if name in ("href", "src")}
        self.ids += [value or "" for name, value in attrs if name == "id"]


@pytest.fixture
def view(tmp_path: Path) -> JobView:
    (node, *beside), attempts = killed_and_tried_again(tmp_path)
    courses = {uid: course(attempt.entries) for uid, attempt in attempts.items()}
    return job_view(job_trace(node, 7, beside=beside), courses)


def test_everything_known_is_on_the_page(view: JobView) -> None:
    """Stages, sub-spans, the WMS's calls, usage by stage, the kill, output, charts, and the attempt before."""
    text = page(view)
    for wanted in (
        *("stage.execute", "simulate", "queue", "match", "submit", "POST /api/jobs/jdl", "http"),
        *("How it was ended", "SIGKILL to 1 process", "cpu: 4.70 s, and 4 s are allowed"),
        *("Used by stage", "process_job_outputs", "What it wrote", "event 2", "Processors in use", "Memory (RSS)"),
        *('href="#attempt-1"', 'id="attempt-1"', 'Follows <a href="#attempt-1">attempt 1</a>', "LCG.Test.org"),
    ):
        assert wanted in text, wanted


def test_nothing_on_the_page_can_act(view: JobView) -> None:
    """Whatever a payload, a user or a site has written: our tags only, no script, no style attribute, no other host."""
    text = page(view)
    found = Tags(text)
    assert found.tags <= TAGS
    assert not {name for name in found.attributes if name.startswith("on") or name == "style"}
    assert found.references <= {"#main", "#attempt-1", "#attempt-2"}
    assert len(found.ids) == len(set(found.ids))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    assert "alert(&#39;x&#39;)" in text  # it is shown, as text


def test_output_is_shown_as_it_came(view: JobView) -> None:
    """Excerpts of the heartbeats that brought something new, in the order of time, with their distance."""
    first, second = view.attempts[0].excerpts
    assert first.text == "event 1\n"
    assert second.text.startswith("event 2\n")
    assert second.offset_seconds - first.offset_seconds == pytest.approx(4.0)


def test_only_the_last_excerpts_are_shown() -> None:
    """A job that has written for days does not make a page of gigabytes."""

    def writes(attempt: Attempt) -> None:
        for number in range(MOST_EXCERPTS + 5):
            attempt.write(HeartbeatMade(values={"StandardOutput": f"line {number}\n"}))
            attempt.write(HeartbeatMade(values={"StandardOutput": f"line {number}\n"}))

    attempt = play(during=writes)
    shown = job_view(of(attempt), {attempt.uid: course(attempt.entries)}).attempts[0].excerpts
    assert [each.text for each in shown] == [f"line {number}\n" for number in range(5, MOST_EXCERPTS + 5)]


def test_without_the_journal_the_last_heartbeat_is_shown() -> None:
    """When only spans are at hand, the WMS's peek stands in for the output, and the page still has all stages."""
    view = job_view(of(play()), {}, last_output="the end\x1b[0m\n", notes=["no journal"])
    assert [each.text for each in view.attempts[0].excerpts] == ["the end\n"]
    assert view.attempts[0].charts == []
    text = page(view)
    assert "no journal" in text
    assert "stage.finalize" in text


def test_an_attempt_that_is_not_here_is_said_to_be_missing() -> None:
    """A second attempt whose first ran on another node names it, without a link that leads nowhere."""
    text = page(job_view(of(play(attempt=2, previous_uid="x" * 36)), {}))
    assert "attempt 1, which is not in these files" in text
    assert "#attempt-1" not in text


def test_thousands_of_spans_are_counted_not_drawn() -> None:
    """A page stays readable whatever a payload sends."""
    trace = of(play())
    whole = trace.attempts[0]
    many = tuple(span(f"own {number}", 1, 1, trace_id=whole.root.trace_id) for number in range(MOST_ROWS))
    crowded = AttemptTrace(uid=whole.uid, attempt=1, root=whole.root, spans=(*whole.spans, *many))
    (shown,) = job_view(JobTrace(job_id=7, submit=(), attempts=(crowded,)), {}).attempts
    assert (len(shown.rows), shown.rows_left_out) == (MOST_ROWS, len(whole.spans))
    assert f"{len(whole.spans)} more spans are not drawn" in page(JobView(
        job_id=7, name="", submitted_ns=0, attempts=(shown,)
    ))  # fmt: skip


def test_what_a_payload_sends_is_the_payloads_own() -> None:
    """Spans of the payload stand below its process in a colour of their own, whatever names and kinds they claim."""
    whole = of(play()).attempts[0]
    payload = next(each for each in whole.spans if each.name == "simulate")
    claims = span(
        "queue", payload.start_ns / 1e9, 0.5, kind=2, parent_span_id=payload.span_id, trace_id=payload.trace_id,
        resource={names.JOB_UID: whole.uid, names.SERVICE: names.WMS_SERVICE_NAME, names.SERVICE_INSTANCE: whole.uid},
    )  # fmt: skip
    crowded = AttemptTrace(uid=whole.uid, attempt=1, root=whole.root, spans=(*whole.spans, claims))
    (shown,) = job_view(JobTrace(job_id=7, submit=(), attempts=(crowded,)), {}).attempts
    place = [row.name for row in shown.rows].index("simulate")
    assert [(row.depth, row.kind) for row in shown.rows[place : place + 2]] == [(2, "payload"), (3, "own")]
    assert {row.kind for row in shown.rows} == {"job", "stage", "operation", "payload", "own", "wms"}


def test_ticks_are_round_and_within_the_drawing(view: JobView) -> None:
    """The axis has a few round figures, the start of the attempt among them."""
    for attempt in view.attempts:
        assert 2 <= len(attempt.ticks) <= 6
        assert "+0 s" in [text for text, _ in attempt.ticks]
        assert all(0 <= float(place) <= 100 for _, place in attempt.ticks)


def of(attempt: Attempt) -> JobTrace:
    """The trace of one attempt."""
    spans = [each for each in spans_of(span_line(render(attempt.entries).spans)) if each.name != "submit"]
    root = next(each for each in spans if each.name == "jobspan.job")
    whole = AttemptTrace(uid=attempt.uid, attempt=attempt.match.attempt, root=root, spans=tuple(spans))
    return JobTrace(job_id=7, submit=(), attempts=(whole,))
