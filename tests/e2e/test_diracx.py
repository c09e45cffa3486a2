"""A job's whole life on a real DiracX server: what a user types, what the server then says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.diracx import RunningDiracx
from tests.support.diracx_site import DiracxSite, diracx_site


@pytest.fixture
def site(tmp_path: Path, diracx: RunningDiracx) -> Iterator[DiracxSite]:
    """A node of its own for each test."""
    with diracx_site(tmp_path / "node", diracx) as running:
        yield running


def test_a_good_job(site: DiracxSite) -> None:
    """Submitted, run, Done: with its input and output sandbox, every status in order, and its record as an OTLP event."""
    (site.config.folder / "greeting").write_text("hello from here\n")
    job_id = site.submit(
        Executable="/bin/cat", Arguments="greeting", InputSandbox=["greeting"], StdOutput="out", OutputSandbox=["out"],
        JobName="cat",
    )  # fmt: skip
    site.run(job_id)
    assert site.status(job_id) == ("Done", "Execution Complete"), site.diagnosis()
    statuses = list(dict.fromkeys(status for status, _, _ in site.log(job_id)))
    assert statuses == ["Received", "Checking", "Waiting", "Matched", "Running", "Completing", "Done"]
    done = site.command("output", str(job_id), "--to", str(site.config.folder / "fetched"))
    assert done.returncode == 0, done.stderr
    assert [each.read_text() for each in site.config.folder.rglob("fetched/**/out")] == ["hello from here\n"]
    (record,) = site.records(job_id)
    (event,) = site.events()
    assert event.canonical() == record.canonical()
    assert (record["FinalMajorStatus"], record["Attempt"], record["Owner" if "Owner" in record else "User"]) == (
        "Done", 1, "alice",
    )  # fmt: skip
