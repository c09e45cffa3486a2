"""What has become of the payloads' own telemetry at a door of theirs, as counters: since that was opened."""

import threading
from collections.abc import Mapping
from typing import Final, TypeAlias

from telemetry import catalogue as names
from telemetry.live.payload_spool import SIGNALS, SignalName
from telemetry.live.tally import Key

#: What may become of a call. It is taken; or known, because it was taken before and its answer was lost; or refused.
TAKEN, AGAIN = "taken", "again"
#: Why calls are refused, by the status with which they are answered; whatever else is wrong with one is its form.
_REASONS: Final = {401: "secret", 404: "path", 405: "path", 413: "limit", 429: "rate", 503: "disk"}
_FORM = "form"
OUTCOMES = (TAKEN, AGAIN, *sorted({*_REASONS.values(), _FORM}))
#: What may become of a span or log record in a call that is taken.
ITEM_OUTCOMES = ("taken", "refused")
Counts: TypeAlias = Mapping[Key, int]


class PayloadCounts:
    """Safe from several threads. Every series is there from the start, so that the first call is an increase."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._counts: dict[Key, int] = {
            **{(names.PAYLOAD_TELEMETRY_CALLS.name, (outcome,)): 0 for outcome in OUTCOMES},
            **{
                (names.PAYLOAD_TELEMETRY_ITEMS.name, (signal, outcome)): 0
                for signal in SIGNALS
                for outcome in ITEM_OUTCOMES
            },
            **{(names.PAYLOAD_TELEMETRY_BYTES.name, (signal,)): 0 for signal in SIGNALS},
        }

    def now(self) -> Counts:
        """All of them."""
        with self._mutex:
            return dict(self._counts)

    def taken(self, signal: SignalName, *, items: int, refused: int) -> None:
        """A call is answered with success, for *items* in the spool; *refused* others it had are told in the answer."""
        self._add(names.PAYLOAD_TELEMETRY_ITEMS, items, signal, "taken")
        self._add(names.PAYLOAD_TELEMETRY_ITEMS, refused, signal, "refused")
        self._add(names.PAYLOAD_TELEMETRY_CALLS, 1, TAKEN)

    def again(self) -> None:
        """A call was answered that had been taken before."""
        self._add(names.PAYLOAD_TELEMETRY_CALLS, 1, AGAIN)

    def refused(self, status: int) -> None:
        """A call is answered with *status*."""
        self._add(names.PAYLOAD_TELEMETRY_CALLS, 1, _REASONS.get(status, _FORM))

    def read(self, signal: SignalName, size: int) -> None:
        """So many bytes, unpacked, count against what a job may send, whatever becomes of them."""
        self._add(names.PAYLOAD_TELEMETRY_BYTES, size, signal)

    def _add(self, metric: names.Metric, count: int, *labels: str) -> None:
        with self._mutex:
            self._counts[metric.name, labels] += count
