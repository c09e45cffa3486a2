"""The threads of the WMS that do what nobody asks for, now and then: stalled jobs, and what is no longer needed."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("jobspan.wms")


class Watch(threading.Thread):
    """Calls *look* again and again; it waits first, since what was missed while we were away does not count."""

    def __init__(self, look: Callable[[], object], period_seconds: float) -> None:
        super().__init__(name="watch", daemon=True)
        self._look = look
        self._period_seconds = period_seconds
        self._woken = threading.Event()
        self._ended = threading.Event()

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def stop(self, timeout_seconds: float) -> None:
        """End after the present look."""
        self._ended.set()
        self._woken.set()
        if self.is_alive():
            self.join(timeout_seconds)

    def run(self) -> None:
        """Until `stop`."""
        while True:
            self._woken.wait(self._period_seconds)
            self._woken.clear()
            if self._ended.is_set():
                return
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - a full disk or a busy database passes; the watch must outlive it
                log.error("a periodic task failed: %s: %s", type(error).__name__, error)
