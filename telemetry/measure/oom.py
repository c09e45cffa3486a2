"""How many processes of a control group the kernel has killed because memory ran out: I/O only."""

from collections.abc import Iterable
from pathlib import Path

from telemetry.measure import cgroup, cgroup1
from telemetry.measure.files import named_number

#: Where version 2 (Documentation/admin-guide/cgroup-v2) and version 1 (since Linux 4.13) count them.
_FILES = ("memory.events", "memory.oom_control")


def oom_kills(paths: Iterable[Path]) -> int | None:
    """In the groups at *paths*, which hold the same processes; None: no controller tells."""
    return max((told for path in paths if (told := _told(path)) is not None), default=None)


def own_groups() -> tuple[Path, ...]:
    """The groups that this process is in, of those hierarchies that may tell."""
    paths = []
    for find in (cgroup.own_group, lambda: cgroup1.own_group("memory")):
        try:
            paths.append(find())
        except OSError:  # that hierarchy is not mounted here
            continue
    return tuple(paths)


def _told(path: Path) -> int | None:
    for name in _FILES:
        try:
            return named_number((path / name).read_bytes(), b"oom_kill")
        except OSError:
            continue
    return None
