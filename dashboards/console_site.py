"""What the console's pages of a site show, from the values of the API. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboards.console_jobs import instant

_PILOT = (
    "Status",
    "StatusReason",
    "GridSite",
    "DestinationSite",
    "Queue",
    "GridType",
    "PilotJobReference",
    "BenchMark",
)
_TIMES = {"SubmissionTime": "Registered", "LastUpdateTime": "Last update"}
_HOUR = 3600.0
#: Of each table of a report.
MOST_ROWS = 500


def about_pilot(pilot: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What is known of a pilot; nothing, if it has not registered itself."""
    said = [(name, pilot[name]) for name in _PILOT if pilot.get(name) not in (None, "", "Unknown", 0.0)]
    return said + [(title, instant(pilot[name])) for name, title in _TIMES.items() if pilot.get(name)]


def usage_rows(sums: Sequence[Mapping[str, Any]], by: str) -> list[dict[str, Any]]:
    """Sums by the key *by* in hours, the most core hours first; and all of them together, if there are several."""
    rows = sorted((_usage(each[by] or "none", each) for each in sums), key=lambda row: -row["core_hours"])
    if len(rows) > 1:
        names = ("Jobs", "ExecTime", "CPUTime", "NormCPUTime", "OutputDataSize")
        total = {name: sum(each[name] for each in sums) for name in names}
        rows.append(_usage("all", total) | {"is_sum": True})
    return rows


def report_values(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report in JSON as rows; of a table so many as a page can show. What is not as expected is left out.

    Both forms of `jobspan reconcile --json` are taken: that of sources, which names its figures and tables, and that
    of the two ledgers, where every number is a figure and every list of objects a table.
    """
    figures = report.get("figures", {name: value for name, value in report.items() if isinstance(value, int | float)})
    tables = report.get("tables", report)
    mood = report.get("mood") or ("" if "exit_code" not in report else "bad" if report["exit_code"] else "good")
    return {
        "title": str(report.get("title") or "The last report"),
        "verdict": str(report.get("verdict") or report.get("summary") or ""),
        "mood": mood if mood in ["good", "warn", "bad"] else "",
        "source": str(report.get("source") or ""),
        "figures": [(_words(name), _figure(value)) for name, value in _items(figures) if name != "exit_code"],
        "tables": [_table(name, rows) for name, rows in _items(tables) if _is_table(rows)],
    }


def _items(values: Any) -> list[tuple[str, Any]]:
    return list(values.items()) if isinstance(values, Mapping) else []


def _is_table(rows: Any) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, Mapping) for row in rows)


def _words(name: str) -> str:
    """A name of JSON for people."""
    return name.replace("_", " ").capitalize() if name.islower() else name


def _table(name: str, rows: list[Any]) -> dict[str, Any]:
    names = list(dict.fromkeys(head for row in rows[:MOST_ROWS] for head in row))
    shown = [[_figure(row.get(head)) for head in names] for row in rows[:MOST_ROWS]]
    return {"name": _words(name), "heads": list(map(_words, names)), "rows": shown, "hidden": len(rows) - len(shown)}


def _figure(value: Any) -> Any:
    """Numbers to six digits, everything else as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, int) else str(value)


def _usage(name: str, sums: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "jobs": sums["Jobs"],
        "core_hours": sums["ExecTime"] / _HOUR,
        "cpu_hours": sums["CPUTime"] / _HOUR,
        "norm_hours": sums["NormCPUTime"] / _HOUR,
        "efficiency": sums["CPUTime"] / sums["ExecTime"] if sums["ExecTime"] else None,
        "output_bytes": sums["OutputDataSize"],
        "is_sum": False,
    }
