"""Turns: a lock that is given to those who wait in the order in which they came.

An ordinary lock goes to whoever is awake when it is free, so that with many callers some wait for
long: the 99th percentile of their calls is two to three times as high.
"""

import threading
from collections import deque
from types import TracebackType


class Turn:
    """`with turn:` holds it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False

    def __enter__(self) -> None:
        with self._mutex:
            if not self._is_held:
                self._is_held = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        try:
            mine.acquire()  # until whoever is before us hands it over
        except BaseException:
            self._give_up(mine)
            raise

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._mutex:
            self._hand_over()

    def _give_up(self, mine: threading.Lock) -> None:
        """Interrupted while waiting, perhaps after it was handed over."""
        with self._mutex:
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:
                self._hand_over()

    def _hand_over(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
        else:
            self._is_held = False
