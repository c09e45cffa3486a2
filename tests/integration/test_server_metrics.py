"""The WMS's own metrics, scraped as Prometheus does."""

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from dashboards.check import empty_panels
from dashboards.wms import wms_dashboard
from runner import cli
from runner.compose.wms_telemetry import WmsTelemetry
from runner.config import load
from runner.errors import ConfigError
from runner.server.serve import running
from runner.server.tokens import Role
from telemetry import catalogue
from telemetry.clock import SystemClock
from tests.support.ledger import matched, whole_life
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

JOB = 'Executable = "/bin/true"; Site = "%s";'
REQUEST = {
    "Operations": [{"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/a/b", "Status": "Processed"}]}}]
}


@pytest.fixture
def wms(tmp_path: Path) -> Iterator[RunningWms]:
    """A WMS with its metrics."""
    with running_wms(tmp_path, observed=True) as running:
        yield running


def exposition(wms: RunningWms) -> str:
    """What a scraper gets."""
    answer = requests.get((wms.folder / "wms-metrics.url").read_text().strip(), timeout=60)
    assert answer.status_code == 200
    return answer.text


def settled(wms: RunningWms) -> str:
    """The same, when every call that was made has been counted: an answer is sent before its call is over."""

    def found() -> str:
        text = exposition(wms)
        return "" if "jobspan_wms_requests_in_progress{" in text else text

    return eventually(found, 60, "all calls to be over")


def scrape(wms: RunningWms) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by name, then by the values of their labels in the catalogue's order."""
    text = settled(wms)
    known = {sample: metric for metric in catalogue.WMS_METRICS.values() for sample in metric.samples}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                continue
            metric = known.get(sample.name, catalogue.BUILD_INFO)
            assert set(sample.labels) == set(metric.labels), sample.name
            found.setdefault(sample.name, {})[tuple(sample.labels[each] for each in metric.labels)] = sample.value
    return found


def test_the_life_of_a_job_is_counted(wms: RunningWms) -> None:
    """Calls by route and code, jobs by status and queue, matches, heartbeats, commands: what happened is shown."""
    first, second = wms.submit(JOB % "LCG.Test.org"), wms.submit(JOB % "LCG.Else.org")
    wms.submit(JOB % "LCG.Else.org" + " Priority = 2;")
    wms.submit(JOB % "LCG.Else.org" + ' Tags = "GPU";')
    job = wms.match()
    assert job is not None
    assert wms.match() is None
    wms.report(first, {"Status": "Running"}, token=job["JobToken"])
    wms.call("PATCH", "/api/jobs/heartbeat", {str(first): {}}, token=job["JobToken"])
    wms.report(first, {"Status": "Killed"})
    assert wms.call("GET", f"/api/jobspan/jobs/{second}/parameters", token=None).status_code == 401
    seen = scrape(wms)
    calls = seen["jobspan_wms_request_duration_seconds_count"]
    assert calls[("POST", "/api/jobs/jdl", "201")] == 4
    assert calls[("GET", "/api/jobspan/jobs/{job_id}/parameters", "401")] == 1
    assert seen["jobspan_wms_jobs"] == {("Killed",): 1, ("Waiting",): 3}
    assert seen["jobspan_wms_waiting_jobs"] == {("local_user", "User", "LCG.Else.org"): 3}
    assert seen["jobspan_wms_task_queues"] == {(): 2}  # one of them with a tag
    assert seen["jobspan_wms_longest_wait_seconds"][()] > 0
    assert seen["jobspan_wms_matches_total"] == {("job",): 1, ("none",): 1}
    assert seen["jobspan_wms_heartbeats_total"] == {(): 1}
    assert seen["jobspan_wms_commands_pending"] == {(): 1}
    assert seen["jobspan_wms_sandboxes_bytes"] == {(): 0}
    assert seen["jobspan_wms_inventory_ok"] == {(): 1}
    assert {kind for (kind,) in seen["jobspan_wms_lock_wait_seconds_count"]} == {"read", "write", "durable"}
    assert all(seconds >= 0 for seconds in seen["jobspan_wms_lock_wait_seconds_sum"].values())


def test_what_comes_twice_is_counted(wms: RunningWms) -> None:
    """A report whose answer was lost and that is made again, by either call, and a record and a request that are sent
    again, are copies; what is late and new, or refused, is none."""
    wms.submit(JOB % "LCG.Test.org")
    job = wms.match()
    assert job is not None
    job_id, token, past = job["JobID"], job["JobToken"], datetime.now(UTC) - timedelta(minutes=1)
    for _ in range(2):
        wms.report(job_id, {"Status": "Running"}, token=token, at=past)
    said = {(past + timedelta(seconds=1)).isoformat(): {"MinorStatus": "Application", "Source": "JobWrapper"}}
    for _ in range(3):
        wms.call("POST", f"/api/jobspan/jobs/{job_id}/report", {"Statuses": said}, token=token)
    wms.report(job_id, {"MinorStatus": "never said"}, token=token, at=past - timedelta(seconds=1))
    wms.report(job_id, {"Status": "Done"}, at=past - timedelta(seconds=1))
    fact = matched(job_id, job["Attempt"], uid=job["UID"], wms_id=job["WMSID"])
    record = {name: value for name, value in whole_life(fact).record().items() if value is not None}
    for body in (record, record, {**record, "ExitCode": 7}):
        wms.call("POST", "/api/jobspan/accounting", {"Records": [body]}, token=token)
    for name in ("one", "one", "two"):
        wms.call("POST", "/api/jobspan/requests", {**REQUEST, "RequestName": name, "JobID": job_id}, token=token)
    copies = scrape(wms)["jobspan_wms_copies_total"]
    assert copies == {("status",): 3, ("accounting",): 1, ("request",): 1}


def test_every_metric_of_the_catalogue_is_served(wms: RunningWms) -> None:
    """What the catalogue names for the WMS is there, and nothing else."""
    wms.submit()
    served = {line.split()[2] for line in exposition(wms).splitlines() if line.startswith("# TYPE")}
    assert served == {*catalogue.WMS_METRICS, catalogue.BUILD_INFO.name}


def test_every_panel_of_the_dashboard_shows_something(wms: RunningWms) -> None:
    """No query of the WMS's dashboard is empty, as soon as there is a job."""
    wms.submit(JOB % "LCG.Else.org")
    polling = threading.Thread(target=wms.match, args=(30.0,), kwargs={"Site": "LCG.None.org"})
    assert empty_panels(wms_dashboard(), settled(wms)) == ["Calls under way: jobspan_wms_requests_in_progress"]
    polling.start()
    eventually(lambda: empty_panels(wms_dashboard(), exposition(wms)) == [], 25, "the long poll to be shown")
    wms.submit(JOB % "LCG.None.org")
    polling.join(60)


@pytest.mark.prometheus
def test_promtool_finds_nothing_wrong(wms: RunningWms) -> None:
    """Names, units, help and types are as Prometheus's own linter wants them."""
    wms.submit()
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(wms), capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_the_command_shows_them(wms: RunningWms, capsys: pytest.CaptureFixture[str]) -> None:
    """`jobspan metrics --wms` shows what the WMS on the folder exposes, and says when there is none."""
    wms.submit()
    assert cli.main(["--folder", str(wms.folder), "metrics", "--wms", "--grep", "wms_jobs", "--json"]) == 0
    (sample,) = json.loads(capsys.readouterr().out)
    assert sample == {"name": "jobspan_wms_jobs", "labels": {"status": "Waiting"}, "value": 1.0}
    assert cli.main(["--folder", str(wms.folder / "none"), "metrics", "--wms"]) == 3
    assert "jobspan wms" in capsys.readouterr().err


def test_queues_have_a_bounded_number_of_series(wms: RunningWms) -> None:
    """However many kinds of jobs wait: fifty have a series each, all others are one, and no job is missing."""
    for number in range(53):
        token = wms.token_for("alice", Role.USER, group=f"group_{number}")
        assert wms.call("POST", "/api/jobs/jdl", [JOB % "ANY"], token=token).status_code == 201
    wms.settle()
    waiting = scrape(wms)["jobspan_wms_waiting_jobs"]
    assert len(waiting) == 51
    assert waiting[("other", "other", "other")] == 3
    assert sum(waiting.values()) == 53


def test_callers_cannot_make_series(wms: RunningWms) -> None:
    """Whatever they ask for: what no route serves is one route, what we do not use one method, what is none no call."""
    for number, method in enumerate(("PROPFIND", "MKCOL", "COPY", "MOVE", "LOCK")):
        wms.call("GET", f"/nowhere/{number}")
        wms.call(method, "/api/jobspan/info")
        assert wms.call(f"M{number}", "/api/jobspan/info").status_code == 400
    calls = scrape(wms)["jobspan_wms_request_duration_seconds_count"]
    assert calls == {("GET", "other", "404"): 5, ("other", "/api/jobspan/info", "405"): 5}


def test_a_database_that_is_away_hides_no_other_metric(wms: RunningWms) -> None:
    """When nothing can be counted the scrape says so, and shows what the process knows itself."""
    with sqlite3.connect(wms.folder / "wms" / "wms.sqlite") as connection:
        connection.execute("ALTER TABLE sandboxes RENAME TO elsewhere")
    connection.close()
    wms.call("GET", "/api/jobspan/info")
    seen = scrape(wms)
    assert seen["jobspan_wms_inventory_ok"] == {(): 0}
    assert seen["jobspan_wms_request_duration_seconds_count"][("GET", "/api/jobspan/info", "200")] == 1
    assert "jobspan_wms_jobs" not in seen


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"MetricsHost": "0.0.0.0"}, "MetricsTokenFile"),
        ({"MetricsPort": 70_000}, "MetricsPort"),
        ({"MetricsTokenFile": "/nowhere/token"}, "MetricsTokenFile"),
    ],
)
def test_an_impossible_endpoint_is_refused_in_words(tmp_path: Path, options: dict[str, object], words: str) -> None:
    """Metrics beyond loopback without a token, or at an address that there is not, end the start."""
    config = load(folder=tmp_path, environment={}, overrides={"WMS": options})
    starting = running(config, SystemClock(), lambda _: None, WmsTelemetry(config))
    with pytest.raises(ConfigError, match=words), starting:
        pass


def test_a_second_server_is_told_of_the_first_and_not_of_its_port(tmp_path: Path) -> None:
    """Whoever starts another WMS on a folder, with a fixed port for the metrics, reads what is wrong."""
    with running_wms(tmp_path, observed=True):
        port = int((tmp_path / "wms-metrics.url").read_text().rpartition(":")[2].partition("/")[0])
        (tmp_path / "jobspan.toml").write_text(f"[WMS]\nMetricsPort = {port}\n")
        line = [sys.executable, "-m", "runner.cli", "--folder", str(tmp_path), "wms"]
        second = subprocess.run(line, capture_output=True, text=True, timeout=180)
        assert second.returncode == 2
        assert "another WMS serves" in second.stderr


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    """With MetricsTokenFile only its bearer reads the metrics."""
    (tmp_path / "scraper").write_text("0123456789abcdef\n")
    with running_wms(tmp_path, observed=True, overrides={"WMS": {"MetricsTokenFile": str(tmp_path / "scraper")}}):
        url = (tmp_path / "wms-metrics.url").read_text().strip()
        assert requests.get(url, timeout=60).status_code == 401
        shown = requests.get(url, timeout=60, headers={"Authorization": "Bearer 0123456789abcdef"})
        assert "jobspan_wms_jobs" in shown.text
