"""`jobspan trace`: the spans of a job."""

from runner.commands.context import Command, Context, one_job


def _run(context: Context) -> int:
    from runner.errors import NotFoundError
    from telemetry.live.otlp_files import OtlpFiles
    from telemetry.live.traces import job_trace, trace_values
    from telemetry.live.waterfall import waterfall

    number, terminal = context.arguments.id, context.terminal
    found = job_trace(OtlpFiles(context.config.telemetry_folder).traces, number, wms_id=_wms_id(context))
    if not found.attempts and not found.submit:
        raise NotFoundError(
            f"no spans of job {number} in {context.config.telemetry_folder}; they are written when an attempt has ended"
        )
    terminal.line(waterfall(found, width=terminal.width, colour=terminal.colour).rstrip("\n"))
    terminal.json(trace_values(found))
    return 0


def _wms_id(context: Context) -> str:
    """Which WMS's job it is, when one answers; the spans of a site that is down can be looked at, too."""
    from runner.compose.kinds import open_client
    from runner.errors import JobspanError

    try:
        return str(open_client(context.config).info()["WMSID"])
    except JobspanError:
        return ""


COMMAND = Command(
    description=(
        "Draw submission, queue, match and all attempts of a job as a waterfall, from the spans in this folder."
    ),
    examples=("jobspan trace 12", "jobspan trace 12 --json"),
    configure=one_job,
    run=_run,
)
