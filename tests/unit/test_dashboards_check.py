"""The dashboard asks for what exists, and the file is what the code says."""

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashboards.check import empty_panels, filled, problems, queried_panels, samples
from dashboards.generate import DASHBOARDS, files, main, outdated
from dashboards.job_stages import stages_dashboard
from dashboards.promql import Matcher, UnreadableQuery, read
from dashboards.wms import wms_dashboard
from telemetry.catalogue import METRICS, RECONCILIATION_METRICS, WMS_METRICS


def test_the_file_is_up_to_date() -> None:
    """The files in grafana/ and prometheus/ are what `python -m dashboards.generate` writes, no others are there."""
    assert outdated() == []
    assert main(["--check"]) == 0
    assert len(files()) == 6


@pytest.mark.parametrize("make", DASHBOARDS.values())
def test_the_dashboard_is_sound(make: Callable[[], dict[str, Any]]) -> None:
    """Every metric, label, id and refId of the dashboard exists and is used as its kind asks."""
    assert problems(make()) == []


@pytest.mark.parametrize("make", DASHBOARDS.values())
def test_panels_do_not_overlap_and_stay_on_the_grid(make: Callable[[], dict[str, Any]]) -> None:
    """No two panels share a cell of Grafana's 24 columns."""
    cells: set[tuple[int, int]] = set()
    for panel in make()["panels"]:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own


def shown_by(document: dict[str, Any]) -> set[str]:
    """The metrics that a dashboard asks for."""
    return {
        selector.metric
        for panel in queried_panels(document)
        for target in panel["targets"]
        for selector in read(target["expr"]).selectors
    }


def test_every_metric_is_on_a_dashboard() -> None:
    """What is counted is shown: by the WMS on its own dashboard, all else on one of the others."""
    shown = [shown_by(make()) for make in DASHBOARDS.values()]
    known = {**METRICS, **WMS_METRICS, **RECONCILIATION_METRICS}
    assert [name for name, metric in known.items() if not any(each & set(metric.samples) for each in shown)] == []
    assert [name for name, metric in WMS_METRICS.items() if not shown_by(wms_dashboard()) & set(metric.samples)] == []


def test_dashboards_have_names_of_their_own() -> None:
    """Grafana would overwrite one with another of the same uid or title."""
    documents = [make() for make in DASHBOARDS.values()]
    assert len({each["uid"] for each in documents}) == len({each["title"] for each in documents}) == len(documents)


def broken(expression: str, legend: str = "") -> dict[str, Any]:
    """The dashboard with another query in its first panel."""
    changed = copy.deepcopy(stages_dashboard())
    target = next(queried_panels(changed))["targets"][0]
    target.update(expr=expression, legendFormat=legend)
    return changed


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sum(rate(jobspan_wall_second_total[5m]))", "no metric jobspan_wall_second_total"),
        ('rate(jobspan_wall_seconds_total{phase="x"}[5m])', "has no label phase"),
        ("sum by (phase) (rate(jobspan_wall_seconds_total[5m]))", "no metric of the query has the label phase"),
        ("jobspan_wall_seconds_total", "is a counter: rate or increase must be used"),
        ("rate(jobspan_job_cpu_seconds[5m])", "is a gauge: rate or increase must not be used"),
        ("1 + 1", "asks for no metric"),
        ("sum(rate(jobspan_wall_seconds_total[5m])) § 2", "cannot read"),
        ('jobspan_job_cpu_seconds{job_id="1"', "a } is missing"),
        ("jobspan_job_cpu_seconds{job_id", "is compared with no text"),
        ("jobspan_job_cpu_seconds{job_id=1}", "is compared with no text"),
    ],
)
def test_broken_queries_are_found(expression: str, complaint: str) -> None:
    """A query that Prometheus would answer with nothing is a problem in words."""
    assert any(complaint in text for text in problems(broken(expression)))


def test_a_legend_with_an_unknown_label_is_found() -> None:
    """A legend cannot name a label that the query has not."""
    assert any("the label phase is shown" in text for text in problems(broken("jobspan_job_cpu_seconds", "{{phase}}")))


@pytest.mark.parametrize("change", [{"uid": ""}, {"panels": []}])
def test_missing_ids_are_found(change: dict[str, Any]) -> None:
    """A dashboard without uid, or whose panels share an id, is not sound."""
    changed = {**stages_dashboard(), **change}
    if not changed["panels"]:
        changed["panels"] = [stages_dashboard()["panels"][1]] * 2
    assert problems(changed)


def test_a_query_is_read_with_its_matchers_and_groups() -> None:
    """Functions, keywords, numbers, strings and ranges are no metrics."""
    reading = read(
        'histogram_quantile(0.9, sum by (le, stage) (rate(a_bucket{x="1",y=~"b|c"}[$__rate_interval])) or vector(0))'
    )
    (selector,) = reading.selectors
    assert selector.metric == "a_bucket"
    assert selector.matchers == (Matcher("x", "=", "1"), Matcher("y", "=~", "b|c"))
    assert selector.in_rate
    assert reading.grouping == {"le", "stage"}
    assert [s.metric for s in read("sum(a) by (x) / on (y) group_left b offset 5m").selectors] == ["a", "b"]


def test_matchers_accept_as_prometheus_does() -> None:
    """Regular expressions are anchored, and an absent label is empty."""
    assert Matcher("a", "=~", "b|c").accepts({"a": "c"})
    assert not Matcher("a", "=~", "b").accepts({"a": "bb"})
    assert Matcher("a", "!=", "x").accepts({})
    assert Matcher("a", "=", "").accepts({})
    assert not Matcher("a", "!~", "x.*").accepts({"a": "xy"})


def test_unclosed_groups_are_told() -> None:
    """A query that ends too early is unreadable, not an endless loop."""
    with pytest.raises(UnreadableQuery):
        read("sum by (a")


def test_samples_of_both_formats_are_read() -> None:
    """Text and OpenMetrics, with escapes and exemplars."""
    text = '# HELP a b\na_total{x="1\\"2",y=""} 3.0 # {trace_id="ff"} 1.0\nb 4\n# EOF\n'
    assert list(samples(text)) == [("a_total", {"x": '1\\"2', "y": ""}, 3.0), ("b", {}, 4.0)]


def test_a_panel_without_samples_is_empty() -> None:
    """A metric counts as present only when a sample passes the query's matchers, in any of the scrapes."""
    document = broken('rate(jobspan_wall_seconds_total{stage="execute"}[5m])')
    document["panels"] = document["panels"][1:2]
    other = 'jobspan_wall_seconds_total{stage="finalize"} 1\n'
    wanted = 'jobspan_wall_seconds_total{stage="execute"} 1\n'
    assert empty_panels(document, other) == ["Living jobs by stage: jobspan_wall_seconds_total"]
    assert empty_panels(document, [other, wanted]) == []


@pytest.mark.prometheus
def test_promtool_parses_every_query(tmp_path: Path) -> None:
    """The whole language, by Prometheus's own parser, with Grafana's variables filled in."""
    rules = [
        {
            "record": f"check:{number}:panel{panel['id']}{target['refId']}",
            "expr": filled(target["expr"], window="5m", range_="6h"),
        }
        for number, make in enumerate(DASHBOARDS.values())
        for panel in queried_panels(make())
        for target in panel["targets"]
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool = shutil.which("promtool") or "promtool"
    done = subprocess.run([promtool, "check", "rules", str(path)], timeout=30, capture_output=True, text=True)
    assert (done.returncode, f"{len(rules)} rules found" in done.stdout) == (0, True), done.stdout + done.stderr
