"""A job whose sandboxes are on a real S3 server: user and worker node reach it by presigned addresses alone."""

from pathlib import Path

from runner.commands.fetching import fetch_output
from tests.support.site import running_site
from tests.support.stores import S3Server
from tests.support.waiting import eventually


def test_a_job_brings_and_fetches_its_sandboxes_on_s3(s3: S3Server, tmp_path: Path) -> None:
    """Input and output go through the bucket, not through the WMS; nobody but that has the credentials."""
    (tmp_path / "show.sh").write_text("#!/bin/sh\ncat data.txt\n")
    (tmp_path / "data.txt").write_text("forty-two\n")
    bucket = s3.bucket()
    with running_site(tmp_path / "site", WMS=s3.options(bucket)) as site:
        job_id = site.submit(
            tmp_path, Executable="show.sh", InputSandbox=["show.sh", "data.txt"], OutputSandbox=["std.out"]
        )
        site.wait(job_id, "Done", "Execution Complete")
        assert fetch_output(site.client, job_id, tmp_path / "fetched") == ["std.out"]
        folder = site.wait_folder(job_id)
        eventually((folder / "control" / "settled").exists, 30)  # until then its working directory is being removed
        left = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert (tmp_path / "fetched" / "std.out").read_text() == "forty-two\n"
    assert len([path for path in bucket.rglob("sha256:*") if path.is_file()]) == 2
    assert not (tmp_path / "site" / "wms" / "sandboxes").exists()
    assert s3.secret_key.encode() not in left
