"""A journal in memory, and entries made by hand."""

from collections.abc import Iterable
from typing import TypeVar

from telemetry.clock import Clock
from telemetry.entries import Entry
from telemetry.facts import Fact
from tests.support.clock import JumpClock

F = TypeVar("F", bound=Fact)


class ListJournal:
    """Implements `telemetry.bus.FactWriter`; what was written stands in `entries`."""

    def __init__(self, clock: Clock | None = None, writer: str = "wrapper") -> None:
        self.entries: list[Entry] = []
        self._clock = clock or JumpClock()
        self._writer = writer

    def append(self, fact: Fact) -> Entry:
        """Keep *fact*."""
        clock = self._clock
        sequence = len(self.entries) + 1
        entry = Entry(self._writer, sequence, clock.utc_ns(), clock.boottime_ns(), clock.boot_id, fact)
        self.entries.append(entry)
        return entry

    def facts(self, kind: type[F]) -> list[F]:
        """Those of one *kind*, in order."""
        return facts_of(self.entries, kind)


def facts_of(entries: Iterable[Entry], kind: type[F]) -> list[F]:
    """The facts of *kind* among *entries*."""
    return [entry.fact for entry in entries if isinstance(entry.fact, kind)]
