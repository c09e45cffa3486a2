"""The WMS client against the embedded WMS: every call that agent, wrapper and commands make."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import ChecksumError, FencedError, NotFoundError, PermanentJobError, RefusedError, UnavailableError
from runner.process.cancel import Cancel
from runner.wms.answers import CatalogFile, MatchedJob
from runner.wms.client import WmsClient
from runner.wms.stores import WmsFileCatalog, WmsSandboxStore
from runner.wms.tokens import FixedToken
from telemetry.clock import NANOSECONDS, SystemClock, utc_text
from tests.support.http_faults import Reply, Seen, black_hole, faulty_server
from tests.support.journals import ListJournal
from tests.support.waiting import at_best
from tests.support.wms import RunningWms, running_wms

OFFER = {"PilotStamp": "stamp-1", "Site": "LCG.Test.org", "GridCE": "ce", "CEQueue": "q", "Tags": [], "Processors": 1}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    with running_wms(tmp_path_factory.mktemp("site"), database=database) as running:
        yield running


@pytest.fixture
def user(wms: RunningWms) -> Iterator[WmsClient]:
    yield from client(wms, wms.user_token)


@pytest.fixture
def pilot(wms: RunningWms) -> Iterator[WmsClient]:
    yield from client(wms, wms.pilot_token)


def client(wms: RunningWms, token: str) -> Iterator[WmsClient]:
    made = WmsClient(wms.url, FixedToken(token))
    yield made
    made.close()


def matched(user: WmsClient, pilot: WmsClient) -> MatchedJob:
    """A new job, matched."""
    (job,) = user.submit(
        ['Executable = "/bin/true"; JobName = "t";'], traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )
    found = pilot.match(OFFER, 30.0)
    assert found is not None
    assert found.job_id == job.job_id
    return found


def now() -> str:
    return utc_text(SystemClock().utc_ns())


def test_a_job_from_submission_to_its_next_attempt(wms: RunningWms, user: WmsClient, pilot: WmsClient) -> None:
    """Submit, match, run under the job's token, reschedule; the first attempt is fenced off from then on."""
    pilot.register_pilot("stamp-1", vo="local", reference="host:1", site="LCG.Test.org")
    pilot.register_pilot("stamp-1", vo="local", reference="host:1", site="LCG.Test.org")
    job = matched(user, pilot)
    assert (job.attempt, job.owner, job.job_name) == (1, "alice", "t")
    assert job.submit_traceparent.startswith("00-aaaa")
    assert job.submit_start_utc_ns <= job.submit_end_utc_ns <= job.waiting_utc_ns <= job.match_end_utc_ns
    own = WmsClient(wms.url, FixedToken(job.job_token))
    kept = own.set_statuses(job.job_id, {now(): {"Status": "Running", "MinorStatus": "x", "Source": "JobWrapper"}})
    assert kept.status == "Running"
    own.set_parameters(job.job_id, {"HostName": "wn1", "TotalCPUTime(s)": 1.6})
    assert user.parameters(job.job_id)["HostName"] == "wn1"
    assert own.heartbeat(job.job_id, {"CPUConsumed": 1.0, "StandardOutput": "hello\n"}) == []
    assert user.peek(job.job_id).standard_output == "hello\n"
    token, end_ns = own.renew_job_token(job.job_id)
    assert token
    assert end_ns > SystemClock().utc_ns()
    own.set_statuses(job.job_id, {now(): {"Status": "Rescheduled", "MinorStatus": "Going to reschedule job"}})
    assert job.job_id in own.reschedule([job.job_id]).succeeded
    with pytest.raises(FencedError):
        own.set_statuses(job.job_id, {now(): {"Status": "Done"}})
    second = pilot.match(OFFER, 30.0)
    assert second is not None
    assert (second.job_id, second.attempt, second.previous_uid) == (job.job_id, 2, job.uid)
    pilot.update_pilot("stamp-1", {"Status": "Done"})
    own.close()


def test_a_kill_is_repeated_until_it_is_acknowledged(wms: RunningWms, user: WmsClient, pilot: WmsClient) -> None:
    """By the long poll of the agent and by the wrapper's heartbeat; then the WMS knows that it was received."""
    job = matched(user, pilot)
    own = WmsClient(wms.url, FixedToken(job.job_token))
    own.set_statuses(job.job_id, {now(): {"Status": "Running"}})
    assert user.kill(job.job_id, SystemClock().utc_ns()).status == "Killed"
    attempts = [(job.job_id, job.attempt)]
    for _ in range(2):
        (command,) = pilot.commands("stamp-1", attempts, 30.0)
        assert (command.command, command.attempt) == ("Kill", 1)
    (told,) = own.heartbeat(job.job_id, {})
    assert told.command_id == command.command_id
    own.acknowledge_commands([told.command_id])
    assert pilot.commands("stamp-1", attempts, 0.0) == []
    assert wms.status(job.job_id) == ("Killed", "Received Kill signal")
    own.close()


def test_info_and_description_and_search(user: WmsClient, pilot: WmsClient) -> None:
    """What the commands for users read."""
    job = matched(user, pilot)
    assert user.info()["WMSID"] == job.wms_id
    description, jdl = user.description(job.job_id)
    assert description["Executable"] == "/bin/true"
    assert "Executable" in jdl
    (row,) = user.search(["JobID", "Status"], [{"parameter": "JobID", "operator": "eq", "value": job.job_id}])
    assert row["Status"] == "Matched"
    assert any(each["JobID"] == job.job_id for each in user.witness(job.job_id))
    assert user.all_accounting(job.job_id).records == []
    with pytest.raises((NotFoundError, RefusedError)):
        user.parameters(999_999)


def test_sandboxes_there_and_back(tmp_path: Path, wms: RunningWms, user: WmsClient, pilot: WmsClient) -> None:
    """An archive goes up by a presigned form, comes back verified, and is this job's output; twice is harmless."""
    archive = tmp_path / "out.tar.bz2"
    archive.write_bytes(b"BZh" + bytes(range(256)) * 2000)
    job = matched(user, pilot)
    own = WmsClient(wms.url, FixedToken(job.job_token))
    own.set_statuses(job.job_id, {now(): {"Status": "Running"}})
    store = WmsSandboxStore(own, job_id=job.job_id)
    pfn = store.upload_output(archive)
    assert store.upload_output(archive) == pfn
    assert len(store.outputs()) == 1
    assert WmsSandboxStore(user).download(pfn, tmp_path / "back") == archive.stat().st_size
    assert (tmp_path / "back").read_bytes() == archive.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "out.tar.bz2"]
    own.close()


def test_the_catalogue_knows_what_was_registered(user: WmsClient) -> None:
    """The same replica twice is no error; other content under the name is."""
    catalog = WmsFileCatalog(user)
    file = CatalogFile(5, "062c0215", {"SE-USER": "se/a/b"})
    user.catalog_register("FileCatalog", "/local/user/a/alice/x", file)
    user.catalog_register("FileCatalog", "/local/user/a/alice/x", file)
    found = catalog.lookup(["/local/user/a/alice/x", "/local/none"])
    assert list(found) == ["/local/user/a/alice/x"]
    assert found["/local/user/a/alice/x"].adler32 == "062c0215"
    with pytest.raises(RefusedError):
        user.catalog_register("FileCatalog", "/local/user/a/alice/x", CatalogFile(6, "00000001", {"SE-USER": "y"}))


def test_a_kill_abandons_a_download_that_stalls(tmp_path: Path) -> None:
    """However long the other side is silent: a cancel ends the wait at once, and no half file is left."""
    with black_hole() as hole:

        def abandoned(_: int) -> float:
            waiting = threading.Event()

            def answer(seen: Seen) -> Reply:
                waiting.set()
                return Reply(200, {"url": f"{hole}/data", "expires_in": 300})

            with faulty_server(answer) as (_, url):
                user = WmsClient(url, FixedToken("token"), timeout_seconds=60.0)
                cancel = Cancel(ListJournal().append)
                store = WmsSandboxStore(user, cancel=cancel)
                threading.Thread(target=lambda: (waiting.wait(60.0), cancel.request("user", "x"))).start()
                start_ns = SystemClock().boottime_ns()
                with pytest.raises(BaseException, match="user: x"):
                    store.download("SB:SandboxSE|/S3/x/sha256:" + "0" * 64 + ".tar.bz2", tmp_path / "target")
                user.close()
                return (SystemClock().boottime_ns() - start_ns) / NANOSECONDS

        at_best(3.0, abandoned)
    assert [path for path in tmp_path.iterdir() if path.name == "target"] == []


def test_an_upload_has_its_patience_after_a_kill(tmp_path: Path) -> None:
    """A killed job's outputs are uploaded too, but a store that hangs costs the patience and not more."""
    archive = tmp_path / "out.tar.gz"
    archive.write_bytes(b"x" * 100)
    with black_hole() as hole:
        slot = {"pfn": "SB:x", "url": f"{hole}/up", "fields": {"key": "value"}}
        with faulty_server(lambda _: Reply(200, slot)) as (_, url):
            user = WmsClient(url, FixedToken("token"), timeout_seconds=20.0)
            cancel = Cancel(ListJournal().append)
            cancel.request("user", "x")
            with pytest.raises(UnavailableError, match="did not end in time"):
                WmsSandboxStore(user, cancel=cancel, patience_seconds=0.3).upload(archive)
            user.close()


def test_wrong_content_is_a_checksum_error(tmp_path: Path) -> None:
    """What comes down must be what the name promises; else nothing is left of it. A name without one is refused."""

    def answer(seen: Seen) -> Reply:
        if seen.path.startswith("/data"):
            return Reply(200, b"other content", {"Content-Type": "application/octet-stream"})
        return Reply(200, {"url": f"{url}/data", "expires_in": 300})

    with faulty_server(answer) as (server, url):
        user = WmsClient(url, FixedToken("token-of-mine"))
        store = WmsSandboxStore(user)
        with pytest.raises(ChecksumError):
            store.download("SB:SandboxSE|/S3/x/sha256:" + "0" * 64 + ".tar.bz2", tmp_path / "target")
        with pytest.raises(PermanentJobError):
            store.download("/etc/passwd", tmp_path / "target")
        assert "Authorization" not in server.seen[1].headers
        user.close()
    assert list(tmp_path.iterdir()) == []
