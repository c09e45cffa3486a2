"""`jobspan reschedule`: give jobs another attempt."""

from typing import TYPE_CHECKING

from runner.commands.context import Command, Context, some_jobs
from runner.commands.terminal import one_line

if TYPE_CHECKING:
    from runner.wms.answers import Reschedulings


def _run(context: Context) -> int:
    from runner.commands.jobs import find
    from runner.compose.kinds import open_client

    ids, client = context.arguments.ids, open_client(context.config)
    find(client, ids)
    result = client.reschedule(ids)
    for job_id in ids:
        words = "rescheduled" if job_id in result.succeeded else f"not rescheduled: {one_line(_reason(result, job_id))}"
        context.terminal.line(f"job {job_id}  {words}")
    context.terminal.json(
        [
            {"job_id": job_id, "rescheduled": job_id in result.succeeded, "reason": _reason(result, job_id)}
            for job_id in ids
        ]
    )
    return 0 if all(job_id in result.succeeded for job_id in ids) else 4


def _reason(result: "Reschedulings", job_id: int) -> str:
    return result.failed[job_id].reason if job_id in result.failed else ""


COMMAND = Command(
    description=(
        "Give jobs another attempt, with the same description: failed ones, or running ones, whose present "
        "attempt is fenced off. Refused (exit code 4) beyond MaxRescheduling and for jobs that are Done."
    ),
    examples=("jobspan reschedule 12", "jobspan reschedule 12 13"),
    configure=some_jobs,
    run=_run,
)
