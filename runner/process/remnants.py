"""What is left of a payload whose starter has died: found by control group, session and mark, and killed.

For recovery. There is no grace: a starter that dies with its wrapper was killed by the machine's owner or
by the kernel, and nobody watches these processes any more.
"""

import contextlib
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

from runner.process.tree import send
from telemetry.measure import procfs
from telemetry.measure.cgroup import PREFIX, ControlGroup
from telemetry.measure.snapshot import ProcessLook

_PATIENCE_SECONDS = 5.0
_KILL = 9


def end_remnants(cgroup_paths: Iterable[str], environment_mark: str, session: int | None = None) -> tuple[int, ...]:
    """KILL what is left of a payload, and remove its control groups; the pids that survive it.

    Arguments are those of the facts PayloadPlanned (and, as *session*, the pid of PayloadStarted) of this
    very boot. A session is believed only where a process in it carries the mark or sits in the group.
    """
    groups = [ControlGroup(Path(path)) for path in cgroup_paths if Path(path).name.startswith(PREFIX)]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := _find(groups, environment_mark.encode(), session)) and time.monotonic() < deadline:
        for group in groups:
            with contextlib.suppress(OSError):
                group.kill()
        _kill(left, deadline)
    for group in groups:
        group.remove()
    return tuple(each.identity.pid for each in left)


def _find(groups: list[ControlGroup], mark: bytes, session: int | None) -> list[ProcessLook]:
    pids = {pid for group in groups for pid in group.pids()}
    everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    if mark:
        pids.update(pid for pid in everybody if procfs.environment_has(pid, mark))
    if session is not None and any(procfs.session(pid) == session for pid in pids):
        pids.update(pid for pid in everybody if procfs.session(pid) == session)
    looks = (procfs.look(pid, with_bytes=False) for pid in pids - {os.getpid()})
    return [each for each in looks if each is not None and each.is_alive]


def _kill(targets: list[ProcessLook], deadline: float) -> None:
    """KILL *targets* and wait until all of them are gone."""
    handles = []
    for each in targets:
        with contextlib.suppress(OSError):
            handles.append(os.pidfd_open(each.identity.pid))
    try:
        send(targets, _KILL)
        poll = select.poll()
        for handle in handles:
            poll.register(handle, select.POLLIN)
        left = len(handles)
        while left and (seconds := deadline - time.monotonic()) > 0:
            for handle, _ in poll.poll(seconds * 1000):
                poll.unregister(handle)
                left -= 1
    finally:
        for handle in handles:
            os.close(handle)
