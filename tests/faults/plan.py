"""What is planned for a job, and what came of it: plain values, passed to the processes as JSON. Pure.

A *point* is a place that a process passes while it works for one attempt: `wrapper:StageStarted#2` (the second
StageStarted that the wrapper writes), `wms-accounting.acks#1`, `agent:forked#1`; `naming` has the
rules. A *moment* is before it, in the middle of its line ("torn"), or just after it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Moment = Literal["before", "torn", "after"]
#: Who may be struck: the process that passes the point, or another one of the same site.
Target = Literal["self", "wrapper", "agent", "wms"]


@dataclass(frozen=True)
class Strike:
    """One fault: *what* happens to *targets* when a process passes *point*.

    *what* is the name of a signal, `fill` (the disk, to the last byte), `readonly:<folder>`, `garble:<file>`,
    `clock:<seconds>` (this process's wall clock steps), or `pause:<seconds>` (it is stopped, and goes on).
    """

    point: str
    moment: Moment
    what: str
    targets: tuple[Target, ...] = ("self",)

    def __str__(self) -> str:
        who = "" if self.targets == ("self",) else f" of {' and '.join(self.targets)}"
        return f"{self.what}{who} {self.moment} {self.point}"


@dataclass(frozen=True)
class Shot:
    """That a strike was carried out: what it hit, and the last fact that stood in the journal before it."""

    strike: Strike
    last_fact: str
    pids: Mapping[str, int]
    #: Their start times, by which a pid that was given anew is told apart.
    starts: Mapping[str, int]


@dataclass(frozen=True)
class Death:
    """How a `wms` or an `agent` has ended; *told* are the signals that somebody but the trials' strikes sent it."""

    name: str
    pid: int
    code: int
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to happen to one attempt."""

    strikes: tuple[Strike, ...] = ()
    #: Whether the points that are passed are written down.
    record: bool = True

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {"strikes": [asdict(each) for each in self.strikes], "record": self.record}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Plan":
        """The plan in *data*."""
        return cls(tuple(strike_of(each) for each in data["strikes"]), bool(data["record"]))


def strike_of(data: Mapping[str, Any]) -> Strike:
    """The strike in *data*."""
    return Strike(data["point"], data["moment"], data["what"], tuple(data["targets"]))


def shot_of(data: Mapping[str, Any]) -> Shot:
    """The shot in *data*."""
    return Shot(strike_of(data["strike"]), data["last_fact"], dict(data["pids"]), dict(data["starts"]))


@dataclass(frozen=True)
class Trial:
    """One job of a *shape*, and what is to happen to its first attempt. *network* is the relay's part."""

    group: str
    shape: str
    strikes: tuple[Strike, ...] = ()
    network: tuple[Any, ...] = ()

    @property
    def points(self) -> frozenset[str]:
        """Where it is struck: points of processes, and calls."""
        return frozenset((*(each.point for each in self.strikes), *(f"{n.call}#{n.number}" for n in self.network)))

    def __str__(self) -> str:
        said = [str(each) for each in (*self.strikes, *self.network)]
        return f"{self.group}: {self.shape}: {', then '.join(said) or 'nothing'}"


@dataclass
class Verdict:
    """What came of one trial."""

    trial: str
    group: str
    job_id: int
    #: Faults that were carried out, each with the last fact before it and the effect that was seen.
    faults: list[dict[str, str]] = field(default_factory=list)
    attempts: int = 0
    ends: int = 0
    records: int = 0
    events: int = 0
    #: Copies beyond the first, in all sinks.
    duplicates: int = 0
    survivors: int = 0
    problems: list[str] = field(default_factory=list)
    #: Of a trial whose point, which some jobs never pass, did not come along in any of the tries: why that is so.
    excused: str = ""

    def problem(self, text: str) -> None:
        """Something that must not be."""
        self.problems.append(text)
