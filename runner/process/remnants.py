"""What is left of a payload whose starter has died: found by control group, session, mark, note, and the job's folder,
with all that descends from it, and killed.

For recovery. There is no grace: a starter that dies with its wrapper was killed by the machine's owner or
by the kernel, and nobody watches these processes any more.

Without a control group one is not found: a process that has left its session, its environment and its parents before
anybody has looked at it once, and then the job's folder and every file there too. Nothing tells of that one.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from runner.process import noted
from runner.process.signals import Sent, names_of
from runner.process.tree import send
from telemetry.clock import NANOSECONDS
from telemetry.measure import procfs
from telemetry.measure.cgroup import PREFIX, ControlGroup
from telemetry.measure.left_behind import reopen
from telemetry.measure.meter import group_methods
from telemetry.measure.oom import oom_kills
from telemetry.measure.snapshot import NO_PEAKS, GroupAccount, Methods, Peaks, ProcessId, ProcessLook

#: A process that survives KILL for so long waits for a disk, or is another user's.
_PATIENCE_SECONDS = 5.0
#: So often at least it is looked whether there are new ones, however long each look takes.
_ROUNDS = 100
_KILL = 9
#: Those that may have come to whoever recovers when their parents died: its children, but for those that it knows.
Orphans: TypeAlias = Callable[[], Collection[int]]


@dataclass(frozen=True)
class Traces:
    """By what a process is known that has left its session and its environment, and has no group."""

    orphans: Orphans = tuple
    #: Of the orphans those are meant that have started later: when the payload was planned.
    since_boottime_ns: int = 0
    #: Those that the starter has noted, see `noted`.
    notes: Collection[ProcessId] = ()
    #: The job's working directory: an orphan that works there is of the payload.
    folder: Path | None = None


NO_TRACES = Traces()


@dataclass(frozen=True)
class Remnants:
    """What was left of a payload, and what its control group tells, which stays until `remove`."""

    killed: Sent
    survivors: tuple[int, ...]
    duration_seconds: float
    #: The last account of its control group; None: it had none, or that is gone.
    account: GroupAccount | None
    peaks: Peaks
    #: Who tells what of the two.
    methods: Methods
    #: Processes that the kernel killed because memory ran out, as far as a group tells.
    oom_kills: int
    paths: tuple[Path, ...]

    def remove(self) -> None:
        """Remove the control groups; what they told is lost then."""
        for path in self.paths:
            ControlGroup(path).remove()


def end_remnants(
    cgroup_paths: Iterable[str],
    environment_mark: str,
    leader: ProcessId | None = None,
    *,
    traces: Traces = NO_TRACES,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Remnants:
    """KILL what is left of a payload; what that was, and what it has used.

    Arguments are those of the facts PayloadPlanned (and, of the *leader* of its session, those of PayloadStarted) of
    this very boot. A session is believed only where a process in it carries the mark or sits in the group, or where its
    leader is the process that was started: a pid alone may be somebody else's by now. Of the orphans among the *traces*
    those are meant that have left our session. Whatever is found gets its KILL, however long it took to find it; then
    *patience_seconds* are given to it.
    """
    paths = tuple(Path(path) for path in cgroup_paths if Path(path).name.startswith(PREFIX))
    reopened = reopen(paths)
    groups = [ControlGroup(path, has_live_lists=False) for path in paths]
    begun, killed = time.monotonic(), Sent(_KILL)
    search = _Search(groups, environment_mark.encode(), leader, traces)
    give_up_at, rounds, known = 0.0, 0, set[ProcessId]()
    while left := search.find():
        now, rounds = time.monotonic(), rounds + 1
        if not known.issuperset(each.identity for each in left) and (
            rounds <= _ROUNDS or now < begun + patience_seconds
        ):
            give_up_at = now + patience_seconds
        elif now >= give_up_at:
            break
        known.update(each.identity for each in left)
        names = names_of(left)
        if reopened is not None:
            with contextlib.suppress(OSError):
                reopened.kill()
        _kill(left, give_up_at)
        news = tuple(each.identity.pid for each in left if each.identity.pid not in killed.pids)
        killed = killed.plus(Sent(_KILL, news, tuple(names[pid] for pid in news if pid in names)))
    account: GroupAccount | None = None
    peaks, methods = NO_PEAKS, Methods()
    if reopened is not None:
        with contextlib.suppress(OSError):
            account, peaks = reopened.account(), reopened.peaks()
            methods = group_methods(reopened, account)
    return Remnants(
        killed=killed,
        survivors=tuple(each.identity.pid for each in left),
        duration_seconds=time.monotonic() - begun,
        account=account,
        peaks=peaks,
        methods=methods,
        oom_kills=oom_kills(paths) or 0,
        paths=paths,
    )


@dataclass(frozen=True)
class _Search:
    """By what the processes of a payload are known."""

    groups: list[ControlGroup]
    mark: bytes
    leader: ProcessId | None
    traces: Traces

    def find(self) -> list[ProcessLook]:
        """Those that live now."""
        pids = {pid for group in self.groups for pid in group.pids()}
        everybody = procfs.parents()
        if self.mark:
            pids.update(pid for pid in everybody if procfs.environment_has(pid, self.mark))
        if self.leader is not None:
            members = [pid for pid in everybody if procfs.session(pid) == self.leader.pid]
            if noted.living({self.leader}) or not pids.isdisjoint(members):
                pids.update(members)
        pids |= noted.living(self.traces.notes)
        pids.update(pid for pid in self.traces.orphans() if self._is_of_payload(pid))
        pids |= self._in_folder(everybody)
        pids.discard(os.getpid())
        looks = (procfs.look(pid, with_bytes=False) for pid in _with_descendants(pids))
        return [each for each in looks if each is not None and each.is_alive]

    def _in_folder(self, parents: Mapping[int, int]) -> set[int]:
        """Orphans that work in the job's folder. Whoever looks at a job there has a parent, or a terminal; who has a
        mark that is not ours is of another job.
        """
        if self.traces.folder is None:
            return set()
        folder, name = os.path.realpath(self.traces.folder), self.mark.partition(b"=")[0]
        adopters = {1, *_ancestors(parents)}
        return {
            pid
            for pid, parent in parents.items()
            if parent in adopters
            and self._is_of_payload(pid)
            and not procfs.has_terminal(pid)
            and not procfs.environment_names(pid, name)
            and procfs.is_at_work_in(pid, folder)
        }

    def _is_of_payload(self, orphan: int) -> bool:
        """Whether *orphan* cannot be a process of our own: ours stay in our session, or are older."""
        ticks = procfs.start_ticks(orphan)
        since = self.traces.since_boottime_ns * procfs.TICKS_PER_SECOND // NANOSECONDS
        return ticks is not None and ticks >= since - 1 and procfs.session(orphan) not in (None, os.getsid(0))


def _with_descendants(pids: Set[int]) -> set[int]:
    """*pids* and all below them: what a process of the payload has started is of the payload, however it hides."""
    known, parents = set(pids), procfs.parents() if pids else {}
    while news := {pid for pid, parent in parents.items() if parent in known} - known:
        known |= news
    return known - {os.getpid()}


def _ancestors(parents: Mapping[int, int]) -> Iterator[int]:
    """Ours, from our parent on: where we are, the orphans of another agent of this node come to one of them."""
    pid = os.getpid()
    while pid := parents.get(pid, 0):
        yield pid


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
