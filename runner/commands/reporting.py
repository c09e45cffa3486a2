"""A report on the terminal and in files: HTML, CSV, JSON, Parquet. Whoever has one fills a `Report` and calls this."""

import argparse
import csv
import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands.terminal import Terminal
from runner.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

    from dashboards.report_page import Report, Table

#: Rows of a table that a terminal shows.
MOST_LINES = 50
_MOODS = {"good": "green", "warn": "yellow", "bad": "red"}
_PARQUET_TYPES = {
    "count": "BIGINT",
    "id": "BIGINT",
    "number": "DOUBLE",
    "hours": "DOUBLE",
    "share": "DOUBLE",
    "seconds": "DOUBLE",
}


def add_outputs(parser: argparse._ActionsContainer) -> None:
    """The files that a report may go to."""
    for name, what in (
        ("html", "one page with charts, for any browser"),
        ("csv", "the rows of its main table, for spreadsheets"),
        ("parquet", "the same, typed, for everything else"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", type=Path, help=what)


def show(report: "Report", terminal: Terminal) -> None:
    """*report* for people; nothing with `--json`."""
    terminal.line(terminal.paint(report.title, "bold"))
    terminal.line(terminal.paint(report.verdict, _MOODS[report.mood]))
    terminal.line()
    width = max((len(card.label) for card in report.cards), default=0)
    for card in report.cards:
        terminal.line(f"{card.label:{width}}  {card.shown}")
    for section in report.sections:
        if section.table is None:
            continue
        terminal.line()
        terminal.line(terminal.paint(section.title, "bold"))
        for line in _drawn(section.table, terminal):
            terminal.line(line)


def write_files(report: "Report", arguments: argparse.Namespace) -> list[Path]:
    """Write the files that *arguments* ask for, each whole or not at all; which they are.

    Raises:
        ConfigError: one cannot be written, or an extra is not installed.
    """
    writers: Mapping[str, Callable[[Report, Path], None]] = {
        "html": write_page,
        "csv": lambda each, part: write_csv(each.main_table, part),
        "parquet": lambda each, part: write_parquet(each.main_table, part),
    }
    wanted = {name: getattr(arguments, name) for name in writers}
    for name, path in wanted.items():
        if path is not None:
            whole(path, lambda part, name=name: writers[name](report, part))  # type: ignore[misc]
    return [path for path in wanted.values() if path is not None]


def whole(path: Path, write: Callable[[Path], None]) -> None:
    """Have *write* fill a file that then becomes *path*.

    Raises:
        ConfigError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        write(part)
        part.rename(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):  # nor can it be removed where it could not be written
            part.unlink()


def write_page(report: "Report", path: Path) -> None:
    """The page.

    Raises:
        ConfigError: the extra is not installed.
    """
    from runner.commands.extras import needs_extra

    with needs_extra("reports", "a page"):
        from dashboards.report_page import page

        text = page(report)
    path.write_text(text, encoding="utf-8")


def write_csv(table: "Table", path: Path) -> None:
    """The rows, under the names of the columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column.name for column in table.columns])
        writer.writerows([harmless(value) for value in row] for row in table.rows)


def write_parquet(table: "Table", path: Path) -> None:
    """The rows with their types; texts stay texts.

    Raises:
        ConfigError: the extra is not installed.
    """
    fields = ", ".join(f'"{each.name}" {_PARQUET_TYPES.get(each.kind, "VARCHAR")}' for each in table.columns)
    with file_maker() as connection:
        connection.execute(f"CREATE TABLE report ({fields})")
        if table.rows:
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f"INSERT INTO report VALUES ({marks})", [list(row) for row in table.rows])  # noqa: S608 - marks only
        connection.execute(f"COPY report TO {quoted(path)} (FORMAT parquet, COMPRESSION zstd)")


@contextmanager
def file_maker() -> "Iterator[duckdb.DuckDBPyConnection]":
    """An empty database, for the files that it writes.

    Raises:
        ConfigError: the extra is not installed. OSError: a file cannot be written, as whoever else writes one has it.
    """
    from runner.commands.extras import needs_extra

    with needs_extra("reports", "Parquet"):
        import duckdb
    try:
        with duckdb.connect() as connection:
            yield connection
    except duckdb.IOException as error:
        raise OSError(errno.EIO, str(error).partition("\n")[0]) from error


def json_text(report: "Report") -> str:
    """The report as JSON."""
    return json.dumps(report.values(), indent=2) + "\n"


def harmless(value: Any) -> Any:
    """A spreadsheet takes a text that begins like a formula for one, whoever has written it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def quoted(path: Path) -> str:
    """*path* as a text of SQL."""
    return "'" + str(path).replace("'", "''") + "'"


def _drawn(table: "Table", terminal: Terminal) -> list[str]:
    rows = table.rows[:MOST_LINES]
    if not rows:
        return [table.empty]
    cells = [[column.shown(value) for column, value in zip(table.columns, row, strict=True)] for row in rows]
    for index, column in enumerate(table.columns):
        if column.is_number:
            width = max(len(column.head), *(len(row[index]) for row in cells))
            for row in cells:
                row[index] = row[index].rjust(width)
    widest = max(range(len(table.columns)), key=lambda index: max(len(row[index]) for row in cells))
    lines = terminal.table([column.head.upper() for column in table.columns], cells, flexible=widest)
    hidden = (len(table.rows) if table.total is None else table.total) - len(rows)
    return [*lines, f"and {hidden} more"] if hidden else lines
