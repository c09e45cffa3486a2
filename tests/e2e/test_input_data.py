"""Input data by LFN: catalogue, storage element, checksum, through a real site."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.errors import DescriptionError
from runner.wms.answers import CatalogFile
from tests.support.site import Site, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all tests of this module."""
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


def _register(site: Site, lfn: str, folder: Path, *, adler32: str = "") -> Path:
    """Store a small file and make it known; where it lies."""
    source = folder / "source"
    source.write_text("1 2 3\n")
    element = FolderStorageElement("SE-USER", site.config.folder / "storage" / "SE-USER")
    pfn = element.put(source, lfn)
    file = CatalogFile(size_bytes=6, adler32=adler32 or adler32_of(source), replicas={"SE-USER": pfn})
    site.client.catalog_register("FileCatalog", lfn, file)
    return Path(pfn.removeprefix("file://"))


def test_a_file_is_read_by_its_lfn_and_accounted(site: Site, tmp_path: Path) -> None:
    """The file of an LFN lies in the working directory under its last name; the record counts file and bytes."""
    _register(site, "/local/data/good.txt", tmp_path)
    job_id = site.submit(
        Executable="/bin/grep", Arguments="-q '1 2 3' good.txt", InputData=["LFN:/local/data/good.txt"]
    )
    site.wait(job_id, "Done")
    record = site.wait_record(job_id)

    assert (record["InputDataFiles"], record["InputDataSize"]) == (1, 6)


def test_a_file_with_another_content_fails_the_job_at_once(site: Site, tmp_path: Path) -> None:
    """A wrong checksum is permanent: Failed / Input Data Not Available, one attempt, no payload."""
    _register(site, "/local/data/changed.txt", tmp_path, adler32="00000001")
    job_id = site.submit(Executable="/bin/true", InputData=["LFN:/local/data/changed.txt"])
    site.wait(job_id, "Failed", "Input Data Not Available")
    record = site.wait_record(job_id)

    assert (record["PayloadStarted"], record["Attempt"]) == (False, 1)
    assert record.text("ErrorType") == "checksum_mismatch"


def test_an_lfn_that_nobody_knows_never_reaches_a_node(site: Site) -> None:
    """The optimiser fails a job whose input is in no catalogue: no attempt, no record owed."""
    job_id = site.submit(Executable="/bin/true", InputData=["LFN:/local/data/nowhere.txt"])
    site.wait(job_id, "Failed", "Input Data Not Available")

    assert list(site.client.witness(job_id)) == []


def test_a_storage_element_that_is_not_there_is_refused_at_submission(site: Site) -> None:
    """OutputSE names what exists, or the submission says what does."""
    with pytest.raises(DescriptionError, match="SE-USER"):
        site.submit(Executable="/bin/true", OutputData=["x"], OutputSE=["SE-NOWHERE"])
