"""The rules for Prometheus: each alert fires when it should and only then; and the examples beside them."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from dashboards.alerts import GROUPS
from dashboards.check import queried_panels, rule_problems
from dashboards.generate import DASHBOARDS, FOLDER, RULES_PATH
from dashboards.promql import read
from dashboards.rules import Alert, Group, Recording, alerts
from runner.agent.death import NOT_SUBMITTED, REBOOTED, WRAPPER_DIED
from runner.job.status import JobStatus
from telemetry.facts import STAGES, KillRequested, StageResult
from telemetry.reconcile.result import KINDS
from tests.support.components import collector_program, require

#: Of combined requests.
REQUEST_STATUSES = ("Waiting", "Done", "Failed")
ALERTS = {alert.name: alert for alert in alerts(GROUPS)}
NODE = 'job="jobspan-nodes",instance="n1"'
WMS = 'job="jobspan-wms",instance="w1"'
AT_NODE = {"job": "jobspan-nodes", "instance": "n1"}
AT_WMS = {"job": "jobspan-wms", "instance": "w1"}


@dataclass(frozen=True)
class Case:
    """Series (a sample a minute, in promtool's words) in which an alert fires at *at* with *value*, and others."""

    alert: str
    at: str
    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    value: str
    labels: Mapping[str, str] = field(default_factory=dict)


CASES = (
    Case(
        "JobspanJobsLost",
        "60m",
        {f'jobspan_jobs_finished_total{{{NODE},status="Failed",error_type="wrapper_died"}}': "0x30 1x60"},
        {f'jobspan_jobs_finished_total{{{NODE},status="Failed",error_type="payload_failed"}}': "0x30 1x60"},
        "1",
        {**AT_NODE, "error_type": "wrapper_died"},
    ),
    Case(
        "JobspanJobsSilent",
        "20m",
        {f'jobspan_wms_jobs{{{WMS},status="Stalled"}}': "2x60"},
        {
            f'jobspan_wms_jobs{{{WMS},status="Running"}}': "2x60",
            f'jobspan_wms_jobs{{{WMS},status="Stalled"}}': "2x3 0x60",
        },
        "2",
        {"job": "jobspan-wms", "status": "Stalled"},
    ),
    Case(
        "JobspanJobsUnattended",
        "40m",
        {
            f'jobspan_wms_jobs{{{WMS},status="Running"}}': "3x60",
            f"jobspan_jobs_living{{{NODE}}}": "2x60",
        },
        {
            f'jobspan_wms_jobs{{{WMS},status="Running"}}': "3x60",
            'jobspan_wms_jobs{job="jobspan-wms",instance="w2",status="Running"}': "3x60",
            f"jobspan_jobs_living{{{NODE}}}": "2x60",
            'jobspan_jobs_living{job="jobspan-nodes",instance="n2"}': "1x60",
        },
        "1",
    ),
    Case(
        "JobspanStageStalled",
        "10m",
        {f'jobspan_stage_longest_seconds{{{NODE},stage="transfer_input_sandbox"}}': "4000x30"},
        {
            f'jobspan_stage_longest_seconds{{{NODE},stage="execute"}}': "90000x30",
            f'jobspan_stage_longest_seconds{{{NODE},stage="initialize"}}': "10x30",
        },
        "4000",
        {**AT_NODE, "stage": "transfer_input_sandbox"},
    ),
    Case(
        "JobspanPayloadsIdle",
        "120m",
        {f'jobspan_job_cpu_seconds{{{NODE},job_id="{job_id}"}}': "5x120" for job_id in (1, 2)}
        | {f'jobspan_job_wall_seconds{{{NODE},job_id="{job_id}"}}': "0+60x120" for job_id in (1, 2)},
        {
            f'jobspan_job_cpu_seconds{{{NODE},job_id="1"}}': "0+30x120",
            f'jobspan_job_wall_seconds{{{NODE},job_id="1"}}': "0+60x120",
        },
        "2",
        AT_NODE,
    ),
    Case(
        "JobspanKillStorm",
        "30m",
        {
            f'jobspan_kills_total{{{NODE},origin="watchdog",limit="memory"}}': "0+2x60",
            f'jobspan_jobs_finished_total{{{NODE},status="Failed",error_type="memory"}}': "0+4x60",
        },
        {
            f'jobspan_kills_total{{{NODE},origin="user",limit=""}}': "0+2x60",
            f'jobspan_kills_total{{{NODE},origin="watchdog",limit="memory"}}': "0+2x60",
            f'jobspan_jobs_finished_total{{{NODE},status="Done",error_type=""}}': "0+40x60",
        },
        "30",
        {"job": "jobspan-nodes"},
    ),
    Case(
        "JobspanKillSurvived",
        "60m",
        {f"jobspan_kill_survivors_total{{{NODE}}}": "0x30 1x60"},
        {f"jobspan_kill_survivors_total{{{NODE}}}": "1x90"},
        "1",
        AT_NODE,
    ),
    Case(
        "JobspanLowEfficiency",
        "480m",
        {
            f'jobspan_payload_cpu_seconds_total{{{NODE},mode="user"}}': "0+30x480",
            f"jobspan_wall_core_seconds_total{{{NODE}}}": "0+120x480",
        },
        {
            f'jobspan_payload_cpu_seconds_total{{{NODE},mode="user"}}': "0+60x480",
            f'jobspan_payload_cpu_seconds_total{{{NODE},mode="system"}}': "0+20x480",
            f"jobspan_wall_core_seconds_total{{{NODE}}}": "0+120x480",
        },
        "0.25",
        {"job": "jobspan-nodes"},
    ),
    Case(
        "JobspanNodeSwallowsJobs",
        "90m",
        {
            f'jobspan_jobs_finished_total{{{NODE},status="Failed",error_type="payload_failed"}}': "0+1x90",
            'jobspan_jobs_finished_total{job="jobspan-nodes",instance="n2",status="Done",error_type=""}': "0+9x90",
        },
        {
            f'jobspan_jobs_finished_total{{{NODE},status="Failed",error_type="payload_failed"}}': "0+1x90",
            f'jobspan_jobs_finished_total{{{NODE},status="Done",error_type=""}}': "0+9x90",
        },
        "60",
        AT_NODE,
    ),
    Case(
        "JobspanTargetDown",
        "10m",
        {f"up{{{NODE}}}": "1x2 0x20"},
        {
            f"up{{{NODE}}}": "1x2 0x2 1x20",
            'up{job="other",instance="o1"}': "0x20",
            f'up{{{NODE},role="wrapper"}}': "0x20",
        },
        "0",
        AT_NODE,
    ),
    Case(
        "JobspanOutboxGrows",
        "60m",
        {f'jobspan_spool_pending{{{NODE},sink="wms"}}': "1+1x90"},
        {f'jobspan_spool_pending{{{NODE},sink="wms"}}': "90-1x90"},
        "31",
        {**AT_NODE, "sink": "wms"},
    ),
    Case(
        "JobspanOutboxStuck",
        "370m",
        {f'jobspan_spool_pending{{{NODE},sink="otlp-http"}}': "3x400"},
        {
            f'jobspan_spool_pending{{{NODE},sink="otlp-http"}}': "3x300 0x2 3x100",
            # An agent that has begun anew, on another port, with what the one before has left.
            'jobspan_spool_pending{job="jobspan-nodes",instance="n1:2",sink="otlp-http"}': "_x368 3x40",
        },
        "3",
        {**AT_NODE, "sink": "otlp-http"},
    ),
    Case(
        "JobspanDeadLetters",
        "20m",
        {f'jobspan_outbox_dead{{{NODE},sink="wms-accounting"}}': "1x60"},
        {f'jobspan_outbox_dead{{{NODE},sink="wms-accounting"}}': "0x60"},
        "1",
        {**AT_NODE, "sink": "wms-accounting"},
    ),
    Case(
        "JobspanOutboxExpired",
        "60m",
        {f'jobspan_outbox_expired_total{{{NODE},sink="otlp-http"}}': "0x30 2x60"},
        {f'jobspan_outbox_expired_total{{{NODE},sink="otlp-http"}}': "2x90"},
        "2",
        {**AT_NODE, "sink": "otlp-http"},
    ),
    Case(
        "JobspanNoRoom",
        "20m",
        {f'jobspan_shortage{{{NODE},of="disk"}}': "1x60"},
        {f'jobspan_shortage{{{NODE},of="disk"}}': "1x10 0x5 1x60"},
        "1",
        {**AT_NODE, "of": "disk"},
    ),
    Case(
        "JobspanJournalDamaged",
        "60m",
        {f"jobspan_facts_damaged_total{{{NODE}}}": "0x30 4x60"},
        {f"jobspan_facts_damaged_total{{{NODE}}}": "4x90"},
        "4",
        AT_NODE,
    ),
    Case(
        "JobspanWmsErrors",
        "20m",
        {
            f'jobspan_wms_request_duration_seconds_count{{{WMS},method="GET",route="/r",code="500"}}': "0+6x60",
            f'jobspan_wms_request_duration_seconds_count{{{WMS},method="GET",route="/r",code="200"}}': "0+60x60",
        },
        {
            f'jobspan_wms_request_duration_seconds_count{{{WMS},method="GET",route="/r",code="404"}}': "0+60x60",
            f'jobspan_wms_request_duration_seconds_count{{{WMS},method="GET",route="/r",code="500"}}': "0+1x60",
        },
        "0.1",
        AT_WMS,
    ),
    Case(
        "JobspanWmsBlind",
        "20m",
        {f"jobspan_wms_inventory_ok{{{WMS}}}": "0x60"},
        {f"jobspan_wms_inventory_ok{{{WMS}}}": "0x5 1x60"},
        "0",
        AT_WMS,
    ),
    Case(
        "JobspanWmsQueues",
        "30m",
        {
            f'jobspan_wms_lock_wait_seconds_bucket{{{WMS},kind="write",le="{le}"}}': f"0+{growth}x60"
            for le, growth in (("1.0", 0), ("2.5", 60), ("+Inf", 60))
        },
        {
            f'jobspan_wms_lock_wait_seconds_bucket{{{WMS},kind="write",le="{le}"}}': f"0+{growth}x60"
            for le, growth in (("1.0", 60), ("2.5", 60), ("+Inf", 60))
        },
        "2.485",
        AT_WMS,
    ),
    Case(
        "JobspanJobsWait",
        "70m",
        {f"jobspan_wms_longest_wait_seconds{{{WMS}}}": "90000x90"},
        {f"jobspan_wms_longest_wait_seconds{{{WMS}}}": "3600x90"},
        "90000",
        {"job": "jobspan-wms"},
    ),
    Case(
        "JobspanRequestsFailed",
        "70m",
        {f'jobspan_wms_combined_requests{{{WMS},status="Failed"}}': "1x90"},
        {f'jobspan_wms_combined_requests{{{WMS},status="Waiting"}}': "1x90"},
        "1",
        {"job": "jobspan-wms", "status": "Failed"},
    ),
    Case(
        "JobspanReconciliationDiffers",
        "5m",
        {'jobspan_reconciliation_differences{class="cpu"}': "3x10"},
        {
            'jobspan_reconciliation_differences{class="cpu"}': "0x10",
            'jobspan_reconciliation_differences{class="idle"}': "3x10",
        },
        "3",
        {"class": "cpu"},
    ),
    Case(
        "JobspanReconciliationAtStake",
        "5m",
        {f'jobspan_reconciliation_core_hours_at_stake{{class="{each}"}}': "60x10" for each in ("cpu", "wall")},
        {f'jobspan_reconciliation_core_hours_at_stake{{class="{each}"}}': "60x10" for each in ("cpu", "overhead")},
        "120",
    ),
    Case(
        "JobspanReconciliationStale",
        "5m",
        {"jobspan_reconciliation_timestamp_seconds": "-172800x10"},
        {"jobspan_reconciliation_timestamp_seconds": "0x10"},
        "173100",
    ),
)


def _promtool(*arguments: str, cwd: Path) -> str:
    """What promtool says; it must be content."""
    done = subprocess.run(["promtool", *arguments], cwd=cwd, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _test(case: Case, series: Mapping[str, str], expected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": case.alert,
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": list(expected)}],
    }


def _shown(text: str, labels: Mapping[str, str]) -> str:
    """An annotation with the labels filled in; a label that the alert does not have is an error of the rule."""
    return re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels[found[1]], text)


def _expected(case: Case) -> dict[str, Any]:
    alert = ALERTS[case.alert]
    annotations = {
        "summary": _shown(alert.summary, case.labels),
        "description": _shown(alert.action, case.labels),
        "value": case.value,
    }
    return {"exp_labels": {**case.labels, "severity": alert.urgency}, "exp_annotations": annotations}


def test_rules_ask_for_what_exists() -> None:
    """Every metric and label of the rules is in the catalogue and used as its kind asks; no name is used twice."""
    assert rule_problems(GROUPS) == []


def test_values_that_queries_pick_exist() -> None:
    """A status, stage, result, origin or class in a matcher is one that jobspan can show: no other would be seen."""
    ends = {WRAPPER_DIED, REBOOTED, NOT_SUBMITTED}
    known: dict[str, set[str]] = {
        "status": {*JobStatus, *REQUEST_STATUSES},
        "stage": set(STAGES),
        "result": set(get_args(StageResult)),
        "origin": set(get_args(get_type_hints(KillRequested)["origin"])),
        "class": {*KINDS, "matched", "pending"},
        "error_type": {*(each.error_type for each in ends), "starter_died"},
    }
    panels = [panel for make in DASHBOARDS.values() for panel in queried_panels(make())]
    rules = [rule.expression for group in GROUPS for rule in group.rules]
    unknown = {
        f"{selector.metric}: {matcher.label} {value}"
        for expression in (*(target["expr"] for panel in panels for target in panel["targets"]), *rules)
        for selector in read(expression).selectors
        for matcher in selector.matchers
        for value in matcher.value.split("|")
        if value and value not in known.get(matcher.label, {value})
    }
    assert unknown == set()


def test_every_alert_has_its_case() -> None:
    """There is no alert of which nobody has seen whether it fires."""
    assert sorted(case.alert for case in CASES) == sorted(ALERTS)


def test_every_alert_says_what_to_do() -> None:
    """Summary and action are sentences for the person who is woken, and commands in them exist."""
    from runner.cli import COMMANDS

    for alert in ALERTS.values():
        assert alert.summary[0].isupper() or alert.summary.startswith("{{")
        assert alert.action.endswith(("?", "."))
        assert set(re.findall(r"`jobspan (\w+)", alert.action)) <= {name for name, _, _ in COMMANDS}, alert.name


@pytest.mark.prometheus
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """By promtool: in one set of series with these labels and words, in the other, which is nearly the same, not."""
    tests = [_test(case, case.fires, [_expected(case)]) for case in CASES]
    tests += [_test(case, case.quiet, []) for case in CASES]
    document = {"rule_files": [str(RULES_PATH)], "evaluation_interval": "5m", "tests": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(document))
    assert "SUCCESS" in _promtool("test", "rules", "tests.yml", cwd=tmp_path)


@pytest.mark.prometheus
def test_promtool_s_linter_accepts_the_rules(tmp_path: Path) -> None:
    """`promtool check rules --lint=all` finds all rules and nothing else."""
    count = sum(len(group.rules) for group in GROUPS)
    said = _promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES_PATH), cwd=tmp_path)
    assert f"SUCCESS: {count} rules found" in said


@pytest.mark.prometheus
def test_the_example_for_prometheus_holds_together(tmp_path: Path) -> None:
    """`promtool check config` accepts it where the files with tokens are, and finds the rules beside it."""
    folder = shutil.copytree(FOLDER / "prometheus", tmp_path / "prometheus")
    for name in re.findall(r"credentials_file: (\S+?)}", (folder / "prometheus.yml").read_text()):
        (folder / name).write_text("secret")
    said = _promtool("check", "config", "prometheus.yml", cwd=folder)
    assert "rules found" in said


def test_the_example_for_alertmanager_holds_together() -> None:
    """amtool accepts it."""
    require("amtool")
    path = FOLDER / "prometheus" / "alertmanager.yml"
    done = subprocess.run(["amtool", "check-config", path], timeout=30, capture_output=True, text=True)
    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_example_for_the_collector_holds_together(tmp_path: Path) -> None:
    """A real collector accepts it, and says what is wrong with one that is misspelt."""
    require("otelcol")
    text = (FOLDER / "collector" / "collector.yml").read_text()
    for config, code in ((text, 0), (text.replace("limit_mib", "limit_mb"), 1)):
        (tmp_path / "collector.yml").write_text(config)
        command = [str(collector_program()), "validate", "--config", str(tmp_path / "collector.yml")]
        done = subprocess.run(command, timeout=60, capture_output=True, text=True)
        assert done.returncode == code, done.stderr


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (("jobspan_slot > 0", ""), "no metric jobspan_slot in the catalogue"),
        (("jobspan_slots > 0", "{{ $labels.sink }}"), "the label sink is shown, which no metric of the query has"),
        (("jobspan_kills_total > 0", ""), "is a counter: rate or increase must be used"),
        (("later:jobspan_slots:sum > 0", ""), "no metric later:jobspan_slots:sum in the catalogue"),
    ],
)
def test_wrong_rules_are_found(rule: tuple[str, str], complaint: str) -> None:
    """A rule that can never fire, or shows a label that is not there, is a problem in words."""
    alert = Alert(name="A", expression=rule[0], hold="", urgency="page", summary=rule[1], action="")
    later = Recording(name="later:jobspan_slots:sum", expression="sum(jobspan_slots)")
    assert any(complaint in text for text in rule_problems([Group(name="g", rules=(alert, later))]))


def test_two_rules_of_one_name_are_found() -> None:
    """Prometheus would take both."""
    rule = Recording(name="a:jobspan_slots:sum", expression="sum(jobspan_slots)")
    assert rule_problems([Group(name="g", rules=(rule, rule))]) == ["there are several rules a:jobspan_slots:sum"]
