"""`jobspan trace` and `jobspan slow` on a real site, and the page in a real browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page

from dashboards.trace_page import page
from runner.cli import main
from runner.errors import NotFoundError
from runner.trace_views import job_view
from telemetry.live.perfetto import trace_events
from telemetry.live.traces import job_trace
from telemetry.live.traces_course import course
from tests.support.chromium import chromium
from tests.support.components import require, trace_viewer
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.traces import killed_and_tried_again
from tests.support.waiting import eventually


def test_a_killed_job_is_told_as_page_and_as_trace_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a job that its user killed the page has the submission, the kill and the output; so have the trace events."""
    html, perfetto = tmp_path / "job.html", tmp_path / "job.json"
    with running_site(tmp_path / "site") as site:
        job_id = site.submit(Executable="/bin/sh", Arguments="-c 'echo here I am; exec sleep 300'", JobName="a & b")
        eventually(lambda: "here I am" in peeked(site, job_id), 30, "the output")
        given = ["--folder", str(site.config.folder)]
        assert main([*given, "trace", str(job_id)]) == 0
        assert "not over yet" in capsys.readouterr().out
        site.kill(job_id)
        site.wait_record(job_id)

        def drawing() -> str:
            assert main([*given, "trace", str(job_id)]) == 0
            text = capsys.readouterr().out
            return text if "POST /api/jobspan/match" in text and "Killed / " in text else ""

        drawn = eventually(drawing, DEADLINE_SECONDS, "the trace with the WMS's calls")
        assert main([*given, "trace", str(job_id), "--html", str(html), "--perfetto", str(perfetto)]) == 0
        assert f"wrote {html}" in capsys.readouterr().out
        assert main([*given, "slow", "--json"]) == 0
        slow = json.loads(capsys.readouterr().out)
    for shown in (drawn, html.read_text()):
        for wanted in ("POST /api/jobs", "submit", "match", "kill requested", "by user", "SIGTERM to 1 process"):
            assert wanted in shown, wanted
    assert "here I am" in html.read_text()
    assert "a &amp; b" in html.read_text()
    events = json.loads(perfetto.read_text())["traceEvents"]
    assert {"jobspan.stage.execute", "queue", "kill requested", "POST /api/jobspan/match"} <= {
        each["name"] for each in events
    }
    assert slow["attempts"] == 1
    assert {each["stage"] for each in slow["kinds"]} > {"queue", "match", "execute"}
    assert all(each["usual_seconds"] is None for each in slow["kinds"])


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """In light and dark, wide and narrow: bars are in their places, rows open by keyboard, nothing acts or loads."""
    require("chromium")
    (node, *beside), attempts = killed_and_tried_again(tmp_path)
    courses = {uid: course(attempt.entries) for uid, attempt in attempts.items()}
    file = tmp_path / "job.html"
    file.write_text(page(job_view(job_trace(node, 7, beside=beside), courses)))
    seen: list[str] = []
    colours = set()
    with chromium() as browser:
        for scheme, width in (("light", 1280), ("dark", 390)):
            context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
            shown = context.new_page()
            shown.on("console", lambda said: seen.append(said.text))
            shown.on("dialog", lambda dialog: seen.append(dialog.message))
            shown.on("request", lambda request: seen.append(request.url))
            shown.goto(file.as_uri())
            colours.add(shown.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
            assert_bars_are_placed(shown)
            opened = shown.locator("details.row").first
            opened.locator("summary").focus()
            shown.keyboard.press("Enter")
            assert opened.get_attribute("open") is not None
            context.close()
    assert seen == [file.as_uri()] * 2
    assert len(colours) == 2


#: Reads a document as the viewer does when somebody opens a file; what it made of it.
IMPORT = """(text) => {
    const model = new tr.Model(), options = new tr.importer.ImportOptions();
    new tr.importer.Import(model, options).importTraces([text]);
    const slices = model.getAllThreads().flatMap(thread => thread.sliceGroup.slices);
    return {
        warnings: model.importWarnings.map(warning => warning.message),
        processes: model.getAllProcesses().map(process => process.name),
        slices: slices.length,
        instants: model.getAllProcesses().flatMap(process => process.instantEvents).length,
        counters: Object.values(model.getProcess(2).counters).map(counter => [counter.name, counter.numSamples]),
        arrows: model.flowEvents.length,
        payload: slices.find(slice => slice.title === "simulate").parentSlice.title,
    };
}"""


def test_the_trace_viewer_reads_the_trace_events(tmp_path: Path) -> None:
    """The viewer for which the format was made takes all of it without a warning, and nests it as the spans are."""
    require("chromium")
    require("trace-viewer")
    folder = trace_viewer()
    assert folder is not None
    viewer = tmp_path / "viewer.html"
    polyfill, html = ((folder / name).read_text() for name in ("webcomponents.min.js", "trace_viewer_full.html"))
    viewer.write_text(f"<!doctype html><meta charset=utf-8><body><script>{polyfill}</script>{html}")
    (node, *beside), attempts = killed_and_tried_again(tmp_path)
    trace = job_trace(node, 7, beside=beside)
    document = json.dumps(trace_events(trace, {uid: course(each.entries) for uid, each in attempts.items()}))
    with chromium() as browser:
        shown = browser.new_page()
        shown.goto(viewer.as_uri())
        read = shown.evaluate(IMPORT, document)
    spans = [*trace.submit, *(each for attempt in trace.attempts for each in attempt.spans)]
    assert read == {
        "warnings": [],
        "processes": ["submission of job 7", "job 7 attempt 1", "job 7 attempt 2"],
        "slices": len(spans),
        "instants": sum(len(each.events) for each in spans),
        "counters": [["processors in use", 4], ["memory (bytes)", 5]],
        "arrows": 2,
        "payload": "jobspan.stage.execute",
    }


def assert_bars_are_placed(shown: Page) -> None:
    """The bar of execute starts after that of initialize, and each has its share of the job's."""
    boxes = shown.evaluate("""() => Object.fromEntries(
        [...document.querySelector("section").querySelectorAll("details.row")].map(row => [
            row.querySelector(".label").firstChild.textContent.trim(),
            row.querySelector("rect").getBoundingClientRect().toJSON()]))""")
    job, initialize, execute = (boxes[name] for name in ("job", "stage.initialize", "stage.execute"))
    assert job["left"] <= initialize["left"] < execute["left"]
    assert initialize["width"] < execute["width"] < job["width"]
    assert execute["right"] <= job["right"] + 1


def peeked(site: Site, job_id: int) -> str:
    """What the last heartbeat said, if there was one."""
    try:
        return site.client.peek(job_id).standard_output
    except NotFoundError:
        return ""
