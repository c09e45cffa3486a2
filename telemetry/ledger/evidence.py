"""What reconciliation compares: the two ledgers, and what others saw of each attempt. Pure values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.ledger.record import Record

_FINAL = frozenset({"Done", "Completed", "Failed", "Killed", "Rescheduled", "Deleted"})


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of an attempt that the WMS holds.

    `wall_core_seconds` is the value on the wire: DIRAC multiplies the wall clock by processors.
    """

    cpu_seconds: float
    wall_core_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptWitness:
    """What the WMS saw of an attempt itself; times are arrivals by its own clock, nanoseconds since 1970."""

    uid: str
    job_id: int
    attempt: int
    status: str
    minor_status: str
    running_utc_ns: int | None = None
    end_utc_ns: int | None = None
    last_heartbeat: Heartbeat | None = None
    pilot_stamp: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether a record is due: the attempt reached a node, and is over.

        A kill that was only ordered is not over: Killed has an end when the wrapper confirms it.
        """
        reached_node = bool(self.running_utc_ns or self.pilot_stamp)
        return reached_node and self.status in _FINAL and (self.status != "Killed" or self.end_utc_ns is not None)

    @property
    def is_open(self) -> bool:
        """Whether it has reached a node and is not over: its record is not due yet."""
        return bool(self.running_utc_ns or self.pilot_stamp) and not self.has_ended

    @property
    def wall_seconds(self) -> float | None:
        """From Running to the end, by the WMS's clock; None when it did not see both."""
        if self.running_utc_ns is None or self.end_utc_ns is None:
            return None
        return (self.end_utc_ns - self.running_utc_ns) / 1e9


@dataclass(frozen=True, kw_only=True)
class Contribution:
    """What an agent's counters hold of one ended attempt; None: they have no such counter."""

    uid: str
    cpu_seconds: float | None = None
    #: The accounted stages only: without finalize.
    wall_seconds: float | None = None
    core_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """How far two witnesses of different means may be apart. Of seconds and fraction the larger holds.

    The two ledgers hold renderings of the same facts: between them there is no tolerance. The
    offset between node and WMS comes from a header with whole seconds, and statuses travel.
    """

    wall_seconds: float = 5.0
    wall_fraction: float = 0.02
    cpu_seconds: float = 1.0
    cpu_fraction: float = 0.02
    counter_seconds: float = 0.01
    counter_fraction: float = 1e-6
    #: A record may be this late at either place before it counts as missing there.
    grace_seconds: float = 0.0
    #: A final status that arrives later than this after the end is mentioned.
    late_seconds: float = 60.0

    def wall(self, seconds: float) -> float:
        """Tolerance of a wall clock."""
        return max(self.wall_seconds, self.wall_fraction * seconds)

    def cpu(self, seconds: float) -> float:
        """Tolerance of CPU time."""
        return max(self.cpu_seconds, self.cpu_fraction * seconds)

    def counter(self, seconds: float) -> float:
        """Tolerance of what a counter has added up from the same facts."""
        return max(self.counter_seconds, self.counter_fraction * seconds)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that reconciliation looks at.

    `otlp` holds an item for each event, copies included; events of another WMS (one collector may
    serve several) are counted and left out. `problems` are sentences about what could not be read.
    `one_ledger`: the WMS keeps no accounting (DiracX), so that the telemetry is held against what others saw alone.
    """

    wms_id: str
    now_utc_ns: int
    wms: Sequence[Record] = ()
    #: Copies that the WMS was sent and has folded: at-least-once delivery at work, harmless.
    duplicates_on_wire: int = 0
    otlp: Sequence[Record] = ()
    witnesses: Sequence[AttemptWitness] = ()
    contributions: Sequence[Contribution] = ()
    problems: Sequence[str] = ()
    one_ledger: bool = False


def contribution(uid: str, values: Mapping[tuple[str, tuple[str, ...]], float]) -> Contribution:
    """What the counters (metric name and label values -> value) of one attempt say, in the ledger's terms."""

    def total(metric: str, *, but: str = "") -> float | None:
        found = [value for (name, labels), value in values.items() if name == metric and but not in labels]
        return sum(found) if found else None

    return Contribution(
        uid=uid,
        cpu_seconds=total("jobspan_payload_cpu_seconds_total"),
        wall_seconds=total("jobspan_wall_seconds_total", but="finalize"),
        core_seconds=total("jobspan_wall_core_seconds_total"),
    )
