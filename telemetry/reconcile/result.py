"""What a reconciliation of records found. Frozen values; whoever renders them needs nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "missing",  # one side has it, the other (`absent`) has not; without `absent`: it has ended, and nobody has it
    "duplicate",  # one side (`absent` is empty) holds one attempt more than once
    "conflict",  # one side holds two whole records under one name
    "swapped",  # the key of another attempt: the same records, exchanged
    "impossible",  # cannot be, on one side or both: ends before it starts, negative, of 1970, does not add up
    "cores",
    "wall",
    "cpu",
    "benchmark",
    "status",  # of whole records: how it ended
    "value",  # of whole records: any other field
    "skew",  # as long on both sides, but at another time
    "late",  # arrived long after its end
    "overhead",  # CPU of a pilot that no payload and no wrapper has used
    "idle",  # core time of a pilot that no payload had
]
KINDS: tuple[Kind, ...] = (
    *("missing", "duplicate", "conflict", "swapped", "impossible"),
    *("cores", "wall", "cpu", "benchmark", "status", "value", "skew", "late"),
    *("overhead", "idle"),
)
#: What a pair can be beside: without any difference, or not due yet; and whole records that somebody else has seen too.
Agreement: TypeAlias = Literal["matched", "pending", "witnessed"]
#: What one record of a side stands for.
Level: TypeAlias = Literal["attempt", "pilot", "sum", "witness"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One source of records, and what it holds in all, copies and superseded ones included; of whole records those
    that count.

    `folded`: copies that it was sent, and has folded by itself. `left_out`: records of another WMS.
    """

    name: str
    kind: str
    where: str
    level: Level
    records: int
    cpu_seconds: float
    core_seconds: float
    #: End of the earliest and of the latest record, as text in UTC; empty when there is none.
    first_end: str = ""
    last_end: str = ""
    folded: int = 0
    left_out: int = 0

    @property
    def core_hours(self) -> float:
        """Wall clock x cores of all records."""
        return self.core_seconds / 3600


@dataclass(frozen=True, kw_only=True)
class ClassTotal:
    """How many pairs of two sides are of one class, and how many core hours these are about.

    For `matched` these are the core hours of the pairs, else those in question.
    """

    left: str
    right: str
    kind: Kind | Agreement
    absent: str = ""
    pairs: int
    core_hours: float

    @property
    def name(self) -> str:
        """The class as people, files and labels name it: `matched`, `cpu`, `missing_in_wms`."""
        return class_name(self.kind, self.absent)

    @property
    def is_difference(self) -> bool:
        """Whether it counts what is wrong."""
        return self.kind not in ("matched", "pending", "witnessed")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Differences of one class that have one cause: a site, a group, a number of cores, a host, a pilot.

    `where` names them, as in `{"site": "LCG.Example.org", "group": "users", "cores": "8"}` or `{"host": "wn1"}`.
    `pairs` of `among` pairs there are concerned. `ratio` is the median of right to left, `offset_seconds` the median
    of right minus left, where the class has one.
    """

    left: str
    right: str
    kind: Kind
    absent: str = ""
    where: Mapping[str, str]
    cause: str
    pairs: int
    among: int
    core_hours: float
    ratio: float | None = None
    offset_seconds: float | None = None
    first_end: str = ""
    last_end: str = ""

    @property
    def name(self) -> str:
        """The class, as `ClassTotal.name`."""
        return class_name(self.kind, self.absent)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing wrong with one pair; there is at most one of a kind for a key.

    `left_value` and `right_value` are what the two sides say about it: seconds of wall clock, CPU or end (since 1970,
    UTC), cores, the benchmark's value; copies for a duplicate. None: that side says nothing. `is_systematic`: it
    belongs to a `Finding`. Of whole records `fields` names what differs, and `said` is JSON: what each source and
    witness says of it.
    """

    left: str
    right: str
    kind: Kind
    absent: str = ""
    key: str
    job_id: int | None
    attempt: int | None
    site: str
    group: str
    host: str
    pilot: str
    cores: int | None
    end: str
    left_value: float | None
    right_value: float | None
    cause: str
    core_hours: float
    is_systematic: bool
    fields: str = ""
    said: str = ""

    @property
    def name(self) -> str:
        """The class, as `ClassTotal.name`."""
        return class_name(self.kind, self.absent)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An attempt whose record is not due yet, and why."""

    key: str
    job_id: int
    attempt: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class DigestUse:
    """How far digests of groups of records have spared rows."""

    groups: int
    differing_groups: int
    rows: int
    compared_rows: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result. The first of `sides` is the one that all others are held against.

    `differences` are the largest ones, by what is at stake; `file` holds all of them (Parquet, a column for each field
    of `Difference`). `problems` are sentences about what could not be read: while there is one, agreement proves
    nothing.
    """

    made_utc_ns: int
    sides: tuple[Side, ...]
    totals: tuple[ClassTotal, ...]
    findings: tuple[Finding, ...] = ()
    differences: tuple[Difference, ...] = ()
    #: Of all differences, those not listed included; a pair with several counts with its largest.
    core_hours_at_stake: float = 0.0
    problems: tuple[str, ...] = ()
    file: Path | None = None
    digests: tuple[DigestUse, ...] = field(default=())
    #: Of whole records: attempts that are not due yet; and keys of those whose end the WMS learned of late, which is no
    #: fault of the record.
    waiting: tuple[Waiting, ...] = ()
    late: tuple[str, ...] = ()

    @property
    def matched(self) -> int:
        """Pairs without any difference."""
        return sum(each.pairs for each in self.totals if each.kind == "matched")

    @property
    def pending(self) -> int:
        """Records that have no partner yet, within the grace."""
        return sum(each.pairs for each in self.totals if each.kind == "pending")

    @property
    def different(self) -> int:
        """Differences in all, those not listed included."""
        return sum(each.pairs for each in self.totals if each.is_difference)

    @property
    def is_clean(self) -> bool:
        """No difference, and everything could be read."""
        return not self.different and not self.problems


def class_name(kind: str, absent: str = "") -> str:
    """`matched`, `cpu`, `missing_in_wms`."""
    return f"{kind}_in_{absent}" if absent else kind
