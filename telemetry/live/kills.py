"""The share of one attempt in the counters of limits and kills. Pure."""

import signal
from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS
from telemetry.facts import Fact, KillFinished, KillRequested, LimitHit, SignalSent

_Key: TypeAlias = tuple[str, tuple[str, ...]]
#: Label values of the histogram's pieces: bounds of its buckets (not cumulated), and the sum in nanoseconds.
BOUNDS = (*(str(bound) for bound in names.KILL_SECONDS.buckets), "+Inf")
SUM = "sum"


class KillFold:
    """Takes the facts of kills, in any order; totals only rise."""

    def __init__(self) -> None:
        self._counts: Counter[_Key] = Counter()
        self._origin = ""
        self._limit = ""

    def add(self, fact: Fact) -> None:
        """Count *fact*, if it belongs to a kill or is a limit."""
        match fact:
            case LimitHit():
                self._counts[names.LIMITS_HIT.name, (fact.limit, fact.action)] += 1
                if fact.action == "kill":
                    self._limit = self._limit or fact.limit
            case KillRequested():
                self._origin = self._origin or fact.origin
            case SignalSent():
                key = (names.SIGNALS.name, (signal_name(fact.signal), fact.purpose))
                self._counts[key] += fact.processes or len(fact.pids)
            case KillFinished():
                self._finished(fact)

    def _finished(self, fact: KillFinished) -> None:
        self._counts[names.KILL_SURVIVED.name, ()] += len(fact.survivors)
        bound = next((bound for bound in BOUNDS if fact.duration_seconds <= float(bound)), BOUNDS[-1])
        self._counts[names.KILL_SECONDS.name, (bound,)] += 1
        self._counts[names.KILL_SECONDS.name, (SUM,)] += round(fact.duration_seconds * NANOSECONDS)

    def counters(self) -> Mapping[_Key, int]:
        """The share so far. Only the watchdog ends jobs for a limit."""
        counts = dict(self._counts)
        if self._origin:
            counts[names.KILLS.name, (self._origin, self._limit if self._origin == "watchdog" else "")] = 1
        return counts


def signal_name(number: int) -> str:
    """SIGTERM for 15."""
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"SIG{number}"
