"""The agent's log at the WMS, where it can be read as the pilot's (`jobspan pilots logs`)."""

import logging
import threading
from collections import deque
from collections.abc import Callable

from runner.errors import JobspanError
from runner.redaction import RedactingFilter
from runner.wms.client import WmsClient
from telemetry.clock import Clock, utc_text

#: Lines that are kept while the WMS is away; the oldest give way.
MOST_LINES = 1000
LONGEST_LINE = 10_000
#: Lines are collected for so long.
SHIP_SECONDS = 5.0


class PilotLog(logging.Handler):
    """Hands our log lines to the WMS, now and then, with every secret masked. What cannot be handed over is no loss."""

    def __init__(self, client: WmsClient, stamp: str, clock: Clock, redact: Callable[[str], str]) -> None:
        super().__init__(logging.INFO)
        self.addFilter(RedactingFilter(redact))
        self._client = client
        self._stamp = stamp
        self._clock = clock
        self._lines: deque[dict[str, object]] = deque(maxlen=MOST_LINES)
        self._filled = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pilot-log", daemon=True)

    def start(self) -> None:
        """Begin to listen and to ship."""
        logging.getLogger("jobspan").addHandler(self)
        self._thread.start()

    def stop(self, *, reachable: bool) -> None:
        """Listen no more; what is left goes out if the WMS is *reachable*."""
        logging.getLogger("jobspan").removeHandler(self)
        self._ended.set()
        self._filled.set()
        if reachable:
            self._ship()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line until it is shipped."""
        line: dict[str, object] = {
            "Time": utc_text(self._clock.utc_ns()),
            "Severity": record.levelname[:16],
            "Source": record.name[:64],
            "Message": record.getMessage()[:LONGEST_LINE],
        }
        self._lines.append(line)
        self._filled.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._filled.wait()
            self._ended.wait(SHIP_SECONDS)
            if not self._ended.is_set():
                self._filled.clear()
                self._ship()

    def _ship(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            self._client.add_pilot_log(self._stamp, lines)
        except JobspanError:  # they are on stderr as well; a line about it would only be one more
            self._lines.extendleft(reversed(lines))
