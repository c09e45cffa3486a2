"""What cannot be done when a job ends is done later, by one request, and the job is Done then."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from runner.cli import main
from runner.compose.site import LocalSite, Service
from runner.config import Config
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.wms.answers import CatalogFile
from tests.support.proxy import StallingProxy
from tests.support.site import DEADLINE_SECONDS, Site, running_site, site_config
from tests.support.waiting import eventually

ELEMENTS = ["SE-USER", "SE-FAILOVER"]
OUTPUT = {"Executable": "/bin/sh", "Arguments": "-c 'echo data > out.txt'", "OutputData": ["out.txt"]}


@contextmanager
def away(site: Site, name: str) -> Iterator[None]:
    """The storage element cannot be written: a file stands where its folder should be."""
    element = site.config.folder / "storage" / name
    element.parent.mkdir(exist_ok=True)
    element.write_text("a file where the element's folder should be")
    try:
        yield
    finally:
        element.unlink()


def run_requests(site: Site, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """`jobspan requests ...`: its exit code and its JSON."""
    capsys.readouterr()
    code = main(["--json", "--folder", str(site.config.folder), "requests", *arguments])
    return code, json.loads(capsys.readouterr().out)


def replicas(site: Site, lfn: str) -> dict[str, str]:
    """Where the catalogue says that a file lies."""
    file = site.client.catalog_lookup([lfn]).get(lfn)
    return dict(file.replicas) if file else {}


@pytest.mark.parametrize(
    ("option", "operation", "meanwhile"),
    [("FailoverSE", "ReplicateAndRegister", ["SE-FAILOVER"]), ("FailoverFolder", "PutAndRegister", [])],
)
def test_output_data_waits_for_its_storage_element(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, operation: str, meanwhile: list[str]
) -> None:
    """While OutputSE is away the job is Completed / Pending Requests and its file waits elsewhere; afterwards the
    executor moves and registers it, and the job is Done; both ledgers agree before and after."""
    options = {"StorageElements": ELEMENTS, "RequestPollingTime": 0}
    values = {"FailoverSE": ["SE-FAILOVER"], "FailoverFolder": str(tmp_path / "waiting")}
    with running_site(tmp_path / "site", WMS=options, JobWrapper={option: values[option]}) as site:
        with away(site, "SE-USER"):
            job_id = site.submit(**OUTPUT, JobName="my fit (1)", OutputSE=["SE-USER"])
            site.wait(job_id, "Completed", "Pending Requests")
            record = site.wait_record(job_id)
            parameters = site.client.parameters(job_id)
            lfn = str(parameters["UploadedOutputData"])
            failover = replicas(site, lfn)
            code, tried = run_requests(site, capsys, "run")
            _, listed = run_requests(site, capsys, "list", "--job", str(job_id))
        eventually(
            lambda: main(["--folder", str(site.config.folder), "reconcile"]) == 0,
            DEADLINE_SECONDS,
            "a clean reconciliation",
        )
        again, done = run_requests(site, capsys, "run", "--now")
        status, log = site.status(job_id), site.log(job_id)
        clean = main(["--folder", str(site.config.folder), "reconcile"])
        stored = Path(replicas(site, lfn)["SE-USER"].removeprefix("file://"))

    assert (record.text("FinalMajorStatus"), record.text("FinalMinorStatus")) == ("Completed", "Pending Requests")
    assert str(parameters["PendingRequest"]).startswith(f"Name:myfit1_job_{job_id}\n{operation}:SE-USER:{lfn}")
    assert list(failover) == meanwhile
    assert (code, tried[0]["Status"]) == (1, "Waiting")
    assert "SE-USER" in listed[0]["Error"]
    assert (again, done[0]["Status"]) == (0, "Done")
    assert status == ("Done", "Requests done")
    assert log[-2:] == [("Completed", "Pending Requests"), ("Done", "Requests done")]
    assert stored.read_text() == "data\n"
    assert [each for each in (tmp_path / "site" / "storage" / "SE-FAILOVER").rglob("*") if each.is_file()] == []
    assert [each for each in (tmp_path / "waiting").rglob("*") if each.is_file()] == []
    assert clean == 0


def test_a_payload_leaves_its_file_report(tmp_path: Path) -> None:
    """`jobspan module FailoverRequest` inside a payload: the wrapper takes its request, the WMS executes it, the
    input is Processed in the file-status table, and the application status is the module's."""
    with running_site(tmp_path / "site", WMS={"RequestPollingTime": 0.2}) as site:
        source = tmp_path / "points.csv"
        source.write_text("1 2 3\n")
        lfn = "/local/data/points.csv"
        pfn = FolderStorageElement("SE-USER", site.config.folder / "storage" / "SE-USER").put(source, lfn)
        site.client.catalog_register("FileCatalog", lfn, CatalogFile(6, adler32_of(source), {"SE-USER": pfn}))
        step = {"workflow_commons": {"PRODUCTION_ID": "7", "JOB_ID": "3", "InputData": f"LFN:{lfn}"}}
        (tmp_path / "step.json").write_text(json.dumps(step))
        job_id = site.submit(
            tmp_path,
            Executable=sys.executable,
            Arguments="-m runner.cli module FailoverRequest --step step.json",
            InputSandbox=["step.json"],
            InputData=[f"LFN:{lfn}"],
            OutputSandbox=["*.json*", "std.out", "std.err"],
        )
        site.wait(job_id, "Done", "Requests done")
        (row,) = site.client.file_statuses(job_id)
        record = site.wait_record(job_id)
        job = site.job(job_id)

    assert (row["ProductionID"], row["LFN"], row["Status"], row["Attempt"]) == (7, lfn, "Processed", 1)
    assert record.text("FinalMajorStatus") == "Completed"
    assert job["ApplicationStatus"] == "Workflow successful, end of FailoverRequest module execution."


def test_a_request_that_is_none_fails_the_job(tmp_path: Path) -> None:
    """A payload's request that cannot be sent: Failed / Failed sending requests, for WMS and record, with the cause."""
    with running_site(tmp_path / "site") as site:
        job_id = site.submit(Executable="/bin/sh", Arguments="-c 'echo {} > ok_request.json; echo [ > x_request.json'")
        site.wait(job_id, "Failed", "Failed sending requests")
        record = site.wait_record(job_id)
        parameters = site.client.parameters(job_id)

    assert (record.text("FinalMajorStatus"), record.text("ErrorType")) == ("Failed", "invalid_request")
    assert "x_request.json is not JSON" in str(parameters["Error Message"])


@contextmanager
def stalled(config: Config, request_line: bytes) -> Iterator[tuple[Site, StallingProxy]]:
    """A site whose agent and wrappers get no answer to requests that begin so; its WMS serves itself and us."""
    folder = config.folder
    with LocalSite(config) as local:
        local.agent.stop()
        upstream = urlsplit((folder / "wms.url").read_text().strip())
        with StallingProxy((str(upstream.hostname), int(upstream.port or 0)), request_line) as proxy:
            slow = site_config(folder, WMS={"URL": proxy.url, "Timeout": 3.0})
            agent = Service(slow, ["agent", "--slots", "1"], folder / "logs" / "agent2.log")
            try:
                yield Site(config, local.client, agent, local.wms), proxy
            finally:
                agent.stop()


def test_a_request_that_the_wrapper_cannot_hand_in_is_handed_in_by_the_agent(tmp_path: Path) -> None:
    """The WMS takes everything but the request: the job is Completed, and Done when the agent has delivered it."""
    folder = tmp_path / "site"
    config = site_config(folder, WMS={"RequestPollingTime": 0.2})
    document = {"JobID": 1, "RequestName": "x", "Operations": [
        {"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/local/a", "Status": "Processed"}]}}
    ]}  # fmt: skip
    (folder / "my_request.json").write_text(json.dumps(document))
    with stalled(config, b"POST /api/jobspan/requests") as (site, proxy):
        job_id = site.submit(folder, Executable="/bin/true", InputSandbox=["my_request.json"])
        site.wait(job_id, "Completed", "Pending Requests")
        before = site.client.requests(job_id)
        proxy.release()
        site.wait(job_id, "Done", "Requests done")
        (after,) = site.client.requests(job_id)
        record = site.wait_record(job_id)
    assert before == []
    assert (after["RequestName"], after["Status"]) == (f"job_{job_id}", "Done")
    assert record.text("FinalMajorStatus") == "Completed"


def test_a_record_that_is_not_taken_travels_as_a_request_and_counts_once(tmp_path: Path) -> None:
    """While accounting gives no answer the record arrives by the request executor; delivered again it is a copy."""
    config = site_config(tmp_path / "site", WMS={"RequestPollingTime": 0.2})
    with stalled(config, b"POST /api/jobspan/accounting") as (site, proxy):
        job_id = site.submit(Executable="/bin/true")
        record = site.wait_record(job_id)
        (request,) = site.client.requests(job_id)
        proxy.release()
        eventually(lambda: site.client.all_accounting(job_id).duplicates >= 1, DEADLINE_SECONDS, "the agent's copy")
        page = site.client.all_accounting(job_id)
        eventually(
            lambda: main(["--folder", str(config.folder), "reconcile"]) == 0, DEADLINE_SECONDS, "a clean reconciliation"
        )

    assert record.text("FinalMajorStatus") == "Done"
    assert request["RequestName"] == f"accounting_{job_id}.1"
    assert (len(page.records), page.superseded) == (1, 0)
