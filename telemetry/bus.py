"""Emit a fact: secrets masked, the journal first, then the listeners. A listener cannot hurt the job."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from telemetry.entries import FIELD_NAMES, Entry
from telemetry.facts import Fact

Emit: TypeAlias = Callable[[Fact], object]
Listener: TypeAlias = Callable[[Entry], None]
#: Fields whose text comes from outside: it may hold a secret, and is masked before it is kept.
FREE_TEXT = frozenset(
    {"message", "cause", "reason", "executable", "application_status", "parameters", "values", "attributes"}
    | {"names", "request"}
)
_FREE_TEXT_OF = {kind: tuple(name for name in names if name in FREE_TEXT) for kind, names in FIELD_NAMES.items()}


class FactWriter(Protocol):
    """Where facts are kept: `journal.Journal`, or a list in tests."""

    def append(self, fact: Fact) -> Entry:
        """Keep *fact*; it is safe on return."""
        ...


class Bus:
    """Carries facts from those who see them to the journal, and then to whoever listens.

    Listeners run in the emitter's thread and must only queue or set an event. One that raises is
    dropped for good and counted: observation never fails a job.
    """

    def __init__(self, journal: FactWriter, mask: Callable[[str], str] = str) -> None:
        """*mask* takes the secrets out of a text: what the bus lets through is what everybody sees."""
        self._journal = journal
        self._mask = mask
        self._listeners: tuple[Listener, ...] = ()
        self._mutex = threading.Lock()
        self.listeners_dropped = 0

    def emit(self, fact: Fact) -> Entry:
        """Journal *fact*, then tell the listeners.

        Raises:
            JournalFull: the fact could not be kept; nobody is told.
        """
        entry = self._journal.append(masked(fact, self._mask))
        for listener in self._listeners:
            try:
                listener(entry)
            except Exception:  # noqa: BLE001 - promise 6: whatever a listener does wrong, the job goes on
                self._drop(listener)
        return entry

    def listen(self, listener: Listener) -> None:
        """Tell *listener* every entry from now on."""
        with self._mutex:
            self._listeners = (*self._listeners, listener)

    def _drop(self, listener: Listener) -> None:
        with self._mutex:
            self._listeners = tuple(each for each in self._listeners if each is not listener)
            self.listeners_dropped += 1


def masked(fact: Fact, mask: Callable[[str], str]) -> Fact:
    """*fact* with *mask* applied to its free text; fields of a closed vocabulary stay as they are."""
    changes = {}
    for name in _FREE_TEXT_OF[type(fact)]:
        value = getattr(fact, name)
        if value and (hidden := _masked(value, mask)) != value:
            changes[name] = hidden
    return replace(fact, **changes) if changes else fact


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, tuple):
        return tuple(_masked(each, mask) for each in value)
    if isinstance(value, Mapping):
        return {name: _masked(each, mask) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, mask) for each in value]
    return value
