"""What a community brings of its own: found through entry points, in an installation of its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.site import Site, site_config

COORDINATOR = """
from runner.wrapper.job_execution_coordinator import JobExecutionCoordinator


class OurCoordinator(JobExecutionCoordinator):
    def pre_process(self, command, environment):
        return command, {**environment, "COMMUNITY": "ours"}
"""
INPUT_DATA = """
from runner.data.input_data_resolution import resolve


def ours(request):
    (request.folder / "streamed.txt").write_text(" ".join(request.lfns))
    return resolve(request)
"""
#: A site whose processes are those of the interpreter that runs this.
RESOLVE = """
import sys
from pathlib import Path
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.wms.answers import CatalogFile
from tests.support.site import running_site

lfn, source = "/local/user/u/user/points.csv", Path(sys.argv[2])
source.write_text("1,2")
with running_site(Path(sys.argv[1])) as site:
    pfn = FolderStorageElement("SE-USER", site.config.folder / "storage" / "SE-USER").put(source, lfn)
    file = CatalogFile(size_bytes=3, adler32=adler32_of(source), replicas={"SE-USER": pfn})
    site.client.catalog_register("FileCatalog", lfn, file)
    job_id = site.submit(
        Executable="/bin/grep", Arguments=f"-q {lfn} streamed.txt", InputData=["LFN:" + lfn], InputDataModule="Ours"
    )
    site.wait(job_id, "Done")
"""
ENTRY_POINTS = """
[jobspan.job_execution_coordinator]
ours = our_community.coordinator:OurCoordinator

[jobspan.input_data]
Ours = our_community.data:ours
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of an environment in which the community's package is installed beside ours."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    root = Path(__file__).resolve().parents[2]
    (packages / "ours.pth").write_text(f"{root}\n{sysconfig.get_path('purelib')}\n")
    (packages / "our_community").mkdir()
    (packages / "our_community" / "__init__.py").touch()
    (packages / "our_community" / "coordinator.py").write_text(COORDINATOR)
    (packages / "our_community" / "data.py").write_text(INPUT_DATA)
    information = packages / "our_community-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: our-community\nVersion: 1\n")
    (information / "entry_points.txt").write_text(ENTRY_POINTS)
    return venv / "bin" / "python"


def test_a_community_brings_its_own_coordinator(tmp_path: Path, python: Path) -> None:
    """The JobExecutionCoordinator named in the configuration is loaded by its entry point and changes the payload."""
    config = site_config(tmp_path / "site", JobWrapper={"JobExecutionCoordinator": "ours"})
    (tmp_path / "job.yaml").write_text(
        "Executable: /bin/sh\nArguments: -c 'test \"$COMMUNITY\" = ours'\nOutputSandbox: [std.out]\n"
    )
    done = subprocess.run(
        [python, "-m", "runner.cli", "--folder", str(config.folder), "run", str(tmp_path / "job.yaml")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_job_names_a_community_input_data_module(tmp_path: Path, python: Path) -> None:
    """The module that a job names is found by its entry point, and resolves the job's input data its own way."""
    done = subprocess.run(
        [python, "-c", RESOLVE, str(tmp_path / "site"), str(tmp_path / "points.csv")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_coordinator_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    """A job is not started without the coordinator that the site wants: the wrapper says which is missing."""
    from tests.support.site import running_site

    with running_site(tmp_path / "site", JobWrapper={"JobExecutionCoordinator": "nobody-has-it"}) as site:
        job_id = site.submit(Executable="/bin/true")
        record = _first_record(site, job_id)

        assert record["PayloadStarted"] is False
        assert "nobody-has-it" in (site.wait_folder(job_id) / "control" / "wrapper.log").read_text() + str(
            site.client.parameters(job_id)
        )


def _first_record(site: Site, job_id: int) -> dict[str, object]:
    return dict(site.wait_record(job_id))
