"""Outputs that cannot be stored: the job tries again, and both ledgers say how each attempt ended."""

from pathlib import Path

from tests.support.site import DEADLINE_SECONDS, running_site
from tests.support.waiting import eventually


def test_outputs_that_cannot_be_stored_now_are_a_reason_to_try_again(tmp_path: Path) -> None:
    """While the storage element is gone the job is Rescheduled after Completing; when it is back the job is Done."""
    with running_site(tmp_path / "site", WMS={"MaxRescheduling": 50}) as site:
        element = site.config.folder / "storage" / "SE-USER"
        element.parent.mkdir(exist_ok=True)
        element.write_text("a file where the element's folder should be")
        job_id = site.submit(
            Executable="/bin/sh", Arguments="-c 'echo data > out.txt'", OutputData=["out.txt"], OutputSE=["SE-USER"]
        )
        first = site.wait_record(job_id, 1)
        eventually(lambda: site.job(job_id)["RescheduleCounter"] >= 1, DEADLINE_SECONDS)
        element.unlink()
        site.wait(job_id, "Done", "Execution Complete")
        witness = next(each for each in site.client.witness(job_id) if each["Attempt"] == 1)

        assert first.text("FinalMajorStatus") == "Rescheduled"
        assert (witness["Status"], witness["MinorStatus"]) == (
            first.text("FinalMajorStatus"), first.text("FinalMinorStatus"),
        )  # fmt: skip
        assert first["PayloadStarted"] is True


def test_beyond_the_maximum_the_job_has_failed_for_wms_and_record(tmp_path: Path) -> None:
    """When no attempt is left the job is Failed / Maximum of reschedulings reached, and so is the last record."""
    with running_site(tmp_path / "site", WMS={"MaxRescheduling": 1}) as site:
        job_id = site.submit(Executable="/bin/sh", Arguments="-c 'exit 222'")
        site.wait(job_id, "Failed", "Maximum of reschedulings reached")
        record = site.wait_record(job_id, 2)

        assert (record.text("FinalMajorStatus"), record.text("FinalMinorStatus")) == site.status(job_id)
