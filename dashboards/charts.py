"""Charts: values in, SVG out. Pure.

No script, no style but the classes of the pages' one style sheet, so that they follow its colours, light and dark.
Every value can be read without the picture: as a tooltip, and in the table that stands beside a chart.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from dashboards.text import number_text, one_line

WIDTH = 860
_LABEL_WIDTH, _VALUE_WIDTH, _ROW = 230, 110, 26
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 10, 30
#: So many colours there are; what comes after shares the last one.
COLOURS = 6
_LABEL_LENGTH = 34
_MOST_TICKS = 6
#: Steps of an axis of time, in seconds, and how a moment is written with each.
_TIME_STEPS = (
    (1, "%H:%M:%S"), (5, "%H:%M:%S"), (15, "%H:%M:%S"), (60, "%H:%M"), (300, "%H:%M"), (900, "%H:%M"),
    (3600, "%H:%M"),
    (3 * 3600, "%d %b %H:%M"), (12 * 3600, "%d %b %H:%M"), (86400, "%d %b"), (7 * 86400, "%d %b"),
    (30 * 86400, "%b %Y"),
)  # fmt: skip

Shown = Callable[[float], str]


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart: what it is of, a value for each series, and perhaps a mark beside it."""

    label: str
    values: tuple[float, ...]
    #: Text at the bar's end; empty: the sum of the values.
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A curve: its name, and points of (seconds since 1970, value) in the order of time."""

    name: str
    points: tuple[tuple[float, float], ...]
    #: Drawn as steps: a value holds until the next one.
    is_stepped: bool = field(default=False, kw_only=True)


def bars(rows: Sequence[Bar], series: Sequence[str], *, title: str, shown: Shown = number_text) -> str:
    """Horizontal bars, stacked by *series*. *title* says to those who do not see it what is drawn."""
    most = max((sum(max(0.0, value) for value in row.values) for row in rows), default=0.0) or 1.0
    room = WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    legend = _legend(series) if len(series) > 1 else ""
    top = _ROW if legend else 4
    drawn = []
    for number, row in enumerate(rows):
        y = top + number * _ROW
        drawn.append(_text(_LABEL_WIDTH - 8, y + 17, _short(row.label), anchor="end", tip=row.label))
        x = float(_LABEL_WIDTH)
        for index, value in enumerate(row.values):
            width = room * max(0.0, value) / most
            if width > 0:
                tip = f"{row.label}: {series[index]} {shown(value)}" if series else f"{row.label}: {shown(value)}"
                drawn.append(_rect((x, y + 4, width, _ROW - 8), index, tip))
            x += width
        drawn.append(_text(x + 6, y + 17, row.note or shown(sum(row.values))))
    return _svg(top + len(rows) * _ROW + 4, title, [legend, *drawn])


def lines(curves: Sequence[Line], *, title: str, shown: Shown = number_text, height: int = 220) -> str:
    """Curves over time, from zero on."""
    points = [point for curve in curves for point in curve.points]
    if not points:
        return _svg(40, title, [_text(WIDTH / 2, 25, "nothing was measured", anchor="middle")])
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    ticks = list(_ticks(max(0.0, *(y for _, y in points))))
    frame = _Frame(first, max(last, first + 1.0), ticks[-1] or 1.0, height, bool(len(curves) > 1))
    parts = [_legend([curve.name for curve in curves]) if frame.has_legend else "", *_grid(frame, ticks, shown)]
    parts += [_curve(frame, curve, index, shown) for index, curve in enumerate(curves)]
    return _svg(height + _BOTTOM, title, parts)


@dataclass(frozen=True)
class _Frame:
    """Where a moment and a value stand in the picture."""

    first: float
    last: float
    most: float
    height: int
    has_legend: bool

    @property
    def top(self) -> int:
        return _TOP + (_ROW if self.has_legend else 0)

    def x(self, moment: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (moment - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        return self.height - (self.height - self.top) * max(0.0, value) / self.most


def _grid(frame: _Frame, ticks: Sequence[float], shown: Shown) -> Iterator[str]:
    for value in ticks:
        y = frame.y(value)
        yield f'<path class="gridline" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
        yield _text(_LEFT - 6, y + 4, shown(value), anchor="end")
    yield f'<path class="axis" d="M{_LEFT} {frame.y(0):.1f}H{WIDTH - _RIGHT}"/>'
    for moment, label in _moments(frame.first, frame.last):
        yield f'<path class="axis" d="M{frame.x(moment):.1f} {frame.height}v5"/>'
        yield _text(frame.x(moment), frame.height + 19, label, anchor="middle")


def _curve(frame: _Frame, curve: Line, index: int, shown: Shown) -> str:
    steps = []
    for number, (moment, value) in enumerate(curve.points):
        x, y = frame.x(moment), frame.y(value)
        move = "M" if not number else "L"
        steps.append(f"H{x:.1f}V{y:.1f}" if curve.is_stepped and number else f"{move}{x:.1f} {y:.1f}")
    highest = max((value for _, value in curve.points), default=0.0)
    tip = f"{curve.name}: at most {shown(highest)}"
    # The class stands outside: on the path itself it would win over `fill="none"`.
    path = f'<path fill="none" stroke-width="2" d="{"".join(steps)}">{_tip(tip)}</path>'
    return f'<g class="{_colour(index)}">{path}</g>'


def _ticks(most: float) -> Iterator[float]:
    """Round values from zero to at least *most*."""
    if not most > 0:
        yield from (0.0, 1.0)
        return
    rough = most / (_MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= rough)
    for number in range(math.ceil(most / step - 1e-9) + 1):
        yield number * step


def _moments(first: float, last: float) -> Iterator[tuple[float, str]]:
    step, form = next((each for each in _TIME_STEPS if (last - first) / each[0] <= _MOST_TICKS), _TIME_STEPS[-1])
    step = max(step, math.ceil((last - first) / _MOST_TICKS / step) * step)
    for number in range(math.ceil(first / step), math.floor(last / step) + 1):
        yield number * step, f"{datetime.fromtimestamp(number * step, UTC):{form}}"


# --- SVG ------------------------------------------------------------------------------------------


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    said = escape(one_line(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{said}" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}">{"".join(parts)}</svg>'
    )


def _legend(series: Sequence[str]) -> str:
    parts, x = [], float(_LEFT)
    for index, name in enumerate(series):
        parts.append(_rect((x, 4, 12, 12), index, name))
        parts.append(_text(x + 18, 15, _short(name)))
        x += 18 + 7.2 * len(_short(name)) + 22
    return "".join(parts)


def _rect(place: tuple[float, float, float, float], index: int, tip: str) -> str:
    x, y, width, height = place
    return (
        f'<rect class="{_colour(index)}" stroke-width="0" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}">{_tip(tip)}</rect>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", tip: str = "") -> str:
    hint = _tip(tip) if tip and tip != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(one_line(text))}{hint}</text>'


def _tip(text: str) -> str:
    return f"<title>{escape(one_line(text))}</title>"


def _colour(index: int) -> str:
    return f"s{min(index, COLOURS - 1) + 1}"


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}…"
