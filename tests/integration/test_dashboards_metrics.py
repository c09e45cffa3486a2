"""The metrics that dashboards and alerts brought with them: living jobs by stage, slots, what is owed to the WMS."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

from telemetry.facts import STAGES
from telemetry.live.exposition import render_metrics
from telemetry.live.job_gauges import OneJob
from telemetry.live.metrics import JobMetrics, SelfStatus
from tests.support.attempts import Attempt
from tests.support.clock import JumpClock


def shown(metrics: JobMetrics | OneJob, name: str) -> dict[str, float]:
    """The samples of a metric by its only label; by the empty text where it has none."""
    if isinstance(metrics, JobMetrics):
        metrics.look()
    text = render_metrics(metrics.registry(), "text/plain")[0].decode()
    return {
        "".join(sample.labels.values()): sample.value
        for family in parse(text)
        for sample in family.samples
        if sample.name == name
    }


def test_living_jobs_stand_in_their_stage_and_age_there(tmp_path: Path) -> None:
    """Every stage has its series from the start; a job is in one of them, and the oldest in a stage is shown."""
    clock = JumpClock()
    metrics = JobMetrics(tmp_path / "counters.jsonl", clock, version="1.0")
    nobody = dict.fromkeys(STAGES, 0)
    assert shown(metrics, "jobspan_stage_jobs") == nobody
    assert shown(metrics, "jobspan_stage_longest_seconds") == nobody
    jobs = [Attempt(tmp_path / f"{job_id}" / "control", clock, job_id=job_id) for job_id in (1, 2)]
    for job in jobs:
        job.begin()
        clock.advance(30)
        metrics.follow(tmp_path / str(job.match.job_id) / "control")
    assert shown(metrics, "jobspan_stage_jobs") == {**nobody, "initialize": 2}
    before = shown(metrics, "jobspan_stage_longest_seconds")["initialize"]
    clock.advance(100)
    assert round(shown(metrics, "jobspan_stage_longest_seconds")["initialize"] - before, 6) == 100
    jobs[0].finish_stage("initialize")
    jobs[0].end()
    assert shown(metrics, "jobspan_stage_jobs") == {**nobody, "initialize": 1}
    for job in jobs:
        job.close()


def test_slots_and_what_is_owed_to_the_wms_are_shown(tmp_path: Path) -> None:
    """An agent shows its slots, and the WMS as a sink like the others; without an agent there are no slots to fill."""
    status = SelfStatus(slots=8, owed_to_wms=3, spool_pending={"otlp-file": 1})
    metrics = JobMetrics(tmp_path / "counters.jsonl", JumpClock(), version="1.0", status=lambda: status)
    assert shown(metrics, "jobspan_slots") == {"": 8}
    assert shown(metrics, "jobspan_spool_pending") == {"otlp-file": 1, "wms": 3}
    status = SelfStatus()
    assert shown(metrics, "jobspan_slots") == {}


def test_the_first_lost_job_is_an_increase(tmp_path: Path) -> None:
    """Ends that an alert waits for count from zero: Prometheus sees no increase in a series that begins with 1."""
    metrics = JobMetrics(tmp_path / "counters.jsonl", JumpClock(), version="1.0")
    ends = shown(metrics, "jobspan_jobs_finished_total")
    assert {ends[f"wrapper_died{status}"] for status in ("Failed", "Rescheduled")} == {0}


def test_a_job_without_an_agent_is_counted_with_the_others(tmp_path: Path) -> None:
    """The metrics of a lone wrapper have its job among the living and in its stage, until an agent shows it."""
    clock, is_alone = JumpClock(), [True]
    attempt = Attempt(tmp_path / "control", clock)
    attempt.begin()
    metrics = OneJob(tmp_path / "control", clock, version="1.0", is_alone=lambda: is_alone[0])
    assert shown(metrics, "jobspan_jobs_living") == {"": 1}
    assert shown(metrics, "jobspan_stage_jobs")["initialize"] == 1
    is_alone[0] = False
    assert shown(metrics, "jobspan_jobs_living") == {"": 0}
    assert set(shown(metrics, "jobspan_stage_jobs").values()) == {0}
    attempt.close()
