"""Grafana's dashboard JSON from a few words. Pure.

Only what jobspan uses of Grafana's model (schema version 39, Grafana 10.4 and newer). Ids, refIds
and positions follow from the order of the panels, so that the file changes only where the meaning does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from telemetry.catalogue import SLOTS

GRID_COLUMNS = 24
_SCHEMA_VERSION = 39
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Our dashboards find each other by it.
_TAG = "jobspan"


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series (`{{label}}` is filled in)."""

    expression: str
    legend: str = ""
    #: A table or a stat wants the present value only.
    is_instant: bool = False
    #: Show the exemplars of a histogram: points that lead to a trace.
    with_exemplars: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. *unit* is Grafana's name of the unit."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    width: int = 12
    height: int = 8
    is_stacked: bool = False
    decimals: int | None = None
    #: A value above it is shown in red; without one nothing is coloured.
    alarm_above: float | None = None
    #: What stands there while the query has no answer.
    if_empty: str = ""


@dataclass(frozen=True)
class Row:
    """A heading and the panels under it."""

    title: str
    panels: Sequence[Panel]


def dashboard(*, uid: str, title: str, description: str, rows: Sequence[Row], by_node: bool = False) -> dict[str, Any]:
    """The whole document. *by_node*: with variables for the sites and nodes that it shows."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [_TAG],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_datasource_variable(), *(_choices() if by_node else ())]},
        "links": [_link_to_others()],
        "panels": _layout(rows),
    }


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


def _choices() -> tuple[dict[str, Any], ...]:
    return (
        _variable("site", "Site", f"label_values({SLOTS.name}, site)"),
        _variable("node", "Node", f'label_values({SLOTS.name}{{site=~"$site"}}, instance)'),
    )


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A choice of several of what *query* finds, all of them at first."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "hide": 0,
    }


def _link_to_others() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "jobspan",
        "tags": [_TAG],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _layout(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Panels from left to right and from top to bottom, numbered in that order."""
    placed: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        placed.append(_row(len(placed) + 1, row.title, top))
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > GRID_COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            position = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append(_panel(len(placed) + 1, panel, position))
            left += panel.width
            tallest = max(tallest, panel.height)
        top += tallest
    return placed


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": top, "w": GRID_COLUMNS, "h": 1},
        "panels": [],
    }


def _panel(number: int, panel: Panel, position: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": position,
        "targets": [_target(chr(ord("A") + index), query) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(ref_id: str, query: Query) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "datasource": _DATASOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "instant": query.is_instant,
        "range": not query.is_instant,
        "exemplar": query.with_exemplars,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "custom": _custom(panel)}
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.if_empty:
        defaults["noValue"] = panel.if_empty
    if panel.kind != "timeseries":  # without steps of its own Grafana takes red above 80
        defaults["thresholds"] = {"mode": "absolute", "steps": _steps(panel.alarm_above)}
    return defaults


def _steps(alarm_above: float | None) -> list[dict[str, Any]]:
    if alarm_above is None:
        return [{"color": "blue", "value": None}]
    return [{"color": "green", "value": None}, {"color": "red", "value": alarm_above}]


def _custom(panel: Panel) -> dict[str, Any]:
    if panel.kind != "timeseries":
        return {}
    stacking = {"mode": "normal" if panel.is_stacked else "none", "group": "A"}
    return {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if panel.is_stacked else 0, "stacking": stacking}


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"], "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "orientation": "auto"}
