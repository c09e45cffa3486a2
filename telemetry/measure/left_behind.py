"""Control groups that a dead starter has left behind: found again by their paths, and their last account."""

from collections.abc import Iterable
from pathlib import Path

from telemetry.measure.cgroup import PREFIX, ControlGroup
from telemetry.measure.cgroup1 import ControllerGroups
from telemetry.measure.files import named_number
from telemetry.measure.meter import Group

#: Where each version counts the processes that the kernel has killed for want of memory.
_OOM_FILES = ("memory.events", "memory.oom_control")


def reopen(paths: Iterable[Path]) -> tuple[Group, str] | None:
    """The groups at *paths* that are still there and ours by their names, with the method that reads them."""
    there = [path for path in paths if path.name.startswith(PREFIX) and path.is_dir()]
    for path in there:
        if (path / "cgroup.controllers").exists():
            return ControlGroup(path), "cgroup2"
    found = {
        name: ControlGroup(path, has_live_lists=False)
        for name, file in (
            ("cpuacct", "cpuacct.usage"),
            ("memory", "memory.max_usage_in_bytes"),
            ("tasks", "pids.current"),
            ("freezer", "freezer.state"),
        )
        for path in there
        if (path / file).exists()
    }
    return (ControllerGroups(**found), "cgroup1") if "cpuacct" in found else None


def oom_kills(paths: Iterable[Path]) -> int:
    """How many processes of the groups at *paths* the kernel has killed because memory ran out, as far as it tells."""
    return max((_oom_kills(path) or 0 for path in paths), default=0)


def _oom_kills(path: Path) -> int | None:
    for name in _OOM_FILES:
        try:
            return named_number((path / name).read_bytes(), b"oom_kill")
        except OSError:
            continue
    return None
