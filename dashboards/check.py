"""Whether dashboards and rules ask for what exists: by the catalogue, and by what a real scrape shows. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dashboards.promql import Selector, UnreadableQuery, read
from dashboards.rules import Alert, Group, Recording
from telemetry.catalogue import METRICS, RECONCILIATION_METRICS, WMS_METRICS, Metric

#: Labels that Prometheus itself, and our service discovery, put on every sample.
_TARGET_LABELS = frozenset({"job", "instance", "site", "role"})
_LEGEND = re.compile(r"{{\s*(\w+)\s*}}")
_TEMPLATE = re.compile(r"{{\s*\$labels\.(\w+)\s*}}")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*?)\})? ([^ #]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
#: What Prometheus knows by itself.
_PROMETHEUS = (
    Metric(name="up", kind="gauge", unit="", help="Whether the last scrape of a target went well"),
    Metric(name="ALERTS", kind="gauge", unit="", help="Alerts that wait or fire", labels=("alertname", "alertstate")),
)
_BY_SAMPLE: Mapping[str, Metric] = {
    sample: metric
    for metric in (*METRICS.values(), *WMS_METRICS.values(), *RECONCILIATION_METRICS.values(), *_PROMETHEUS)
    for sample in metric.samples
}


def problems(dashboard: Mapping[str, Any]) -> list[str]:
    """What is wrong with *dashboard*, in sentences: ids, queries, metrics and labels that do not exist."""
    found = [] if dashboard.get("uid") else ["the dashboard has no uid"]
    ids = [panel.get("id") for panel in dashboard["panels"]]
    if None in ids or len(set(ids)) != len(ids):
        found.append("panel ids must be set and differ")
    for panel in queried_panels(dashboard):
        found.extend(f"panel {panel['title']!r}: {text}" for text in _panel_problems(panel))
    return found


def queried_panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The panels that show something, without rows."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def filled(expression: str, *, window: str, range_: str) -> str:
    """The query of a panel as Grafana sends it when all sites and nodes are shown."""
    chosen = expression.replace("$__rate_interval", window).replace("$__range", range_)
    return chosen.replace("$site", ".*").replace("$node", ".*")


def _panel_problems(panel: Mapping[str, Any]) -> Iterator[str]:
    references = [target.get("refId") for target in panel["targets"]]
    if not references or not all(references) or len(set(references)) != len(references):
        yield "refIds must be set and differ"
    if not panel["fieldConfig"]["defaults"].get("unit"):
        yield "no unit"
    for target in panel["targets"]:
        named = _LEGEND.findall(target.get("legendFormat", ""))
        yield from _query_problems(target["expr"], named, _BY_SAMPLE)


def _query_problems(expression: str, named: Sequence[str], by_sample: Mapping[str, Metric]) -> Iterator[str]:
    """*named* are the labels that a legend or an annotation shows."""
    try:
        reading = read(expression)
    except UnreadableQuery as error:
        yield str(error)
        return
    if not reading.selectors:
        yield f"{expression!r} asks for no metric"
    known = set(_TARGET_LABELS)
    for selector in reading.selectors:
        metric = by_sample.get(selector.metric)
        if metric is None:
            yield f"no metric {selector.metric} in the catalogue"
            continue
        known |= metric.sample_labels
        yield from _selector_problems(selector, metric)
    for label in sorted(reading.grouping - known):
        yield f"no metric of the query has the label {label}"
    if reading.selectors:
        for label in sorted(set(named) - known):
            yield f"the label {label} is shown, which no metric of the query has"


def _selector_problems(selector: Selector, metric: Metric) -> Iterator[str]:
    for matcher in selector.matchers:
        if matcher.label not in metric.sample_labels | _TARGET_LABELS:
            yield f"{selector.metric} has no label {matcher.label}"
    if (metric.kind != "gauge") != selector.in_rate:
        wanted = "must not" if selector.in_rate else "must"
        yield f"{selector.metric} is a {metric.kind}: rate or increase {wanted} be used"


# --- rules ----------------------------------------------------------------------------------------


def rule_problems(groups: Sequence[Group]) -> list[str]:
    """What is wrong with rules, in sentences; a rule may use recordings that come before it in its group."""
    found: list[str] = []
    names = [rule.name for group in groups for rule in group.rules]
    found.extend(
        f"there are several rules {name}" for name in sorted({name for name in names if names.count(name) > 1})
    )
    for group in groups:
        by_sample = dict(_BY_SAMPLE)
        for rule in group.rules:
            found.extend(
                f"rule {rule.name}: {text}" for text in _query_problems(rule.expression, _shown(rule), by_sample)
            )
            if isinstance(rule, Recording):
                by_sample[rule.name] = _recorded(rule, by_sample)
    return found


def _shown(rule: Recording | Alert) -> list[str]:
    return _TEMPLATE.findall(rule.summary + rule.action) if isinstance(rule, Alert) else []


def _recorded(rule: Recording, by_sample: Mapping[str, Metric]) -> Metric:
    """What a recording makes: a gauge with the labels of what it is made of."""
    sources = (by_sample.get(selector.metric) for selector in read(rule.expression).selectors)
    labels = {label for source in sources if source for label in source.sample_labels}
    return Metric(name=rule.name, kind="gauge", unit="", help=rule.expression, labels=tuple(sorted(labels)))


# --- a scrape -------------------------------------------------------------------------------------


def samples(exposition: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each sample in a scrape, in the text format or OpenMetrics."""
    for line in exposition.splitlines():
        found = None if line.startswith("#") else _SAMPLE.match(line)
        if found:
            yield found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])


def empty_panels(dashboard: Mapping[str, Any], expositions: str | Iterable[str]) -> list[str]:
    """Queries of *dashboard* whose metrics none of the scrapes *expositions* has, as "panel: metric".

    Gauges of living jobs stand only in a scrape that was made while a job lived: pass several.
    """
    texts = [expositions] if isinstance(expositions, str) else list(expositions)
    present: dict[str, list[dict[str, str]]] = {}
    for text in texts:
        for name, labels, _ in samples(text):
            present.setdefault(name, []).append(labels)
    empty = []
    for panel in queried_panels(dashboard):
        for target in panel["targets"]:
            for selector in read(filled(target["expr"], window="5m", range_="6h")).selectors:
                rows = present.get(selector.metric, [])
                if not any(all(each.accepts(labels) for each in selector.matchers) for labels in rows):
                    empty.append(f"{panel['title']}: {selector.metric}")
    return empty
