"""A wrapper that runs without an agent, as in a batch job: matched and written by hand, started as a program."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.agent.folders import JobFolder, Pilot, job_matched, wrapper_arguments
from runner.compose.kinds import open_wms
from runner.config import Config
from runner.wrapper.template import write_wrapper
from telemetry.clock import SystemClock
from telemetry.journal import Journal


@contextmanager
def lone_wrapper(config: Config) -> Iterator[tuple[JobFolder, "subprocess.Popen[bytes]"]]:
    """The wrapper of the job that waits, and its folder; it is killed at the end if it still runs."""
    pilot = Pilot.new(config.folder / "agent")
    client = open_wms(config).user("pilot")
    try:
        matched = client.match({"PilotStamp": pilot.stamp, "Site": config.site.name}, 10.0)
        assert matched is not None, "no job waits"
    finally:
        client.close()
    folder = JobFolder.make(config.jobs_folder, matched)
    with Journal(folder.control, "agent", SystemClock()) as journal:
        journal.append(job_matched(config, matched, pilot, 0.0))
    arguments = wrapper_arguments(config, matched, pilot, client.url)
    script: Path = write_wrapper(folder.control, matched.job_id, arguments)
    with (config.folder / "wrapper.log").open("wb") as log:
        process = subprocess.Popen([script], stdout=log, stderr=log)
    try:
        yield folder, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
