"""What is done to whom: each campaign is a list of trials, made from what undisturbed jobs were seen to pass."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from telemetry.entries import KINDS
from tests.faults.naming import kind_of
from tests.faults.plan import Moment, Strike, Target, Trial
from tests.faults.relay import CERTIFICATE, WHATS, NetworkFault
from tests.faults.scenes import BadCollector, Encrypted, FakeTime, Flapping, Hostile, Scene, SmallDisk, TwoAgents
from tests.support.components import faketime

#: Facts that are the agent's.
OF_THE_AGENT = frozenset({"JobMatched", "JobAccepted", "WrapperReaped"})
ALL: tuple[Moment, ...] = ("before", "torn", "after")
#: Calls that no job's token tells apart.
ANYBODYS = ("POST /api/jobspan/match", "GET /api/jobspan/sandboxes", "POST /api/jobspan/sandboxes")
#: Where two die together: the boundaries of the stages, and what is forced to disk.
BOUNDARIES = (
    *(f"wrapper:StageStarted#{number}" for number in range(1, 7)),
    "wrapper:PayloadPlanned#1",
    "wrapper:PayloadStarted#1",
    "wrapper:PayloadEnded#1",
    "wrapper:UsageSettled#1",
    "wrapper:AttemptEnded#1",
    "wms-accounting.acks#1",
)


@dataclass(frozen=True)
class Seen:
    """What undisturbed jobs of each shape pass at least once: points, and calls to the WMS."""

    points: Mapping[str, Sequence[str]]
    calls: Mapping[str, Sequence[str]]
    #: By how many of `looks` jobs of a shape each was passed.
    passed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    looks: int = 0
    #: How undisturbed jobs of a shape end.
    ends: Mapping[str, Set[str]] = field(default_factory=dict)

    def always(self, shape: str) -> list[str]:
        """The points that all of the jobs of *shape* have passed."""
        passed = self.passed.get(shape, {})
        return [each for each in self.points[shape] if passed.get(each, 0) >= self.looks]


@dataclass(frozen=True)
class Campaign:
    """A kind of fault, and the site on which it is tried."""

    name: str
    help: str
    trials: Callable[[Seen], list[Trial]]
    slots: int = 4
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scene: Callable[[Path], Scene] = Scene
    #: What the machine must grant, else the campaign says why it is left out.
    needs: Callable[[], str] = lambda: ""
    #: The faults are the scene's, and it takes all jobs to come to each of them.
    only_whole: bool = False

    def every(self, step: int, seen: Seen) -> list[Trial]:
        """Each *step*-th trial: a shorter campaign, unless a short one would not come to its faults."""
        return self.trials(seen)[:: 1 if self.only_whole else step]


#: Facts that no wrapper has, with the reason.
OF_RECOVERY: Mapping[str, str] = {"EndKept": "written by the agent that speaks for a dead wrapper"}


def kinds_of_a_wrapper() -> set[str]:
    """The facts that a wrapper can emit."""
    return set(KINDS) - OF_RECOVERY.keys() - OF_THE_AGENT


def missing_kinds(seen: Seen) -> set[str]:
    """Facts that a wrapper can emit, and that no shape made it emit: then not every fact is struck."""
    found = {kind_of(point) for points in seen.points.values() for point in points if point.startswith("wrapper:")}
    return kinds_of_a_wrapper() - found


def excuse(seen: Seen, trial: Trial, status: str) -> str:
    """Why a job that ended with *status* need not have passed the points of *trial*; empty when it had to.

    Only what some undisturbed jobs of its shape have not passed either, and with the end that those had: then nothing
    was left out that this job has done.
    """
    passed = seen.passed.get(trial.shape, {})
    rare = {point: passed[point] for point in sorted(trial.points) if 0 < passed.get(point, 0) < seen.looks}
    if not rare or status not in seen.ends.get(trial.shape, ()):
        return ""
    said = ", ".join(f"{count} of {seen.looks} undisturbed jobs pass {point}" for point, count in rare.items())
    return f"{said}; this one ended as they do, without it"


def _wrapper_points(seen: Seen, shape: str) -> list[str]:
    return [each for each in seen.points[shape] if each.startswith(("wrapper:", "wms-"))]


def _only_here(seen: Seen) -> Iterator[tuple[str, str]]:
    """(shape, point) of the kinds of facts that the full job does not have, or only by chance (a late sample)."""
    known = {kind_of(each) for each in seen.always("full")}
    for shape in (each for each in seen.points if each != "full"):
        yield from ((shape, each) for each in _wrapper_points(seen, shape) if kind_of(each) not in known)


def _kill_wrapper(seen: Seen) -> list[Trial]:
    everywhere = [("full", each) for each in _wrapper_points(seen, "full")] + list(_only_here(seen))
    return [
        Trial("wrapper -9", shape, (Strike(point, moment, "SIGKILL"),)) for shape, point in everywhere for moment in ALL
    ]


def _stop_wrapper(seen: Seen) -> list[Trial]:
    everywhere = [("full", each) for each in _wrapper_points(seen, "full")] + list(_only_here(seen))
    return [
        Trial("wrapper TERM, INT", shape, (Strike(point, "after", what),))
        for shape, point in everywhere
        for what in ("SIGTERM", "SIGINT")
        if point.startswith("wrapper:")
    ]


def _agent_points(seen: Seen) -> list[str]:
    return [each for each in seen.points["bare"] if each.startswith(("agent:", "otlp-"))]


def _agent(seen: Seen) -> list[Trial]:
    trials = []
    for point in _agent_points(seen):
        is_line = kind_of(point) in KINDS or point.startswith("otlp")
        moments = ALL if is_line else ("after",) if point.startswith("agent:matched") else ("before", "after")
        trials += [Trial("agent -9", "bare", (Strike(point, moment, "SIGKILL"),)) for moment in moments]
        trials += [Trial("agent TERM, INT", "bare", (Strike(point, "after", s),)) for s in ("SIGTERM", "SIGINT")]
    return trials


def _together(name: str, shape: str, points: Sequence[str], *who: Target) -> list[Trial]:
    """Killed, or told to stop, at the same moment."""
    return [
        Trial(f"{name} {'-9' if 'KILL' in what else 'TERM, INT'}", shape, (Strike(point, "after", what, who),))
        for what in ("SIGKILL", "SIGTERM", "SIGINT")
        for point in points
    ]


def _starter(_: Seen) -> list[Trial]:
    """The starter ends a payload whose wrapper has died, and dies over it."""
    first = Strike("wrapper:PayloadStarted#1", "after", "SIGKILL")
    points = ("starter:SignalSent#1", "starter:PayloadEnded#1", "starter:KillFinished#1", "starter:UsageSettled#1")
    return [
        Trial("wrapper, then starter -9", "stubborn", (first, Strike(point, moment, "SIGKILL")))
        for point in points
        for moment in ALL
    ]


def _recovering(_: Seen) -> list[Trial]:
    """The agent dies while it ends what a dead wrapper has left."""
    lines = ("recovery:StageFinished#1", "recovery:StatusChanged#1", "recovery:AttemptEnded#1", "wms-accounting.acks#1")
    phases = ("agent:recovered#1", "agent:counted#1", "agent:delivered#1")
    first = Strike("wrapper:PayloadStarted#1", "after", "SIGKILL")
    places = [(line, moment) for line in lines for moment in ALL]
    places += [(phase, moment) for phase in phases for moment in ("before", "after")]
    return [
        Trial("wrapper, then agent -9", "full", (first, Strike(point, moment, "SIGKILL"))) for point, moment in places
    ]


def _unheard(_: Seen) -> list[Trial]:
    """What the agent says for a dead wrapper meets a bad network: above all that the attempt is to be repeated."""
    dead = (Strike("wrapper:StageStarted#2", "after", "SIGKILL"),)
    return [
        Trial("wrapper -9, then network", "full", dead, (NetworkFault("POST /api/jobs/reschedule", 1, what),))
        for what in WHATS
    ]


def _pairs(seen: Seen) -> list[Trial]:
    agents = [each for each in _agent_points(seen) if kind_of(each) in KINDS]
    return [
        *_together("wrapper and agent", "full", BOUNDARIES, "self", "agent"),
        *_together("wrapper and WMS", "full", BOUNDARIES, "self", "wms"),
        *_together("agent and WMS", "bare", agents, "self", "wms"),
        *_recovering(seen),
        *_unheard(seen),
    ]


def _calls(seen: Seen) -> list[tuple[str, int]]:
    own = [each.rpartition("#") for each in seen.calls["full"]]
    return [*((call, int(number)) for call, _, number in own), *((call, 1) for call in ANYBODYS)]


def _network(seen: Seen) -> list[Trial]:
    whats = [what for what in WHATS if not what.startswith("wms ")]
    return [
        Trial("network", "full", (), (NetworkFault(call, number, what),))
        for call, number in _calls(seen)
        for what in whats
    ]


def _certificates(seen: Seen) -> list[Trial]:
    return [
        Trial("wrong certificate", "full", (), (NetworkFault(call, number, CERTIFICATE),))
        for call, number in _calls(seen)
    ]


def _wms(seen: Seen) -> list[Trial]:
    whats = [what for what in WHATS if what.startswith("wms ")]
    return [
        Trial(f"WMS {'-9' if 'KILL' in what else 'TERM, INT'}", "full", (), (NetworkFault(call, number, what),))
        for call, number in _calls(seen)
        for what in whats
    ]


def _disk(_: Seen) -> list[Trial]:
    wrapper = (
        "wrapper:WrapperStarted#1", "wrapper:StageStarted#2", "wrapper:StageStarted#3", "wrapper:StageStarted#4",
        "wrapper:PayloadPlanned#1", "wrapper:PayloadStarted#1", "wrapper:PayloadEnded#1", "wrapper:StageStarted#5",
        "wrapper:StageStarted#6", "wrapper:WrapperSettled#1", "wrapper:AttemptEnded#1",
        "wms-status.acks[wrapper StatusChanged 1]#1", "wms-accounting.acks#1",
    )  # fmt: skip
    agent = ("agent:folder#1", "agent:JobMatched#1", "agent:script#1", "agent:JobAccepted#1", "agent:WrapperReaped#1")
    moments: tuple[Moment, ...] = ("before", "after")
    full = [Strike(point, moment, "fill") for point in (*wrapper, *agent) for moment in moments]
    read_only = [
        Strike("agent:matched#1", "after", "readonly:jobs"),
        Strike("agent:shipped#1", "before", "readonly:telemetry"),
    ]
    return [Trial("disk full", "full", (strike,)) for strike in full] + [
        Trial("read-only", "bare", (strike,)) for strike in read_only for _ in range(3)
    ]


def _corrupt(_: Seen) -> list[Trial]:
    """A broken disk: lines that were good are not, and the process dies with them."""
    places = [
        *((f"garble:{name}.journal.jsonl", point) for name in ("wrapper", "agent") for point in BOUNDARIES),
        *(
            ("garble:wms-status.acks.jsonl", f"wms-status.acks[wrapper StatusChanged {number}]#1")
            for number in range(1, 9)
        ),
        ("garble:wms-accounting.acks.jsonl", "wms-accounting.acks#1"),
        ("garble:agent.journal.jsonl", "agent:WrapperReaped#1"),
        ("garble:wrapper.journal.jsonl", "agent:WrapperReaped#1"),
    ]
    return [Trial("corrupt", "full", (Strike(point, "after", what), *_kill_after(point))) for what, point in places]


def _kill_after(point: str) -> tuple[Strike, ...]:
    return () if point.startswith("agent") else (Strike(point, "after", "SIGKILL"),)


def _clock(_: Seen) -> list[Trial]:
    points = (*BOUNDARIES, "agent:matched#1", "agent:JobAccepted#1", "agent:WrapperReaped#1")
    return [
        Trial("clock steps", "full", (Strike(point, "after", f"clock:{seconds}"),))
        for point in points
        for seconds in (3600, -3600)
    ]


def _pause(_: Seen) -> list[Trial]:
    points = (*BOUNDARIES, "agent:matched#1", "agent:JobAccepted#1", "agent:WrapperReaped#1")
    return [Trial("stopped a while", "full", (Strike(point, "after", "pause:1.5"),)) for point in points]


def _plain(group: str, shape: str, count: int) -> Callable[[Seen], list[Trial]]:
    return lambda _: [Trial(group, shape)] * count


def _no_root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def _no_faketime() -> str:
    return "" if faketime() else "the package faketime is not installed"


def _fake(wms: str, agent: str) -> Callable[[Path], Scene]:
    return lambda folder: FakeTime(folder, faketime(), wms, agent)


def _off(seen: Seen) -> list[Trial]:
    """Every job lives under a clock that is off: the fault is the clock's, and its effect stands in the journal."""
    return [Trial("clock an hour off", shape) for shape in ("full", "failing", "again", "limit")]


CAMPAIGNS: tuple[Campaign, ...] = (
    Campaign("wrapper-kill", "kill -9 of the wrapper before, within and after each fact", _kill_wrapper),
    Campaign("wrapper-stop", "SIGTERM and SIGINT to the wrapper at each fact", _stop_wrapper),
    Campaign("starter", "wrapper and starter die one after the other", _starter),
    Campaign("agent", "kill -9, SIGTERM, SIGINT of the agent at each of its facts and phases", _agent, slots=1),
    Campaign("pairs", "two of wrapper, agent and WMS die or stop together, or one over another", _pairs, slots=1),
    Campaign("wms", "the WMS is killed or stopped before, within and after each call", _wms),
    Campaign("network", "each call to the WMS is lost, refused, delayed, answered wrongly", _network),
    Campaign("certificates", "the WMS shows a wrong certificate at each call", _certificates, scene=Encrypted),
    Campaign("flapping", "the WMS comes and goes", _plain("WMS flapping", "full", 12), scene=Flapping),
    Campaign(
        "collector",
        "the collector does everything wrong",
        _plain("collector", "bare", 30),
        scene=BadCollector,
        only_whole=True,
    ),
    Campaign("disk", "full and read-only file systems", _disk, slots=2, scene=SmallDisk, needs=_no_root),
    Campaign("corrupt", "journals and acknowledgements are damaged", _corrupt),
    Campaign("pause", "wrapper or agent are stopped for a while and go on", _pause),
    Campaign("clock", "the clock of wrapper or agent steps by an hour", _clock, slots=2),
    Campaign(
        "twice", "a second agent, a second execution", _plain("two agents", "patient", 3), slots=1, scene=TwoAgents
    ),
    Campaign(
        "hostile",
        "payloads that forge, delete and fill",
        _plain("hostile payload", "forger", 3),
        scene=Hostile,
        needs=_no_root,
    ),
    Campaign("wms-ahead", "the WMS's clock is an hour ahead", _off, scene=_fake("+3600s", ""), needs=_no_faketime),
    Campaign("node-ahead", "the node's clock is an hour ahead", _off, scene=_fake("", "+3600s"), needs=_no_faketime),
    Campaign("wms-behind", "the WMS's clock is an hour behind", _off, scene=_fake("-3600s", ""), needs=_no_faketime),
)
