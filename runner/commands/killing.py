"""The order to end a job, as the WMS answers it."""

from dataclasses import dataclass

from runner.commands.jobs import JobRow
from runner.job.status import FINAL_STATUSES, JobStatus
from runner.wms.client import WmsClient
from telemetry.clock import NANOSECONDS, SystemClock


@dataclass(frozen=True)
class KillOutcome:
    """Whether the WMS took the order, and why not."""

    job_id: int
    ordered: bool
    reason: str = ""


def kill(client: WmsClient, row: JobRow) -> KillOutcome:
    """Order the job *row* to end; a job that is final already is left as it is."""
    if row.status in FINAL_STATUSES:
        return KillOutcome(row.job_id, False, f"it is {row.status} already")
    offset_ns = round(client.clock_offset_seconds * NANOSECONDS)
    kept = client.kill(row.job_id, SystemClock().utc_ns() + offset_ns)
    if kept.status == JobStatus.KILLED:
        return KillOutcome(row.job_id, True)
    return KillOutcome(row.job_id, False, kept.reason or f"the WMS keeps {kept.status or 'a later status'}")
