"""Which stages were slow, and where: each span against the usual time of its kind at its site. Pure, but for reading.

The usual time of a kind (site, job type, stage) is the median over the attempts before the window, or over all when
those are too few. A span is slow when it is above the median by more than five times the usual spread (the median of
all distances from the median, as a standard deviation), half the median and a tenth of a second: medians do not move
while fewer than half of the spans are slow, as averages and percentiles would. The 95th percentile is told beside it.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

from telemetry import catalogue as names
from telemetry.live.lines import complete_lines
from telemetry.live.otlp import NotOtlp, SpanValue, spans_of

#: Fewer than so many spans have no usual time.
LEAST_USUAL = 10
#: So many slow spans on one worker node are no chance.
LEAST_ON_NODE = 3
SPREADS, LEAST_SHARE, LEAST_SECONDS = 5.0, 0.5, 0.1
#: Of a normal distribution: its standard deviation by the median of all distances from the median.
_DEVIATION = 1.4826
_END = re.compile(rb'"endTimeUnixNano":"(\d+)"')
_OF_WMS = (names.QUEUE_SPAN, names.MATCH_SPAN)


@dataclass(frozen=True, order=True)
class Kind:
    """What is compared with its like. `what` is a stage, queue, match, or `stage/operation`."""

    site: str
    job_type: str
    what: str


@dataclass(frozen=True)
class Timed:
    """How long it took, in which attempt."""

    seconds: float
    start_ns: int
    job_id: int
    attempt: int
    trace_id: str
    node: str


@dataclass(frozen=True)
class SlowSpan:
    """One that took much longer than usual."""

    kind: Kind
    timed: Timed
    usual_seconds: float

    @property
    def lost_seconds(self) -> float:
        """What it took beyond the usual."""
        return self.timed.seconds - self.usual_seconds


@dataclass(frozen=True)
class SlowNode:
    """A worker node that stands out: so many of its `spans` in the window were `slow`."""

    name: str
    slow: int
    spans: int


@dataclass(frozen=True, kw_only=True)
class KindTimes:
    """The spans of one kind in the window, and their usual time; None where there are too few to say."""

    kind: Kind
    looked_at: int
    median_seconds: float
    usual_of: int
    usual_is_earlier: bool
    usual_seconds: float | None
    usual_p95_seconds: float | None
    #: What the same type and stage takes at other sites in the window: the median of their medians.
    elsewhere_seconds: float | None
    slow: tuple[SlowSpan, ...]
    #: The worker node on which most slow spans were, if it is not where most spans were anyhow.
    slow_node: "SlowNode | None" = None

    @property
    def lost_seconds(self) -> float:
        """What all its slow spans took beyond the usual."""
        return sum(each.lost_seconds for each in self.slow)


@dataclass(frozen=True, kw_only=True)
class SlowReport:
    """All kinds with spans in the window, where most time was lost first."""

    kinds: tuple[KindTimes, ...]
    attempts: int
    earlier_attempts: int
    spans: int
    damaged: int

    @property
    def slow(self) -> list[SlowSpan]:
        """All slow spans, where most time was lost first."""
        found = (each for kind in self.kinds for each in kind.slow)
        return sorted(found, key=lambda each: (-each.lost_seconds, each.timed.job_id))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which spans are looked at: those that ended since, against those that ended before. Empty: all."""

    since_ns: int
    usual_since_ns: int = 0
    site: str = ""
    job_type: str = ""
    #: Of this stage its operations, too.
    stage: str = ""


def slow_stages(files: Iterable[Path], wanted: Wanted) -> SlowReport:
    """Read *files* (OTLP/JSON lines: the node's, a collector's) and compare."""
    times = _Times(wanted)
    for path in files:
        times.read(path)
    return times.report()


class _Root(NamedTuple):
    """What the root of an attempt says of it."""

    site: str
    job_type: str
    job_id: int
    attempt: int
    node: str
    end_ns: int


class _Part(NamedTuple):
    """A stage, or what the WMS did before; with the id of a parent an operation, which counts if that is a stage."""

    name: str
    parent_span_id: str
    start_ns: int
    end_ns: int
    is_skipped: bool


@dataclass(slots=True)
class _Attempt:
    """What was read of an attempt so far: collectors put its spans into several lines. Of copies the last one."""

    root: _Root | None = None
    parts: dict[str, _Part] = field(default_factory=dict)


class _Times:
    """The times of all attempts, each attempt once."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._attempts: dict[str, _Attempt] = defaultdict(_Attempt)
        self._damaged = 0

    def read(self, path: Path) -> None:
        for _, line in complete_lines(path):
            # Most lines are too old, or of something else: a look at the times is cheaper than to parse them.
            if not any(int(end) >= self._wanted.usual_since_ns for end in _END.findall(line)):
                continue
            try:
                spans = list(spans_of(line))
            except NotOtlp:
                self._damaged += 1
                continue
            self._take(spans)

    def _take(self, spans: Sequence[SpanValue]) -> None:
        by_trace: dict[str, list[SpanValue]] = defaultdict(list)
        for span in spans:
            if names.JOB_UID not in span.resource:  # what a payload has sent may have any name
                by_trace[span.trace_id].append(span)
        for trace_id, of_trace in by_trace.items():
            root = next((span for span in of_trace if span.name == names.ROOT_SPAN), None)
            if root is not None and not self._is_wanted(root):
                continue
            parts = dict(_parts(of_trace, self._wanted.stage))
            if root is not None:
                self._attempts[trace_id].root = _root(root)
            if parts:
                self._attempts[trace_id].parts.update(parts)

    def _is_wanted(self, root: SpanValue) -> bool:
        wanted, site = self._wanted, root.resource.get(names.SITE_NAME, "")
        return (
            root.end_ns >= wanted.usual_since_ns
            and wanted.site in ("", site)
            and wanted.job_type in ("", root.attributes.get(names.JOB_TYPE, ""))
        )

    def report(self) -> SlowReport:
        now: dict[Kind, list[Timed]] = defaultdict(list)
        earlier: dict[Kind, list[float]] = defaultdict(list)
        attempts = earlier_attempts = 0
        for trace_id, attempt in self._attempts.items():
            if attempt.root is None:
                continue
            is_now = attempt.root.end_ns >= self._wanted.since_ns
            attempts += is_now
            earlier_attempts += not is_now
            for kind, times in _timed(trace_id, attempt.root, attempt.parts):
                if is_now:
                    now[kind].append(times)
                else:
                    earlier[kind].append(times.seconds)
        elsewhere = _elsewhere({kind: median(each.seconds for each in spans) for kind, spans in now.items()})
        kinds = [_compare(kind, spans, earlier.get(kind, []), elsewhere[kind]) for kind, spans in now.items()]
        return SlowReport(
            kinds=tuple(sorted(kinds, key=lambda each: (-each.lost_seconds, each.kind))),
            attempts=attempts,
            earlier_attempts=earlier_attempts,
            spans=sum(len(spans) for spans in now.values()),
            damaged=self._damaged,
        )


def _root(span: SpanValue) -> _Root:
    return _Root(
        site=str(span.resource.get(names.SITE_NAME, "")),
        job_type=str(span.attributes.get(names.JOB_TYPE, "")),
        job_id=int(span.attributes.get(names.JOB_ID, 0)),
        attempt=int(span.attributes.get(names.JOB_ATTEMPT, 0)),
        node=str(span.resource.get(names.HOST_NAME, "")),
        end_ns=span.end_ns,
    )


def _parts(spans: Sequence[SpanValue], stage: str) -> Iterator[tuple[str, _Part]]:
    """By span id the stages among *spans* with what the WMS did before; of the stage *stage*, if one is named, only
    itself and its operations. Those whose parent is in another line may be its."""
    here = {span.span_id: _name(span) for span in spans}
    for span in spans:
        name, parent = here[span.span_id], ""
        if not name and stage and span.parent_span_id and here.get(span.parent_span_id, stage) == stage:
            name, parent = f"{stage}/{span.name}", span.parent_span_id
        if name and (not stage or parent or name == stage):
            is_skipped = span.attributes.get(names.STAGE_RESULT) == "skip"
            yield span.span_id, _Part(sys.intern(name), parent, span.start_ns, span.end_ns, is_skipped)


def _name(span: SpanValue) -> str:
    """Of a stage, or of what the WMS did before; empty for all else."""
    if names.STAGE_NAME in span.attributes and names.STAGE_RESULT in span.attributes:
        return str(span.attributes[names.STAGE_NAME])
    return span.name if span.name in _OF_WMS else ""


def _timed(trace_id: str, root: _Root, parts: Mapping[str, _Part]) -> Iterator[tuple[Kind, Timed]]:
    """What counts of an attempt."""
    stages = {span_id for span_id, part in parts.items() if not part.parent_span_id}
    for part in parts.values():
        if not part.is_skipped and (not part.parent_span_id or part.parent_span_id in stages):
            yield (
                Kind(root.site, root.job_type, part.name),
                Timed(
                    seconds=(part.end_ns - part.start_ns) / 1e9,
                    start_ns=part.start_ns,
                    job_id=root.job_id,
                    attempt=root.attempt,
                    trace_id=trace_id,
                    node=root.node,
                ),
            )


def _elsewhere(medians: Mapping[Kind, float]) -> dict[Kind, float | None]:
    """For each kind the median of what its like takes at the other sites, a site a vote."""
    alike: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for kind, seconds in medians.items():
        alike[kind.job_type, kind.what][kind.site] = seconds
    found: dict[Kind, float | None] = {}
    for kind in medians:
        others = [seconds for site, seconds in alike[kind.job_type, kind.what].items() if site != kind.site]
        found[kind] = median(others) if others else None
    return found


def _compare(kind: Kind, spans: list[Timed], earlier: list[float], elsewhere: float | None) -> KindTimes:
    is_earlier = len(earlier) >= LEAST_USUAL
    basis = sorted(earlier if is_earlier else [*earlier, *(each.seconds for each in spans)])
    usual = median(basis) if len(basis) >= LEAST_USUAL else None
    slow = () if usual is None else _slow(kind, spans, usual, basis)
    return KindTimes(
        kind=kind,
        looked_at=len(spans),
        median_seconds=median(each.seconds for each in spans),
        usual_of=len(basis),
        usual_is_earlier=is_earlier,
        usual_seconds=usual,
        usual_p95_seconds=None if usual is None else basis[min(len(basis) - 1, int(0.95 * len(basis)))],
        elsewhere_seconds=elsewhere,
        slow=slow,
        slow_node=_slow_node(spans, slow),
    )


def _slow(kind: Kind, spans: list[Timed], usual: float, basis: Sequence[float]) -> tuple[SlowSpan, ...]:
    spread = _DEVIATION * median(abs(seconds - usual) for seconds in basis)
    most = usual + max(SPREADS * spread, LEAST_SHARE * usual, LEAST_SECONDS)
    found = [SlowSpan(kind, each, usual) for each in spans if each.seconds > most]
    return tuple(sorted(found, key=lambda each: -each.lost_seconds))


def _slow_node(spans: Sequence[Timed], slow: Sequence[SlowSpan]) -> SlowNode | None:
    """Where more than half of *slow* were, at least three, though less than half of *spans* were there."""
    if len(slow) < LEAST_ON_NODE:
        return None
    (node, count), *_ = Counter(each.timed.node for each in slow).most_common(1)
    there = sum(1 for each in spans if each.node == node)
    stands_out = count >= LEAST_ON_NODE and 2 * count > len(slow) and 2 * there < len(spans)
    return SlowNode(node, count, there) if node and stands_out else None
