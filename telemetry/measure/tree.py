"""The fold over snapshots of a process tree: what was used in all, in totals that never fall. Pure.

A process's CPU moves when it ends: to its parent's `waited` when the parent waits for it, to wait4's
answer when the subreaper reaps it, and to nobody when its parent ignores SIGCHLD. The fold follows it:

* reaped by the subreaper: wait4's figures, and what we saw of children that it had not waited for;
* vanished below a parent: `max(the parent's waited, what we saw of the vanished)`, so that an
  auto-reaped child counts with what the last look saw of it, and a waited-for one is not counted twice;
* missed by one look (a walk is not atomic, a process may change its parent under it): counted like a
  vanished one, but taken back when the next look finds it again.

What no look can see, the life of an auto-reaped process between two looks, is bounded instead: from the
first sign of auto-reaping on, the uncertainty is the machine's whole CPU time less what was counted.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from telemetry.measure.snapshot import NO_CPU, Cpu, ProcessEnded, ProcessId, ProcessLook, TreeSnapshot

#: `/proc` tells CPU in ticks, rounded down.
TICK_SECONDS = 0.01
#: Missed by so many looks in a row, a process has ended; by fewer, a look may have slipped past it.
MISSES_OF_THE_DEAD = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A process of the tree that is not settled: its last look, and what of its children is nowhere else."""

    look: ProcessLook
    #: CPU that we saw of children that have vanished for good.
    vanished: Cpu = NO_CPU
    misses: int = 0


Members = Mapping[ProcessId, Member]


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeState:
    """All that the fold knows. `cpu`, bytes, peaks and `uncertainty_seconds` never fall."""

    #: Of the machine: what auto-reaped processes can have used at most.
    processors: int
    members: Members = field(default_factory=dict)
    #: CPU of those who are gone for good.
    settled: Cpu = NO_CPU
    settled_read_bytes: int = 0
    settled_written_bytes: int = 0
    cpu: Cpu = NO_CPU
    read_bytes: int = 0
    written_bytes: int = 0
    peak_rss_bytes: int = 0
    max_processes: int = 0
    uncertainty_seconds: float = TICK_SECONDS
    auto_reaping: bool = False
    boottime_seconds: float | None = None

    @property
    def present(self) -> tuple[ProcessLook, ...]:
        """The processes that the last look found alive, zombies left out."""
        return tuple(m.look for m in self.members.values() if not m.misses and m.look.is_alive)


def advance(state: TreeState, snapshot: TreeSnapshot) -> TreeState:
    """The state after *snapshot*."""
    members = _see(state.members, snapshot.living)
    ended = {each.identity: each for each in snapshot.ended}
    through = _counted_through(members, ended)
    order = _leaves_first(members, through)
    values = _values(members, ended, through, order)
    kept, gone = _settle(members, snapshot, through, values)
    settled = state.settled.plus(gone)
    total = settled
    for identity in kept:
        if identity not in through:
            total = total.plus(values[identity])
    new = replace(state, members=kept, settled=settled, cpu=state.cpu.at_least(total))
    return _with_uncertainty(state, _with_bytes_and_peaks(new, snapshot), snapshot)


def _see(before: Members, living: Iterable[ProcessLook]) -> dict[ProcessId, Member]:
    """The members, each with its newest look; those that it misses are counted."""
    members = {identity: replace(member, misses=member.misses + 1) for identity, member in before.items()}
    for look in living:
        known = before.get(look.identity)
        members[look.identity] = Member(look=look, vanished=known.vanished if known else NO_CPU)
    return members


def _counted_through(members: Members, ended: Mapping[ProcessId, ProcessEnded]) -> dict[ProcessId, ProcessId]:
    """Of each missed member the parent, in whose `waited` its CPU may stand by now."""
    by_pid = {identity.pid: identity for identity, member in members.items() if not member.misses}
    by_pid.update({identity.pid: identity for identity in members if identity.pid not in by_pid})
    through = {}
    for identity, member in members.items():
        parent = by_pid.get(member.look.parent_pid)
        # A parent is never younger than its child: then the pid belongs to somebody else by now.
        if member.misses and identity not in ended and parent is not None and _order(parent) < _order(identity):
            through[identity] = parent
    return through


def _order(identity: ProcessId) -> tuple[int, int]:
    return identity.start_ticks, identity.pid


def _leaves_first(members: Members, through: Mapping[ProcessId, ProcessId]) -> list[ProcessId]:
    """All members, each before the one that it is counted through."""
    depth: dict[ProcessId, int] = {}
    for identity in members:
        path = [identity]
        while path[-1] in through and path[-1] not in depth:
            path.append(through[path[-1]])
        base = depth.setdefault(path[-1], 0)
        for distance, each in enumerate(reversed(path)):
            depth[each] = base + distance
    return sorted(members, key=lambda identity: -depth[identity])


def _values(
    members: Members,
    ended: Mapping[ProcessId, ProcessEnded],
    through: Mapping[ProcessId, ProcessId],
    order: Iterable[ProcessId],
) -> dict[ProcessId, Cpu]:
    """CPU of each member, with all that is counted through it; in that *order*."""
    missed: dict[ProcessId, Cpu] = defaultdict(lambda: NO_CPU)
    values = {}
    for identity in order:
        member = members[identity]
        gone = member.vanished.plus(missed[identity])
        value = member.look.own.plus(member.look.waited.at_least(gone))
        if identity in ended:
            end = ended[identity]
            value = value.at_least(end.used.plus(gone.less(end.waited)))
        values[identity] = value
        if identity in through:
            missed[through[identity]] = missed[through[identity]].plus(value)
    return values


def _settle(
    members: Members, snapshot: TreeSnapshot, through: Mapping[ProcessId, ProcessId], values: dict[ProcessId, Cpu]
) -> tuple[dict[ProcessId, Member], Cpu]:
    """Those who stay, and the CPU of those who are gone and counted through nobody.

    *values* holds each member before the one that it is counted through.
    """
    gone = NO_CPU
    kept = dict(members)
    for each in snapshot.ended:
        gone = gone.plus(values.get(each.identity, each.used))
        kept.pop(each.identity, None)
    for identity in reversed(values):
        member = members[identity]
        if identity not in kept or not member.misses:
            continue
        heir = through.get(identity)
        is_dead = member.misses >= MISSES_OF_THE_DEAD
        if heir is not None and heir not in kept:  # gone together; stands in the value of its heir
            del kept[identity]
        elif heir is not None and is_dead:
            del kept[identity]
            kept[heir] = replace(kept[heir], vanished=kept[heir].vanished.plus(values[identity]))
        elif heir is None and is_dead and member.look.parent_pid != snapshot.root_pid:
            # (A child of the subreaper that was missed is alive: nobody else could have reaped it.)
            del kept[identity]
            gone = gone.plus(values[identity])
    return kept, gone


def _with_bytes_and_peaks(state: TreeState, snapshot: TreeSnapshot) -> TreeState:
    read = state.settled_read_bytes + sum(each.read_bytes for each in snapshot.ended)
    written = state.settled_written_bytes + sum(each.written_bytes for each in snapshot.ended)
    present = state.present
    return replace(
        state,
        settled_read_bytes=read,
        settled_written_bytes=written,
        read_bytes=max(state.read_bytes, read + sum(look.read_bytes for look in present)),
        written_bytes=max(state.written_bytes, written + sum(look.written_bytes for look in present)),
        peak_rss_bytes=max(
            state.peak_rss_bytes,
            sum(look.rss_bytes for look in present),
            *(each.max_rss_bytes for each in snapshot.ended),
            0,
        ),
        max_processes=max(state.max_processes, len(present)),
    )


def _with_uncertainty(before: TreeState, state: TreeState, snapshot: TreeSnapshot) -> TreeState:
    sign = (
        before.auto_reaping
        or any(look.ignores_children for look in snapshot.living)
        or any(each.ignored_children for each in snapshot.ended)
        or any(_has_lost_children(member) for member in state.members.values())
    )
    unseen = 0.0
    if sign and before.boottime_seconds is not None:
        elapsed = snapshot.boottime_seconds - before.boottime_seconds
        counted = state.cpu.total_seconds - before.cpu.total_seconds
        unseen = max(0.0, elapsed * state.processors - counted)
    return replace(
        state,
        auto_reaping=sign,
        uncertainty_seconds=before.uncertainty_seconds + unseen,
        boottime_seconds=snapshot.boottime_seconds,
    )


def _has_lost_children(member: Member) -> bool:
    """More has vanished below this process than it has waited for: SA_NOCLDWAIT, which `/proc` does not show."""
    return member.vanished.total_seconds > member.look.waited.total_seconds + 2 * TICK_SECONDS
