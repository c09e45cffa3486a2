"""Payloads under a user of their own: whatever they do, the attempt is told of to its end (promise 9)."""

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


@pytest.mark.root
def test_a_payload_that_deletes_all_it_can_reach_is_told_of_to_its_end(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As another uid a payload cannot touch journal, control folder or tokens: end, record and trace are there."""
    above = tmp_path_factory.getbasetemp().parents[1]
    for folder in (tmp_path, *tmp_path.parents):  # pytest makes its folders for one user only
        if folder.is_relative_to(above) and folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    (tmp_path / "destroy.sh").write_text(DESTROY)
    with running_site(tmp_path / "site", JobWrapper={"PayloadUser": "nobody"}) as site:
        job_id = site.submit(tmp_path, Executable="destroy.sh", InputSandbox=["destroy.sh"], StdOutput="std.out")
        site.wait(job_id, "Done")
        record = site.wait_record(job_id)
        traces = OtlpFiles(site.config.telemetry_folder).traces
        spans = eventually(lambda: read_spans(traces, containing=[record.text("TraceID")]).spans)

        assert record["ExitCode"] == 0
        assert any(span.name == "jobspan.job" for span in spans)
        assert (site.wait_folder(job_id) / "control" / "job.token").exists()
        assert record["OutputLines"] == 1, "only the uid was printed: nothing of ours was reached"
