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
