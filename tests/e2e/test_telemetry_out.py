"""What leaves the node: spans and records to a collector, counters over restarts of the agent."""

from pathlib import Path

import pytest

from runner.compose.reports import metrics_text
from runner.compose.site import Service
from tests.support.collector import Collector
from tests.support.http_faults import nobody
from tests.support.site import running_site
from tests.support.waiting import eventually


def test_spans_and_records_reach_a_collector_that_was_away(tmp_path: Path) -> None:
    """With OTLPEndpoint every attempt's spans and its record arrive once, also when the collector came late."""
    endpoint = nobody()  # while the job runs; no connection gets this port meanwhile
    with running_site(tmp_path / "site", Telemetry={"OTLPEndpoint": endpoint}) as site:
        job_id = site.submit(Executable="/bin/true")
        site.wait(job_id, "Done")
        record = site.wait_record(job_id)
        collector = Collector(port=int(endpoint.rpartition(":")[2]))
        try:
            eventually(lambda: collector.uids() == [record.text("UID")], 30, "the record at the collector")
            assert collector.spans().count("jobspan.job") == 1
            assert "jobspan.stage.execute" in collector.spans()
        finally:
            collector.close()


def test_counters_survive_the_agent(tmp_path: Path) -> None:
    """The next agent on the folder shows what the last one had counted, and goes on from there."""
    with running_site(tmp_path / "site") as site:
        first = site.submit(Executable="/bin/sh", Arguments="-c 'echo one; echo two'")
        site.wait(first, "Done")
        eventually(lambda: _value(site.config, 'jobspan_jobs_finished_total{error_type="",status="Done"}') == 1)
        lines = 'jobspan_peek_lines_total{stream="stdout"}'
        before = _value(site.config, lines)
        site.agent.stop()
        agent = Service(site.config, ["agent"], site.agent.log)
        try:
            after = _value(site.config, lines)
            second = site.submit(Executable="/bin/sh", Arguments="-c 'echo three'")
            site.wait(second, "Done")
            eventually(lambda: _value(site.config, lines) == 3)
        finally:
            agent.stop()

    assert (before, after) == (2, 2)


def test_metrics_beyond_loopback_need_a_token(tmp_path: Path) -> None:
    """An agent that should show its metrics to others without a token refuses to start, and says what to set."""
    from runner.errors import UnavailableError

    with (
        pytest.raises(UnavailableError, match="MetricsTokenFile"),
        running_site(tmp_path / "site", JobAgent={"MetricsHost": "0.0.0.0"}),
    ):
        pytest.fail("it started")


def _value(config: object, sample: str) -> float:
    """The value of one sample of the agent's /metrics; 0 while it is not there."""
    for line in metrics_text(config).splitlines():  # type: ignore[arg-type]
        name, _, value = line.rpartition(" ")
        if name == sample:
            return float(value)
    return 0.0
