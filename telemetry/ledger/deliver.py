"""Bringing a record to the WMS: at least once, for as long as it takes, without a second copy on disk.

The journal is the spool: a record is a rendering of it, so what can be delivered has been on disk
before. How far delivery has come stands in the acknowledgements of the sink `wms-accounting`,
under `<UID>/<RecordedBy>/<Revision>`. A copy more than needed does no harm: every reader folds by
that name. One deliverer a control folder, by `deliver.lock`; taking it is the caller's business.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from telemetry.journal import read_journal
from telemetry.ledger.builder import build
from telemetry.ledger.record import Record
from telemetry.outbox import Acknowledgements

SINK = "wms-accounting"


@dataclass(frozen=True)
class SendOutcome:
    """The answer to one try.

    accepted: the WMS holds the record. duplicate: it held it before. retry: no usable answer
    (network, 5xx, 401, 408, 429); `retry_after_seconds` is what the server asked for. dead: the
    WMS understood and will never take it (another 4xx, or another body under the same name).
    """

    kind: Literal["accepted", "duplicate", "retry", "dead"]
    detail: str = ""
    retry_after_seconds: float | None = None


#: Makes one try with a deadline of its own. Network errors are outcomes, not exceptions.
Send: TypeAlias = Callable[[Record], SendOutcome]


@dataclass(frozen=True)
class Backoff:
    """How long to wait between tries, and how long to try at all.

    Each wait is `factor` times the one before, at most `largest_seconds`, shortened by a random
    part of up to `jitter`, so that the wrappers of a site do not knock together.
    """

    first_seconds: float = 0.5
    factor: float = 2.0
    largest_seconds: float = 30.0
    jitter: float = 0.2
    deadline_seconds: float = 30.0

    def wait_seconds(self, tries: int, asked_seconds: float | None) -> float:
        """The wait after *tries* tries; never shorter than the server *asked* for."""
        grown = min(self.largest_seconds, self.first_seconds * self.factor ** min(tries - 1, 64))
        shortened = grown * (1 - self.jitter * random.SystemRandom().random())
        return max(shortened, asked_seconds or 0.0)


@dataclass(frozen=True)
class Delivery:
    """How a delivery ended. pending: not yet; the journal keeps the record for the next deliverer."""

    outcome: Literal["accepted", "duplicate", "dead", "pending"]
    tries: int
    detail: str = ""
    #: What the WMS asked for last, when the outcome is pending.
    retry_after_seconds: float | None = None


def pending(control: Path) -> Record | None:
    """The record that the journal in *control* holds for the WMS; None when it is settled, or not due yet.

    Raises:
        Unidentified, InvalidRecord: as `build`.
    """
    record = build(read_journal(control))
    if record is None or Acknowledgements(control, SINK).outcome(record.key.item) is not None:
        return None
    return record


def deliver(
    control: Path,
    record: Record,
    send: Send,
    *,
    backoff: Backoff | None = None,
    wake: threading.Event | None = None,
    keep_trying: Callable[[], bool] = lambda: True,
) -> Delivery:
    """Send *record* until the WMS has answered, the deadline has passed, or *keep_trying* says no.

    At least one try is made. *wake* ends a wait early: somebody has heard from the WMS, or wants
    us to ask *keep_trying*. A record that was settled before is not sent again.
    """
    acknowledgements = Acknowledgements(control, SINK)
    settled = acknowledgements.outcome(record.key.item)
    if settled is not None:
        return Delivery("dead" if settled == "dead" else "duplicate", 0, "settled before")
    plan, event = backoff or Backoff(), wake or threading.Event()
    deadline = time.monotonic() + plan.deadline_seconds
    tries = 0
    while True:
        outcome = send(record)
        tries += 1
        if outcome.kind != "retry":
            _settle(acknowledgements, record, outcome)
            return Delivery(outcome.kind, tries, outcome.detail)
        left = deadline - time.monotonic()
        if left <= 0 or (outcome.retry_after_seconds or 0.0) > left or not keep_trying():
            return Delivery("pending", tries, outcome.detail, outcome.retry_after_seconds)
        if event.wait(min(left, plan.wait_seconds(tries, outcome.retry_after_seconds))):
            event.clear()
        if not keep_trying():
            return Delivery("pending", tries, outcome.detail, outcome.retry_after_seconds)


def _settle(acknowledgements: Acknowledgements, record: Record, outcome: SendOutcome) -> None:
    """Note the answer. On a full disk it cannot be noted: the record is sent once more, and folded as a copy."""
    with contextlib.suppress(OSError):
        acknowledgements.settle(
            record.key.item,
            "dead" if outcome.kind == "dead" else "accepted",
            outcome.detail,
            copies=int(outcome.kind == "duplicate"),
        )
