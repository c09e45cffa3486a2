"""The thread that ships the spans of the WMS's calls: bounded in memory, disk and CPU; it drops, and counts what.

A call hands its span over and goes on. What is beyond `rate` a second is not even kept, because
rendering costs more than a small call does. The file is turned over when it is full, with one
older one kept; a collector that is away gets the last batches when it is back.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from telemetry.live.call_spans import CallSpan, WmsIdentity, render_calls
from telemetry.live.lines import append_line
from telemetry.live.otlp import span_line
from telemetry.live.otlp_http import OtlpHttp
from telemetry.live.sdk import ReadableSpan
from telemetry.live.shipper import Backoff

QUEUE_LIMIT = 2048
BATCH_SPANS = 512
BATCHES_KEPT = 8
FLUSH_SECONDS = 1.0
_log = logging.getLogger(__name__)


class SpanFile:
    """OTLP/JSON lines of one process, at most so large, and one older file beside it."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path = path
        self.older = path.with_name(f"{path.stem}.1{path.suffix}")
        self._most_bytes = most_bytes

    def append(self, line: bytes) -> None:
        """Append *line*, to a new file when it does not fit into this one.

        Raises:
            OSError: no room, or no right.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size + len(line) > self._most_bytes:
            self.path.replace(self.older)
        append_line(self.path, line)


class CallShipper(threading.Thread):
    """Takes spans from any thread, ships them from its own."""

    def __init__(
        self,
        wms: WmsIdentity,
        *,
        file: SpanFile | None,
        http: OtlpHttp | None,
        rate: float,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """*rate* is how many spans a second are kept at most."""
        super().__init__(name="call-spans", daemon=True)
        self._wms = wms
        self._file = file
        self._http = http
        self._allowance = Allowance(rate, time.monotonic)
        self._queue: deque[CallSpan] = deque()
        self._queue_limit = queue_limit
        self._unsent: deque[list[ReadableSpan]] = deque()
        self._backoff = Backoff()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._dropped: Counter[str] = Counter()

    def offer(self, span: CallSpan) -> None:
        """Keep *span*, or drop it. Never waits."""
        if not self._allowance.take():
            self._dropped["rate"] += 1
        elif len(self._queue) >= self._queue_limit:
            self._dropped["queue"] += 1
        else:
            self._queue.append(span)
            if len(self._queue) == BATCH_SPANS:
                self._woken.set()

    @property
    def queued(self) -> int:
        """Spans that some sink has still to take."""
        return len(self._queue) + sum(len(batch) for batch in list(self._unsent))

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many spans a sink did not get, by reason."""
        return dict(self._dropped)

    def stop(self, timeout_seconds: float) -> None:
        """Ship what there is, once, and end."""
        self._stopping.set()
        self._woken.set()
        if self.is_alive():
            self.join(timeout_seconds)

    def run(self) -> None:
        """Until stopped."""
        while not self._stopping.is_set():
            self._woken.wait(FLUSH_SECONDS)
            self._woken.clear()
            self._guarded_flush()
        self._guarded_flush()

    def _guarded_flush(self) -> None:
        try:
            self._flush()
        except Exception:  # noqa: BLE001 - boundary of the thread: one span that cannot be rendered must not end it
            _log.exception("cannot ship spans of calls")

    def _flush(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH_SPANS, len(self._queue)))]
            spans = render_calls(batch, self._wms)
            self._to_file(spans)
            if self._http is not None:
                self._unsent.append(spans)
                while len(self._unsent) > BATCHES_KEPT:
                    self._dropped["collector"] += len(self._unsent.popleft())
        self._send()

    def _to_file(self, spans: Sequence[ReadableSpan]) -> None:
        if self._file is None:
            return
        try:
            self._file.append(span_line(spans))
        except OSError as error:
            self._dropped["file"] += len(spans)
            _log.warning("cannot write %s: %s", self._file.path, error.strerror)

    def _send(self) -> None:
        while self._http is not None and self._unsent and (self._backoff.is_over() or self._stopping.is_set()):
            result = self._http.send_spans(self._unsent[0])
            if result.outcome == "retry":
                self._backoff.failed(result.retry_after_seconds)
                return
            self._backoff.succeeded()
            batch = self._unsent.popleft()
            if result.outcome == "dead":
                self._dropped["collector"] += result.rejected or len(batch)


class Allowance:
    """So many a second, and at most a second's worth at once. Exact only for one thread; close enough for several."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._left = rate
        self._at = clock()

    def take(self) -> bool:
        """Whether one more is allowed now."""
        now = self._clock()
        self._left = min(max(self._rate, 1.0), self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
