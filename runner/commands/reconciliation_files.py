"""The result of `jobspan reconcile` on the terminal and in files; whoever reconciles calls this."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from runner.commands.context import Context
from runner.commands.reporting import (
    add_outputs,
    file_maker,
    quoted,
    show,
    whole,
    write_csv,
    write_page,
    write_parquet,
)

if TYPE_CHECKING:
    from dashboards.report_page import Report
    from telemetry.reconcile.result import Outcome

#: As `harmless` in `reporting`, for files of which a page holds a part only.
_FORMULA = "^[=+@\\t\\r-]"


def add_reconciliation_outputs(parser: argparse._ActionsContainer) -> None:
    """The files that a result may go to."""
    add_outputs(parser)
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        type=Path,
        help="differences by class, for the textfile collector of a node exporter",
    )


def present(outcome: "Outcome", context: Context) -> "Report":
    """Show *outcome*, and write the files that are asked for: CSV and Parquet with every difference.

    Raises:
        ConfigError: one cannot be written, or an extra is not installed.
    """
    report, written = _written(outcome, context)
    show(report, context.terminal)
    for path in written:
        context.terminal.line(f"written: {path}")
    context.terminal.json(report.values())
    return report


def state(outcome: "Outcome", context: Context) -> None:
    """The same of the two ledgers of a node, a line for each difference.

    Raises:
        ConfigError: as for `present`.
    """
    from telemetry.reconcile.statement import render_text, to_json

    _, written = _written(outcome, context)
    context.terminal.line(render_text(outcome, colour=context.terminal.colour).rstrip("\n"))
    for path in written:
        context.terminal.line(f"written: {path}")
    context.terminal.json(to_json(outcome))


def _written(outcome: "Outcome", context: Context) -> "tuple[Report, list[Path]]":
    """The report, and the files that were asked for."""
    from runner.commands.views import reconciliation_view

    report, given = reconciliation_view(outcome), context.arguments
    if given.html is not None:
        whole(given.html, lambda part: write_page(report, part))
    if given.csv is not None:
        whole(given.csv, lambda part: _write_csv(outcome, report, part))
    if given.parquet is not None:
        whole(given.parquet, lambda part: _write_parquet(outcome, report, part))
    if given.metrics is not None:
        from telemetry.reconcile.textfile import write_metrics

        whole(given.metrics, lambda part: write_metrics(outcome, part))
    return report, [path for path in (given.html, given.csv, given.parquet, given.metrics) if path is not None]


def _write_csv(outcome: "Outcome", report: "Report", path: Path) -> None:
    if outcome.file is None:
        write_csv(report.main_table, path)
        return
    with file_maker() as connection:
        source = f"read_parquet({quoted(outcome.file)})"
        rows = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 - a path, quoted
        columns = ", ".join(_harmless_column(name) if kind == "VARCHAR" else _name(name) for name, kind, *_ in rows)
        connection.execute(f"COPY (SELECT {columns} FROM {source}) TO {quoted(path)} (FORMAT csv, HEADER)")  # noqa: S608


def _write_parquet(outcome: "Outcome", report: "Report", path: Path) -> None:
    if outcome.file is None:
        write_parquet(report.main_table, path)
    else:
        import shutil

        shutil.copyfile(outcome.file, path)


def _harmless_column(name: str) -> str:
    column = _name(name)
    return f"CASE WHEN regexp_matches({column}, '{_FORMULA}') THEN '''' || {column} ELSE {column} END AS {column}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
