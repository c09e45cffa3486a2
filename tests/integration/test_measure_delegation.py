"""Controllers that are handed on to groups of payloads, in the unified hierarchy of the real machine.

A machine whose version 1 has memory, pids and io has other controllers in version 2 at most: the kernel's rules are the
same for each, so one of those stands in.
"""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.measure import delegation
from telemetry.measure.cgroup import LEAF, ControlGroup, own_group
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.cgroup,
    pytest.mark.root,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.fixture
def controller() -> Iterator[str]:
    """One that our group has, and hands on as long as the test lasts."""
    own = own_group()
    control = own / "cgroup.subtree_control"
    found = next((each for each in (own / "cgroup.controllers").read_text().split() if each != "cpu"), "")
    if not found or (own / "cgroup.type").exists():  # only the root hands on what it shares with processes
        pytest.skip("our group has no controller of version 2 that it could hand on")
    folder = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # other runs of this test are to wait
        was_on = found in control.read_text().split()
        control.write_text(f"+{found}")
        yield found
        if not was_on:
            control.write_text(f"-{found}")
    finally:
        os.close(folder)


@pytest.fixture
def delegated(controller: str) -> Iterator[Path]:
    """A group that was given to an ordinary user, gone afterwards."""
    group = own_group() / f"jobspan-test-delegated-{os.getpid()}"
    group.mkdir()
    for each in (group, *(group / f"cgroup.{name}" for name in ("procs", "subtree_control"))):
        os.chown(each, 65534, 65534)
    assert controller in (group / "cgroup.controllers").read_text().split()
    yield group
    eventually(ControlGroup(group).remove)


def as_member(group: Path, uid: int, controller: str, *, beside: bool = False) -> dict[str, object]:
    """What a process of *uid* in *group* makes of it, alone or *beside* another one."""
    read_fd, write_fd = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            (group / "cgroup.procs").write_text("0")
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            other = _waiting() if beside else 0
            os.write(write_fd, json.dumps(_look_around(group, controller)).encode())
            if other:
                os.kill(other, signal.SIGKILL)
                os.waitpid(other, 0)
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd) as file:
        answer = file.read()
    os.waitpid(process, 0)
    return dict(json.loads(answer))


def _waiting() -> int:
    process = os.fork()
    if process == 0:
        signal.pause()
    return process


def _look_around(group: Path, controller: str) -> dict[str, object]:
    room = delegation.make_room((controller,))
    control = group / "cgroup.subtree_control"
    seen: dict[str, object] = {"lacking": room.lacking, "own": str(own_group()), "on": control.read_text().split()}
    payload = ControlGroup.create("payload")
    seen["payload"] = str(payload.path)
    seen["reached"] = controller in (payload.path / "cgroup.controllers").read_text().split()
    payload.remove()
    room.give_back()
    return {**seen, "back": str(own_group()), "off": control.read_text().split()}


@pytest.mark.parametrize("uid", [0, 65534])
def test_who_is_alone_makes_room(delegated: Path, controller: str, uid: int) -> None:
    """It moves into a leaf, the controller reaches groups of payloads, which are made beside that; at the end all is as
    it was. The same for root and for an ordinary user to whom the group was given."""
    assert as_member(delegated, uid, controller) == {
        "lacking": "",
        "own": str(delegated / LEAF),
        "on": [controller],
        "payload": str(delegated / "jobspan-payload"),
        "reached": True,
        "back": str(delegated),
        "off": [],
    }
    assert not (delegated / LEAF).exists()


def test_who_is_not_alone_does_without(delegated: Path, controller: str) -> None:
    """Nobody else is moved, and payloads get groups all the same; the reason is told."""
    seen = as_member(delegated, 0, controller, beside=True)
    assert f"{delegated} holds 1 more" in str(seen["lacking"])
    assert (seen["own"], seen["on"], seen["reached"]) == (str(delegated), [], False)
    assert seen["payload"] == str(delegated / "jobspan-payload")


def test_a_group_that_was_not_delegated_is_left_as_it_is(delegated: Path, controller: str) -> None:
    """Who may make groups below but hand nothing on stays where it is, and says so."""
    os.chown(delegated / "cgroup.subtree_control", 0, 0)
    seen = as_member(delegated, 65534, controller)
    assert "was not delegated to this user" in str(seen["lacking"])
    assert (seen["own"], seen["reached"]) == (str(delegated), False)
    assert not (delegated / LEAF).exists()


def test_what_the_kernel_refuses_is_told(delegated: Path, controller: str) -> None:
    """A controller that cannot be handed on costs a sentence; payloads get their groups all the same."""
    os.chown(delegated / "cgroup.subtree_control", 0, 0)
    (delegated / LEAF).mkdir()
    seen = as_member(delegated / LEAF, 65534, controller)
    assert seen["lacking"] == f"{delegated} cannot hand on {controller} (Permission denied) to payloads"
    assert (seen["payload"], seen["reached"]) == (str(delegated / "jobspan-payload"), False)


def test_who_was_started_in_a_leaf_stays_there(delegated: Path, controller: str) -> None:
    """As systemd does it for `DelegateSubgroup=`: the group above hands on, and so it does for the next agent."""
    (delegated / LEAF).mkdir()
    seen = as_member(delegated / LEAF, 0, controller)
    assert (seen["lacking"], seen["own"], seen["back"]) == ("", str(delegated / LEAF), str(delegated / LEAF))
    assert (seen["payload"], seen["reached"]) == (str(delegated / "jobspan-payload"), True)
    assert (delegated / "cgroup.subtree_control").read_text().split() == [controller]
