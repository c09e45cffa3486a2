"""The traces of a job as this folder has them, with what else its page shows."""

from collections.abc import Sequence
from pathlib import Path

from runner.agent.folders import JobFolder
from runner.compose.kinds import open_client
from runner.config import Config
from runner.errors import JobspanError
from telemetry.facts import JobMatched
from telemetry.journal import read_journal
from telemetry.live.otlp_files import OtlpFiles
from telemetry.live.traces import JobTrace, job_trace
from telemetry.live.traces_course import Course, course

#: The WMS's calls, where it works on this folder, and those before its file was turned over.
WMS_FILES = "wms-traces*.jsonl"


def span_files(config: Config, further: Sequence[Path] = ()) -> list[Path]:
    """The files in which spans are looked for: the node's first, the WMS's, and *further* ones."""
    folder = config.telemetry_folder
    return [OtlpFiles(folder).traces, *sorted(folder.glob(WMS_FILES)), *further]


def find_trace(config: Config, job_id: int, further: Sequence[Path] = ()) -> JobTrace:
    """Submission and all attempts of *job_id*; of the one WMS, when it answers."""
    first, *beside = span_files(config, further)
    try:
        wms_id = str(open_client(config).info()["WMSID"])
    except JobspanError:
        wms_id = ""
    return job_trace(first, job_id, wms_id=wms_id, beside=beside)


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
    found = {}
    for folder in JobFolder.of(config.jobs_folder, job_id):
        entries = read_journal(folder.control)
        for entry in entries:
            if isinstance(entry.fact, JobMatched):
                found[entry.fact.uid] = course(entries)
    return found


def _last_output(config: Config, job_id: int) -> str:
    """What the last heartbeat said, as the WMS keeps it; nothing when nobody knows."""
    try:
        return open_client(config).peek(job_id).standard_output
    except JobspanError:
        return ""
