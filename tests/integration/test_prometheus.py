"""A real Prometheus finds agents and wrappers by the WMS, scrapes them, and says what the accounting says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from runner.compose.kinds import open_client
from runner.compose.site import Service
from runner.config import Config, load
from telemetry.catalogue import FACTS_DAMAGED, METRICS
from telemetry.live.otlp_files import OtlpFiles, read_accounting
from tests.support.components import require
from tests.support.lone import lone_wrapper
from tests.support.ports import free_port
from tests.support.prometheus import SAMPLE_SECONDS, Prometheus, configuration, discovered, prometheus
from tests.support.site import Site, running_site, site_config
from tests.support.waiting import eventually

pytestmark = pytest.mark.prometheus
BURN = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo burnt"
LIVES = "echo here; exec sleep 600"
ENDED_SECONDS = 60.0
#: All that survive the agent.
COUNTERS = [each.name for each in METRICS.values() if each.kind == "counter" and each is not FACTS_DAMAGED]


@pytest.fixture(autouse=True)
def server() -> None:
    """All of this is about a real one."""
    require("prometheus")


def listed(config: Config) -> list[dict[str, Any]]:
    """What the WMS on the folder tells Prometheus."""
    url = (config.folder / "wms.url").read_text().strip()
    token = (config.tokens_folder / "monitor.token").read_text().strip()
    answer = requests.get(f"{url}/sd", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    found: list[dict[str, Any]] = answer.json()
    return found


def seeing(folder: Path, config: Config) -> Any:
    """A Prometheus that looks for its targets at the WMS of *config*."""
    url = (config.folder / "wms.url").read_text().strip()
    job = discovered("jobspan", f"{url}/sd", config.tokens_folder / "monitor.token")
    return prometheus(folder, configuration(job))


def submit(site: Site, script: str) -> int:
    """A job of a shell."""
    return site.submit(Executable="/bin/sh", Arguments=f"-c '{script}'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose agent keeps its port, as sites that are scraped without discovery have it."""
    options = {"MetricsPort": free_port()}
    with running_site(tmp_path_factory.mktemp("site"), slots=3, JobAgent={"PollingTime": 1.0, **options}) as running:
        yield running


def test_counters_agree_with_the_accounting_over_a_killed_agent(site: Site, tmp_path: Path) -> None:
    """Discovered, scraped and asked over an agent's violent end: no counter falls, and when all jobs have ended their
    sums are those of the accounting; gauges live as long as their jobs; exemplars lead to the traces of the jobs.
    """
    with seeing(tmp_path, site.config) as server:
        lives = submit(site, LIVES)
        ended = {submit(site, BURN): "Done", submit(site, f"{BURN} >&2; exit 3"): "Failed"}
        server.wait(f'jobspan_job_peek_lines{{job_id="{lives}", role="agent", site="jobspan.local"}} == 1')
        for job_id, status in ended.items():
            site.wait(job_id, status)
            site.wait_record(job_id)
        server.wait('sum(jobspan_jobs_finished_total{status=~"Done|Failed"}) == 2')
        before = server.value("sum(jobspan_wall_core_seconds_total)")
        site.agent.process.kill()
        site.agent.process.wait()
        agent = Service(site.config, ["agent", "--slots", "3"], site.agent.log)
        try:
            server.wait(f"sum(jobspan_wall_core_seconds_total) > {before}")
            site.kill(lives)
            ended |= {lives: "Killed", submit(site, BURN): "Done"}
            for job_id, status in ended.items():
                site.wait(job_id, status)
                site.wait_record(job_id)
            _agree(site, server, list(ended))
            for name in COUNTERS:
                assert not server.value(f"sum(resets({name}[1h]))"), name
            assert server.query('{__name__=~"jobspan_job_.+"}') == []
            _lead_to_traces(site, server, list(ended))
        finally:
            agent.stop()
        eventually(lambda: not listed(site.config), 10, "the agent to take its target back")


def _agree(site: Site, server: Prometheus, jobs: list[int]) -> None:
    records = [site.wait_record(job_id) for job_id in jobs]
    server.wait(f"sum(jobspan_jobs_finished_total) == {len(jobs)}", ENDED_SECONDS)
    says: dict[str, float] = {
        'jobspan_payload_cpu_seconds_total{mode="user"}': sum(each.number("CPUUserTime") for each in records),
        'jobspan_payload_cpu_seconds_total{mode="system"}': sum(each.number("CPUSystemTime") for each in records),
        "jobspan_wall_core_seconds_total": sum(each.number("ExecTime") for each in records),
        'jobspan_wall_seconds_total{stage="execute"}': sum(
            each.number("StageWallClockTime.execute") for each in records
        ),
        "sum(jobspan_output_bytes_total)": sum(each.number("OutputBytes") for each in records),
        **{
            f'sum(jobspan_jobs_finished_total{{status="{status}"}})': sum(
                each.text("FinalMajorStatus") == status for each in records
            )
            for status in ("Done", "Failed", "Killed")
        },
    }
    for expression, expected in says.items():
        server.wait_value(expression, expected)


def _lead_to_traces(site: Site, server: Prometheus, jobs: list[int]) -> None:
    found = server.exemplars('jobspan_stage_duration_seconds_bucket{stage="execute"}')
    traces = {site.wait_record(job_id).text("TraceID") for job_id in jobs}
    assert found
    assert {each["labels"]["trace_id"] for each in found} <= traces
    assert all(len(each["labels"]["span_id"]) == 16 for each in found)


def test_a_wrapper_without_an_agent_is_found_as_long_as_it_lives(tmp_path: Path) -> None:
    """In a batch job there is no agent: the wrapper shows its own gauges, and no totals, until the job has ended; then
    it ships what it has to tell by itself.
    """
    config = site_config(tmp_path / "site", JobAgent={"PollingTime": 1.0})
    wms = Service(config, ["wms"], tmp_path / "wms.log")
    try:
        client = open_client(load(folder=config.folder))
        site = Site(config, client, wms, wms)
        job_id = submit(site, LIVES)
        with seeing(tmp_path / "prometheus", config) as server, lone_wrapper(config) as (folder, process):
            server.wait(f'jobspan_job_wall_seconds{{job_id="{job_id}", role="wrapper"}} > 1', 2 * SAMPLE_SECONDS)
            server.wait(f'jobspan_job_peek_lines{{job_id="{job_id}"}} == 1')
            assert server.query('{__name__=~"jobspan_.+_total"}') == []
            url = (folder.control / "metrics.url").read_text().strip()
            assert list(server.targets()) == [url]
            site.kill(job_id)
            process.wait(ENDED_SECONDS)
            assert read_accounting(OtlpFiles(config.telemetry_folder).logs).events, "the wrapper has shipped nothing"
            eventually(lambda: not listed(config), 10, "the wrapper to take its target back")
            assert not (folder.control / "metrics.url").exists()
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=5)
        client.close()
    finally:
        wms.stop()
