"""`jobspan accounting`: every record that the WMS holds, and their export in the words of others."""

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.commands.context import Command, Context, job_id
from runner.commands.exporting import FORMATS, configure_export, export

if TYPE_CHECKING:
    from runner.wms.answers import PastRecord

HEADS = ("JOB", "ATTEMPT", "RECORDED BY", "REVISION", "", "COPIES", "STATUS", "MINOR STATUS", "WALL", "CPU")
EXPORT = "export"


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", type=_wanted, nargs="?", help="number of a job, none: all; or `export`")
    configure_export(parser.add_argument_group("export"))


def _wanted(text: str) -> int | str:
    return text if text == EXPORT else job_id(text)


def _run(context: Context) -> int:
    from runner.compose.kinds import open_client

    wanted = context.arguments.id
    if wanted == EXPORT:
        return export(context)
    client = open_client(context.config)
    past, page = list(client.accounting_history(wanted)), client.accounting(wanted, per_page=1)
    terminal = context.terminal
    terminal.show_table(HEADS, [_row(each) for each in past], flexible=7)
    copies = sum(each.duplicates for each in past)
    superseded = sum(1 for each in past if not each.is_current)
    terminal.line(
        f"{len(past)} records: {len(past) - superseded} count, {superseded} superseded; "
        f"copies sent again and folded: {copies}; refused for another body under their name: {len(page.conflicts)}"
    )
    terminal.json({"records": _documents(past), "duplicates": copies, "conflicts": page.conflicts})
    return 0 if not page.conflicts else 1


def _row(each: "PastRecord") -> tuple[object, ...]:
    from runner.commands.terminal import seconds_text

    record = each.record
    counts = "counts" if each.is_current else "superseded"
    times = (seconds_text(float(record.get(name) or 0.0)) for name in ("WallClockTime", "CPUTime"))
    names = ("JobID", "Attempt", "RecordedBy", "Revision")
    statuses = (record.get("FinalMajorStatus"), record.get("FinalMinorStatus"))
    return (*(record.get(name) for name in names), counts, each.duplicates, *statuses, *times)


def _documents(past: Sequence["PastRecord"]) -> list[Mapping[str, Any]]:
    return [
        {
            "record": each.record,
            "arrival_time": each.arrival_time,
            "is_current": each.is_current,
            "duplicates": each.duplicates,
        }
        for each in past
    ]


COMMAND = Command(
    description=(
        "Show the accounting records of a job, or of all jobs: the one of each attempt that counts, and those that it "
        "has superseded, such as the WMS's estimate for a job that was stalled. Exit code 1 when records were refused. "
        f"With `export`, write those that count in the form of another system ({', '.join(FORMATS)}), labelled as "
        "payload level; users are named by a keyed hash unless [Telemetry] UserNames says otherwise. Messages for APEL "
        'need [Site] APELLevel = "payload". Exit code 1 when some were left out.'
    ),
    examples=(
        "jobspan accounting 12",
        "jobspan accounting --json | jq '.records[].record.CPUTime'",
        "jobspan accounting export --format auditor --month 2026-11 --output auditor.jsonl",
        "jobspan accounting export --format apel-summary --month 2026-11 --output /var/spool/apel/outgoing",
    ),
    configure=_configure,
    run=_run,
)
