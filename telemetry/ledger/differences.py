"""What reconciliation finds. Frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from telemetry.facts import Scalar

Kind: TypeAlias = Literal[
    "missing",  # ended, and nobody has a record
    "missing_in_wms",
    "missing_in_otlp",
    "duplicate",  # one ledger holds the same record more than once
    "conflict",  # one ledger holds two bodies under one name
    "cpu",
    "wall",
    "cores",
    "benchmark",
    "status",
    "value",  # another field
    "impossible",  # does not add up, or cannot be
    "skew",  # the clocks of node and WMS are further apart than the record says
]

Values: TypeAlias = Mapping[str, Mapping[str, Scalar | None]]


@dataclass(frozen=True)
class Difference:
    """One thing wrong with one attempt; there is at most one of a kind for a uid.

    `values` is what each witness ("wms", "otlp", "counters", "heartbeat", "wms_clock", "wms_status")
    says about it. `core_seconds` is how much of the site's time is in question.
    """

    uid: str
    job_id: int
    attempt: int
    kind: Kind
    fields: tuple[str, ...]
    values: Values
    message: str
    core_seconds: float


@dataclass(frozen=True)
class Pending:
    """An attempt whose record is not due yet."""

    uid: str
    job_id: int
    attempt: int
    reason: str


@dataclass(frozen=True)
class SideTotals:
    """What one ledger holds in all."""

    records: int
    cpu_seconds: float
    core_seconds: float


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """The result. `differences` are ordered by what is at stake, the largest first."""

    #: Attempts that both ledgers (or the only one) hold, without any difference.
    matched: int
    differences: tuple[Difference, ...]
    pending: tuple[Pending, ...]
    #: Attempts whose final status reached the WMS late, by uid; no fault of the record.
    late: tuple[str, ...]
    #: Events of another WMS in the same telemetry.
    foreign: int
    duplicates_on_wire: int
    #: By ledger: "wms", "otlp".
    totals: Mapping[str, SideTotals]
    #: How many records were held against each further witness.
    witnessed: Mapping[str, int]
    #: What could not be read; while there is something, agreement proves nothing.
    problems: tuple[str, ...]
    #: The WMS keeps no accounting: there was only the telemetry to look at.
    one_ledger: bool = False

    @property
    def core_seconds_at_stake(self) -> float:
        """Over all differences."""
        return sum(each.core_seconds for each in self.differences)

    @property
    def is_clean(self) -> bool:
        """No difference, and everything could be read."""
        return not self.differences and not self.problems
