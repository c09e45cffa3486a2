"""Control groups that a dead starter has left behind: found again by their paths, and their last account."""

from collections.abc import Iterable
from pathlib import Path

from telemetry.measure.cgroup import PREFIX, ControlGroup
from telemetry.measure.cgroup1 import ControllerGroups
from telemetry.measure.hybrid import joined
from telemetry.measure.meter import Group


def reopen(paths: Iterable[Path]) -> Group | None:
    """The groups at *paths* that are still there and ours by their names."""
    there = [path for path in paths if path.name.startswith(PREFIX) and path.is_dir()]
    unified = next((path for path in there if (path / "cgroup.controllers").exists()), None)
    found = {
        controller: ControlGroup(path, has_live_lists=False)
        for controller, file in (
            ("cpuacct", "cpuacct.usage"),
            ("memory", "memory.max_usage_in_bytes"),
            ("pids", "pids.current"),
            ("freezer", "freezer.state"),
        )
        for path in there
        if path != unified and (path / file).exists()
    }
    if unified is not None:
        return joined(ControlGroup(unified), found)
    if "cpuacct" not in found:
        return None
    return ControllerGroups(found["cpuacct"], found.get("memory"), found.get("pids"), found.get("freezer"))
