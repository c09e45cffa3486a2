"""The page of a job's traces: values in, HTML out. It needs no script and loads nothing, so it can be sent by mail.

Whoever has spans makes these values of them (`runner.trace_views`); here they are only drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from dashboards import pages
from dashboards.text import bytes_text, fine_seconds_text

#: Whose span it is; the colour of its bar.
RowKind = Literal["job", "stage", "operation", "payload", "own", "wms"]
#: The drawings have these coordinates, stretched to whatever room there is.
WIDTH, HEIGHT = 1000, 100
MOST_TICKS = 5
#: A tick further to the right would have no room for its figure.
LAST_TICK_PERCENT = 92.0


@dataclass(frozen=True, kw_only=True)
class Happening:
    """A moment: `offset_seconds` counts from the start of the attempt."""

    offset_seconds: float
    name: str
    said: str
    is_of_kill: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A span: its bar goes from `start` to `end` (0 to 1 of the drawing), beyond it if it is not `is_whole`."""

    depth: int
    name: str
    kind: RowKind
    start: float
    end: float
    is_whole: bool
    offset_seconds: float
    seconds: float
    error: str = ""
    details: tuple[tuple[str, str], ...] = ()
    happenings: tuple[Happening, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StageUse:
    """What a stage took; None is what nobody has measured."""

    stage: str
    result: str
    seconds: float
    payload_cpu_seconds: float | None
    wrapper_cpu_seconds: float | None
    read_bytes: int | None
    written_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The last lines of the output, as of a moment."""

    offset_seconds: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at the payload: CPU since its start, memory now."""

    offset_seconds: float
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class AttemptView:
    """One attempt. `previous` is the attempt that it follows, 0 when there is none."""

    number: int
    status: str
    minor_status: str
    error: str
    trace_id: str
    started_ns: int
    seconds: float
    facts: tuple[tuple[str, str], ...]
    axis_start_seconds: float
    axis_seconds: float
    rows: tuple[Row, ...]
    rows_left_out: int = 0
    usage: tuple[StageUse, ...] = ()
    happenings: tuple[Happening, ...] = ()
    excerpts: tuple[Excerpt, ...] = ()
    samples: tuple[Sample, ...] = ()
    previous: int = 0
    is_over: bool = True

    @property
    def ticks(self) -> list[tuple[str, str]]:
        """Round distances from the start of the attempt, and where they lie in the drawing in percent."""
        step = _round_step(self.axis_seconds / MOST_TICKS)
        first = math.ceil(self.axis_start_seconds / step)
        marks = [(first + number) * step for number in range(MOST_TICKS + 1)]
        places = [(at, (at - self.axis_start_seconds) / self.axis_seconds * 100) for at in marks]
        return [(_signed(at), f"{place:.2f}") for at, place in places if place <= LAST_TICK_PERCENT]

    @property
    def kill(self) -> list[Happening]:
        """How the payload was ended, if somebody wanted it."""
        return [each for each in self.happenings if each.is_of_kill]

    @property
    def charts(self) -> "list[Chart]":
        """Processors and memory over time, where there are samples enough to draw."""
        return _charts(self.samples)


@dataclass(frozen=True, kw_only=True)
class JobView:
    """All that is known of a job. `notes` say what is not, and why."""

    job_id: int
    name: str
    submitted_ns: int
    attempts: tuple[AttemptView, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A line over time, as the points of an SVG polyline."""

    title: str
    most: str
    kind: Literal["processors", "memory"]
    points: str
    until: str


def page(job: JobView) -> str:
    """The page as one file."""
    return pages.document("trace.html", **values(job))


def values(job: JobView) -> dict[str, Any]:
    """What the template needs, for whoever has it in a page of his own."""
    return {"job": job, "width": WIDTH, "height": HEIGHT, "offset": _signed}


def _signed(seconds: float) -> str:
    return ("\N{MINUS SIGN}" if seconds < 0 else "+") + fine_seconds_text(abs(seconds))


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below *least*."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-9)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _charts(samples: Sequence[Sample]) -> list[Chart]:
    if len(samples) < 3:
        return []
    rates = [
        (later.offset_seconds, max(0.0, later.cpu_seconds - sooner.cpu_seconds) / took)
        for sooner, later in pairwise(samples)
        if (took := later.offset_seconds - sooner.offset_seconds) > 0
    ]
    memory = [(each.offset_seconds, float(each.memory_bytes)) for each in samples]
    until = _signed(samples[-1].offset_seconds)
    charts = []
    if any(rate for _, rate in rates):
        most = f"{max(rate for _, rate in rates):.2f}"
        charts.append(Chart(title="Processors in use", most=most, kind="processors", points=_line(rates), until=until))
    if most_held := max(held for _, held in memory):
        most = bytes_text(most_held)
        charts.append(Chart(title="Memory (RSS)", most=most, kind="memory", points=_line(memory), until=until))
    return charts


def _line(values: Sequence[tuple[float, float]]) -> str:
    first, last = values[0][0], values[-1][0]
    most = max(value for _, value in values) or 1.0
    length = (last - first) or 1.0
    return " ".join(f"{(at - first) / length * WIDTH:.1f},{HEIGHT - value / most * HEIGHT:.1f}" for at, value in values)
