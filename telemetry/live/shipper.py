"""The thread that ships ended attempts until every sink has settled them. Never in the way of anybody.

What is pending is what stands in the control folders without an acknowledgement ("otlp-file",
"otlp-http", by the name of the record); the queue in memory only says where to look first. So a full queue, a crash
or a collector that is down for a week lose nothing: the folders are scanned again.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from telemetry.entries import Entry, UnreadableFact, from_line
from telemetry.facts import AttemptEnded, JobMatched
from telemetry.journal import SUFFIX, is_written, read_journal
from telemetry.live.shipping import FILE_SINK, HTTP_SINK, Parcel, Shipping, ShipResult, is_shipped
from telemetry.live.spans import record_item
from telemetry.outbox import OTLP_DELIVERER, Acknowledgements, note_try
from telemetry.outbox import SUFFIX as ACKNOWLEDGED

FIRST_BACKOFF_SECONDS = 1.0
MOST_BACKOFF_SECONDS = 60.0
#: Of attempts in one request; a collector takes 20 MiB unless it is told otherwise, and an attempt is some 10 KiB.
LARGEST_BATCH = 128
MOST_BYTES_TOGETHER = 4 << 20

#: Facts of an attempt -> its accounting record under the design's field names (`telemetry.ledger` brings it).
Build: TypeAlias = Callable[[list[Entry]], Mapping[str, object] | None]

_log = logging.getLogger(__name__)


class Shipper(threading.Thread):
    """Ships what it is told of, and at its start what an earlier agent left. To be started after any fork."""

    def __init__(
        self,
        shipping: Shipping,
        build: Build,
        *,
        jobs_folder: Path | None = None,
        queue_limit: int = 1024,
    ) -> None:
        super().__init__(name="otlp-shipper", daemon=True)
        self._shipping = shipping
        self._build = build
        self._jobs_folder = jobs_folder
        self._queue: deque[Path] = deque()
        self._queue_limit = queue_limit
        self._waiting: dict[Path, ShipResult | None] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._scan_due = True
        self._backoff = Backoff()
        #: Items that the collector refused for good, and attempts that could not be rendered.
        self.rejected = self.unreadable = 0

    def submit(self, control: Path) -> None:
        """The attempt in *control* has ended. Never blocks; when the queue is full, the folders are scanned later."""
        if len(self._queue) < self._queue_limit:
            self._queue.append(control)
        else:
            self._scan_due = True
        self._wake.set()

    def pending(self) -> dict[str, int]:
        """How many known attempts each sink has not settled."""
        queued = len(self._queue)  # first: what goes from the queue to those that wait meanwhile is not missed
        results = list(self._waiting.values())
        unseen = queued + results.count(None)
        counts = {FILE_SINK: unseen + sum(1 for result in results if result and result.file == "retry")}
        if HTTP_SINK in self._shipping.sinks:
            counts[HTTP_SINK] = unseen + sum(1 for result in results if result and result.http == "retry")
        return counts

    def stop(self, timeout_seconds: float) -> bool:
        """Write what is queued, try the collector once more, and end; whether that was done in time."""
        self._stopping.set()
        self._wake.set()
        if self.is_alive():
            self.join(timeout_seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Ship until stopped, and then what is still queued."""
        while not self._stopping.is_set():
            self._round(is_last=False)
            self._wake.wait(self._backoff.remaining_seconds() if self._waiting else None)
            self._wake.clear()
        self._round(is_last=True)

    def _round(self, *, is_last: bool) -> None:
        """Write everything that is new to the files, and send what there is until the collector or the disk fails."""
        self._gather()
        may_send = is_last or self._backoff.is_over()
        unseen = deque(control for control, told in self._waiting.items() if told is None)
        older = deque(control for control, told in self._waiting.items() if told is not None)
        for queue in (unseen, older):
            while queue and (may_send or queue is unseen):
                batch = self._take(queue)
                if may_send:
                    may_send = self._send(batch)
                else:
                    for each in batch:
                        self._note(each, self._shipping.unsent(each))

    def _gather(self) -> None:
        if self._scan_due and self._jobs_folder is not None:
            self._scan_due = False
            for control in sorted(self._jobs_folder.glob("*/control")):
                if not self._stopping.is_set() and control not in self._waiting and self._is_pending(control):
                    self._waiting[control] = None
        while self._queue:  # an attempt is always in one of the two: whoever counts finds it
            self._waiting.setdefault(self._queue[0], None)
            self._queue.popleft()

    def _is_pending(self, control: Path) -> bool:
        """Whether *control* holds an attempt that has ended and that some sink has not settled."""
        try:
            uid = uid_of(control)
            if uid is None or is_written(control, "wrapper"):
                return False
            if self._shipping.kept(control):
                return True
            acknowledged = [Acknowledgements(control, sink) for sink in self._shipping.sinks]
            if all(each.settled for each in acknowledged) and not _grew(control, self._shipping.sinks):
                return False
            entries = read_journal(control)
            if not any(isinstance(entry.fact, AttemptEnded) for entry in entries):
                return False
            item = record_item(uid, self._build(entries))
            return not all(is_shipped(each, uid, item) for each in acknowledged)
        except OSError:  # the folder was cleaned up under us
            return False
        except ValueError:  # no record can be made of it; why is said when it is shipped
            return True

    def _take(self, queue: deque[Path]) -> list[Parcel]:
        """The next of *queue*, packed: as many as go into one request."""
        batch: list[Parcel] = []
        size_bytes = 0
        while queue and len(batch) < self._backoff.batch and size_bytes < MOST_BYTES_TOGETHER:
            if parcel := self._pack(queue.popleft()):
                batch.append(parcel)
                size_bytes += parcel.size_bytes
        return batch

    def _pack(self, control: Path) -> Parcel | None:
        """None, and *control* waits no longer, when it can never be rendered."""
        try:
            return self._shipping.kept(control) or self._shipping.pack(control, self._build(read_journal(control)))
        except Exception as error:  # noqa: BLE001 - boundary of the thread: one bad attempt must not stop the others
            _log.warning("cannot ship %s: %s: %s", control, type(error).__name__, error)
            self.unreadable += 1
            self._waiting.pop(control, None)
            return None

    def _send(self, batch: Sequence[Parcel]) -> bool:
        """One try; whether all have settled. What has failed goes to the end: it may be the only one that the
        collector stumbles over."""
        failed: list[tuple[Path, ShipResult]] = []
        for parcel, result in zip(batch, self._shipping.send(batch), strict=True):
            self._note(parcel, result)
            if not result.is_settled:
                failed.append((parcel.control, result))
        if not failed:
            self._backoff.succeeded()
            return True
        self._backoff.failed(max((each.retry_after_seconds or 0.0 for _, each in failed), default=None))
        pause_seconds = self._backoff.remaining_seconds()
        # In one step: whoever counts those that wait meanwhile misses none.
        last = dict(failed)
        others = {control: told for control, told in self._waiting.items() if control not in last}
        self._waiting = {**others, **last}
        for control, result in failed:
            note_try(control, OTLP_DELIVERER, result.detail, self._backoff.failures, pause_seconds)
        return False

    def _note(self, parcel: Parcel, result: ShipResult) -> None:
        """Where the attempt stands now; it waits no longer when it has settled."""
        self.rejected += result.rejected
        if result.is_settled:
            self._waiting.pop(parcel.control, None)
        else:
            self._waiting[parcel.control] = result
            self._shipping.hold(parcel)


class Backoff:
    """When to try again: doubling from 1 s to 60 s, with jitter, or later if the other side asks for it.

    `batch` is how much to send at once: one thing after a failure, and twice as much after each success.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self.batch = 1
        self._monotonic = monotonic
        self._until = 0.0

    def failed(self, retry_after_seconds: float | None) -> None:
        """It did not work."""
        wait_seconds = min(MOST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(self.failures, 10))
        wait_seconds *= random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not cryptography
        self.failures += 1
        self.batch = 1
        self._until = self._monotonic() + max(wait_seconds, retry_after_seconds or 0.0)

    def succeeded(self) -> None:
        """It worked."""
        self.failures = 0
        self.batch = min(2 * self.batch, LARGEST_BATCH)
        self._until = 0.0

    def remaining_seconds(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._until - self._monotonic())

    def is_over(self) -> bool:
        """Whether it may be tried now."""
        return self._monotonic() >= self._until


def _grew(control: Path, sinks: tuple[str, ...]) -> bool:
    """Whether a journal was written to since all was settled: there may be a better record of the attempt by now."""
    settled_ns = min((control / f"{sink}{ACKNOWLEDGED}").stat().st_mtime_ns for sink in sinks)
    return any(path.stat().st_mtime_ns > settled_ns for path in control.glob(f"*{SUFFIX}"))


def uid_of(control: Path) -> str | None:
    """UID of the attempt in *control*, from the first JobMatched; cheaper than reading the whole journal."""
    for path in sorted(control.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            for line in file:
                try:
                    fact = from_line(line).fact
                except UnreadableFact:
                    continue
                if isinstance(fact, JobMatched):
                    return fact.uid
                if path.name != f"agent{SUFFIX}":
                    break  # elsewhere it would be the first line
    return None
