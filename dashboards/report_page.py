"""A report as values, and as a page that holds all that it shows: cards, charts as SVG, tables. No script.

Whoever has something to report fills a `Report`; the page, the terminal and all files come from the same values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from dashboards import charts
from dashboards.text import number_text, one_line, percent_text, seconds_text

T = TypeVar("T")
Value: TypeAlias = str | int | float | None
#: What a value is, and so how people read it: shares are percents, seconds are durations, times ISO 8601 in UTC, `long`
#: is a text of some words.
Kind: TypeAlias = Literal["text", "count", "number", "hours", "share", "seconds", "status", "time", "id", "long"]
SCHEMA_NAME = "jobspan.report/1"
#: More rows make a page slow; the files have all of them.
MOST_ROWS = 2000
#: Of a time, what people want to see.
_TO_SECONDS = 19


@dataclass(frozen=True)
class Column:
    """A column: its name in files, its head for people, what its values are."""

    name: str
    head: str
    kind: Kind = "text"

    @property
    def is_number(self) -> bool:
        """Whether it is aligned to the right."""
        return self.kind not in ("text", "long", "status", "time")

    def shown(self, value: Value) -> str:
        """*value* for people."""
        if value is None or isinstance(value, str):
            text = one_line(value)
            return text[:_TO_SECONDS].replace("T", " ") if self.kind == "time" else text
        return _SHOWN[self.kind](value)


def hours_text(hours: float) -> str:
    """Hours as people read them: a demonstration's to the third digit, a site's to the first."""
    return number_text(hours, 3 if abs(hours) < 10 else 1)


_SHOWN: Mapping[Kind, Callable[[float], str]] = {
    "text": str,
    "long": str,
    "status": str,
    "time": str,
    "id": str,
    "count": number_text,
    "number": lambda value: number_text(value) if value == round(value) else f"{value:,.6g}",
    "hours": hours_text,
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


@dataclass(frozen=True)
class Shape(Generic[T]):
    """A table before it has rows: each column with what of a row stands in it, and what is said instead of no rows."""

    name: str
    columns: tuple[tuple[Column, Callable[[T], Value]], ...]
    empty: str = "none"

    def of(self, found: Iterable[T], total: int | None = None) -> Table:
        """The table with a row for each of *found*, which are the first of *total*, if that is given."""
        return Table(
            name=self.name,
            columns=tuple(column for column, _ in self.columns),
            rows=[tuple(read(each) for _, read in self.columns) for each in found],
            empty=self.empty,
            total=total,
        )


class NamesAttempt(Protocol):
    """Whatever is about one attempt."""

    @property
    def job_id(self) -> int | None:
        """The number of its job, if it is known."""
        ...

    @property
    def attempt(self) -> int | None:
        """Which of the job it is, if it is known."""
        ...


#: How every table names an attempt.
ATTEMPT: tuple[tuple[Column, Callable[[NamesAttempt], Value]], ...] = (
    (Column("job_id", "Job", "id"), lambda each: each.job_id),
    (Column("attempt", "Attempt", "id"), lambda each: each.attempt),
)


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
    """Everything that there is to say. *main* names the table that goes into CSV and Parquet."""

    name: str
    title: str
    verdict: str
    #: `good`, `warn` or `bad`.
    mood: str
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    main: str
    #: Where and when it was made, and of what.
    source: str = ""

    @property
    def tables(self) -> dict[str, Table]:
        """All tables by their names."""
        return {each.table.name: each.table for each in self.sections if each.table is not None}

    @property
    def main_table(self) -> Table:
        """The table that goes into CSV and Parquet."""
        return self.tables[self.main]

    def values(self) -> dict[str, Any]:
        """The report as JSON values; fields are only ever added."""
        figures: Mapping[str, Value] = {each.label: each.value for each in self.cards}
        return {
            "schema": SCHEMA_NAME,
            "report": self.name,
            "title": self.title,
            "verdict": self.verdict,
            "mood": self.mood,
            "source": self.source,
            "figures": dict(figures),
            "tables": {name: table.objects() for name, table in self.tables.items()},
        }


def page(report: Report) -> str:
    """*report* as one file of HTML."""
    from dashboards import pages  # templates come with an extra, which the terminal and CSV do without

    return pages.document("report.html", report=report)
