"""Everything of real jobs arrives at a real OpenTelemetry Collector, also when it was away for the whole job."""

import json
from collections.abc import Iterator

import pytest

from runner.cli import main
from telemetry.facts import PayloadStarted
from telemetry.live.otlp_files import LOGS, TRACES, read_accounting, read_spans
from telemetry.outbox import Acknowledgements
from tests.support.otelcol import OtelCollector, otelcol
from tests.support.site import DEADLINE_SECONDS, Site, running_site
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def collector() -> Iterator[OtelCollector]:
    """One for the module."""
    with otelcol() as running:
        yield running


@pytest.fixture(scope="module")
def site(collector: OtelCollector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Agent and WMS that send to it."""
    folder = tmp_path_factory.mktemp("site")
    with running_site(folder, slots=2, Telemetry={"OTLPEndpoint": collector.endpoint}) as running:
        yield running


def wait_shipped(site: Site, *jobs: int) -> None:
    """Until the collector has taken these."""
    for job_id in jobs:
        control = site.wait_folder(job_id) / "control"
        eventually(lambda: Acknowledgements(control, "otlp-http").settled, DEADLINE_SECONDS, f"job {job_id}")  # noqa: B023


def check_all_arrived(site: Site, collector: OtelCollector) -> tuple[int, int]:
    """Every span with its events and every record that the node has written stands at the collector, as it is, once
    after folding by id; how many copies of spans and of records there were."""
    ours = {str(each) for each in read_spans(site.config.telemetry_folder / TRACES).spans}
    received = collector.spans()
    theirs = {(each.trace_id, each.span_id): str(each) for each in received}
    assert ours <= {*theirs.values()}
    assert len(theirs) == len({str(each) for each in received}), "two spans of one id that differ"
    records = {
        each.item: json.dumps(each.record, sort_keys=True)
        for each in read_accounting(site.config.telemetry_folder / LOGS).events
    }
    events = collector.events()
    assert records == {each.item: json.dumps(each.record, sort_keys=True) for each in events}
    return len(received) - len(theirs), len(events) - len(records)


def test_good_failed_and_killed_jobs_arrive_once(site: Site, collector: OtelCollector) -> None:
    """Every span, event and record of each, none twice; and the WMS's own spans of the calls."""
    good = site.submit(Executable="/bin/sh", Arguments="-c 'echo hello'")
    failed = site.submit(Executable="/bin/sh", Arguments="-c 'exit 3'")
    killed = site.submit(Executable="/bin/sleep", Arguments="600")
    site.wait_fact(killed, PayloadStarted)
    site.kill(killed)
    for job_id, status in ((good, "Done"), (failed, "Failed"), (killed, "Killed")):
        site.wait(job_id, status)
    wait_shipped(site, good, failed, killed)

    assert check_all_arrived(site, collector) == (0, 0)
    roots = {each.attributes["jobspan.job.id"]: each for each in collector.spans() if each.name == "jobspan.job"}
    assert {each.name for each in roots[killed].events} >= {"kill requested", "signal sent", "kill finished"}
    assert [roots[job_id].is_error for job_id in (good, failed, killed)] == [False, True, True]
    eventually(lambda: any(each.name == "POST /api/jobspan/match" for each in collector.spans()), DEADLINE_SECONDS)


@pytest.mark.parametrize(
    "sources",
    [("wms=wms", "collector=otlp:{},grace=0"), ("wms=ledger", "collector=events:{}", "seen=seen", "counters=counters")],
    ids=["columns", "whole records"],
)
def test_what_the_collector_wrote_reconciles_with_the_wms(
    site: Site, collector: OtelCollector, capsys: pytest.CaptureFixture[str], sources: tuple[str, ...]
) -> None:
    """The file of its exporter is a source as it is: of real jobs nothing differs from the WMS's accounting, by the
    columns that all sources have and field by field."""
    jobs = [site.submit(Executable="/bin/sh", Arguments=f"-c 'echo hello; exit {code}'") for code in (0, 3)]
    for job_id, status in zip(jobs, ("Done", "Failed"), strict=True):
        site.wait(job_id, status)
        site.wait_record(job_id)
    wait_shipped(site, *jobs)
    asked = [part for each in sources for part in ("--source", each.format(collector.folder / LOGS))]
    code = main(["--json", "--folder", str(site.config.folder), "reconcile", *asked])
    report = json.loads(capsys.readouterr().out)
    assert (code, report["figures"]["Differences"], report["tables"]["differences"]) == (0, 0, [])
    assert report["figures"]["Matched"] == len(collector.events()) >= len(jobs)
    assert {each["name"]: each["records"] for each in report["tables"]["sides"]}["collector"] == len(collector.events())


def test_a_collector_that_was_away_for_the_whole_job(site: Site, collector: OtelCollector) -> None:
    """It was killed before the job began, and comes back after its end: nothing is missing."""
    collector.stop()
    try:
        job_id = site.submit(Executable="/bin/true")
        site.wait(job_id, "Done")
        record = site.wait_record(job_id)
    finally:
        collector.start()
    wait_shipped(site, job_id)
    assert record.text("UID") in {each.uid for each in collector.events()}
    check_all_arrived(site, collector)


def test_a_collector_that_is_restarted_meanwhile(site: Site, collector: OtelCollector) -> None:
    """While jobs end it is told to end, and killed, and started again: nothing is missing, and copies are copies."""
    jobs = [site.submit(Executable="/bin/true") for _ in range(4)]
    for job_id, end in zip(jobs, (collector.terminate, collector.stop) * 2, strict=True):
        site.wait(job_id, "Done")
        end()
        collector.start()
    wait_shipped(site, *jobs)
    check_all_arrived(site, collector)
