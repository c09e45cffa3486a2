"""Charts: what is drawn is what was given, harmless, and within the picture."""

import re
from xml.etree import ElementTree

import pytest

from dashboards.charts import WIDTH, Bar, Line, bars, lines

SVG = "{http://www.w3.org/2000/svg}"


def rectangles(svg: str) -> list[tuple[float, float]]:
    """Left edge and width of each bar."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}rect")
    return [(float(each.attrib["x"]), float(each.attrib["width"])) for each in found]


def test_bars_are_as_long_as_their_values() -> None:
    """The longest fills the room, the others are in proportion, parts stand behind one another."""
    svg = bars([Bar("a", (3.0, 1.0)), Bar("b", (2.0, 0.0))], ("used", "waiting"), title="hours")
    legend, (first, second, third) = rectangles(svg)[:2], rectangles(svg)[2:]
    assert len(legend) == 2
    assert first[1] == pytest.approx(3 * second[1])
    assert third[1] == pytest.approx(2 * second[1])
    assert first[0] + first[1] == pytest.approx(second[0])
    assert second[0] + second[1] < WIDTH


@pytest.mark.parametrize("values", [(0.0,), (-5.0,), ()])
def test_nothing_is_drawn_of_nothing(values: tuple[float, ...]) -> None:
    """Zero and what should not be have no bar, and break nothing."""
    svg = bars([Bar("a", values)], ("x",) * len(values), title="t")
    assert rectangles(svg) == []


def test_names_of_others_are_harmless() -> None:
    """Markup and control characters in labels are text; the whole is well-formed."""
    evil = "</text><script>alert(1)</script>\x1b[31m\x00\u202e&\"'"
    svg = bars([Bar(evil, (1.0,))], (evil,), title=evil) + lines([Line(evil, ((0.0, 1.0),))], title=evil)
    assert "<script" not in svg
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", svg)
    ElementTree.fromstring(f"<all>{svg}</all>")


@pytest.mark.parametrize("seconds", [1, 59, 3600, 86400, 40 * 86400, 900 * 86400])
@pytest.mark.parametrize("most", [0.0, 0.001, 1.0, 99.0, 1e12])
def test_curves_stay_in_the_picture(seconds: int, most: float) -> None:
    """Whatever the span and the height, every point lies inside, and there are a few labels on each axis."""
    start = 1_768_478_400.0
    points = tuple((start + seconds * step / 10, most * step / 10) for step in range(11))
    svg = ElementTree.fromstring(lines([Line("cpu", points)], title="cpu"))
    (path,) = (each for each in svg.iter(f"{SVG}path") if each.get("fill") == "none")
    numbers = [float(number) for number in re.findall(r"[\d.]+", path.attrib["d"])]
    assert all(0 <= x <= WIDTH for x in numbers[::2])
    assert all(0 <= y <= 220 for y in numbers[1::2])
    labels = [each.text for each in svg.iter(f"{SVG}text")]
    assert 3 <= len(labels) <= 18


def test_a_stepped_curve_holds_its_value() -> None:
    """Between two points it runs level, then jumps."""
    svg = lines([Line("lines", ((0.0, 1.0), (10.0, 2.0)), is_stepped=True)], title="lines")
    assert re.search(r'd="M[\d. ]+H[\d.]+V[\d.]+"', svg)


def test_no_curve_is_said_in_words() -> None:
    """Without points there is a sentence instead of an empty frame."""
    assert "nothing was measured" in lines([], title="t")
