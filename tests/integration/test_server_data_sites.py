"""Jobs go where their input data lie: `[WMS] SiteStorage`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import ConfigError
from tests.support.wms import RunningWms, running_wms

ELEMENTS = ("SE-A", "SE-B", "SE-ARCHIVE")
#: The archive is near to nobody in particular.
NEAR = ("LCG.A.org=SE-A", "LCG.B.org=SE-B", "LCG.Both.org=SE-A", "LCG.Both.org=SE-B")
FILES = {"/local/a": ["SE-A"], "/local/b": ["SE-B"], "/local/ab": ["SE-A", "SE-B"], "/local/archived": ["SE-ARCHIVE"]}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS whose sites have storage, for the module; the files are known to its catalogue."""
    overrides = {"WMS": {"StorageElements": ELEMENTS, "SiteStorage": NEAR}}
    with running_wms(tmp_path_factory.mktemp("wms"), overrides=overrides) as running:
        for lfn, elements in FILES.items():
            for element in elements:
                body = {"LFN": lfn, "SE": element, "PFN": f"{element}{lfn}", "Size": 1, "Adler32": "00620062"}
                answer = running.call("POST", "/api/jobspan/catalog/register", {**body, "Catalog": "FileCatalog"})
                assert answer.status_code < 300, answer.text
        yield running


def sites_of(wms: RunningWms, files: str, more: str = "") -> list[str]:
    """At which of the sites a job with these input files is given away."""
    found = []
    for site in ("LCG.A.org", "LCG.B.org", "LCG.Both.org", "LCG.Other.org"):
        job_id = wms.submit(f'Executable = "/bin/true"; InputData = {{{files}}}; {more}')
        assert wms.status(job_id)[0] == "Waiting"
        match = wms.match(Site=site)
        if match is not None:
            assert match["JobID"] == job_id
            found.append(site)
        else:
            assert wms.call("POST", "/api/jobspan/jobs/kill", {"job_ids": [job_id]}).ok
    return found


@pytest.mark.parametrize(
    ("files", "sites"),
    [
        ('"LFN:/local/a"', ["LCG.A.org", "LCG.Both.org"]),
        ('"LFN:/local/a", "LFN:/local/b"', ["LCG.Both.org"]),
        ('"LFN:/local/ab"', ["LCG.A.org", "LCG.B.org", "LCG.Both.org"]),
        ('"LFN:/local/archived"', ["LCG.A.org", "LCG.B.org", "LCG.Both.org", "LCG.Other.org"]),
        ('"LFN:/local/archived", "LFN:/local/b"', ["LCG.B.org", "LCG.Both.org"]),
    ],
)
def test_a_job_goes_where_each_of_its_files_has_a_replica(wms: RunningWms, files: str, sites: list[str]) -> None:
    """A site gets the job when each file lies near to it; what lies near to nobody can be read from anywhere."""
    assert sites_of(wms, files) == sites


def test_what_the_job_asks_for_holds_beside_its_data(wms: RunningWms) -> None:
    """Of the sites near to the data those remain that the job asks for and does not ban."""
    assert sites_of(wms, '"LFN:/local/ab"', 'Site = {"LCG.B.org", "LCG.Other.org"};') == ["LCG.B.org"]
    assert sites_of(wms, '"LFN:/local/a"', 'BannedSites = "LCG.A.org";') == ["LCG.Both.org"]


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ('"LFN:/local/a"', 'Site = "LCG.B.org";'),
        ('"LFN:/local/a"', 'BannedSites = {"LCG.A.org", "LCG.Both.org"};'),
    ],
)
def test_a_job_whose_data_lie_where_it_may_not_run_fails(wms: RunningWms, files: str, more: str) -> None:
    """No site will ever have it: Failed with the original's words, and where the data are."""
    job_id = wms.submit(f'Executable = "/bin/true"; InputData = {files}; {more}')
    assert wms.status(job_id) == ("Failed", "No candidate sites available")
    assert "LCG.A.org" in wms.job(job_id)["ApplicationStatus"]


def test_why_names_the_sites_of_the_data(wms: RunningWms) -> None:
    """Who asks why the job waits is told the sites, though the description names none."""
    job_id = wms.submit('Executable = "/bin/true"; InputData = {"LFN:/local/a", "LFN:/local/b"};')
    assert wms.match(Site="LCG.A.org") is None
    answer = wms.call("GET", f"/api/jobspan/jobs/{job_id}/why").json()
    assert any("LCG.Both.org" in each for each in answer["Unmet"]), answer


@pytest.mark.parametrize("item", ["LCG.A.org", "=SE-A", "LCG.A.org=SE-NONE"])
def test_storage_that_does_not_exist_is_refused_at_the_start(item: str, tmp_path: Path) -> None:
    """A typing error does not send jobs anywhere."""
    with (
        pytest.raises(ConfigError, match="SiteStorage"),
        running_wms(tmp_path, overrides={"WMS": {"SiteStorage": (item,)}}),
    ):
        pass
