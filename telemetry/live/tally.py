"""Facts of one attempt -> its share of the counters, and its gauges while it lives. Pure.

Shares are integers, seconds counted in nanoseconds: a sum of floats depends on its order, and a
counter that falls by one bit is a counter reset for Prometheus, which then counts all of it again.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from telemetry import catalogue as names
from telemetry.clock import NANOSECONDS
from telemetry.entries import Entry
from telemetry.facts import (
    ACCOUNTED_STAGES,
    STAGES,
    AttemptEnded,
    Fact,
    JobMatched,
    OutputSeen,
    StageFinished,
    StageStarted,
    Stream,
    UsageSampled,
    UsageSettled,
    WrapperStarted,
)
from telemetry.live.kills import KillFold
from telemetry.live.timeline import signs_of_life

#: Name of a metric and the values of its labels.
Key: TypeAlias = tuple[str, tuple[str, ...]]
STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
#: Keys of which every attempt has one: made once, for a node may have a thousand attempts.
_CPU = {mode: (names.PAYLOAD_CPU.name, (mode,)) for mode in ("user", "system")}
_WALL = {stage: (names.WALL.name, (stage,)) for stage in STAGES}
_WALL_CORE: Key = (names.WALL_CORE.name, ())
_LINES, _DROPPED, _BYTES = (
    {stream: (metric.name, (stream,)) for stream in STREAMS}
    for metric in (names.PEEK_LINES, names.PEEK_LINES_DROPPED, names.OUTPUT_BYTES)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSeen:
    """One observation of the stage histogram; `end_utc_ns` dates its exemplar."""

    stage: str
    result: str
    duration_ns: int
    end_utc_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """The share of one attempt: counters (seconds in nanoseconds) and finished stages."""

    uid: str
    counters: Mapping[Key, int]
    stages: tuple[StageSeen, ...] = ()

    @property
    def values(self) -> dict[Key, float]:
        """The counters in the units of the catalogue: seconds as seconds."""
        return {key: in_unit(key, value) for key, value in self.counters.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Which attempt it is, and how many processors it has."""

    uid: str
    job_id: int
    attempt: int
    processors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Finished:
    """The end of a stage."""

    boot_id: str
    at_boottime_ns: int
    utc_ns: int
    result: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Living:
    """What a living job shows. `wall_start` is the boot and boottime of the wrapper's start."""

    job_id: int
    attempt: int
    wall_start: tuple[str, int]
    cpu_ns: int
    rss_bytes: int
    lines: int
    last_output_utc_ns: int


class AttemptFold:
    """Takes the facts of one attempt in whatever portions they come; totals only rise."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.ended: AttemptEnded | None = None
        self._wrapper_start: tuple[str, int] | None = None
        self._started: dict[str, tuple[str, int]] = {}
        self._finished: dict[str, _Finished] = {}
        self._last_sign_ns: dict[str, int] = {}
        self._cpu_ns = {"user": 0, "system": 0}
        self._output = {stream: OutputSeen(stream=stream, lines=0, bytes=0) for stream in STREAMS}
        self._rss_bytes = 0
        self._last_output_utc_ns = 0
        self._kills = KillFold()

    def add(self, entry: Entry) -> None:
        """Count *entry*."""
        boot_id = sys.intern(entry.boot_id)
        for sign_ns in signs_of_life(entry):
            self._last_sign_ns[boot_id] = max(sign_ns, self._last_sign_ns.get(boot_id, 0))
        match entry.fact:
            case StageStarted() as fact:
                self._started.setdefault(sys.intern(fact.stage), (boot_id, fact.at_boottime_ns))
            case StageFinished(stage=stage, at_boottime_ns=at_ns, result=result):
                finished = _Finished(
                    boot_id=boot_id, at_boottime_ns=at_ns, utc_ns=entry.utc_ns, result=sys.intern(result)
                )
                self._finished.setdefault(sys.intern(stage), finished)
            case OutputSeen() as fact:
                self._add_output(entry, fact)
            case UsageSampled() as fact:
                self._rss_bytes = fact.rss_bytes
                self._add_cpu(fact)
            case UsageSettled() as fact:
                self._add_cpu(fact)
            case other:
                self._add_landmark(entry, other)

    def _add_landmark(self, entry: Entry, fact: Fact) -> None:
        match fact:
            case JobMatched(uid=uid, job_id=job_id, attempt=attempt, processors=processors):
                identity = Identity(uid=uid, job_id=job_id, attempt=attempt, processors=processors)
                self.identity = self.identity or identity
            case WrapperStarted():
                start = (sys.intern(entry.boot_id), fact.start_boottime_ns)
                self._wrapper_start = self._wrapper_start or start
            case AttemptEnded():
                self.ended = self.ended or fact
            case _:
                self._kills.add(fact)

    def _add_cpu(self, fact: UsageSampled | UsageSettled) -> None:
        for mode, seconds in (("user", fact.cpu_user_seconds), ("system", fact.cpu_system_seconds)):
            self._cpu_ns[mode] = max(self._cpu_ns[mode], nanoseconds(seconds))

    def _add_output(self, entry: Entry, fact: OutputSeen) -> None:
        before = self._output[fact.stream]
        if fact.bytes > before.bytes:
            self._last_output_utc_ns = max(self._last_output_utc_ns, entry.utc_ns)
        self._output[fact.stream] = OutputSeen(
            stream=fact.stream,
            lines=max(before.lines, fact.lines),
            bytes=max(before.bytes, fact.bytes),
            peek_lines_dropped=max(before.peek_lines_dropped, fact.peek_lines_dropped),
        )

    # --- results ----------------------------------------------------------------------------------

    def tally(self) -> Tally:
        """The share of the attempt so far."""
        wall_ns = {stage: self._wall_ns(stage) for stage in STAGES}
        processors = self.identity.processors if self.identity else 1
        counters: dict[Key, int] = {_CPU[mode]: value for mode, value in self._cpu_ns.items()}
        counters.update({_WALL[stage]: value for stage, value in wall_ns.items()})
        counters[_WALL_CORE] = sum(wall_ns[stage] for stage in ACCOUNTED_STAGES) * processors
        for stream, seen in self._output.items():
            counters[_LINES[stream]] = seen.lines
            counters[_DROPPED[stream]] = seen.peek_lines_dropped
            counters[_BYTES[stream]] = seen.bytes
        counters.update(self._kills.counters())
        if self.ended:
            counters[names.JOBS_FINISHED.name, (self.ended.status, self.ended.error_type)] = 1
        stages = tuple(self._seen(stage) for stage in STAGES if stage in self._finished)
        return Tally(uid=self.identity.uid if self.identity else "", counters=counters, stages=stages)

    def _wall_ns(self, stage: str) -> int:
        if stage not in self._started:
            return 0
        boot_id, start_ns = self._started[stage]
        end_ns = self._last_sign_ns.get(boot_id, start_ns)
        if stage in self._finished and self._finished[stage].boot_id == boot_id:
            end_ns = self._finished[stage].at_boottime_ns
        return max(0, end_ns - start_ns)

    def _seen(self, stage: str) -> StageSeen:
        end = self._finished[stage]
        return StageSeen(stage=stage, result=end.result, duration_ns=self._wall_ns(stage), end_utc_ns=end.utc_ns)

    def living(self) -> Living | None:
        """The gauges; None before the wrapper has started and after the attempt has ended."""
        if self.identity is None or self._wrapper_start is None or self.ended:
            return None
        return Living(
            job_id=self.identity.job_id,
            attempt=self.identity.attempt,
            wall_start=self._wrapper_start,
            cpu_ns=sum(self._cpu_ns.values()),
            rss_bytes=self._rss_bytes,
            lines=sum(seen.lines for seen in self._output.values()),
            last_output_utc_ns=self._last_output_utc_ns,
        )


def unfinished(tally: Tally) -> Tally:
    """*tally* without its end, which counts when the record has said how the attempt ended."""
    counters = {key: value for key, value in tally.counters.items() if key[0] != names.JOBS_FINISHED.name}
    return Tally(uid=tally.uid, counters=counters, stages=tally.stages)


def corrected(tally: Tally, record: Mapping[str, object]) -> Tally:
    """*tally* with what the accounting *record* says better: CPU, wall clock, status. The rest stays."""
    counters = dict(tally.counters)
    says: dict[Key, str] = {
        (names.PAYLOAD_CPU.name, ("user",)): "CPUUserTime",
        (names.PAYLOAD_CPU.name, ("system",)): "CPUSystemTime",
        (names.WALL_CORE.name, ()): "ExecTime",
        **{(names.WALL.name, (stage,)): f"StageWallClockTime.{stage}" for stage in ACCOUNTED_STAGES},
    }
    for key, field in says.items():
        value = record.get(field)
        if isinstance(value, int | float):
            counters[key] = nanoseconds(value)
    status = record.get("FinalMajorStatus")
    if status:
        counters = dict(unfinished(Tally(uid=tally.uid, counters=counters)).counters)
        counters[names.JOBS_FINISHED.name, (str(status), str(record.get("ErrorType") or ""))] = 1
    return Tally(uid=tally.uid, counters=counters, stages=tally.stages)


def in_unit(key: Key, value: int) -> float:
    """A counter's whole number in the unit of its metric."""
    metric = names.METRICS[key[0]]
    is_count = metric.kind == "histogram" and key[1] != ("sum",)
    return value / NANOSECONDS if metric.unit == "seconds" and not is_count else value


def nanoseconds(seconds: float) -> int:
    """*seconds* as a whole number of nanoseconds."""
    return round(seconds * NANOSECONDS)
