"""What is there of each job after its end, and whether it is what the manifest promises."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.commands.demonstration.manifest import DemoJob
from runner.commands.fetching import fetch_output
from runner.commands.jobs import JobRow, until
from runner.compose.reports import otlp_copies
from runner.config import Config
from runner.errors import JobspanError, NotFoundError
from runner.wms.client import WmsClient
from telemetry.facts import ACCOUNTED_STAGES
from telemetry.identity import attempt_uid

#: How long after the last status the records may take to reach both sides.
SETTLE_SECONDS = 30.0
#: getrusage counts in ticks of the scheduler for some kernels; one a process.
CPU_TOLERANCE_SECONDS = 0.15
#: The five stages' shares sum to the wall clock exactly, in microseconds.
SUM_TOLERANCE_SECONDS = 1e-6


@dataclass(frozen=True)
class JobResult:
    """One job of the demonstration after its end."""

    job: DemoJob
    row: JobRow
    #: The accounting record of each attempt, the first one first.
    records: tuple[Mapping[str, Any], ...]
    #: Where its output sandbox was unpacked to, None when there is none.
    output: Path | None
    #: What is not as promised, in sentences; empty: all is.
    missed: tuple[str, ...]

    @property
    def last(self) -> Mapping[str, Any]:
        """The record of the last attempt; empty when there is none."""
        return self.records[-1] if self.records else {}


def await_records(config: Config, client: WmsClient, rows: list[JobRow]) -> bool:
    """Wait until every attempt's record has reached the WMS and the OTLP file; whether it has in time."""
    wms_id = str(client.info()["WMSID"])
    uids = [attempt_uid(wms_id, row.job_id, attempt) for row in rows for attempt in range(1, row.attempt + 1)]

    def arrived() -> bool:
        held = {str(each.get("UID")) for each in client.all_accounting().records}
        return held.issuperset(uids) and all(otlp_copies(config, uid) for uid in uids)

    return until(arrived, SETTLE_SECONDS)


def collect(job: DemoJob, row: JobRow, client: WmsClient, folder: Path) -> JobResult:
    """Gather what there is of one job, and compare; its output goes to *folder*."""
    found = [each for each in client.all_accounting(row.job_id).records if each.get("JobID") == row.job_id]
    records = tuple(sorted(found, key=lambda record: int(record["Attempt"])))
    output: Path | None = folder / "output" / str(row.job_id)
    problem = ""
    try:
        fetch_output(client, row.job_id, folder / "output" / str(row.job_id))
    except NotFoundError:
        output = None
    except JobspanError as error:
        output, problem = None, f"its output cannot be fetched: {error}"
    missed = compare(job, row, records, output)
    return JobResult(job, row, records, output, (*missed, *([problem] if problem else [])))


def compare(job: DemoJob, row: JobRow, records: tuple[Mapping[str, Any], ...], output: Path | None) -> list[str]:
    """What is not as *job* promises, in sentences; empty: all is."""
    return [*_statuses(job, row), *_attempts(job, records), *_numbers(job, records), *_files(job, output, records)]


def _statuses(job: DemoJob, row: JobRow) -> list[str]:
    wanted, found = f"{job.status} / {job.minor_status}", f"{row.status} / {row.minor_status}"
    return [] if wanted == found else [f"ended as {found}, not as {wanted}"]


def _attempts(job: DemoJob, records: tuple[Mapping[str, Any], ...]) -> list[str]:
    found = tuple((record["FinalMajorStatus"], record["FinalMinorStatus"]) for record in records)
    if found == job.expected_attempts:
        return []
    return [f"its records say {' then '.join(' / '.join(each) for each in found) or 'nothing'}"]


def _numbers(job: DemoJob, records: tuple[Mapping[str, Any], ...]) -> list[str]:
    missed = []
    for record in records:
        shares = sum(float(record.get(f"StageWallClockTime.{stage}") or 0) for stage in ACCOUNTED_STAGES)
        if abs(shares - float(record["WallClockTime"])) > SUM_TOLERANCE_SECONDS:
            missed.append(f"the stages sum to {shares} s, the wall clock is {record['WallClockTime']} s")
    last = records[-1] if records else {}
    wanted = {
        "ExitCode": job.exit_code,
        "OutputLines": job.lines,
        "InputDataFiles": job.input_data_files or None,
        "OutputDataFiles": job.output_data_files or None,
    }
    for name, value in wanted.items():
        if value is not None and last.get(name) != value:
            missed.append(f"{name} is {last.get(name)}, not {value}")
    return missed


def _files(job: DemoJob, output: Path | None, records: tuple[Mapping[str, Any], ...]) -> list[str]:
    absent = [name for name in job.files if output is None or not (output / name).is_file()]
    if absent:
        return [f"its output lacks {', '.join(absent)}"]
    if not job.cpu_seconds_in or output is None or not records:
        return []
    claimed = float(json.loads((output / job.cpu_seconds_in).read_text())["cpu_seconds"])
    counted = float(records[-1]["CPUTime"])
    if counted >= claimed - CPU_TOLERANCE_SECONDS:
        return []
    return [f"its processes used {claimed:.2f} s CPU by their own account, only {counted:.2f} s were counted"]
