"""The order to end a job, as the WMS answers it."""

from dataclasses import dataclass

from runner.commands.jobs import JobRow
from runner.job.status import FINAL_STATUSES, JobStatus
from runner.wms.client import WmsClient
from telemetry.clock import NANOSECONDS, SystemClock, parse_utc


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
    kept = client.kill(row.job_id, _moment_after(row, round(client.clock_offset_seconds * NANOSECONDS)))
    if kept.status == JobStatus.KILLED:
        return KillOutcome(row.job_id, True)
    return KillOutcome(row.job_id, False, kept.reason or f"the WMS keeps {kept.status or 'a later status'}")


def _moment_after(row: JobRow, offset_ns: int) -> int:
    """Now by the WMS's clock, and after the job's last change: an order that seems older would only be logged."""
    now = SystemClock().utc_ns() + offset_ns
    last = row.values.get("LastUpdateTime")
    try:
        return max(now, parse_utc(str(last)) + NANOSECONDS // 1000) if last else now
    except ValueError:
        return now
