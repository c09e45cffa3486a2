"""The thread that reads journals on, so that a scrape waits for none."""

import logging
import threading
from collections.abc import Callable

#: Each journal is read once in so long, a part of them at a time.
EVERY_SECONDS = 5.0
LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Reader(threading.Thread):
    """Calls *look* again and again, each time for the next part of all journals."""

    def __init__(self, look: Callable[[float], None]) -> None:
        super().__init__(name="journals", daemon=True)
        self._look = look
        self._ended = threading.Event()

    def stop(self) -> None:
        """End; a look that is under way is short."""
        self._ended.set()

    def run(self) -> None:
        """Until `stop`."""
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self._look(LOOK_SECONDS / EVERY_SECONDS)
            except Exception:  # noqa: BLE001 - one journal that cannot be read must not end all metrics
                _log.exception("cannot read on in the journals")
