"""`jobspan run`: one job with nothing else running."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.commands.context import Command, Context

if TYPE_CHECKING:
    from runner.commands.jobs import JobRow
    from runner.config import Config
    from runner.wms.client import WmsClient

#: How long after a job's last status its record may take to arrive on both sides.
SETTLE_SECONDS = 30.0


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="job description, - for standard input")


def _run(context: Context) -> int:
    from runner.commands import jobs, packing
    from runner.commands.interrupts import end_in_order
    from runner.commands.overrides import in_folder
    from runner.compose.site import LocalSite
    from runner.errors import ConfigError, DescriptionError
    from runner.job.parametric import is_parametric

    terminal = context.terminal
    job = packing.read_job(context.arguments.file)
    if is_parametric(job.description):
        raise DescriptionError("is parametric; hand it in with `jobspan submit`", source=str(job.path))
    if context.config.wms.url:
        raise ConfigError("`jobspan run` starts a WMS of its own; remove URL from [WMS], or use `jobspan submit`")
    config = in_folder(context.config, context.arguments.folder or new_folder(Path.cwd()))
    terminal.line(f"folder {config.folder}")
    end_in_order()
    with LocalSite(config, slots=job.description.processors_range[0]) as site:
        (job_id,) = packing.submit([job], site.client)
        (row,) = jobs.wait(site.client, [job_id], jobs.LiveTable(terminal).show)
        result = settled(config, site.client, row)
        result["output"] = _output(site.client, job_id, config.folder / "output")
    result["accounting"]["otlp"] = _otlp_copies(config, result["uid"])
    del result["uid"]
    _tell(context, result)
    terminal.json(result)
    return 0 if jobs.all_done([row]) else 1


def new_folder(parent: Path) -> Path:
    """A new folder in *parent*, named after this second."""
    from telemetry.clock import SystemClock, utc_text

    stamp = utc_text(SystemClock().utc_ns())[:19].replace("-", "").replace(":", "").replace("T", "-")
    number = 0
    while True:
        folder = parent / f"jobspan-run-{stamp}{f'-{number}' if number else ''}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def settled(config: "Config", client: "WmsClient", row: "JobRow") -> dict[str, Any]:
    """What is known of the ended job *row*, once its record has arrived (or SETTLE_SECONDS have passed)."""
    from runner.commands.jobs import until
    from runner.compose.reports import attempts
    from telemetry.identity import attempt_uid, trace_id

    uid = attempt_uid(str(client.info()["WMSID"]), row.job_id, row.attempt)

    def records() -> list[Any]:
        return [each for each in client.all_accounting(row.job_id).records if each.get("UID") == uid]

    until(lambda: bool(records()) and _otlp_copies(config, uid) > 0, SETTLE_SECONDS)
    found = records()
    record = dict(found[0]) if found else None
    folders = [each.folder for each in attempts(config, row.job_id)]
    return {
        "uid": uid,
        "job_id": row.job_id,
        "status": row.status,
        "minor_status": row.minor_status,
        "exit_code": record.get("ExitCode") if record else None,
        "trace_id": trace_id(uid),
        "record": record,
        "accounting": {"wms": len(found), "otlp": 0},
        "folder": str(config.folder),
        "attempt_folders": [str(each) for each in folders],
    }


def _output(client: "WmsClient", job_id: int, target: Path) -> list[str]:
    """The files of the output sandbox, unpacked below *target*; none when there is no sandbox."""
    from runner.commands.fetching import fetch_output
    from runner.errors import NotFoundError

    try:
        return [str(target / str(job_id) / name) for name in fetch_output(client, job_id, target / str(job_id))]
    except NotFoundError:
        return []


def _otlp_copies(config: "Config", uid: str) -> int:
    from runner.compose.reports import otlp_copies

    return otlp_copies(config, uid)


def _tell(context: Context, result: dict[str, Any]) -> None:
    from runner.commands.terminal import one_line, seconds_text

    terminal, record = context.terminal, result["record"] or {}
    terminal.line(terminal.status(f"{result['status']} / {one_line(result['minor_status'])}", result["status"]))
    terminal.line(f"exit code    {'none' if result['exit_code'] is None else result['exit_code']}")
    if record:
        cpu = f"{seconds_text(float(record['CPUTime']))} CPU by {record.get('CPUMethod') or 'nothing'}"
        terminal.line(f"used         {seconds_text(float(record['WallClockTime']))} wall, {cpu}")
    terminal.line(f"trace        {result['trace_id']} (jobspan --folder {result['folder']} trace {result['job_id']})")
    terminal.line(f"accounting   {result['accounting']['wms']} in the WMS, {result['accounting']['otlp']} in OTLP")
    for each in result["attempt_folders"]:
        terminal.line(f"journal      {each}/control")
    for each in result["output"]:
        terminal.line(f"output       {one_line(each)}")


COMMAND = Command(
    description=(
        "Run one job on this machine with nothing else running: an embedded WMS and an agent are started for "
        "it in a new folder (./jobspan-run-<time>, or --folder), and stopped when it has ended. With --json "
        "one object: job_id, status, minor_status, exit_code, trace_id, record, accounting (records of this "
        "attempt that WMS and OTLP hold), folder. Exit code 0 when the job is Done."
    ),
    examples=("jobspan run job.yaml", "jobspan run job.jdl --json | jq '.record.CPUTime'"),
    configure=_configure,
    run=_run,
)
