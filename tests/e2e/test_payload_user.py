"""Payloads under a user of their own: whatever they do, the attempt is told of to its end (promise 9)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from telemetry.live.otlp_files import OtlpFiles, read_spans
from tests.support.site import running_site
from tests.support.waiting import eventually

#: Deletes all that it can reach, from the work folder upwards, and looks for the tokens.
DESTROY = """#!/bin/sh
id -u
cat "$PWD/../control/job.token" 2>/dev/null && echo REACHED
ls "$PWD/../control" 2>/dev/null && echo REACHED
rm -rf "$PWD/../control" "$PWD/.." "$PWD"/* 2>/dev/null
exit 0
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user can enter; those of pytest are for one user, and any other run of it closes them again."""
    with tempfile.TemporaryDirectory(prefix="jobspan-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.root
def test_a_payload_that_deletes_all_it_can_reach_is_told_of_to_its_end(open_folder: Path) -> None:
    """As another uid a payload cannot touch journal, control folder or tokens: end, record and trace are there."""
    (open_folder / "destroy.sh").write_text(DESTROY)
    with running_site(open_folder / "site", JobWrapper={"PayloadUser": "nobody"}) as site:
        job_id = site.submit(open_folder, Executable="destroy.sh", InputSandbox=["destroy.sh"], StdOutput="std.out")
        site.wait(job_id, "Done")
        record = site.wait_record(job_id)
        traces = OtlpFiles(site.config.telemetry_folder).traces
        spans = eventually(lambda: read_spans(traces, containing=[record.text("TraceID")]).spans)

        assert record["ExitCode"] == 0
        assert any(span.name == "jobspan.job" for span in spans)
        assert (site.wait_folder(job_id) / "control" / "job.token").exists()
        assert record["OutputLines"] == 1, "only the uid was printed: nothing of ours was reached"
