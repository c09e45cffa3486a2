"""Grafana's dashboard JSON from a few words. Pure.

Only what jobspan uses of Grafana's model (schema version 39, Grafana 10.4 and newer). Ids, refIds
and positions follow from the order of the panels, so that the file changes only where the meaning does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

GRID_COLUMNS = 24
_SCHEMA_VERSION = 39
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


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


@dataclass(frozen=True)
class Row:
    """A heading and the panels under it."""

    title: str
    panels: Sequence[Panel]


def dashboard(*, uid: str, title: str, description: str, tags: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """The whole document."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": list(tags),
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_datasource_variable()]},
        "panels": _layout(rows),
    }


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0}


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
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": _custom(panel)}, "overrides": []},
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
