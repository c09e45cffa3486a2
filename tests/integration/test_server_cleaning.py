"""What the WMS forgets by itself, and what it keeps."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
import requests

from runner.server.services.job_cleaning_agent import Cleaned, JobCleaningAgent
from tests.support.clock import JumpClock
from tests.support.databases import KINDS, DatabaseServers
from tests.support.ledger import matched, whole_life
from tests.support.wms import RunningWms, running_wms

HOUR = 3600
WAIT_SECONDS = 20.0
#: What must not happen has so long to happen.
CHANCE_SECONDS = 0.3
OPTIONS = {"WMS": {"SandboxQuota": 1000, "SandboxRetention": 2 * HOUR, "JobRetention": HOUR, "PilotLogRetention": HOUR}}


class Site:
    """A WMS whose clock the test sets."""

    def __init__(self, wms: RunningWms, clock: JumpClock, contents: Path) -> None:
        self.wms = wms
        self.contents = contents
        self._clock = clock
        self._agent = JobCleaningAgent(wms.context)

    def look_after(self, seconds: int) -> Cleaned:
        """Let time pass; what the next look removes."""
        self.advance(seconds)
        looked = self._agent.look()
        assert looked is not None
        return looked

    def advance(self, seconds: int) -> None:
        """Let time pass."""
        self._clock.advance(seconds)

    def kept(self) -> list[bytes]:
        """All contents that are stored."""
        return sorted(path.read_bytes() for path in self.contents.rglob("*") if path.is_file())

    def announce(self, content: bytes) -> requests.Response:
        """Ask for the upload of *content*."""
        digest = hashlib.sha256(content).hexdigest()
        info = {"checksum_algorithm": "sha256", "checksum": digest, "size": len(content), "format": "tar.bz2"}
        return self.wms.call("POST", "/api/jobs/sandbox", info)

    def code(self, pfn: str) -> int:
        """Of asking for the download of a sandbox."""
        return self.wms.call("GET", "/api/jobs/sandbox", params={"pfn": pfn}).status_code

    def upload(self, content: bytes) -> Any:
        """Ask for the upload of *content*, and bring it; the first answer."""
        answer = self.announce(content)
        if answer.status_code == 200 and answer.json()["url"]:
            form = {"data": answer.json()["fields"], "files": {"file": ("file", content)}}
            assert self.wms.session.post(answer.json()["url"], timeout=60, **form).status_code == 204
        return answer


def ended(wms: RunningWms) -> dict[str, Any]:
    """The match of a job that has failed."""
    wms.submit()
    match = wms.match()
    assert match is not None
    wms.report(match["JobID"], {"Status": "Failed"}, token=match["JobToken"])
    return match


def account(wms: RunningWms, match: dict[str, Any]) -> None:
    """Send the record of its attempt."""
    fact = matched(match["JobID"], 1, uid=match["UID"], wms_id=match["WMSID"])
    records = [dict(whole_life(fact).record())]
    wms.call("POST", "/api/jobspan/accounting", {"Records": records}, token=match["JobToken"])


@pytest.fixture
def site(tmp_path: Path, fresh_database: str) -> Iterator[Site]:
    """A WMS of its own for each test, on each kind of database."""
    clock = JumpClock()
    with running_wms(tmp_path, clock=clock, database=fresh_database, overrides=OPTIONS) as wms:
        yield Site(wms, clock, tmp_path / "wms" / "sandboxes")


@pytest.fixture(params=[*KINDS, "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, database_servers: DatabaseServers) -> Iterator[Site]:
    """The same, and once more with its sandboxes on a real S3 server."""
    clock, contents, options = JumpClock(), tmp_path / "wms" / "sandboxes", OPTIONS["WMS"]
    kind = request.param
    if kind == "s3":
        s3, kind = request.getfixturevalue("s3"), "sqlite"
        options = options | s3.options(contents := s3.bucket())
    with running_wms(tmp_path, clock=clock, database=database_servers.again(kind), overrides={"WMS": options}) as wms:
        yield Site(wms, clock, contents)


def test_a_sandbox_without_a_job_expires(store: Site) -> None:
    """After its time name and content are gone; one that belongs to a job stays, one that is asked for again too."""
    free, used, wanted = (store.upload(content).json()["pfn"] for content in (b"free", b"used", b"wanted"))
    store.wms.submit(f'Executable = "/bin/true"; InputSandbox = "{used}"; Site = "LCG.Nowhere.org";')
    assert store.look_after(HOUR).sandboxes == 0
    assert store.upload(b"wanted").json() == {"pfn": wanted, "url": None, "fields": {}}
    assert store.look_after(HOUR + 1).sandboxes == 1
    assert [store.code(each) for each in (free, used, wanted)] == [404, 200, 200]
    assert store.kept() == [b"used", b"wanted"]


def test_a_content_that_cannot_be_removed_keeps_no_other(site: Site) -> None:
    """What is in the way of one sandbox's content stays for the next look; all else is cleaned by this one."""
    for content in (b"first", b"second"):
        site.upload(content)
    first = min(site.contents.iterdir(), key=lambda path: int(path.name))
    first.unlink()
    first.mkdir()
    assert site.look_after(3 * HOUR).sandboxes == 2
    assert site.kept() == []
    first.rmdir()
    site.look_after(1)
    with site.wms.context.databases.read() as transaction:
        assert transaction.sandboxes.removed(10) == []


def test_a_removed_sandbox_can_be_brought_again(store: Site) -> None:
    """Its name is free at once, and whatever is still to be removed of the old one does not touch the new one."""
    pfn, agent = store.upload(b"again").json()["pfn"], JobCleaningAgent(store.wms.context)
    with store.wms.context.databases.write() as transaction:
        sandbox = transaction.sandboxes.get(pfn.partition("|")[2])
        assert sandbox is not None
        assert transaction.sandboxes.remove_unassigned(sandbox["SBId"], store.wms.context.now_ns() + 1)
    assert store.code(pfn) == 404
    assert store.upload(b"again").json()["url"]
    assert store.kept() == [b"again", b"again"]
    assert agent.look() == Cleaned()
    assert (store.kept(), store.code(pfn)) == ([b"again"], 200)


def test_a_sandbox_that_is_announced_and_never_brought_is_forgotten(store: Site) -> None:
    """When it cannot come any more; until then it counts against the quota. One that has come stays."""
    assert store.announce(b"x" * 600).status_code == store.upload(b"y" * 400).status_code == 200
    assert store.announce(b"z").status_code == 400
    assert store.upload(b"x" * 600).status_code == 200
    store.look_after(2 * HOUR + 1)
    assert store.announce(b"x" * 600).status_code == 200
    assert store.upload(b"y" * 300).status_code == 200
    assert store.look_after(HOUR + 1).sandboxes == 1
    assert store.announce(b"x" * 600).status_code == 200
    assert store.kept() == [b"y" * 300]


def test_a_sandbox_that_a_job_takes_at_the_last_moment_stays(store: Site) -> None:
    """Between the look for old sandboxes and the removal a job may have got one."""
    used = store.upload(b"used").json()["pfn"]
    store.wms.submit(f'Executable = "/bin/true"; InputSandbox = "{used}"; Site = "LCG.Nowhere.org";')
    later_ns = store.wms.context.now_ns() + 1
    with store.wms.context.databases.write() as transaction:
        sandbox = transaction.sandboxes.get(used.partition("|")[2])
        assert sandbox is not None
        assert not transaction.sandboxes.remove_unassigned(sandbox["SBId"], later_ns)


def test_a_quota_bounds_what_one_user_stores(store: Site) -> None:
    """What would exceed it is refused in words, until there is room again; the same content once more costs nothing."""
    assert store.upload(b"x" * 900).status_code == 200
    refused = store.upload(b"y" * 101)
    assert refused.status_code == 400
    assert "900 bytes are stored" in refused.json()["detail"]
    assert store.upload(b"x" * 900).status_code == 200
    store.look_after(2 * HOUR + 1)
    assert store.upload(b"y" * 101).status_code == 200


def test_who_is_counted_waits(site: Site) -> None:
    """While one announcement is being weighed against the quota, the owner's next one waits, and is weighed with it."""
    context, now_ns = site.wms.context, site.wms.context.now_ns()
    common = {"Owner": "alice", "OwnerGroup": "local_user", "VO": "local", "Stored": False, "RegistrationTime": now_ns}
    with ThreadPoolExecutor(1) as pool:
        with context.databases.write() as transaction:
            transaction.guards.hold("sandboxes of alice in local")
            second = pool.submit(site.announce, b"y" * 101)
            assert not wait([second], CHANCE_SECONDS).done
            transaction.sandboxes.add({**common, "PFN": "/S3/x", "Checksum": "x", "Bytes": 900})
        refused = second.result(WAIT_SECONDS)
    assert (refused.status_code, "900 bytes are stored" in refused.json()["detail"]) == (400, True)


def test_a_quota_holds_when_many_announce_at_once(site: Site) -> None:
    """Of eight sandboxes of a third of the quota three are taken."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(site.announce, (bytes([number]) * 333 for number in range(8))))
    assert Counter(each.status_code for each in answers) == {200: 3, 400: 5}


def test_a_job_is_forgotten_some_time_after_its_end(site: Site) -> None:
    """Only when it is over and its attempt accounted for; the record stays in the sums."""
    wms = site.wms
    done, unaccounted = ended(wms), ended(wms)
    waiting = wms.submit()
    account(wms, done)
    assert site.look_after(HOUR - 60).jobs == 0
    assert site.look_after(120).jobs == 1
    left = [row["JobID"] for row in wms.call("POST", "/api/jobs/search", {}).json()]
    assert left == [unaccounted["JobID"], waiting]
    (sums,) = wms.call("GET", "/api/jobspan/accounting/summary", token=wms.admin_token).json()["Rows"]
    assert sums["Jobs"] == 1


def test_jobs_that_must_be_kept_keep_no_other(site: Site) -> None:
    """However many older jobs are not accounted for, one that is goes: a look goes on where the last one ended."""
    agent = JobCleaningAgent(site.wms.context, most=2)
    kept = [ended(site.wms)["JobID"] for _ in range(3)]
    account(site.wms, ended(site.wms))
    site.advance(2 * HOUR)
    assert [looked.jobs for _ in range(3) if (looked := agent.look())] == [0, 1, 0]
    assert [row["JobID"] for row in site.wms.call("POST", "/api/jobs/search", {}).json()] == kept


def test_queues_and_logs_that_nobody_needs_are_removed(site: Site) -> None:
    """An empty queue goes, one with a job stays; what pilots said goes by its age."""
    wms = site.wms
    wms.submit('Executable = "/bin/true"; Tags = "A";')
    gone = wms.submit('Executable = "/bin/true"; Tags = "B";')
    wms.call("POST", "/api/jobspan/jobs/kill", {"job_ids": [gone]})
    wms.call("POST", "/api/pilots/", {"pilot_stamp": "p", "vo": "local"}, token=wms.pilot_token)
    said = {"Messages": [{"Message": "hello"}]}
    wms.call("POST", "/api/jobspan/pilots/p/log", said, token=wms.pilot_token)
    assert site.look_after(60) == Cleaned(task_queues=1)
    assert site.look_after(HOUR).pilot_messages == 1
    assert wms.match(Tags=["A"])


def test_one_process_cleans(site: Site) -> None:
    """While one has the task, another leaves it alone."""
    assert site.look_after(1) == Cleaned()
    assert JobCleaningAgent(site.wms.context).look() is None
