"""Which entries of a journal an attempt's record is made of. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from telemetry.entries import Entry
from telemetry.facts import AttemptEnded, EndKept, Fact, JobMatched, WrapperStarted
from telemetry.journal import merge
from telemetry.ledger.record import WITNESSES

F = TypeVar("F", bound=Fact)

#: Writers that live outside the wrapper: what they write is no sign of the wrapper's life.
OUTSIDE_WRITERS = frozenset({"agent", "recovery"})


class Unidentified(ValueError):
    """The attempt has ended, but its journal does not say which attempt it is."""


@dataclass(frozen=True)
class Attempt:
    """An attempt that has ended: the facts that count, in the order in which they happened."""

    matched: JobMatched
    ended: AttemptEnded
    ended_entry: Entry
    revision: int
    entries: tuple[Entry, ...]

    @cached_property
    def wrapper_start(self) -> Entry | None:
        """The entry that says when the wrapper process started; None when it never did."""
        return next((entry for entry in self.entries if isinstance(entry.fact, WrapperStarted)), None)

    @cached_property
    def on_node(self) -> tuple[Entry, ...]:
        """The entries of the boot in which the wrapper ran: only their boottimes can be compared."""
        start = self.wrapper_start
        return () if start is None else tuple(each for each in self.entries if each.boot_id == start.boot_id)

    def facts(self, kind: type[F]) -> list[F]:
        """All facts of *kind*, in order."""
        return [entry.fact for entry in self.entries if isinstance(entry.fact, kind)]

    def first(self, kind: type[F]) -> F | None:
        """The first fact of *kind*."""
        return next(iter(self.facts(kind)), None)


def select(entries: Iterable[Entry]) -> Attempt | None:
    """The attempt that *entries* tell of, in whatever order and however often they were read.

    None while it has not ended. The best witness's end counts (the wrapper's above the agent's);
    a further end by the same witness makes a further revision. What was written after that end
    is left out, so that a record never changes by waiting; so is what recovery assumed, once the
    wrapper has spoken for itself.

    Raises:
        Unidentified: there is no `JobMatched`.
    """
    merged = merge(list({(entry.writer, entry.sequence): entry for entry in entries}.values()))
    ends = [(entry, entry.fact) for entry in merged if isinstance(entry.fact, AttemptEnded)]
    if not ends:
        return None
    best = min((fact.recorded_by for _, fact in ends), key=WITNESSES.index)
    counting = [(entry, fact) for entry, fact in ends if fact.recorded_by == best]
    ended_entry, ended = counting[-1]
    kept = tuple(entry for entry in merged if _counts(entry, ended_entry, ended))
    matched = next((entry.fact for entry in kept if isinstance(entry.fact, JobMatched)), None)
    if matched is None:
        raise Unidentified(
            "the journal has AttemptEnded but no JobMatched; is the agent's journal beside the wrapper's?"
        )
    words = [entry.fact for entry in merged if isinstance(entry.fact, EndKept)]
    if words:
        last = words[-1]
        ended = replace(ended, status=last.status, minor_status=last.minor_status, error_type=last.error_type)
    return Attempt(matched, ended, ended_entry, len(counting) + len(words), kept)


def _counts(entry: Entry, ended_entry: Entry, ended: AttemptEnded) -> bool:
    if entry.writer == ended_entry.writer:
        return entry.sequence <= ended_entry.sequence
    if ended.recorded_by == "wrapper" and entry.writer == "recovery":
        return False
    return entry.boot_id != ended_entry.boot_id or entry.boottime_ns <= ended_entry.boottime_ns
