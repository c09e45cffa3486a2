"""A report's page in a real browser: it shows everything without scripts and without asking anybody for anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from dashboards.charts import Bar
from dashboards.report_page import BarChart, Card, Column, Report, Section, Table, page
from runner.commands.demonstration.page import demonstration_view
from tests.support.chromium import chromium
from tests.support.components import require
from tests.support.demonstration import outcome

HOSTILE = '<img src="http://192.0.2.1/x" onerror="document.title=1">\u202e'
COLUMNS = (Column("site", "Site"), Column("cause", "Cause", "long"), Column("hours", "Core hours", "hours"))
REPORT = Report(
    name="month",
    title="Accounting of 2026-11",
    verdict="3 attempts, 11.000 core hours; complete.",
    mood="good",
    cards=(Card(label="Core hours", value=11.0, kind="hours"),),
    sections=(
        Section(
            title="By site",
            chart=BarChart(
                series=("used", "waiting"), bars=(Bar("LCG.One.org", (3.0, 1.0)), Bar(HOSTILE, (1.0, 1.0)))
            ),
        ),
        Section(
            title="Rows",
            table=Table(name="rows", columns=COLUMNS, rows=[("LCG.One.org", "good", 4.0), (HOSTILE, "", 2.0)]),
        ),
    ),
    main="rows",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests here."""
    require("chromium")
    with chromium() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The page as a file."""
    path = tmp_path / "report.html"
    path.write_text(page(REPORT), encoding="utf-8")
    return path


def background(shown: Page) -> str:
    return str(shown.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_page_shows_all_of_it_and_asks_nobody(browser: Browser, file: Path) -> None:
    """Verdict, card, bars in proportion and rows are there; no request leaves, no error is logged, no markup runs."""
    shown = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: said.append(message.text))
    shown.goto(file.as_uri())
    assert (asked, said) == ([file.as_uri()], [])
    assert shown.title() == "Accounting of 2026-11"
    assert shown.get_by_text("3 attempts, 11.000 core hours; complete.").is_visible()
    widths = [box["width"] for each in shown.locator("figure rect").all() if (box := each.bounding_box())]
    assert widths[2] == pytest.approx(3 * widths[3], rel=0.01)  # the first two are the legend
    assert shown.locator("tbody tr").count() == 2
    assert shown.locator("img").count() == 0
    assert shown.locator("td", has_text="onerror").is_visible()


def test_the_page_is_light_and_dark(browser: Browser, file: Path) -> None:
    """It follows the reader's choice, text and bars with it."""
    colours = set()
    for scheme in ("light", "dark"):
        shown = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        shown.goto(file.as_uri())
        bar = shown.locator("figure rect").first.evaluate("each => getComputedStyle(each).fill")
        colours.add((background(shown), bar))
    assert len(colours) == 2
    assert len({page_colour for page_colour, _ in colours}) == 2


@pytest.mark.parametrize("width", [1100, 1280])
def test_the_demonstrations_tables_fit_a_window(browser: Browser, tmp_path: Path, width: int) -> None:
    """Nothing of them has to be scrolled for: the last column is seen with the first."""
    path = tmp_path / "report.html"
    path.write_text(page(demonstration_view(outcome(tmp_path, ((),) * 8))), encoding="utf-8")
    shown = browser.new_page(viewport={"width": width, "height": 800})
    shown.goto(path.as_uri())
    ends = shown.locator("thead th:last-child")
    assert ends.all_inner_texts() == ["As promised", "What is wrong", "Value", "Where"]
    spilt = "boxes => boxes.map(each => each.scrollWidth - each.clientWidth)"
    assert shown.locator("div.scroll").evaluate_all(spilt) == [0, 0, 0, 0]
    assert all((box := each.bounding_box()) and box["x"] + box["width"] <= width for each in ends.all())


def test_a_narrow_page_does_not_spill(browser: Browser, file: Path) -> None:
    """On a telephone wide tables scroll by themselves, and the keyboard reaches them; the page does not."""
    shown = browser.new_page(viewport={"width": 360, "height": 640})
    shown.goto(file.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.textContent") == "Skip to the content"
