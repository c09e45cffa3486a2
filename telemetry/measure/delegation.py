"""Control groups of version 2 get a controller only when the group above hands it on (`cgroup.subtree_control`): I/O.

A group that hands one on may hold no process of its own, but for the root. So an agent that is alone in a group that
was delegated to it moves into a leaf below, `LEAF`; it may also be started there (`DelegateSubgroup=` of systemd 254).
Groups of payloads are made beside the leaf then. What cannot be had is a sentence, not an error.
"""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from telemetry.measure.cgroup import LEAF, NoControlGroup, own_group

#: What tells more of a payload. Not cpu, which only divides time, and between groups of any number of processors
#: alike: CPU is counted without it.
CONTROLLERS = ("memory", "pids", "io")


@dataclass(frozen=True)
class Room:
    """What came of `make_room`."""

    #: In words which controllers do not reach payloads, and why; empty: all do that there are.
    lacking: str = ""
    #: The group that we have left for the leaf in it; None: we are where we were.
    left: Path | None = None

    def give_back(self) -> None:
        """Go back, so that whoever starts the next agent can put it where this one was. Never raises."""
        if self.left is None:
            return
        control = self.left / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            for each in control.read_text().split():
                control.write_text(f"-{each}")
            (self.left / "cgroup.procs").write_text("0")
            (self.left / LEAF).rmdir()


def make_room(controllers: Iterable[str] = CONTROLLERS) -> Room:
    """Have those of *controllers* that our group has handed on to groups of payloads, and move into a leaf for it.

    For the beginning of an agent, which has neither a child nor a second thread yet. Never raises.
    """
    try:
        own = own_group()
        if own.name == LEAF:
            return Room(_hand_on(own.parent, controllers))
        if (lacking := obstacle(own, controllers)) or not _missing(own, controllers):
            return Room(lacking)
        if _is_root(own):
            return Room(_hand_on(own, controllers))
        (own / LEAF).mkdir(exist_ok=True)
        (own / LEAF / "cgroup.procs").write_text("0")
        return Room(_hand_on(own, controllers), own)
    except NoControlGroup:
        return Room()
    except OSError as error:
        return Room(f"control group controllers cannot be handed on to payloads: {error}")


def obstacle(own: Path, controllers: Iterable[str] = CONTROLLERS) -> str:
    """Why an agent in the group *own* of this process could not hand on what it has of *controllers*; empty: it could.

    Nothing is changed.
    """
    missing = [] if own.name == LEAF else _missing(own, controllers)
    if not missing or _is_root(own):
        return ""
    lacking = f"{' and '.join(missing)} of control groups cannot reach payloads"
    if own.name.endswith(".service"):
        # The next process that systemd starts for the service would not get into a group that hands controllers on.
        return f"{lacking}: {own.name} has no DelegateSubgroup={LEAF} (systemd 254 and newer)"
    if not os.access(own / "cgroup.subtree_control", os.W_OK):
        return f"{lacking}: {own} was not delegated to this user"
    others = [pid for pid in (own / "cgroup.procs").read_text().split() if int(pid) != os.getpid()]
    return f"{lacking}: an agent has to be alone in its group, and {own} holds {len(others)} more" if others else ""


def _missing(folder: Path, controllers: Iterable[str]) -> list[str]:
    """Those of *controllers* that *folder* has, and does not hand on."""
    had, handed_on = ((folder / name).read_text().split() for name in ("cgroup.controllers", "cgroup.subtree_control"))
    return [each for each in controllers if each in had and each not in handed_on]


def _hand_on(folder: Path, controllers: Iterable[str]) -> str:
    """Switch on those of *controllers* that *folder* has for the groups in it; in words why not all of them."""
    missing = _missing(folder, controllers)
    # Of most controllers the kernel itself refuses this. Of pids it does not, and then no payload could be started.
    if missing and not _is_root(folder) and (folder / "cgroup.procs").read_text():
        return f"{' and '.join(missing)} of control groups cannot reach payloads: {folder} holds processes"
    refused = []
    for each in missing:
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{each}")
        except OSError as error:
            refused.append(f"{each} ({error.strerror})")
    return f"{folder} cannot hand on {' and '.join(refused)} to payloads" if refused else ""


def _is_root(folder: Path) -> bool:
    return not (folder / "cgroup.type").exists()
