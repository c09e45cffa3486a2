"""A report as values, and as a page that holds all that it shows: cards, charts as SVG, tables. No script.

Whoever has something to report fills a `Report`; the page, the terminal and all files come from the same values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from dashboards import charts, pages
from dashboards.text import number_text, one_line, percent_text, seconds_text

Value: TypeAlias = str | int | float | None
#: What a value is, and so how people read it: hours have three digits, shares are percents, seconds are durations.
Kind: TypeAlias = Literal["text", "count", "number", "hours", "share", "seconds", "status"]
SCHEMA_NAME = "jobspan.report/1"
#: More rows make a page slow; the files have all of them.
MOST_ROWS = 2000


@dataclass(frozen=True)
class Column:
    """A column: its name in files, its head for people, what its values are."""

    name: str
    head: str
    kind: Kind = "text"

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind not in ("text", "status")

    def shown(self, value: Value) -> str:
        """*value* for people."""
        if value is None or isinstance(value, str):
            return one_line(value)
        return _SHOWN[self.kind](value)


_SHOWN: Mapping[Kind, Callable[[float], str]] = {
    "text": str,
    "status": str,
    "count": number_text,
    "number": lambda value: f"{value:,.6g}",
    "hours": lambda value: number_text(value, 3),
    "share": percent_text,
    "seconds": seconds_text,
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns. *name* is that of it in JSON, *empty* what is said instead of no rows."""

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Value]]
    empty: str = "none"
    #: Rows that there are in all, where those here are the first of more.
    total: int | None = None

    @property
    def shown_rows(self) -> Sequence[Sequence[Value]]:
        """Those that fit a page."""
        return self.rows[:MOST_ROWS]

    @property
    def hidden(self) -> int:
        """How many rows a page does not show."""
        return (len(self.rows) if self.total is None else self.total) - len(self.shown_rows)

    def objects(self) -> list[dict[str, Value]]:
        """The rows by the names of their columns."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class BarChart:
    """Horizontal bars, stacked by series."""

    series: tuple[str, ...]
    bars: tuple[charts.Bar, ...]
    kind: Kind = "hours"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report: a chart, a table, a sentence, or some of these."""

    title: str
    text: str = ""
    chart: BarChart | None = None
    table: Table | None = None

    def drawing(self) -> str:
        """The chart as SVG."""
        if self.chart is None:
            return ""
        shown = Column("", "", self.chart.kind).shown
        return charts.bars(self.chart.bars, self.chart.series, title=self.title, shown=shown)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A figure that is seen first."""

    label: str
    value: Value
    kind: Kind = "text"

    @property
    def shown(self) -> str:
        """The value for people."""
        return Column("", "", self.kind).shown(self.value)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that there is to say. The table of the first section that has one is that of the files."""

    name: str
    title: str
    verdict: str
    #: `good`, `warn` or `bad`.
    mood: str
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    #: Where and when it was made, and of what.
    source: str = ""

    @property
    def main(self) -> Table | None:
        """The table that goes into CSV and Parquet."""
        return next((each.table for each in self.sections if each.table is not None), None)

    def values(self) -> dict[str, Any]:
        """The report as JSON values; fields are only ever added."""
        figures: Mapping[str, Value] = {each.label: each.value for each in self.cards}
        tables = (each.table for each in self.sections if each.table is not None)
        return {
            "schema": SCHEMA_NAME,
            "report": self.name,
            "title": self.title,
            "verdict": self.verdict,
            "mood": self.mood,
            "source": self.source,
            "figures": dict(figures),
            "tables": {each.name: each.objects() for each in tables},
        }


def page(report: Report) -> str:
    """*report* as one file of HTML."""
    return pages.document("report.html", report=report)
