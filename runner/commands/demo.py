"""`jobspan demo`: real jobs through everything, and a look at all that they leave behind."""

import argparse
from pathlib import Path

from runner.commands.context import Command, Context


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=Path,
        metavar="DIR",
        default=Path("tests/data/demo"),
        help="folder with demo.toml and the jobs (tests/data/demo of a checkout)",
    )


def _run(context: Context) -> int:
    from runner.commands.demonstration.manifest import read_manifest
    from runner.commands.demonstration.report import REPORT_FILE, outcome_json, show
    from runner.commands.extras import needs_extra
    from runner.commands.interrupts import end_in_order
    from runner.commands.reporting import whole, write_page

    with needs_extra("reports", "jobspan demo"):
        from runner.commands.demonstration.page import demonstration_view
        from runner.commands.demonstration.performance import configuration, perform
    manifest = read_manifest(context.arguments.jobs.absolute())
    config = configuration(context)
    end_in_order()
    outcome = perform(manifest, config, context.terminal)
    page = config.folder / REPORT_FILE
    whole(page, lambda part: write_page(demonstration_view(outcome), part))
    show(outcome, context.terminal)
    values = outcome_json(outcome)
    _write(config.folder / "demo.json", values)
    context.terminal.line(f"open {page.as_uri()} in a browser for all of this on one page")
    context.terminal.json(values)
    return 0 if outcome.is_good else 1


def _write(path: Path, values: object) -> None:
    import json

    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=2) + "\n")
    part.rename(path)


COMMAND = Command(
    description=(
        "Run the demonstration: an embedded WMS, an agent with two slots, and jobs that succeed, fail, exceed a limit, "
        "are rescheduled, attack and are killed. Shows what became of each, where its time went, a trace, the metrics, "
        "and whether the WMS's accounting and the telemetry agree. Everything stays in ./demo (or --folder), where a "
        "second run works as well. Exit code 0 only when all is as promised."
    ),
    examples=("jobspan demo", "jobspan --folder /tmp/demo demo --jobs tests/data/demo --json"),
    configure=_configure,
    run=_run,
)
