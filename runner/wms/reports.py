"""Facts as the WMS's dialect words them. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from telemetry.clock import utc_text
from telemetry.entries import Entry
from telemetry.facts import JobAccepted, ParametersSet, Scalar, StatusChanged

#: DiracX orders by timestamp and rounds to 1 ms, so two updates must be further apart.
LEAST_STEP_NS = 2_000_000


@dataclass
class Stamps:
    """Timestamps for the wire: corrected by the clocks' offset, strictly rising, the same at a repetition."""

    last_ns: int = 0
    _by_entry: dict[tuple[str, int], int] = field(default_factory=dict)

    def give(self, entry: Entry, offset_ns: int) -> None:
        """Fix the timestamp of *entry*, whose UTC is *offset_ns* behind the WMS's."""
        self.last_ns = max(entry.utc_ns + offset_ns, self.last_ns + LEAST_STEP_NS)
        self._by_entry[key(entry)] = self.last_ns

    def not_before(self, utc_ns: int) -> None:
        """All timestamps given from now on are later than *utc_ns* (the WMS's clock)."""
        self.last_ns = max(self.last_ns, utc_ns)

    def of(self, entry: Entry) -> str:
        """The timestamp that *entry* was given, as text."""
        return utc_text(self._by_entry[key(entry)])


def key(entry: Entry) -> tuple[str, int]:
    """What tells *entry* from all others of its journal."""
    return entry.writer, entry.sequence


def status_of(entry: Entry) -> str:
    """The status that *entry* reports; empty when it reports none."""
    return entry.fact.status or "" if isinstance(entry.fact, StatusChanged) else ""


def update(entry: Entry) -> dict[str, str]:
    """The body of a status update."""
    if not isinstance(entry.fact, StatusChanged):
        return {}
    fields = {
        "Status": entry.fact.status,
        "MinorStatus": entry.fact.minor_status,
        "ApplicationStatus": entry.fact.application_status,
        "Source": entry.fact.source,
    }
    return {name: value for name, value in fields.items() if value is not None}


def parameters(entry: Entry) -> dict[str, Scalar]:
    """The job parameters that *entry* sets; the acceptance by the computing element is one of ours."""
    fact = entry.fact
    if isinstance(fact, JobAccepted):
        return {"TaskID": fact.task, "SubmittedToCE": f"Job submitted as {fact.task}"}
    return dict(fact.parameters) if isinstance(fact, ParametersSet) else {}


def merged(entries: Iterable[Entry]) -> dict[str, Scalar]:
    """The job parameters that *entries* set, the last value of each."""
    values: dict[str, Scalar] = {}
    for entry in entries:
        values |= parameters(entry)
    return values
