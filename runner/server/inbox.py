"""The inbox of a worker: numbers that others hand over, each until it was dealt with."""

import itertools
import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple


class Handed(NamedTuple):
    """A number that was handed over, under a ticket of its own."""

    ticket: int
    number: int


class Inbox:
    """Handed over by any thread after its transaction; taken by one worker.

    Nothing is durable here: what is handed over stands in the database, and whoever attends an
    inbox begins with what is left there.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Handed] = deque()
        self._open: set[int] = set()
        self._tickets = itertools.count()
        self._is_attended = False

    def put(self, numbers: Iterable[int]) -> None:
        """Hand over; the same number once more is work once more."""
        with self._changed:
            new = [Handed(next(self._tickets), number) for number in numbers]
            self._waiting.extend(new)
            self._open.update(each.ticket for each in new)
            self._changed.notify_all()

    def attend(self, attended: bool) -> None:
        """Whether there is a worker now."""
        with self._changed:
            self._is_attended = attended
            self._changed.notify_all()

    @property
    def is_attended(self) -> bool:
        """Whether there is a worker, and it is to go on."""
        return self._is_attended

    def take(self, most: int, wait_seconds: float) -> list[Handed]:
        """Some of what was handed over, the oldest first; nothing when nothing comes, or the worker is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_attended, wait_seconds)
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def done(self, handed: Iterable[Handed]) -> None:
        """These were dealt with, or need longer than anybody should wait."""
        with self._changed:
            self._open.difference_update(each.ticket for each in handed)
            self._changed.notify_all()

    def settle(self, wait_seconds: float) -> bool:
        """Wait until all that was handed over so far is dealt with; whether it is. Not without a worker."""
        with self._changed:
            before = frozenset(self._open)
            if not before or not self._is_attended:
                return not before
            return self._changed.wait_for(lambda: not self._is_attended or before.isdisjoint(self._open), wait_seconds)
