"""Curves over time as the coordinates that `templates/console/parts.html` draws. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor, log10

#: A value at a moment: seconds since the first one, and what was measured.
Point = tuple[float, float]
WIDTH, HEIGHT = 420, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 10, 8, 20
_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Mark:
    """A line of the grid, and the text at its end."""

    x1: float
    y1: float
    x2: float
    y2: float
    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Chart:
    """A curve that can be drawn; *words* says the same to whoever cannot see it."""

    title: str
    words: str
    marks: tuple[Mark, ...]
    points: str
    width: int = WIDTH
    height: int = HEIGHT


def curve(title: str, points: Sequence[Point], value: Callable[[float], str], moment: Callable[[float], str]) -> Chart:
    """*points* (two at least) as a curve above zero; *value* and *moment* put values and seconds into words."""
    longest = max(points[-1][0], 1e-9)
    step = _step(max(measured for _, measured in points))
    top = step * max(1, -(-max(measured for _, measured in points) // step))

    def across(seconds: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * seconds / longest, 1)

    def up(measured: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * measured / top, 1)

    marks = []
    for number in range(round(top / step) + 1):
        y = up(number * step)
        marks.append(Mark(_LEFT, y, WIDTH - _RIGHT, y, _LEFT - 6, y + 4, "end", value(number * step)))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = across(share * longest)
        marks.append(Mark(x, HEIGHT - _BOTTOM, x, HEIGHT - _BOTTOM + 4, x, HEIGHT - 4, anchor, moment(share * longest)))
    drawn = " ".join(f"{across(seconds)},{up(max(measured, 0.0))}" for seconds, measured in points)
    words = f"{value(points[-1][1])} at the end, {value(max(measured for _, measured in points))} at most"
    return Chart(title, words, tuple(marks), drawn)


def rates(points: Sequence[Point]) -> list[Point]:
    """From a total that grows: how fast it grew before each point but the first."""
    pairs = pairwise(points)
    return [(then, max(new - old, 0.0) / (then - now)) for (now, old), (then, new) in pairs if then > now]


def _step(largest: float) -> float:
    """A round distance between lines, three or four of which reach *largest*."""
    if largest <= 0:
        return 1.0
    rough = largest / 3
    power = float(10 ** floor(log10(rough)))
    return power * min(_STEPS, key=lambda each: abs(each - rough / power))
