"""The wrapper's side of failover: what becomes part of the combined request, and how the job ends with it."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.data.storage import FolderStorageElement
from runner.errors import FencedError, RefusedError, UnavailableError
from runner.job.requests import MOST_OPERATIONS
from runner.process.cancel import Cancel
from telemetry.entries import Entry
from telemetry.facts import Fact, RequestMade, StatusChanged
from telemetry.journal import JournalFull
from tests.support.wrapper_fakes import Bench

MINE = "/lhcb/user/a/alice/12/12345/result.txt"
CHECKSUM = {"Size": 7, "ChecksumType": "ADLER32", "Checksum": "0bcb02fc"}
OUTPUT = {"OutputData": ["result.txt"], "JobName": "fit"}
PENDING = ("Completed", "Pending Requests")
NOT_SENT = ("Failed", "Failed sending requests")
STATUS = {
    "Type": "SetFileStatus",
    "Arguments": {"ProductionID": 0, "Statuses": [{"LFN": "/lhcb/a", "Status": "Processed"}], "Force": False},
}


def payload(**files: Any) -> Callable[[Path], None]:
    """A payload that leaves *files*: text, or a request."""

    def act(work: Path) -> None:
        for name, content in files.items():
            path = work / name.replace("__", ".")
            path.write_text(content if isinstance(content, str) else json.dumps(content))

    return act


def request(*operations: Any) -> dict[str, Any]:
    return {"RequestName": "x", "JobID": 1, "Operations": list(operations)}


def gone(folder: Path, name: str) -> FolderStorageElement:
    """An element whose folder is a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("x")
    return FolderStorageElement(name, folder / name)


def ended(bench: Bench) -> tuple[str, str]:
    bench.run()
    return bench.end.status, bench.end.minor_status


def test_a_catalogue_that_is_away_makes_a_registration(tmp_path: Path) -> None:
    """The file is stored, RegisterFile is pending, and the job is Completed; its name, delay and digest are DIRAC's."""
    bench = Bench(tmp_path, OUTPUT, {"failover_request_delay_minutes": 45.0})
    bench.catalog.error = UnavailableError("no catalogue")
    bench.catalog.register = _away  # type: ignore[method-assign]
    bench.payload.act = payload(result__txt="content")
    code = bench.run()
    (operation,) = bench.request["Operations"]
    pfn = operation["Files"][0].pop("PFN")

    assert (code, bench.end.status, bench.end.minor_status, bench.end.error_type) == (0, *PENDING, "")
    assert bench.statuses[-1] == PENDING
    assert (bench.request["RequestName"], bench.request["JobID"], bench.request["Delay"]) == (
        "fit_job_12345",
        12345,
        2700,
    )
    assert operation == {
        "Type": "RegisterFile", "TargetSE": "SE-USER", "Catalog": "FileCatalog", "Files": [{"LFN": MINE, **CHECKSUM}],
    }  # fmt: skip
    assert Path(pfn.removeprefix("file://")).read_text() == "content"
    assert bench.parameters["PendingRequest"] == f"Name:fit_job_12345\nRegisterFile:SE-USER:{MINE}"


def _away(*_: object) -> None:
    raise UnavailableError("no catalogue")


def test_without_the_catalogue_no_other_content_is_overwritten(tmp_path: Path) -> None:
    """Where nobody can be asked, the element itself must not hold another file of that name."""
    bench = Bench(tmp_path, OUTPUT)
    (tmp_path / "other").write_text("somebody else's")
    pfn = bench.element.put(tmp_path / "other", MINE)
    bench.catalog.error = UnavailableError("no catalogue")
    bench.payload.act = payload(result__txt="content")

    assert ended(bench) == ("Failed", "Uploading Output Data")
    assert Path(pfn.removeprefix("file://")).read_text() == "somebody else's"


def test_a_failover_element_takes_what_the_own_one_does_not(tmp_path: Path) -> None:
    """ReplicateAndRegister to the job's element, then RemoveReplica at the failover element, for each catalogue."""
    options = {"failover_se": ("SE-GONE", "SE-F"), "default_catalog": ("A", "B"), "master_catalog_only": False}
    bench = Bench(tmp_path, OUTPUT, options)
    failover = FolderStorageElement("SE-F", tmp_path / "SE-F")
    gone_elements = {name: gone(tmp_path / "gone", name) for name in ("SE-USER", "SE-GONE")}
    bench.replace(storage_elements={**gone_elements, "SE-F": failover})
    bench.payload.act = payload(result__txt="content")

    assert ended(bench) == PENDING
    assert [(each["Type"], each["TargetSE"], each["Catalog"]) for each in bench.request["Operations"]] == [
        ("ReplicateAndRegister", "SE-USER", "A"), ("ReplicateAndRegister", "SE-USER", "B"),
        ("RemoveReplica", "SE-F", "A"), ("RemoveReplica", "SE-F", "B"),
    ]  # fmt: skip
    assert list(bench.catalog.files[MINE].pfns) == ["SE-F"]
    assert bench.parameters["UploadedOutputData"] == MINE


def test_the_failover_folder_is_the_last_resort(tmp_path: Path) -> None:
    """When no element takes the file it waits in FailoverFolder for PutAndRegister; nothing is registered yet."""
    bench = Bench(tmp_path, OUTPUT, {"failover_se": ("SE-GONE",)})
    bench.replace(
        storage_elements={name: gone(tmp_path / "gone", name) for name in ("SE-USER", "SE-GONE")},
        failover_folder=FolderStorageElement("FailoverFolder", tmp_path / "waiting"),
    )
    bench.payload.act = payload(result__txt="content")

    assert ended(bench) == PENDING
    (operation,) = bench.request["Operations"]
    assert (operation["Type"], operation["TargetSE"]) == ("PutAndRegister", "SE-USER")
    assert operation["Files"] == [
        {"LFN": MINE, **CHECKSUM, "PFN": f"file://{tmp_path}/waiting/12345.2{MINE}"},
    ]  # fmt: skip
    assert bench.catalog.registered == []


def test_without_failover_the_job_goes_back(tmp_path: Path) -> None:
    """Neither FailoverSE nor FailoverFolder: Rescheduled / Uploading Outputs, and no request."""
    bench = Bench(tmp_path, OUTPUT)
    bench.replace(storage_elements={"SE-USER": gone(tmp_path / "gone", "SE-USER")})
    bench.payload.act = payload(result__txt="content")

    assert ended(bench) == ("Rescheduled", "Uploading Outputs")
    assert bench.facts(RequestMade) == []


def test_requests_of_the_payload_join(tmp_path: Path) -> None:
    """Every `*_request.json` is picked up, after our own operations, by name; a job without any has no request."""
    bench = Bench(tmp_path / "1", {})
    bench.payload.act = payload(b_request__json=request(STATUS), a_request__json=request(STATUS, STATUS), c__json="x")
    assert ended(bench) == PENDING
    assert bench.request["Operations"] == [STATUS] * 3
    empty = Bench(tmp_path / "2", {})
    empty.payload.act = payload(a_request__json=request())
    assert ended(empty) == ("Done", "Execution Complete")
    assert empty.facts(RequestMade) == []


def test_a_forwarded_report_says_no_more_than_a_direct_one(tmp_path: Path) -> None:
    """Parameters that are the wrapper's or the WMS's to set do not come in by a request either."""
    arguments = {"Call": "JobReport", "Parameters": {"Events": 1, "Site": "Elsewhere", "PendingRequest": "none"}}
    bench = Bench(tmp_path, {})
    bench.payload.act = payload(a_request__json=request({"Type": "ForwardDISET", "Arguments": arguments}))
    bench.run()
    assert bench.request["Operations"][0]["Arguments"] == {"Call": "JobReport", "Parameters": {"Events": 1}}


@pytest.mark.parametrize(
    "files",
    [
        {"x_request__json": "["},
        {"x_request__json": request({"Type": "FormatDisk"})},
        {
            "x_request__json": request(
                {"Type": "RemoveReplica", "TargetSE": "S", "Catalog": "C", "Files": [{"LFN": "/a/b"}]}
            )
        },
        {"x_request__json": request(*[STATUS] * MOST_OPERATIONS), "y_request__json": request(STATUS)},
        {f"{number}_request__json": request(STATUS) for number in range(51)},
    ],
    ids=["not JSON", "no operation", "not the owner's", "too many operations", "too many files"],
)
def test_a_request_that_cannot_be_sent_fails_the_job(tmp_path: Path, files: dict[str, Any]) -> None:
    """Failed / Failed sending requests with the cause; what we ask for ourselves is sent all the same."""
    bench = Bench(tmp_path, OUTPUT, {"failover_se": ("SE-F",)})
    elements = {"SE-USER": gone(tmp_path / "gone", "SE-USER"), "SE-F": FolderStorageElement("SE-F", tmp_path / "SE-F")}
    bench.replace(storage_elements=elements)
    bench.payload.act = payload(result__txt="content", **files)

    assert ended(bench) == NOT_SENT
    assert bench.end.error_type == "invalid_request"
    assert bench.parameters["Error Message"].startswith("invalid request")
    assert [each["Type"] for each in bench.request["Operations"]] == ["ReplicateAndRegister", "RemoveReplica"]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A request file that is a link to somebody else's is not read: there is none."""
    (tmp_path / "theirs.json").write_text(json.dumps(request(STATUS)))
    bench = Bench(tmp_path, {})
    bench.payload.act = lambda work: os.symlink(tmp_path / "theirs.json", work / "x_request.json")

    assert ended(bench) == ("Done", "Execution Complete")
    assert bench.facts(RequestMade) == []


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (UnavailableError("no WMS"), PENDING),
        (RefusedError("no", status_code=400), NOT_SENT),
        (FencedError("replaced", status_code=409), ("Rescheduled", "Job Rescheduled")),
    ],
)
def test_how_the_wms_takes_it(tmp_path: Path, error: Exception, end: tuple[str, str]) -> None:
    """A WMS that is away gets the request later, from the journal; one that refuses it fails the job."""
    bench = Bench(tmp_path, {})
    bench.request_error = error
    bench.payload.act = payload(a_request__json=request(STATUS))

    assert ended(bench) == end
    assert bench.request["Operations"] == [STATUS]


def test_the_first_cause_stands(tmp_path: Path) -> None:
    """A failed payload's request is sent, good or bad, and the job fails for what the payload did."""
    for name, content in (("good", request(STATUS)), ("bad", "[")):
        bench = Bench(tmp_path / name, {})
        bench.payload.exit_code = 3
        bench.payload.act = payload(a_request__json=content)
        assert ended(bench) == ("Failed", "Application Finished With Errors")
        assert len(bench.facts(RequestMade)) == (name == "good")


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    """A payload that removes its own folder has no request, and ends in order."""
    bench = Bench(tmp_path, {})
    bench.payload.act = shutil.rmtree
    assert ended(bench) == ("Done", "Execution Complete")


def test_a_request_that_the_journal_cannot_hold(tmp_path: Path) -> None:
    """What is not in the journal might be lost: the job is not a good one."""
    bench = Bench(tmp_path, {})
    bench.payload.act = payload(a_request__json=request(STATUS))
    emit = bench.bus.emit

    def full(fact: Fact) -> Entry:
        if isinstance(fact, RequestMade):
            raise JournalFull(28, "no room")
        return emit(fact)

    bench.replace(emit=full)
    assert ended(bench) == NOT_SENT


@pytest.mark.parametrize("origin", ["user", "signal"])
def test_who_was_stopped_asks_for_nothing(tmp_path: Path, origin: Any) -> None:
    """A killed or preempted attempt makes no request."""
    bench = Bench(tmp_path, {})
    bench.payload.act = payload(a_request__json=request(STATUS))
    bench.payload.endless = True
    cancel: Cancel = bench.cancel
    with bench.running() as join:
        assert bench.payload.started.wait(10)
        cancel.request(origin, "stop")
        join()
    assert bench.facts(RequestMade) == []


def test_requests_done_before_our_word_arrives(tmp_path: Path) -> None:
    """If the answer to Completed was late and the WMS says Done already, the attempt has ended as Completed."""
    bench = Bench(tmp_path, {})
    bench.wms.kept = ("Done", "Requests done")
    bench.payload.act = payload(a_request__json=request(STATUS))
    assert ended(bench) == PENDING


def test_secrets_are_masked(tmp_path: Path) -> None:
    """A secret that a payload writes into its request is in no journal."""
    bench = Bench(tmp_path, {})
    secret = {"LFN": "/lhcb/hunter2hunter2", "Status": "x"}
    bench.payload.act = payload(
        a_request__json=request({"Type": "SetFileStatus", "Arguments": {"Statuses": [secret]}}),
        job_report__jsonl=json.dumps({"ApplicationStatus": "hunter2hunter2"}),
    )
    bench.run()
    assert bench.request["Operations"][0]["Arguments"]["Statuses"][0]["LFN"] == "/lhcb/***"
    assert "hunter2" not in str([entry.fact for entry in bench.journal.entries])


def test_reports_of_the_payload(tmp_path: Path) -> None:
    """Its last application status and its parameters are reported; ours stay ours, and nonsense is skipped."""
    said = [
        {"ApplicationStatus": "step 1", "Parameters": {"Events": 10, "OutputSandbox": "SB:forged", "Site": "X"}},
        ["no"], {"ApplicationStatus": 5, "Parameters": {"Events": 11, "List": [1], "": 1, "Long": "x" * 5000}},
        {"ApplicationStatus": "step 2"}, {"ApplicationStatus": "\ud800", "Parameters": {"Half": "\ud800"}},
    ]  # fmt: skip
    bench = Bench(tmp_path, {})
    text = "\n".join(["{", *(json.dumps(each) for each in said), "[" * 50_000, ""])
    bench.payload.act = payload(job_report__jsonl=text)
    bench.payload.exit_code = 1
    bench.run()
    found = [each.application_status for each in bench.facts(StatusChanged) if each.application_status]
    assert found == ["step 2"]
    assert bench.parameters["Events"] == 11
    assert not {"OutputSandbox", "Site", "List", "", "Long", "Half"} & set(bench.parameters)


@pytest.mark.parametrize("count", [1000, 20_000, 100_000])
def test_the_last_word_of_a_long_report_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """However much an application has said, its last status and parameters are the WMS's; what is skipped is logged."""
    report = "".join(
        json.dumps({"ApplicationStatus": f"step {each} of {count}, {'.' * 40}", "Parameters": {"Step": each}}) + "\n"
        for each in range(count)
    )
    bench = Bench(tmp_path, {})
    bench.payload.act = payload(job_report__jsonl=json.dumps({"Parameters": {"First": 1}}) + "\n" + report)
    bench.run()
    found = [each.application_status for each in bench.facts(StatusChanged) if each.application_status]

    assert [each.partition(",")[0] for each in found] == [f"step {count - 1} of {count}"]
    assert (bench.parameters["First"], bench.parameters["Step"]) == (1, count - 1)
    assert ("left out" in caplog.text) == (len(report) > 2 << 20)
