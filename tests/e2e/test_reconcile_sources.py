"""`jobspan reconcile --source`: what a real site has left, read from every place where it is, agrees."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from runner.compose.clients import METRICS_URL_FILE
from telemetry.ledger.formats import apel, auditor
from telemetry.ledger.record import Record
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from tests.support.prometheus import configuration, prometheus, static
from tests.support.site import Site, running_site
from tests.support.waiting import eventually

JOBS = 3


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on which JOBS jobs have ended, and whose telemetry is complete."""
    with running_site(tmp_path_factory.mktemp("site") / "site", slots=2) as running:
        ids = [running.submit(Executable="/bin/echo", Arguments=str(number)) for number in range(JOBS)]
        for job_id in ids:
            running.wait(job_id, "Done")
            running.wait_record(job_id)
        eventually(lambda: len(read_accounting(logs(running)).events) == JOBS)
        yield running


def logs(site: Site) -> Path:
    """The file of the site's events."""
    return OtlpFiles(site.config.telemetry_folder).logs


def reconcile(site: Site, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and result of the command."""
    capsys.readouterr()
    code = main(["--json", "--folder", str(site.config.folder), "reconcile", *arguments])
    return code, json.loads(capsys.readouterr().out)


def pairs(report: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Pairs by side and class."""
    return {(each["right"], each["class"]): each["pairs"] for each in report["tables"]["classes"] if each["pairs"]}


def test_all_places_agree(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """WMS by its API, its database, the OTLP file, and what others are told (APEL, AUDITOR) agree on every attempt:
    exit code 0, and with digests too."""
    records = [Record(event.record) for event in read_accounting(logs(site)).events]
    (tmp_path / "apel.txt").write_text("\n".join(apel.individual(records)))
    (tmp_path / "auditor.jsonl").write_text("\n".join(auditor.render(records)))
    sources = [
        "wms=wms",
        f"db=sql:sqlite:///{site.config.wms_folder / 'wms.sqlite'}",
        f"otlp=otlp:{logs(site)},grace=0",
        f"apel=apel:{tmp_path / 'apel.txt'}",
        f"auditor=auditor:{tmp_path / 'auditor.jsonl'}",
    ]
    arguments = [part for each in sources for part in ("--source", each)]
    for more in ([], ["--digest"]):
        code, report = reconcile(site, capsys, *arguments, *more)
        assert (code, report["mood"]) == (0, "good"), report
        assert pairs(report) == {(name, "matched"): JOBS for name in ("db", "otlp", "apel", "auditor")}


def test_a_lost_and_a_doubled_event_are_found(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line that is gone is missing, one that is there twice is a duplicate, and the exit code is 1."""
    lines = logs(site).read_text().splitlines(keepends=True)
    (tmp_path / "logs.jsonl").write_text("".join([*lines[1:], lines[1]]))
    page = tmp_path / "report.html"
    otlp = f"otlp=otlp:{tmp_path / 'logs.jsonl'},grace=0"
    code, report = reconcile(site, capsys, "--source", "wms=wms", "--source", otlp, "--html", str(page))
    assert code == 1
    assert pairs(report) == {("otlp", "matched"): JOBS - 2, ("otlp", "missing_in_otlp"): 1, ("otlp", "duplicate"): 1}
    assert "missing_in_otlp" in page.read_text()


@pytest.mark.prometheus
def test_counters_agree(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The counters that a Prometheus has scraped add up to the accounting, and the telemetry with a job less
    does not."""
    address = (site.config.folder / METRICS_URL_FILE).read_text().strip().removeprefix("http://").partition("/")[0]
    with prometheus(tmp_path / "prometheus", configuration(static("agent", address))) as server:
        server.wait_value("sum(jobspan_jobs_finished_total)", JOBS)
        server.wait("jobspan_wall_core_seconds_total")
        counters = f"counters=prometheus:{server.url}"
        code, report = reconcile(site, capsys, "--source", "wms=wms", "--source", counters)
        assert (code, pairs(report)) == (0, {("counters", "matched"): 1})
        (tmp_path / "fewer.jsonl").write_bytes(b"".join(logs(site).read_bytes().splitlines(keepends=True)[1:]))
        fewer = f"otlp=otlp:{tmp_path / 'fewer.jsonl'}"
        code, report = reconcile(site, capsys, "--source", fewer, "--source", counters)
        assert (code, pairs(report)) == (1, {("counters", "missing_in_otlp"): 1})


def test_what_is_not_due_is_no_difference(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Within the grace of a source its missing records are pending: exit code 0."""
    (tmp_path / "logs.jsonl").write_text("")
    otlp = f"otlp=otlp:{tmp_path / 'logs.jsonl'}"
    code, report = reconcile(site, capsys, "--source", "wms=wms", "--source", otlp)
    assert (code, pairs(report)) == (0, {("otlp", "pending"): JOBS})


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (["wms=wms"], "two sources"),
        (["wms=wms", "wms=wms"], "a name of its own"),
        (["wms=wms", "x=csv:/nowhere.csv"], "no such file"),
        (["wms=wms", "x=telepathy:y"], "no kind of source"),
        (["wms=wms", "x=otlp:y,grace=soon"], "such file"),
        (["a=sacct:/nowhere"], "two sources"),
        (["wms=wms", "s=seen"], "whole records"),
        (["wms=ledger", "a=seen", "b=seen"], "heard, not more"),
    ],
)
def test_wrong_sources_are_errors_in_words(
    site: Site, capsys: pytest.CaptureFixture[str], sources: list[str], said: str
) -> None:
    """What cannot be read ends with exit code 2 and a sentence."""
    arguments = [part for each in sources for part in ("--source", each)]
    code = main(["--folder", str(site.config.folder), "reconcile", *arguments])
    assert code == 2
    assert said in capsys.readouterr().err
