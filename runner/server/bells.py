"""Bells: how a service wakes the long polls that wait in the event loop."""

import asyncio
import threading


class Bell:
    """Rung by any thread after its transaction; heard by coroutines of one event loop."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rung: asyncio.Event | None = None
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """The server stops: nobody should wait any longer."""
        return self._closed

    def listen(self) -> asyncio.Event:
        """The event of the next ring. Take it *before* looking, so that no ring in between is missed."""
        with self._mutex:
            self._loop = asyncio.get_running_loop()
            if self._rung is None or self._rung.is_set():
                self._rung = asyncio.Event()
            if self._closed:
                self._rung.set()
            return self._rung

    def ring(self) -> None:
        """Wake everybody who listens."""
        with self._mutex:
            loop, rung = self._loop, self._rung
            if loop is None or rung is None or loop.is_closed():
                return
            self._rung = None
            loop.call_soon_threadsafe(rung.set)

    def close(self) -> None:
        """Wake everybody, now and from now on."""
        self._closed = True
        self.ring()
