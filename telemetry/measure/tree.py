"""The fold over snapshots of a process tree: what was used in all, in totals that never fall. Pure.

A process's CPU moves when it ends: to its parent's `waited` when the parent waits for it, to wait4's
answer when the subreaper reaps it, and to nobody when its parent ignores SIGCHLD. The fold follows it:

* reaped by the subreaper: wait4's figures, and what we saw of children that it had not waited for;
* vanished below a parent: `max(the parent's waited, what we saw of the vanished)`, so that an
  auto-reaped child counts with what the last look saw of it, and a waited-for one is not counted twice;
* missed by one look (a walk is not atomic, a process may change its parent under it): counted like a
  vanished one, but taken back when the next look finds it again.

What no look can see is bounded instead, once there is a sign of auto-reaping (or when ends are not told by
wait4: `looks_only`). In an interval between two looks

* those that were there and vanished can have computed on as many processors as they had threads;
* processes that were born and gone within it can have used every processor for the rest of it. There can be
  some only if our namespace has given out more pids than we have found new processes.

Otherwise nothing is missing of that interval, however long the sign is there. The bound holds from the beginning
of the first look to the end of the second, and the ticks that a look rounds down are part of it. So the intervals
overlap; over all of them no more can be missing than what every processor could have done since any one look
(`ceiling_seconds`).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from telemetry.measure.snapshot import NO_CPU, Cpu, MemberSums, ProcessEnded, ProcessId, ProcessLook, TreeSnapshot

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
class Totals:
    """What is added up beside CPU: of the ended for good, or of all."""

    read_bytes: int = 0
    written_bytes: int = 0
    minor_faults: int = 0
    major_faults: int = 0

    def plus(self, others: Iterable[ProcessLook | ProcessEnded]) -> "Totals":
        """These and those of *others*."""
        read, written, minor, major = self.read_bytes, self.written_bytes, self.minor_faults, self.major_faults
        for each in others:
            read += each.read_bytes
            written += each.written_bytes
            minor += each.minor_faults
            major += each.major_faults
        return Totals(read_bytes=read, written_bytes=written, minor_faults=minor, major_faults=major)

    def at_least(self, other: "Totals") -> "Totals":
        """The larger of both, each for itself."""
        return Totals(
            read_bytes=max(self.read_bytes, other.read_bytes),
            written_bytes=max(self.written_bytes, other.written_bytes),
            minor_faults=max(self.minor_faults, other.minor_faults),
            major_faults=max(self.major_faults, other.major_faults),
        )


NO_TOTALS = Totals()


class TreeState(NamedTuple):
    """All that the fold knows. `cpu`, `totals`, switches, peaks and `uncertainty_seconds` never fall."""

    #: Of the machine: what auto-reaped processes can have used at most.
    processors: int
    #: Whether what wait4 tells of the ended is left aside.
    looks_only: bool = False
    members: Members = MappingProxyType({})
    #: CPU and the rest of those who are gone for good.
    settled: Cpu = NO_CPU
    settled_totals: Totals = NO_TOTALS
    cpu: Cpu = NO_CPU
    totals: Totals = NO_TOTALS
    voluntary_switches: int = 0
    involuntary_switches: int = 0
    peak_rss_bytes: int = 0
    max_processes: int = 0
    rss_bytes: int = 0
    vsize_bytes: int = 0
    processes: int = 0
    threads: int = 0
    uncertainty_seconds: float = TICK_SECONDS
    auto_reaping: bool = False
    #: What may have been lost in the last intervals in which somebody vanished, should that turn out to be a loss.
    doubts_seconds: tuple[float, ...] = ()
    #: At any moment the tree had used so much at most, and as much more as all processors can do from boot until then.
    ceiling_seconds: float = math.inf
    boottime_seconds: float | None = None
    last_pid: int | None = None

    @property
    def present(self) -> tuple[ProcessLook, ...]:
        """The processes that the last look found alive, zombies left out."""
        return tuple(m.look for m in self.members.values() if not m.misses and m.look.is_alive)

    @property
    def rounding_seconds(self) -> float:
        """What the ticks of `/proc` may have rounded away of the processes that are not settled."""
        return sum(_rounding(member.look) for member in self.members.values())


def advance(state: TreeState, snapshot: TreeSnapshot) -> TreeState:
    """The state after *snapshot*."""
    if state.looks_only:
        ended = tuple(ProcessEnded(identity=each.identity, used=NO_CPU) for each in snapshot.ended)
        snapshot = replace(snapshot, ended=ended)
    members = _see(state.members, snapshot.living)
    ended_by_id = {each.identity: each for each in snapshot.ended}
    through = _counted_through(members, ended_by_id)
    order = _leaves_first(members, through)
    values = _values(members, ended_by_id, through, order)
    kept, gone = _settle(members, snapshot, through, values)
    settled = state.settled.plus(gone)
    user, system = settled
    for identity in kept:
        if identity not in through:
            value = values[identity]
            user += value[0]
            system += value[1]
    cpu = state.cpu.at_least(Cpu(user, system))
    auto_reaping = state.auto_reaping or state.looks_only or _is_auto_reaping(kept, snapshot)
    ceiling, unseen = state.ceiling_seconds, 0.0
    if auto_reaping or len(members) > len(snapshot.living):
        ceiling, unseen = _ceiling_seconds(state), _unseen_seconds(state, snapshot, cpu)
    doubts = (*state.doubts_seconds, unseen)[-MISSES_OF_THE_DEAD - 1 :]
    doubted = state.uncertainty_seconds + (sum(doubts) if auto_reaping else 0.0)
    possible = ceiling + state.processors * _until_seconds(snapshot) - cpu.total_seconds
    settled_totals = state.settled_totals.plus(snapshot.ended) if snapshot.ended else state.settled_totals
    present = tuple(each for each in snapshot.living if each.is_alive)
    rss_bytes = sum([each.rss_bytes for each in present])
    return state._replace(
        members=kept,
        settled=settled,
        settled_totals=settled_totals,
        cpu=cpu,
        totals=state.totals.at_least(settled_totals.plus(present)),
        voluntary_switches=state.voluntary_switches + sum([each.voluntary_switches for each in snapshot.ended]),
        involuntary_switches=state.involuntary_switches + sum([each.involuntary_switches for each in snapshot.ended]),
        peak_rss_bytes=max(state.peak_rss_bytes, rss_bytes, *(each.max_rss_bytes for each in snapshot.ended), 0),
        max_processes=max(state.max_processes, len(present)),
        rss_bytes=rss_bytes,
        vsize_bytes=sum([each.vsize_bytes for each in present]),
        processes=len(present),
        threads=sum([each.threads for each in present]),
        uncertainty_seconds=max(state.uncertainty_seconds, min(doubted, possible)),
        auto_reaping=auto_reaping,
        doubts_seconds=() if auto_reaping else doubts,
        ceiling_seconds=ceiling,
        boottime_seconds=snapshot.boottime_seconds,
        last_pid=snapshot.last_pid,
    )


def still_until(state: TreeState, boottime_seconds: float) -> TreeState:
    """The state when none of the members has run up to that moment: nobody was born and nothing was used unseen."""
    if state.boottime_seconds is None or boottime_seconds <= state.boottime_seconds:
        return state
    return state._replace(boottime_seconds=boottime_seconds)


def with_sums(state: TreeState, sums: MemberSums, ended: Iterable[ProcessEnded]) -> TreeState:
    """The state when the living are only known in sum: their CPU is told by somebody else, a control group."""
    if ended := tuple(ended):
        state = _with_ended(state, ended)
    totals, settled = state.totals, state.settled_totals
    read, written = settled.read_bytes + sums.read_bytes, settled.written_bytes + sums.written_bytes
    if read > totals.read_bytes or written > totals.written_bytes:
        totals = totals.at_least(replace(settled, read_bytes=read, written_bytes=written))
    return state._replace(
        totals=totals,
        peak_rss_bytes=max(state.peak_rss_bytes, sums.rss_bytes),
        max_processes=max(state.max_processes, sums.processes),
        rss_bytes=sums.rss_bytes,
        vsize_bytes=state.vsize_bytes if sums.vsize_bytes is None else sums.vsize_bytes,
        processes=sums.processes,
        threads=state.threads if sums.threads is None else sums.threads,
    )


def _with_ended(state: TreeState, ended: tuple[ProcessEnded, ...]) -> TreeState:
    gone = {each.identity for each in ended}
    settled = state.settled_totals.plus(ended)
    return state._replace(
        members={identity: member for identity, member in state.members.items() if identity not in gone},
        settled_totals=settled,
        totals=state.totals.at_least(settled),
        voluntary_switches=state.voluntary_switches + sum([each.voluntary_switches for each in ended]),
        involuntary_switches=state.involuntary_switches + sum([each.involuntary_switches for each in ended]),
        peak_rss_bytes=max(state.peak_rss_bytes, *(each.max_rss_bytes for each in ended)),
    )


def _see(before: Members, living: Iterable[ProcessLook]) -> dict[ProcessId, Member]:
    """The members, each with its newest look; those that it misses are counted."""
    members = dict(before)
    missed = set(before)
    for look in living:
        known = before.get(look.identity)
        missed.discard(look.identity)
        if known is None or known.look is not look or known.misses:
            members[look.identity] = Member(look=look, vanished=known.vanished if known else NO_CPU)
    for identity in missed:
        member = before[identity]
        members[identity] = replace(member, misses=member.misses + 1)
    return members


def _counted_through(members: Members, ended: Mapping[ProcessId, ProcessEnded]) -> dict[ProcessId, ProcessId]:
    """Of each missed member the parent, in whose `waited` its CPU may stand by now."""
    missed = [identity for identity, member in members.items() if member.misses and identity not in ended]
    if not missed:
        return {}
    parents: dict[int, list[ProcessId]] = {members[identity].look.parent_pid: [] for identity in missed}
    for identity in members:
        if identity.pid in parents:
            parents[identity.pid].append(identity)
    through: dict[ProcessId, ProcessId] = {}
    for identity in missed:
        # A parent is never younger than its child: a younger one has got the pid after it. Which of two that began in
        # one tick came first nobody can tell: a namespace that has given out its last pid goes on with low ones.
        older = [
            each
            for each in parents[members[identity].look.parent_pid]
            if each.start_ticks <= identity.start_ticks and not _ends_at(identity, each, through)
        ]
        if older:
            through[identity] = max(older, key=lambda each: each.start_ticks)
    return through


def _ends_at(end: ProcessId, begin: ProcessId, through: Mapping[ProcessId, ProcessId]) -> bool:
    """Whether the way from *begin* leads to *end*."""
    while begin != end and begin in through:
        begin = through[begin]
    return begin == end


def _leaves_first(members: Members, through: Mapping[ProcessId, ProcessId]) -> list[ProcessId]:
    """All members, each before the one that it is counted through."""
    if not through:
        return list(members)
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
    if not through and not ended:
        return {identity: _seen_value(member) for identity, member in members.items()}
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


def _seen_value(member: Member) -> Cpu:
    """CPU of a member through which nobody else is counted: what it has, and waited-for or vanished children."""
    look = member.look
    own, waited, vanished = look.own, look.waited, member.vanished
    # Written out: this is most of what a look at a large tree costs.
    return Cpu(
        own[0] + (waited[0] if waited[0] > vanished[0] else vanished[0]),
        own[1] + (waited[1] if waited[1] > vanished[1] else vanished[1]),
    )


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


def _is_auto_reaping(members: Members, snapshot: TreeSnapshot) -> bool:
    return (
        any([look.ignores_children for look in snapshot.living])
        or any([each.ignored_children for each in snapshot.ended])
        or any([_has_lost_children(member) for member in members.values()])
    )


def _has_lost_children(member: Member) -> bool:
    """More has vanished below this process than it has waited for: SA_NOCLDWAIT, which `/proc` does not show."""
    if member.vanished is NO_CPU:
        return False
    return member.vanished.total_seconds > member.look.waited.total_seconds + 2 * TICK_SECONDS


def _until_seconds(snapshot: TreeSnapshot) -> float:
    return snapshot.boottime_seconds if snapshot.until_seconds is None else snapshot.until_seconds


def _ceiling_seconds(state: TreeState) -> float:
    """The ceiling when it is drawn from the last look too, which is lower the less was in doubt by then."""
    if state.boottime_seconds is None or any(member.misses for member in state.members.values()):
        return state.ceiling_seconds
    used = state.cpu.total_seconds + state.rounding_seconds + state.uncertainty_seconds + sum(state.doubts_seconds)
    return min(state.ceiling_seconds, used - state.processors * state.boottime_seconds)


def _unseen_seconds(before: TreeState, snapshot: TreeSnapshot, cpu: Cpu) -> float:
    """How much CPU may have been used since the look before and be told by nobody."""
    if before.boottime_seconds is None:
        return 0.0
    elapsed = max(0.0, _until_seconds(snapshot) - before.boottime_seconds)
    seen = {each.identity for each in snapshot.living}
    if not before.looks_only:
        seen.update(each.identity for each in snapshot.ended)
    # (A missed child of the subreaper is not lost: wait4 will tell of it.)
    gone = [
        each.look
        for identity, each in before.members.items()
        if identity not in seen and (before.looks_only or each.look.parent_pid != snapshot.root_pid)
    ]
    rounded = sum(_rounding(look) for look in gone)
    busy = elapsed * before.processors
    if not any(member.misses for member in before.members.values()):
        # What was counted now, but had been rounded away before, was not used since then.
        busy -= max(0.0, cpu.total_seconds - before.cpu.total_seconds - before.rounding_seconds)
    if not _may_hide_births(before, snapshot):
        busy = min(busy, elapsed * sum(look.threads for look in gone if look.is_alive))
    return max(0.0, busy) + rounded


def _may_hide_births(before: TreeState, snapshot: TreeSnapshot) -> bool:
    """Whether more pids were given out than there are processes new to us."""
    last_pid = snapshot.last_pid if snapshot.until_last_pid is None else snapshot.until_last_pid
    if before.last_pid is None or last_pid is None or last_pid < before.last_pid:
        return True
    new = {each.identity for each in snapshot.living}
    if not before.looks_only:
        new.update(each.identity for each in snapshot.ended)
    return last_pid - before.last_pid > len(new - before.members.keys())


def _rounding(look: ProcessLook) -> float:
    """What the ticks of a look may have rounded away."""
    return TICK_SECONDS * (4 if look.waited.total_seconds else 2)
