"""The shares of ended attempts: summed in memory, kept on disk, each UID once.

`counters.jsonl` has a line for each ended attempt (its `Tally`), so that totals survive the agent
and a record can be held against its very share. When it grows long it is compacted: one line
with the sums, and the last UIDs, by which a repeated attempt is still recognised.
"""

import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from telemetry import catalogue as names
from telemetry.live.lines import append_line, complete_lines
from telemetry.live.tally import Key, StageSeen, Tally

COMPACT_ABOVE_LINES = 5000
#: UIDs kept by a compaction. An attempt comes back only while its folder is kept, which holds far fewer.
KEPT_UIDS = 20000
_BUCKETS_NS = tuple(round(bound * 1_000_000_000) for bound in names.STAGE_DURATION.buckets)


@dataclass
class StageHistogram:
    """Observations of one (stage, result): count by bucket (the last is +Inf), sum, the latest of each bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS_NS) + 1))
    sum_ns: int = 0
    exemplars: dict[int, tuple[str, StageSeen]] = field(default_factory=dict)

    def observe(self, uid: str, seen: StageSeen) -> None:
        """Count one stage of the attempt *uid*."""
        bucket = bisect_left(_BUCKETS_NS, seen.duration_ns)
        self.counts[bucket] += 1
        self.sum_ns += seen.duration_ns
        self.exemplars[bucket] = (uid, seen)

    def forget(self, uid: str, seen: StageSeen) -> None:
        """Undo `observe`."""
        bucket = bisect_left(_BUCKETS_NS, seen.duration_ns)
        self.counts[bucket] -= 1
        self.sum_ns -= seen.duration_ns
        if self.exemplars.get(bucket) == (uid, seen):
            del self.exemplars[bucket]

    def plus(self, other: "StageHistogram") -> "StageHistogram":
        """Both together, the *other* the later one."""
        counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        return StageHistogram(counts, self.sum_ns + other.sum_ns, {**self.exemplars, **other.exemplars})


_EMPTY = StageHistogram()


@dataclass
class Totals:
    """Sums over attempts."""

    counters: dict[Key, int] = field(default_factory=dict)
    histograms: dict[tuple[str, str], StageHistogram] = field(default_factory=dict)

    def add(self, tally: Tally) -> None:
        """Add the share of one attempt."""
        for key, value in tally.counters.items():
            self.counters[key] = self.counters.get(key, 0) + value
        for seen in tally.stages:
            self.histograms.setdefault((seen.stage, seen.result), StageHistogram()).observe(tally.uid, seen)

    def take_back(self, tally: Tally) -> None:
        """Undo `add`."""
        for key, value in tally.counters.items():
            self.counters[key] -= value
        for seen in tally.stages:
            self.histograms[seen.stage, seen.result].forget(tally.uid, seen)


def merged(one: Totals, other: Totals) -> Totals:
    """The sum of both, the *other* the later one."""
    counters = dict(one.counters)
    for key, value in other.counters.items():
        counters[key] = counters.get(key, 0) + value
    histograms = dict(one.histograms)
    for labels, histogram in other.histograms.items():
        histograms[labels] = histograms.get(labels, _EMPTY).plus(histogram)
    return Totals(counters, histograms)


class CountersFile:
    """The file, loaded. For one process: the agent that holds the folder's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        read = read_counters(path)
        #: Sums of everything that the file holds.
        self.totals = read.totals
        #: Totals that were shown to Prometheus before a record corrected them downwards; they must not fall.
        self.floors = dict(read.floors)
        self.damaged = read.damaged
        self._uids = dict.fromkeys((*read.compacted_uids, *read.attempts))
        if read.lines > COMPACT_ABOVE_LINES:
            self._compact()

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def add(self, tally: Tally) -> None:
        """Keep the share of an ended attempt; a second one of the same UID changes nothing.

        Raises:
            OSError: not on disk. It counts all the same, and is folded from its journal after a restart.
        """
        if tally.uid in self._uids:
            return
        self._uids[tally.uid] = None
        self.totals.add(tally)
        self._append(_tally_line(tally))

    def raise_floors(self, floors: Mapping[Key, int]) -> None:
        """Remember that *floors* were shown.

        Raises:
            OSError: not on disk.
        """
        self.floors.update(floors)
        self._append({"floors": _pairs(floors)})

    def _append(self, document: Mapping[str, object]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        append_line(self._path, _encode(document))

    def _compact(self) -> None:
        """Replace the file by its sums, atomically."""
        self._uids = dict.fromkeys(list(self._uids)[-KEPT_UIDS:])
        temporary = self._path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        append_line(temporary, _encode(_totals_line(self.totals, list(self._uids))))
        if self.floors:
            append_line(temporary, _encode({"floors": _pairs(self.floors)}))
        os.replace(temporary, self._path)


@dataclass
class CountersRead:
    """What a counters file says: the share of each UID that is not yet compacted, and all of it together."""

    attempts: dict[str, Tally] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    floors: dict[Key, int] = field(default_factory=dict)
    compacted_uids: tuple[str, ...] = ()
    lines: int = 0
    damaged: int = 0

    def take(self, document: Mapping[str, Any]) -> None:
        """Add one line.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is not a line of ours.
        """
        if "floors" in document:
            self.floors.update(_unpairs(document["floors"]))
        elif "uids" in document:
            self.compacted_uids = tuple(str(uid) for uid in document["uids"])
            self.totals = _totals_of(document)
        else:
            tally = _tally_of(document)
            if self.attempts.setdefault(tally.uid, tally) is tally:
                self.totals.add(tally)


def read_counters(path: Path) -> CountersRead:
    """Read *path* without touching it; a missing file is an empty one."""
    read = CountersRead()
    for _, line in complete_lines(path):
        read.lines += 1
        try:
            read.take(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            read.damaged += 1
    return read


# --- lines ----------------------------------------------------------------------------------------


def _encode(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _pairs(counters: Mapping[Key, int]) -> list[object]:
    return [[name, list(labels), value] for (name, labels), value in counters.items() if value]


def _unpairs(pairs: Iterable[Any]) -> dict[Key, int]:
    return {(str(name), tuple(str(label) for label in labels)): int(value) for name, labels, value in pairs}


def _tally_line(tally: Tally) -> dict[str, object]:
    stages = [[each.stage, each.result, each.duration_ns, each.end_utc_ns] for each in tally.stages]
    return {"uid": tally.uid, "counters": _pairs(tally.counters), "stages": stages}


def _tally_of(document: Mapping[str, Any]) -> Tally:
    return Tally(
        uid=str(document["uid"]),
        counters=_unpairs(document["counters"]),
        stages=tuple(
            StageSeen(stage=str(stage), result=str(result), duration_ns=int(duration), end_utc_ns=int(end))
            for stage, result, duration, end in document["stages"]
        ),
    )


def _totals_line(totals: Totals, uids: list[str]) -> dict[str, object]:
    histograms = [[*key, each.counts, each.sum_ns] for key, each in totals.histograms.items()]
    return {"uids": uids, "counters": _pairs(totals.counters), "histograms": histograms}


def _totals_of(document: Mapping[str, Any]) -> Totals:
    return Totals(
        _unpairs(document["counters"]),
        {
            (str(stage), str(result)): StageHistogram([int(each) for each in counts], int(sum_ns))
            for stage, result, counts, sum_ns in document["histograms"]
            if len(counts) == len(_BUCKETS_NS) + 1  # else of a version with other buckets: its observations are gone
        },
    )
