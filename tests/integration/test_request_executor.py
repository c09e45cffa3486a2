"""RequestExecutor against a real WMS and folders: requests are executed once, whatever goes wrong on the way."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from runner.compose.requests import open_executor
from runner.config import Config, load
from runner.data.ports import Replica
from runner.data.storage import FolderStorageElement
from runner.data.transfers import adler32_of
from runner.errors import RefusedError, UnavailableError
from runner.failover.executor import MOST_AT_ONCE, RequestExecutor
from runner.failover.operations import OperationParts, Operations
from runner.job.requests import ClaimedRequest
from runner.wms.client import WmsClient
from runner.wms.tokens import FileToken
from tests.support.ledger import matched, whole_life
from tests.support.wms import RunningWms, running_wms

LFN = "/local/user/a/alice/1/out.txt"
WMS = {"StorageElements": ["SE-USER", "SE-F"], "RequestRetryTime": 0.01}


@pytest.fixture
def wms(tmp_path: Path) -> Iterator[RunningWms]:
    """A WMS with a failover element."""
    with running_wms(tmp_path, overrides={"WMS": WMS}) as running:
        yield running


@pytest.fixture
def config(wms: RunningWms, tmp_path: Path) -> Config:
    """The executor's configuration on the same folder."""
    return load(
        folder=wms.folder,
        environment={"HOME": str(tmp_path), "MY_TOKEN": "hunter2hunter2"},
        overrides={"WMS": WMS, "JobWrapper": {"FailoverFolder": str(tmp_path / "waiting")}},
    )


def pending(wms: RunningWms, *operations: Mapping[str, Any]) -> int:
    """A job that is Completed with a request; its number."""
    job_id = wms.submit()
    token = (wms.match() or {})["JobToken"]
    wms.report(job_id, {"Status": "Running"}, token=token)
    body = {"RequestName": "r", "JobID": job_id, "Operations": list(operations)}
    answer = wms.call("POST", "/api/jobspan/requests", body, token=token)
    assert answer.status_code == 201, answer.text
    wms.report(job_id, {"Status": "Completing"}, token=token)
    wms.report(job_id, {"Status": "Completed", "MinorStatus": "Pending Requests"}, token=token)
    return job_id


def element(config: Config, name: str) -> FolderStorageElement:
    return FolderStorageElement(name, config.folder / "storage" / name)


def stored(config: Config, store: FolderStorageElement, lfn: str = LFN, text: str = "content") -> dict[str, Any]:
    """A file of a request, which lies at *store*."""
    source = config.folder / "source"
    source.write_text(text)
    pfn = store.put(source, lfn)
    checksum = {"Size": len(text), "ChecksumType": "ADLER32", "Checksum": adler32_of(source)}
    return {"LFN": LFN, **checksum, "PFN": pfn}


def register(wms: RunningWms, file: Mapping[str, Any], name: str) -> None:
    body = {"Catalog": "FileCatalog", "LFN": LFN, "Size": file["Size"], "Adler32": file["Checksum"]}
    answer = wms.call("POST", "/api/jobspan/catalog/register", {**body, "SE": name, "PFN": file["PFN"]})
    assert answer.status_code < 300, answer.text


def replicas(wms: RunningWms) -> dict[str, str]:
    found = wms.call("POST", "/api/jobspan/catalog/lookup", {"LFNs": [LFN]}).json()["Files"]
    return dict(found[LFN]["Replicas"]) if LFN in found else {}


def step(kind: str, file: Mapping[str, Any], target: str, source: str = "") -> dict[str, Any]:
    operation = {"Type": kind, "TargetSE": target, "Catalog": "FileCatalog", "Files": [dict(file)]}
    return operation | ({"SourceSE": source} if source else {})


def command(config: Config, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """`jobspan requests ...` as people read it."""
    code = main(["--folder", str(config.folder), "requests", *arguments])
    return code, capsys.readouterr().out


def run(config: Config, ids: list[int] | None = None) -> list[tuple[str, str]]:
    with open_executor(config) as executor:
        return [(each.status, each.error) for each in executor.run(ids)]


def test_a_file_is_moved_from_the_failover_element(wms: RunningWms, config: Config) -> None:
    """RegisterFile, ReplicateAndRegister and RemoveReplica: the file ends where it belongs, and only there."""
    file = stored(config, element(config, "SE-F"))
    moved = {name: file[name] for name in file if name != "PFN"}
    job_id = pending(
        wms,
        step("RegisterFile", file, "SE-F"),
        step("ReplicateAndRegister", moved, "SE-USER", "SE-F"),
        step("RemoveReplica", moved, "SE-F"),
    )
    found = run(config)
    (place,) = replicas(wms).items()

    assert found == [("Done", "")]
    assert place[0] == "SE-USER"
    assert Path(place[1].removeprefix("file://")).read_text() == "content"
    assert not Path(file["PFN"].removeprefix("file://")).exists()
    assert wms.status(job_id) == ("Done", "Requests done")
    assert list((config.folder / "requests").iterdir()) == []


def test_a_file_waits_in_the_failover_folder(wms: RunningWms, config: Config, tmp_path: Path) -> None:
    """PutAndRegister brings it to its element; while that is away the request waits, and says why."""
    file = stored(config, FolderStorageElement("FailoverFolder", tmp_path / "waiting"), f"/1.1{LFN}")
    job_id = pending(wms, step("PutAndRegister", file, "SE-USER"))
    blocked = config.folder / "storage" / "SE-USER"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("away")
    first = run(config)
    kept = Path(file["PFN"].removeprefix("file://")).read_text()
    before = wms.status(job_id)
    blocked.unlink()
    second = run(config, [1])

    assert first[0][0] == "Waiting"
    assert "SE-USER" in first[0][1]
    assert (kept, before) == ("content", ("Completed", "Pending Requests"))
    assert second == [("Done", "")]
    assert list(replicas(wms)) == ["SE-USER"]
    assert not Path(file["PFN"].removeprefix("file://")).exists()


@pytest.fixture
def read_only(config: Config) -> Iterator[Callable[[], None]]:
    """SE-USER is a file system that nobody may write, until the test calls this."""
    folder = config.folder / "storage" / "SE-USER"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "jobspan-test", folder], check=True)
    yield lambda: subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.root
def test_a_read_only_element(wms: RunningWms, config: Config, read_only: Callable[[], None]) -> None:
    """While the element is read-only the transfer waits; the source stays; then it is done."""
    file = stored(config, element(config, "SE-F"))
    register(wms, file, "SE-F")
    moved = {name: file[name] for name in file if name != "PFN"}
    job_id = pending(wms, step("ReplicateAndRegister", moved, "SE-USER", "SE-F"), step("RemoveReplica", moved, "SE-F"))
    first = run(config)
    before = (wms.status(job_id)[0], list(replicas(wms)))
    read_only()
    second = run(config, [1])

    assert (first[0][0], "Read-only" in first[0][1]) == ("Waiting", True)
    assert before == ("Completed", ["SE-F"])
    assert (second, list(replicas(wms)), wms.status(job_id)[0]) == ([("Done", "")], ["SE-USER"], "Done")


def test_no_other_file_is_read(wms: RunningWms, config: Config, tmp_path: Path) -> None:
    """PutAndRegister of a file that is not in the failover folder fails for ever."""
    file = stored(config, FolderStorageElement("Private", tmp_path / "private"))
    job_id = pending(wms, step("PutAndRegister", file, "SE-USER"))

    assert run(config)[0][0] == "Failed"
    assert replicas(wms) == {}
    assert wms.status(job_id) == ("Completed", "Pending Requests")


def test_a_file_of_another_user_is_neither_copied_nor_removed(wms: RunningWms, config: Config) -> None:
    """Who calls another user's file his own, by the request or in the catalogue, gets neither its content nor its
    end: a physical name counts only as the place that the element itself gives to the logical name."""
    theirs = stored(config, element(config, "SE-F"), f"/local/user/o/other{LFN}")
    mine = {name: theirs[name] for name in theirs if name != "PFN"}
    moves = (step("ReplicateAndRegister", mine, "SE-USER", "SE-F"), step("RemoveReplica", mine, "SE-F"))
    pending(wms, step("RegisterFile", theirs, "SE-F"), *moves)
    pending(wms, step("RegisterFile", {**theirs, "PFN": f"file:///elsewhere{LFN}"}, "SE-F"), *moves)
    pending(wms, step("ReplicateAndRegister", theirs, "SE-USER", "SE-F"))
    by_request = run(config)
    registered = replicas(wms)
    register(wms, theirs, "SE-F")
    pending(wms, *moves)
    copied = run(config)
    register(wms, stored(config, element(config, "SE-USER")), "SE-USER")
    pending(wms, step("RemoveReplica", mine, "SE-F"))
    removed = run(config)

    assert {status for status, _ in (*by_request, *copied, *removed)} == {"Failed"}
    assert len(by_request) == 3
    assert all("is no file of" in error or "is not where" in error for _, error in (*by_request, *copied, *removed))
    assert registered == {}
    assert Path(theirs["PFN"].removeprefix("file://")).read_text() == "content"


def test_a_waiting_file_of_another_job_stays(wms: RunningWms, config: Config, tmp_path: Path) -> None:
    """PutAndRegister takes what its own attempt has left in the failover folder, and nobody else's."""
    theirs = stored(config, FolderStorageElement("FailoverFolder", tmp_path / "waiting"), f"/7.1{LFN}")
    pending(wms, step("PutAndRegister", theirs, "SE-USER"))

    assert run(config)[0][0] == "Failed"
    assert replicas(wms) == {}
    assert Path(theirs["PFN"].removeprefix("file://")).read_text() == "content"


def test_the_wms_takes_no_request_for_a_file_under_another_name(wms: RunningWms) -> None:
    """Who sends such a request himself, past the wrapper, hears it at once and in words."""
    job_id = wms.submit()
    token = (wms.match() or {})["JobToken"]
    file = {"LFN": LFN, "Size": 1, "Checksum": "1", "PFN": "file:///storage/SE-F/local/user/o/other/thesis.dat"}
    body = {"RequestName": "r", "JobID": job_id, "Operations": [step("RegisterFile", file, "SE-F")]}
    answer = wms.call("POST", "/api/jobspan/requests", body, token=token)

    assert answer.status_code == 400
    assert f"is no place of {LFN}" in answer.text


@pytest.mark.parametrize("others", [False, True])
def test_the_last_replica_is_never_removed(wms: RunningWms, config: Config, others: bool) -> None:
    """Neither the only one, nor one whose other copy is damaged."""
    file = stored(config, element(config, "SE-F"))
    register(wms, file, "SE-F")
    if others:
        other = stored(config, element(config, "SE-USER"))
        register(wms, other, "SE-USER")
        Path(other["PFN"].removeprefix("file://")).write_text("damaged")
    pending(wms, step("RemoveReplica", {"LFN": LFN}, "SE-F"))

    assert run(config)[0][0] == "Failed"
    assert "SE-F" in replicas(wms)
    assert Path(file["PFN"].removeprefix("file://")).read_text() == "content"


def test_other_content_is_never_overwritten(wms: RunningWms, config: Config) -> None:
    """A name that the catalogue, or the element, knows with other content stays as it is."""
    there = stored(config, element(config, "SE-USER"), text="somebody else's")
    file = stored(config, element(config, "SE-F"))
    pending(wms, step("ReplicateAndRegister", file, "SE-USER", "SE-F"))

    assert run(config)[0][0] == "Failed"
    assert Path(there["PFN"].removeprefix("file://")).read_text() == "somebody else's"


def test_what_was_done_and_not_reported_does_no_harm(wms: RunningWms, config: Config) -> None:
    """An executor that dies between deed and report: the next one does it again, and nothing changes."""
    file = stored(config, element(config, "SE-F"))
    register(wms, file, "SE-F")
    moved = {name: file[name] for name in file if name != "PFN"}
    pending(wms, step("ReplicateAndRegister", moved, "SE-USER", "SE-F"), step("RemoveReplica", moved, "SE-F"))
    with open_executor(config) as executor:
        queue = executor._queue
        for order in (1, 2):
            request = queue.claim_request([1])
            assert request is not None
            assert executor._try(request, order) == ("Done", "")
            queue.report_operation(request, order, "Done" if order == 1 else "Retry", "lost")
            if order == 1:
                queue.report_operation(request, 2, "Retry", "lost")

    assert run(config, [1]) == [("Done", "")]
    assert list(replicas(wms)) == ["SE-USER"]


def test_what_people_see(wms: RunningWms, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """list, show, run and files say what there is, or that there is nothing."""
    nothing = [command(config, capsys, each)[1] for each in ("list", "run", "files")]
    status = {"ProductionID": 3, "Statuses": [{"LFN": LFN, "Status": "Processed"}]}
    job_id = pending(wms, {"Type": "SetFileStatus", "Arguments": status})
    waiting = command(config, capsys, "list", "--status", "Waiting")[1].splitlines()
    shown = command(config, capsys, "show", "1")[1].splitlines()
    done = command(config, capsys, "run")
    files = command(config, capsys, "files", "--job", str(job_id))[1].splitlines()
    code = main(["--folder", str(config.folder), "requests", "show"])

    assert nothing == ["no requests\n", "no requests that are due\n", "no file statuses\n"]
    assert waiting[1].split()[:5] == ["1", "r", str(job_id), "Waiting", "0"]
    assert shown[0] == "1 r Waiting"
    assert shown[2].split() == ["1", "SetFileStatus", LFN, "Waiting"]
    assert (done[0], done[1].split()[-4:]) == (0, ["1", "r", str(job_id), "Done"])
    assert files[1].split()[:5] == ["3", LFN, "Processed", str(job_id), "1"]
    assert code == 2


def test_secrets_are_masked_in_errors(wms: RunningWms, config: Config) -> None:
    """What an operation fails with is shown without secrets."""
    file = stored(config, element(config, "SE-F"))
    file["PFN"] = "file:///hunter2hunter2/x"
    pending(wms, step("ReplicateAndRegister", file, "SE-USER", "SE-F"))
    run(config)
    (row,) = wms.call("GET", "/api/jobspan/requests").json()["Requests"]

    assert "hunter2" not in row["Error"]
    assert "***" in row["Error"]


def test_reports_are_forwarded_and_counted_once(wms: RunningWms, config: Config) -> None:
    """Parameters, application status, file statuses and a record that is there already: each counts once."""
    job_id = wms.submit()
    job = wms.match() or {}
    token = job["JobToken"]
    wms.report(job_id, {"Status": "Running"}, token=token)
    life = whole_life(matched(job_id, job["Attempt"], uid=job["UID"], wms_id=job["WMSID"]))
    record = {name: value for name, value in life.record().items() if value is not None}
    sent = wms.call("POST", "/api/jobspan/accounting", {"Records": [record]}, token=token)
    operations = [
        {"Type": "ForwardDISET", "Arguments": {"Call": "Accounting", "Records": [record]}},
        {"Type": "ForwardDISET", "Arguments": {"Call": "JobReport", "Parameters": {"A": 1}, "ApplicationStatus": "ok"}},
        {"Type": "SetFileStatus", "Arguments": {"ProductionID": 3, "Statuses": [{"LFN": LFN, "Status": "Processed"}]}},
    ]
    body = {"RequestName": "r", "JobID": job_id, "Operations": operations}
    assert wms.call("POST", "/api/jobspan/requests", body, token=token).status_code == 201
    wms.report(job_id, {"Status": "Failed", "MinorStatus": "x"}, token=token)
    found = run(config)
    page = wms.call("GET", "/api/jobspan/accounting").json()

    assert (sent.json()["Results"][0]["Outcome"], found) == ("inserted", [("Done", "")])
    assert (len(page["Records"]), page["Superseded"], page["Duplicates"]) == (1, 0, 1)
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()["A"] == 1
    assert wms.job(job_id)["ApplicationStatus"] == "ok"
    assert len(wms.call("GET", "/api/jobspan/file-status").json()["Files"]) == 1


@dataclass
class Counting:
    """Implements `Catalog` and counts what it is asked for, by request; *gate* holds it back."""

    registered: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    patience_seconds: float = 0.01
    error: Exception | None = None

    def lookup(self, lfn: str, catalog: str) -> Replica | None:
        """Nothing is known."""
        if self.error:
            raise self.error
        return None

    def register(self, replica: Replica, catalog: str) -> None:
        """Count."""
        self.registered.append(replica.lfn)
        self.gate.wait(self.patience_seconds)

    def remove(self, lfn: str, element: str, catalog: str) -> None:
        """Nothing."""


def registering(catalog: Counting, name: str, staging: Path) -> OperationParts:
    """What RegisterFile at the element *name*, the folder /se, needs."""
    elements = {name: FolderStorageElement(name, Path("/se"))}
    return OperationParts(
        catalog=catalog, reports=None, storage_elements=elements, failover_folder=None, staging=staging
    )  # type: ignore[arg-type]


def test_two_executors_never_do_one_operation_twice(wms: RunningWms, config: Config) -> None:
    """Four executors at once on twelve requests: every operation is executed exactly once."""
    for number in range(12):
        lfns = [f"/local/{number}/{each}" for each in range(2)]
        files = [{"LFN": lfn, "Size": 1, "Checksum": "1", "PFN": f"file:///se{lfn}"} for lfn in lfns]
        pending(wms, *(step("RegisterFile", file, "SE-F") for file in files))
    catalog = Counting()
    parts = registering(catalog, "SE-F", config.folder)

    def work() -> None:
        client = WmsClient(wms.url, FileToken(config.tokens_folder / "admin.token"))
        RequestExecutor(client, Operations(parts), redact=str).run()
        client.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)

    assert sorted(catalog.registered) == sorted(f"/local/{number}/{each}" for number in range(12) for each in range(2))
    assert {each["Status"] for each in wms.call("GET", "/api/jobspan/requests").json()["Requests"]} == {"Done"}


class Queue:
    """Implements `RequestQueue`: one request, and what the test says of it."""

    def __init__(self, *, lost: bool = False, failures: int = 0) -> None:
        self.lost = lost
        self.failures = failures
        self.renewed = threading.Event()
        self.reports: list[tuple[int, str]] = []
        operation = {"Type": "RegisterFile", "TargetSE": "A", "Catalog": "C"}
        files = [{"LFN": "/a/b", "Checksum": "1", "PFN": "file:///se/a/b"}]
        self.request: ClaimedRequest | None = ClaimedRequest(
            request_id=1,
            name="r",
            job_id=1,
            attempt=1,
            claim="c",
            lease_seconds=0.03,
            operations=[{**operation, "Files": files, "Status": status} for status in ("Done", "Waiting", "Waiting")],
        )

    def claim_request(self, request_ids: Any = None, without: Any = ()) -> ClaimedRequest | None:
        """Once."""
        request, self.request = self.request, None
        return request

    def renew_request(self, request: ClaimedRequest) -> None:
        """As the test says."""
        self.renewed.set()
        if self.lost:
            raise RefusedError("not yours", status_code=409)

    def report_operation(self, request: ClaimedRequest, order: int, outcome: str, error: str = "") -> str:
        """Unavailable so often, then as usual."""
        if self.failures:
            self.failures -= 1
            raise UnavailableError("no WMS", retry_after_seconds=0.0)
        self.reports.append((order, outcome))
        return "Done" if order == 3 else "Waiting"


def executor_on(queue: Queue, catalog: Counting, tmp_path: Path) -> RequestExecutor:
    return RequestExecutor(queue, Operations(registering(catalog, "A", tmp_path)), redact=str)


class Failing:
    """Implements `RequestQueue`: requests that fail each time and are due again at once, behind the others."""

    def __init__(self, count: int) -> None:
        self.waiting = list(range(count))
        self.tried: list[int] = []

    def claim_request(self, request_ids: Any = None, without: Any = ()) -> ClaimedRequest | None:
        """The one that waits longest."""
        assert len(self.tried) < 3 * len(self.waiting), "this never ends"
        assert len(request_ids or ()) <= 10_000
        assert len(without) <= 10_000
        named = self.waiting if request_ids is None else [each for each in self.waiting if each in request_ids]
        found = next((each for each in named if each not in without), None)
        if found is None:
            return None
        self.waiting.remove(found)
        self.waiting.append(found)
        self.tried.append(found)
        operations = [{"Type": "ForwardDISET", "Arguments": {"Call": "nothing"}}]
        return ClaimedRequest(
            request_id=found, name="r", job_id=1, attempt=1, claim="c", lease_seconds=60.0, operations=operations
        )

    def renew_request(self, request: ClaimedRequest) -> None:
        """Always."""

    def report_operation(self, request: ClaimedRequest, order: int, outcome: str, error: str = "") -> str:
        """It waits again."""
        return "Waiting"


@pytest.mark.parametrize("named", [False, True])
def test_a_run_ends_however_many_requests_keep_failing(tmp_path: Path, named: bool) -> None:
    """Each of them is tried, and none again and again: its tries are not used up within one run."""
    count = MOST_AT_ONCE + 5
    queue = Failing(count)
    executor = RequestExecutor(queue, Operations(registering(Counting(), "A", tmp_path)), redact=str)
    executed = executor.run(list(range(count)) if named else None)

    assert {each.request_id for each in executed} == set(range(count))
    assert len(queue.tried) == len(executed) == (count if named else count + 1)


def test_a_catalogue_that_is_away_is_asked_again(tmp_path: Path) -> None:
    """The operation is to be tried later; those behind it wait for it."""
    queue, catalog = Queue(), Counting(error=UnavailableError("no catalogue"))
    (executed,) = executor_on(queue, catalog, tmp_path).run()

    assert queue.reports == [(2, "Retry")]
    assert executed.error == "no catalogue"


def test_who_has_lost_the_lease_reports_nothing(tmp_path: Path) -> None:
    """An operation that outlives its lease is not counted, and the next one is not begun."""
    queue, catalog = Queue(lost=True), Counting()
    catalog.gate, catalog.patience_seconds = queue.renewed, 10.0
    (executed,) = executor_on(queue, catalog, tmp_path).run()

    assert queue.reports == []
    assert executed.error == "another executor has taken it"
    assert len(catalog.registered) == 1


def test_done_operations_are_not_repeated_and_reports_are(tmp_path: Path) -> None:
    """The first operation is Done already; the report of the second is lost twice."""
    queue = Queue(failures=2)
    queue.request = replace(queue.request, lease_seconds=60.0)  # type: ignore[type-var]
    (executed,) = executor_on(queue, Counting(), tmp_path).run()

    assert queue.reports == [(2, "Done"), (3, "Done")]
    assert executed.status == "Done"
