"""What stands in the way of handing controllers on, on captured groups of version 2."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from telemetry.measure.cgroup import LEAF
from telemetry.measure.delegation import _hand_on, obstacle


def captured(folder: Path, *, has: str, hands_on: str = "", holds: str = "", is_root: bool = False) -> Path:
    """A group as files."""
    folder.mkdir()
    files = {"cgroup.controllers": has, "cgroup.subtree_control": hands_on, "cgroup.procs": holds}
    for name, content in {**files, **({} if is_root else {"cgroup.type": "domain\n"})}.items():
        (folder / name).write_text(content)
    return folder


ALONE = f"{os.getpid()}\n"


@pytest.mark.parametrize(
    ("name", "group", "words"),
    [
        ("jobs", {"has": "cpu memory pids\n", "holds": ALONE}, ""),
        ("jobs", {"has": "cpu memory pids\n", "holds": f"{ALONE}1\n2\n"}, "memory and pids .*/jobs holds 2 more"),
        ("jobs", {"has": "cpu memory pids\n", "hands_on": "memory pids\n", "holds": "1\n"}, ""),
        ("jobs", {"has": "cpu memory pids\n", "hands_on": "memory\n", "holds": "1\n"}, "^pids of"),
        ("jobs", {"has": "cpuset cpu\n", "holds": "1\n"}, ""),
        ("agent.service", {"has": "memory\n", "holds": ALONE}, f"agent.service has no DelegateSubgroup={LEAF}"),
        (LEAF, {"has": "memory\n", "holds": f"{ALONE}1\n"}, ""),
        ("root", {"has": "memory\n", "holds": f"{ALONE}1\n", "is_root": True}, ""),
    ],
)
def test_obstacles_are_told(tmp_path: Path, name: str, group: dict[str, Any], words: str) -> None:
    """Who is not alone, or where systemd would put the next agent, cannot hand on; without a controller to hand on
    nothing is missing. Nothing is changed."""
    folder = captured(tmp_path / name, **group)
    found = obstacle(folder)
    assert bool(found) == bool(words)
    assert re.search(words, found)
    assert (folder / "cgroup.subtree_control").read_text() == group.get("hands_on", "")


def test_a_group_with_processes_hands_nothing_on(tmp_path: Path) -> None:
    """Not even what the kernel would allow: groups below would refuse every process then."""
    inhabited = captured(tmp_path / "a", has="pids\n", holds="1\n")
    assert "holds processes" in _hand_on(inhabited, ("memory", "pids"))
    assert (inhabited / "cgroup.subtree_control").read_text() == ""
    empty = captured(tmp_path / "b", has="cpu pids\n")
    assert _hand_on(empty, ("memory", "pids")) == ""
    assert (empty / "cgroup.subtree_control").read_text() == "+pids"
    root = captured(tmp_path / "c", has="cpu pids\n", holds="1\n", is_root=True)
    assert _hand_on(root, ("memory", "pids")) == ""
    assert (root / "cgroup.subtree_control").read_text() == "+pids"
