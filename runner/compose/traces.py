"""The traces of a job as this folder has them, with what else its page shows."""

from collections.abc import Sequence
from pathlib import Path

from runner.agent.folders import JobFolder
from runner.compose.kinds import open_client
from runner.config import Config
from runner.errors import JobspanError
from telemetry.clock import SystemClock
from telemetry.entries import Entry
from telemetry.facts import JobMatched
from telemetry.journal import read_journal
from telemetry.live.otlp_files import PAYLOAD, OtlpFiles
from telemetry.live.traces import JobTrace, job_trace
from telemetry.live.traces_course import Course, course
from telemetry.live.traces_open import with_open

#: The WMS's calls, where it works on this folder, and those before its file was turned over.
WMS_FILES = "wms-traces*.jsonl"


def attempts_file(config: Config) -> Path:
    """Where the node keeps the spans of all attempts that have ended."""
    return OtlpFiles(config.telemetry_folder).traces


def find_trace(config: Config, job_id: int, further: Sequence[Path] = ()) -> JobTrace:
    """Submission and all attempts of *job_id*, those that still run here as far as they are; of the one WMS, when it
    answers.
    """
    try:
        wms_id = str(open_client(config).info()["WMSID"])
    except JobspanError:
        wms_id = ""
    calls = sorted(config.telemetry_folder.glob(WMS_FILES))
    payloads = OtlpFiles(config.telemetry_folder, PAYLOAD).traces
    shipped = job_trace(attempts_file(config), job_id, wms_id=wms_id, beside=[*calls, payloads, *further])
    journals = _journals(config, job_id)
    of_wms = [entries for match, entries in journals if wms_id in ("", match.wms_id)]
    return with_open(shipped, of_wms, SystemClock().utc_ns())


def trace_page(config: Config, trace: JobTrace) -> str:
    """The page of *trace*, with the course of those attempts whose journals are still here."""
    from dashboards.trace_page import page  # with Jinja2, which a worker node does not have
    from runner.trace_views import job_view

    courses = find_courses(config, trace.job_id)
    missing = [str(each.attempt) for each in trace.attempts if each.uid not in courses]
    notes: list[str] = []
    last_output = ""
    if missing:
        listed = ", ".join(missing)
        notes.append(f"The journal of attempt {listed} is not here: its course and its output are not shown.")
        last_output = _last_output(config, trace.job_id)
    return page(job_view(trace, courses, last_output=last_output, notes=notes))


def find_courses(config: Config, job_id: int) -> dict[str, Course]:
    """The course of each attempt of which the folder is still here, by UID."""
    return {match.uid: course(entries) for match, entries in _journals(config, job_id)}


def _journals(config: Config, job_id: int) -> list[tuple[JobMatched, list[Entry]]]:
    """Of each attempt of which the folder is still here."""
    read = [read_journal(folder.control) for folder in JobFolder.of(config.jobs_folder, job_id)]
    return [(match, entries) for entries in read if (match := _match(entries)) is not None]


def _match(entries: Sequence[Entry]) -> JobMatched | None:
    return next((entry.fact for entry in entries if isinstance(entry.fact, JobMatched)), None)


def _last_output(config: Config, job_id: int) -> str:
    """What the last heartbeat said, as the WMS keeps it; nothing when nobody knows."""
    try:
        return open_client(config).peek(job_id).standard_output
    except JobspanError:
        return ""
