"""The agent's metrics over real journals: totals that survive short jobs, restarts and corrections."""

import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from dashboards.check import empty_panels
from dashboards.job_stages import stages_dashboard
from dashboards.watchdog_and_kills import kills_dashboard
from telemetry import identity
from telemetry.catalogue import METRICS
from telemetry.facts import AttemptEnded
from telemetry.live import counters
from telemetry.live.counters import CountersFile, read_counters
from telemetry.live.exposition import render_metrics
from telemetry.live.metrics import LEAST_LOOK, MOST_ENDS, JobMetrics, SelfStatus
from telemetry.live.payload_counts import PayloadCounts
from tests.support.attempts import Attempt, play, uid_of
from tests.support.clock import JumpClock

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def control_of(tmp_path: Path, job_id: int = 7, attempt: int = 1) -> Path:
    """Where the control folder of an attempt lies."""
    return tmp_path / "jobs" / f"{job_id}.{attempt}" / "control"


def metrics_in(tmp_path: Path, clock: JumpClock | None = None, **options: object) -> JobMetrics:
    """The metrics of an agent that keeps its folder in *tmp_path*."""
    return JobMetrics(tmp_path / "agent" / "counters.jsonl", clock or JumpClock(), version="1.0", **options)  # type: ignore[arg-type]


def scrape(metrics: JobMetrics, accept: str = OPENMETRICS) -> str:
    """The body of a scrape, when all journals were read."""
    metrics.look()
    return render_metrics(metrics.registry(), accept)[0].decode()


def values(metrics: JobMetrics) -> dict[tuple[str, ...], float]:
    """Name and label values -> value of each sample, by the official parser."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(scrape(metrics))
        for sample in family.samples
    }


def test_what_the_agent_is_short_of_is_shown(tmp_path: Path) -> None:
    """One gauge says by kind why no job is taken, and that none is short while all is well."""
    short: dict[str, str] = {"outbox": "too many attempts wait"}
    metrics = metrics_in(tmp_path, status=lambda: SelfStatus(shortage=short))
    name = "jobspan_shortage"
    assert {key: value for key, value in values(metrics).items() if key[0] == name} == {
        (name, "disk"): 0,
        (name, "outbox"): 1,
    }
    short.clear()
    assert values(metrics)[name, "outbox"] == 0


def test_names_labels_and_kinds_are_the_catalogue_s(tmp_path: Path) -> None:
    """A scrape shows exactly the metrics of the catalogue, with its labels and help, and no _created."""
    counts = PayloadCounts().now()
    status = SelfStatus(spool_pending={"otlp-file": 2}, slots=2, payload_telemetry=counts)
    metrics = metrics_in(tmp_path, status=lambda: status)
    attempt = Attempt(control_of(tmp_path))
    attempt.begin()
    attempt.finish_stage("initialize")
    attempt.sample(user=1.0)
    attempt.end_payload()
    metrics.follow(control_of(tmp_path))
    seen: dict[str, set[str]] = {}
    for family in parse_openmetrics(scrape(metrics)):
        for sample in family.samples:
            seen.setdefault(sample.name, set()).update(sample.labels)
    attempt.close()
    assert seen == {name: set(metric.sample_labels) - ({"le"} if not name.endswith("_bucket") else set())
                    for metric in METRICS.values() for name in metric.samples}  # fmt: skip
    assert "_created" not in scrape(metrics)
    for family in parse_text(scrape(metrics, "text/plain")):
        metric = METRICS.get(family.name) or METRICS[f"{family.name}_total"]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_short_jobs_count_in_full(tmp_path: Path) -> None:
    """Jobs that lived and died between two scrapes count with all of their CPU and stages."""
    metrics = metrics_in(tmp_path)
    for job_id in (1, 2, 3):
        play(control_of(tmp_path, job_id), job_id=job_id)
        metrics.attempt_ended(control_of(tmp_path, job_id), None)
    found = values(metrics)
    assert found["jobspan_payload_cpu_seconds_total", "user"] == 9.0
    assert found["jobspan_jobs_finished_total", "", "Done"] == 3
    assert found["jobspan_stage_duration_seconds_count", "success", "execute"] == 3


def test_totals_survive_the_agent(tmp_path: Path) -> None:
    """A new agent shows at least what the old one did: ended attempts from the file, living from their journals."""
    first = metrics_in(tmp_path)
    play(control_of(tmp_path, 1), job_id=1)
    living = Attempt(control_of(tmp_path, 2), job_id=2)
    living.begin()
    living.sample(user=5.0)
    first.follow(control_of(tmp_path, 1))
    first.attempt_ended(control_of(tmp_path, 1), None)
    first.follow(control_of(tmp_path, 2))
    before = values(first)
    second = metrics_in(tmp_path)
    assert second.rescan(tmp_path / "jobs") == []
    assert values(second) == before
    assert before["jobspan_payload_cpu_seconds_total", "user"] == 8.0
    living.close()


def test_an_attempt_counts_once(tmp_path: Path) -> None:
    """Told twice of an end, by two agents, or after a restart: one share for each UID."""
    play(control_of(tmp_path))
    for _ in range(2):
        metrics = metrics_in(tmp_path)
        metrics.rescan(tmp_path / "jobs")
        metrics.attempt_ended(control_of(tmp_path), None)
        metrics.attempt_ended(control_of(tmp_path), None)
        assert values(metrics)["jobspan_jobs_finished_total", "", "Done"] == 1
    assert list(read_counters(tmp_path / "agent" / "counters.jsonl").attempts) == [uid_of()]


def test_following_an_ended_attempt_again_changes_nothing(tmp_path: Path) -> None:
    """A folder that is followed after its share was made final does not count beside it."""
    metrics = metrics_in(tmp_path)
    play(control_of(tmp_path))
    metrics.attempt_ended(control_of(tmp_path), None)
    before = values(metrics)
    metrics.follow(control_of(tmp_path))
    assert values(metrics) == before


def test_what_ended_while_no_agent_was_there_is_named(tmp_path: Path) -> None:
    """A rescan counts attempts that ended unseen, and names them so that their record can be brought."""
    play(control_of(tmp_path))
    metrics = metrics_in(tmp_path)
    assert metrics.rescan(tmp_path / "jobs") == [control_of(tmp_path)]
    assert values(metrics)["jobspan_payload_cpu_seconds_total", "user"] == 3.0
    metrics.attempt_ended(control_of(tmp_path), {"CPUUserTime": 3.25})
    assert values(metrics)["jobspan_payload_cpu_seconds_total", "user"] == 3.25
    assert values(metrics)["jobspan_jobs_finished_total", "", "Done"] == 1
    assert metrics_in(tmp_path).rescan(tmp_path / "jobs") == []


def test_a_correction_downwards_is_durable_but_never_shown_as_a_fall(tmp_path: Path) -> None:
    """The file holds what the record says; what Prometheus saw does not fall, not even across a restart."""
    metrics = metrics_in(tmp_path)
    play(control_of(tmp_path, 1), job_id=1)
    metrics.follow(control_of(tmp_path, 1))
    key = ("jobspan_payload_cpu_seconds_total", "user")
    assert values(metrics)[key] == 3.0
    metrics.attempt_ended(control_of(tmp_path, 1), {"CPUUserTime": 2.0})
    assert values(metrics)[key] == 3.0
    again = metrics_in(tmp_path)
    assert values(again)[key] == 3.0
    share = read_counters(tmp_path / "agent" / "counters.jsonl").attempts[uid_of(1)]
    assert share.values[key[0], ("user",)] == 2.0
    play(control_of(tmp_path, 2), job_id=2)
    again.attempt_ended(control_of(tmp_path, 2), None)
    assert values(again)[key] == 5.0


def test_a_file_that_cannot_be_written_costs_no_count(tmp_path: Path) -> None:
    """Without a place for the file totals are right in memory, and folded again from the journals later."""
    metrics = metrics_in(tmp_path)
    play(control_of(tmp_path))
    (tmp_path / "agent").write_text("in the way")
    metrics.attempt_ended(control_of(tmp_path), None)
    assert values(metrics)["jobspan_jobs_finished_total", "", "Done"] == 1
    (tmp_path / "agent").unlink()
    later = metrics_in(tmp_path)
    assert later.rescan(tmp_path / "jobs") == [control_of(tmp_path)]


def test_gauges_show_living_jobs_only(tmp_path: Path) -> None:
    """A job has gauges while it lives; they go with its end, or with its folder."""
    clock = JumpClock()
    metrics = metrics_in(tmp_path, clock)
    attempt = Attempt(control_of(tmp_path), clock)
    metrics.follow(control_of(tmp_path))
    attempt.begin()
    attempt.sample(user=1.5, rss_bytes=4096)
    clock.advance(10.0)
    found = values(metrics)
    assert found["jobspan_job_wall_seconds", "7"] == pytest.approx(10.3)
    assert found["jobspan_job_cpu_seconds", "7"] == 2.0
    assert found["jobspan_job_memory_bytes", "7"] == 4096
    assert ("jobspan_job_last_output_timestamp_seconds", "7") not in found
    attempt.end_payload()
    assert values(metrics)["jobspan_job_last_output_timestamp_seconds", "7"] == clock.utc_ns() / 1e9
    attempt.write(AttemptEnded(status="Done", minor_status="x"))
    assert not [key for key in values(metrics) if key[0].startswith("jobspan_job_")]
    attempt.close()


def test_of_two_attempts_of_a_job_the_later_is_shown(tmp_path: Path) -> None:
    """A series is never there twice, though an attempt that was fenced off still lives beside the next."""
    metrics = metrics_in(tmp_path)
    attempts = [Attempt(control_of(tmp_path, attempt=each), attempt=each) for each in (1, 2)]
    for number, attempt in enumerate(attempts, 1):
        attempt.begin()
        attempt.sample(user=float(number), system=0.0)
        metrics.follow(control_of(tmp_path, attempt=number))
    assert scrape(metrics).count("jobspan_job_cpu_seconds{") == 1
    assert values(metrics)["jobspan_job_cpu_seconds", "7"] == 2.0
    for attempt in attempts:
        attempt.close()


def test_exemplars_lead_to_the_span_of_the_stage(tmp_path: Path) -> None:
    """OpenMetrics carries trace and span of the latest observation in each bucket, also after a restart."""
    play(control_of(tmp_path))
    metrics_in(tmp_path).attempt_ended(control_of(tmp_path), None)
    body = scrape(metrics_in(tmp_path))
    buckets = [sample for family in parse_openmetrics(body) for sample in family.samples if sample.exemplar]
    (execute,) = [sample for sample in buckets if sample.labels["stage"] == "execute"]
    span_id = identity.span_id(uid_of(), "job/execute")
    assert execute.exemplar.labels == {"trace_id": identity.trace_id(uid_of()), "span_id": span_id}
    assert execute.exemplar.value == 3.0
    assert all(sample.exemplar.value <= float(sample.labels["le"]) for sample in buckets)
    assert "trace_id" not in scrape(metrics_in(tmp_path), "text/plain")


def test_an_end_counts_as_the_record_says_and_not_before(tmp_path: Path) -> None:
    """An attempt that ended as Failed, and which the WMS keeps as Killed, is one Killed job and never a Failed one."""
    metrics = metrics_in(tmp_path)
    play(control_of(tmp_path), status="Failed", error_type="payload_failed")
    metrics.follow(control_of(tmp_path))
    ends = {key: value for key, value in values(metrics).items() if key[0] == "jobspan_jobs_finished_total"}
    assert sum(ends.values()) == 0
    metrics.attempt_ended(control_of(tmp_path), {"FinalMajorStatus": "Killed", "ErrorType": "killed"})
    ends = {
        key[1:]: count for key, count in values(metrics).items() if key[0] == "jobspan_jobs_finished_total" and count
    }
    assert ends == {("killed", "Killed"): 1}


def test_two_folders_of_one_attempt_count_once(tmp_path: Path) -> None:
    """A copy of an attempt's folder that is followed too does not count beside its final share."""
    metrics = metrics_in(tmp_path)
    for folder in ("7.1", "7.1-2"):
        play(tmp_path / "jobs" / folder / "control")
        metrics.follow(tmp_path / "jobs" / folder / "control")
    metrics.look()
    metrics.attempt_ended(tmp_path / "jobs" / "7.1" / "control", None)
    assert values(metrics)["jobspan_payload_cpu_seconds_total", "user"] == 3.0
    assert values(metrics)["jobspan_stage_duration_seconds_count", "success", "execute"] == 1


def test_gauges_of_jobs_are_bounded_and_can_be_off(tmp_path: Path) -> None:
    """Beyond the bound jobs have no series of their own, but are counted; with 0 no job has."""
    attempts = [Attempt(control_of(tmp_path, job_id), job_id=job_id) for job_id in range(1, 6)]
    for attempt in attempts:
        attempt.begin()
        attempt.sample(user=1.0)
    for bound, expected in ((3, ["1", "2", "3"]), (0, [])):
        metrics = metrics_in(tmp_path, job_gauges=bound)
        metrics.rescan(tmp_path / "jobs")
        found = values(metrics)
        assert [key[1] for key in found if key[0] == "jobspan_job_cpu_seconds"] == expected
        assert found["jobspan_jobs_living",] == 5
        assert {key[1] for key in found if key[0].startswith("jobspan_job_")} == set(expected)
    for attempt in attempts:
        attempt.close()


def test_errors_of_any_name_do_not_grow_the_series_without_end(tmp_path: Path) -> None:
    """Classes of errors that communities invent have series of their own up to a bound; all further ones share one."""
    metrics = metrics_in(tmp_path)
    more = 5
    for job_id in range(MOST_ENDS + more):
        record = {"FinalMajorStatus": "Failed", "ErrorType": f"invented_{job_id}"}
        attempt = Attempt(control_of(tmp_path, job_id + 1), job_id=job_id + 1)
        attempt.begin()
        attempt.close()
        metrics.attempt_ended(control_of(tmp_path, job_id + 1), record)
    for each in (metrics, metrics_in(tmp_path)):
        ends = {key[1:]: value for key, value in values(each).items() if key[0] == "jobspan_jobs_finished_total"}
        assert len(ends) <= MOST_ENDS + 2
        assert ends["other", "Failed"] >= more
        assert sum(ends.values()) == MOST_ENDS + more


def test_a_look_reads_all_in_turn(tmp_path: Path) -> None:
    """Looks at a part of the journals reach every one of them, and a scrape shows what they have read."""
    metrics = metrics_in(tmp_path)
    attempts = [Attempt(control_of(tmp_path, job_id), job_id=job_id) for job_id in range(1, 2 * LEAST_LOOK + 1)]
    for attempt in attempts:
        attempt.begin()
        attempt.sample(user=1.0, system=0.0)
        metrics.follow(attempt.folder)
    seen = []
    for _ in range(3):
        body = render_metrics(metrics.registry(), OPENMETRICS)[0].decode()
        seen.append(body.count("jobspan_job_cpu_seconds{"))
        metrics.look(0.5)
    assert seen == [0, LEAST_LOOK, 2 * LEAST_LOOK]
    for attempt in attempts:
        attempt.close()


def test_damage_is_counted(tmp_path: Path) -> None:
    """Journal lines that are no facts are counted and skipped, in journals and in the counters' file."""
    play(control_of(tmp_path))
    with (control_of(tmp_path) / "wrapper.journal.jsonl").open("ab") as file:
        file.write(b"garbage\n")
    metrics = metrics_in(tmp_path)
    metrics.attempt_ended(control_of(tmp_path), None)
    assert values(metrics)["jobspan_facts_damaged_total",] == 1
    with (tmp_path / "agent" / "counters.jsonl").open("ab") as file:
        file.write(b'{"uid":"x"}\n[]\ngarbage\n')
    again = metrics_in(tmp_path)
    assert values(again)["jobspan_facts_damaged_total",] == 3
    assert values(again)["jobspan_jobs_finished_total", "", "Done"] == 1


def test_compaction_keeps_sums_and_recognises_uids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file becomes its sums; an attempt that comes back is still known, histograms and floors stay."""
    metrics = metrics_in(tmp_path)
    for job_id in (1, 2, 3):
        play(control_of(tmp_path, job_id), job_id=job_id)
        metrics.follow(control_of(tmp_path, job_id))
        values(metrics)
        metrics.attempt_ended(control_of(tmp_path, job_id), {"CPUUserTime": 1.0})
    before = {key: value for key, value in values(metrics).items()}
    monkeypatch.setattr(counters, "COMPACT_ABOVE_LINES", 2)
    compacted = metrics_in(tmp_path)
    assert values(compacted) == before
    path = tmp_path / "agent" / "counters.jsonl"
    assert len(path.read_bytes().splitlines()) == 2
    assert read_counters(path).attempts == {}
    compacted.attempt_ended(control_of(tmp_path, 1), None)
    assert values(compacted) == before
    assert uid_of(2) in CountersFile(path)


def test_the_dashboard_finds_its_metrics(tmp_path: Path) -> None:
    """Every query of the dashboards of agents alone has samples in their scrapes, with a living and an ended job."""
    metrics = metrics_in(tmp_path, status=lambda: SelfStatus(spool_pending={"otlp-file": 0}))
    play(control_of(tmp_path, 1), job_id=1)
    metrics.attempt_ended(control_of(tmp_path, 1), None)
    living = Attempt(control_of(tmp_path, 2), job_id=2)
    living.begin()
    living.finish_stage("initialize", result="error")
    living.end_payload()
    metrics.follow(control_of(tmp_path, 2))
    for document in (stages_dashboard(), kills_dashboard()):
        assert empty_panels(document, scrape(metrics, "text/plain")) == []
        assert empty_panels(document, scrape(metrics)) == []
        assert empty_panels(document, "")
    living.close()


@pytest.mark.prometheus
def test_promtool_finds_nothing_to_complain_about(tmp_path: Path) -> None:
    """Prometheus's own linter accepts names, help and units of a scrape."""
    metrics = metrics_in(tmp_path, status=lambda: SelfStatus(spool_pending={"otlp-file": 0}))
    play(control_of(tmp_path))
    metrics.attempt_ended(control_of(tmp_path), None)
    body = scrape(metrics, "text/plain").encode()
    done = subprocess.run(["promtool", "check", "metrics"], input=body, timeout=30, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
