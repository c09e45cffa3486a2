"""Which stages were slow, and where: each span against the usual time of its kind at its site. Pure, but for reading.

The usual time of a kind (site, job type, stage) is the median over the attempts before the window, or over all when
those are too few. A span is slow when it is above the median by more than five times the usual spread (the median of
all distances from the median, as a standard deviation), half the median and a tenth of a second: medians do not move
while fewer than half of the spans are slow, as averages and percentiles would. The 95th percentile is told beside it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

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


class _Times:
    """The times of all attempts, each attempt once: of copies the last one."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._kinds: dict[Kind, Kind] = {}
        self._attempts: dict[str, tuple[int, list[tuple[Kind, Timed]]]] = {}
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
            by_trace[span.trace_id].append(span)
        for trace_id, of_trace in by_trace.items():
            root = next((span for span in of_trace if span.name == names.ROOT_SPAN), None)
            if root is not None and self._is_wanted(root):
                timed = [(self._same(kind), times) for kind, times in _timed(root, of_trace, self._wanted.stage)]
                self._attempts[trace_id] = (root.end_ns, timed)

    def _is_wanted(self, root: SpanValue) -> bool:
        wanted, site = self._wanted, root.resource.get(names.SITE_NAME, "")
        return (
            root.end_ns >= wanted.usual_since_ns
            and wanted.site in ("", site)
            and wanted.job_type in ("", root.attributes.get(names.JOB_TYPE, ""))
        )

    def _same(self, kind: Kind) -> Kind:
        """One object a kind, however many spans there are."""
        return self._kinds.setdefault(kind, kind)

    def report(self) -> SlowReport:
        now: dict[Kind, list[Timed]] = defaultdict(list)
        earlier: dict[Kind, list[float]] = defaultdict(list)
        attempts = 0
        for end_ns, timed in self._attempts.values():
            attempts += end_ns >= self._wanted.since_ns
            for kind, times in timed:
                if end_ns >= self._wanted.since_ns:
                    now[kind].append(times)
                else:
                    earlier[kind].append(times.seconds)
        elsewhere = _elsewhere({kind: median(each.seconds for each in spans) for kind, spans in now.items()})
        kinds = [_compare(kind, spans, earlier.get(kind, []), elsewhere[kind]) for kind, spans in now.items()]
        return SlowReport(
            kinds=tuple(sorted(kinds, key=lambda each: (-each.lost_seconds, each.kind))),
            attempts=attempts,
            earlier_attempts=len(self._attempts) - attempts,
            spans=sum(len(spans) for spans in now.values()),
            damaged=self._damaged,
        )


def _timed(root: SpanValue, spans: Sequence[SpanValue], stage: str) -> Iterator[tuple[Kind, Timed]]:
    """The stages of an attempt with what the WMS did before; of the stage *stage*, if one is named, its operations."""
    stages = {span.span_id: str(span.attributes.get(names.STAGE_NAME, "")) for span in spans if _is_stage(span)}
    site, job_type = str(root.resource.get(names.SITE_NAME, "")), str(root.attributes.get(names.JOB_TYPE, ""))
    for span in spans:
        what = stages.get(span.span_id) or (span.name if span.name in _OF_WMS else "")
        if not what and stage and stages.get(span.parent_span_id) == stage:
            what = f"{stage}/{span.name}"
        skipped = span.attributes.get(names.STAGE_RESULT) == "skip"
        if what and not skipped and (not stage or what.partition("/")[0] == stage):
            yield (
                Kind(site, job_type, what),
                Timed(
                    seconds=(span.end_ns - span.start_ns) / 1e9,
                    start_ns=span.start_ns,
                    job_id=int(root.attributes.get(names.JOB_ID, 0)),
                    attempt=int(root.attributes.get(names.JOB_ATTEMPT, 0)),
                    trace_id=root.trace_id,
                    node=str(root.resource.get(names.HOST_NAME, "")),
                ),
            )


def _is_stage(span: SpanValue) -> bool:
    return names.STAGE_NAME in span.attributes and names.STAGE_RESULT in span.attributes


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
