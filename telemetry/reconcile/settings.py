"""How far two sides may be apart, and what the engine may use. Frozen values."""

from dataclasses import dataclass, field
from pathlib import Path

_DAY_US = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class WitnessTolerances:
    """How far a whole record and what others saw of its attempt may be apart. Of seconds and fraction the larger holds.

    Two whole records are renderings of the same facts: between them there is no tolerance. The offset between node
    and WMS comes from a header with whole seconds, and statuses travel.
    """

    wall_seconds: float = 5.0
    wall_fraction: float = 0.02
    cpu_seconds: float = 1.0
    cpu_fraction: float = 0.02
    counter_seconds: float = 0.01
    counter_fraction: float = 1e-6
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
class Tolerances:
    """What is no difference yet. Of seconds and fraction the larger holds."""

    wall_seconds: float = 120.0
    wall_fraction: float = 0.02
    cpu_seconds: float = 60.0
    cpu_fraction: float = 0.05
    benchmark_fraction: float = 0.01
    #: Two ends may be this far apart, beyond what one record is longer than the other.
    skew_seconds: float = 5.0
    #: A record that arrives longer after its end is late.
    late_seconds: float = 86400.0
    #: No record ends later than this after now.
    future_seconds: float = 86400.0
    #: More CPU in one record than anybody has.
    most_cpu_seconds: float = 1e8
    #: A core cannot do more than this times its wall clock, plus a second.
    cpu_per_core_second: float = 1.02
    #: Records without a common key are taken for one when starts and ends are no further apart.
    fuzzy_seconds: float = 120.0
    #: What payloads may have used beyond their pilot.
    pilot_fraction: float = 0.05
    #: Share of a pilot's CPU, and of its core time, that is no difference though no payload had it.
    overhead_fraction: float = 0.05
    idle_fraction: float = 0.2
    #: So many differences of a class, and this share of all pairs of a site, host or pilot, have one cause.
    systematic_pairs: int = 5
    systematic_fraction: float = 0.5
    witnesses: WitnessTolerances = field(default_factory=WitnessTolerances)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What the engine may use. It keeps what does not fit into *memory* in *folder*."""

    folder: Path
    memory: str = "800MB"
    threads: int = 2
    #: Where tables are kept that were worked out of files; None: nowhere.
    kept: Path | None = None
    #: So many differences are listed in the result; its file has all.
    listed: int = 1000


@dataclass(frozen=True, kw_only=True)
class Window:
    """Ends that are asked about, microseconds since 1970; None: no bound."""

    since_us: int | None = None
    until_us: int | None = None

    def wider(self) -> "Window":
        """With a day more at both ends, in which the partner of what is asked about may lie."""
        return Window(
            since_us=None if self.since_us is None else self.since_us - _DAY_US,
            until_us=None if self.until_us is None else self.until_us + _DAY_US,
        )
