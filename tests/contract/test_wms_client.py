"""What the runner may rely on, whatever WMS it talks to: one suite, run against our own and against a real DiracX."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests

from runner.compose.kinds import open_wms
from runner.config import load
from runner.errors import FencedError, NotFoundError, UnauthorizedError
from runner.job.description import from_mapping
from runner.wms.answers import MatchedJob
from runner.wms.client import WmsClient
from runner.wms.stores import WmsSandboxStore
from runner.wms.tokens import FixedToken
from telemetry.clock import SystemClock, utc_text
from telemetry.identity import attempt_uid
from tests.support.diracx_site import diracx_site
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

_CLOCK = SystemClock()
_NUMBER = count(1)
STEP_NS = 5_000_000


@dataclass
class Taken:
    """A job that was taken, and the client of its wrapper."""

    matched: MatchedJob
    client: WmsClient
    agent: WmsClient
    last_ns: int = 0

    @property
    def job_id(self) -> int:
        return self.matched.job_id

    def report(self, *statuses: tuple[str, str]) -> Any:
        """Report (status, minor status) in one call, each later than all before; what the WMS keeps."""
        updates = {}
        for status, minor in statuses:
            self.last_ns = max(_CLOCK.utc_ns(), self.last_ns + STEP_NS, self.matched.match_end_utc_ns + STEP_NS)
            update = {"Status": status, "MinorStatus": minor, "Source": "JobWrapper"}
            updates[utc_text(self.last_ns)] = {name: value for name, value in update.items() if value}
        return self.client.set_statuses(self.job_id, updates)


class Wms(Protocol):
    """A WMS under test."""

    client: WmsClient
    other: WmsClient

    def submit(self, **description: Any) -> int: ...

    def take(self, job_id: int) -> Taken | None: ...

    def parameters(self, job_id: int) -> dict[str, Any]:
        """The job parameters that it holds."""
        ...


@dataclass
class Jobspan:
    """Our own: jobs come from its matcher, wrappers have a token of their job."""

    wms: RunningWms
    client: WmsClient
    other: WmsClient
    folder: Path

    def submit(self, **description: Any) -> int:
        description.setdefault("Site", f"LCG.Contract{next(_NUMBER)}.org")
        return self.client.submit([from_mapping(description).to_jdl()])[0].job_id

    def parameters(self, job_id: int) -> dict[str, Any]:
        return dict(self.client.parameters(job_id))

    def take(self, job_id: int) -> Taken | None:
        ours = open_wms(load(folder=self.folder), self.wms.url)
        agent = ours.agent({})
        offer = {"PilotStamp": "contract", "Site": self.wms.job(job_id)["Site"], "Processors": 8}
        matched = agent.match(offer, 0.0)
        if matched is None:
            return None
        control = self.folder / "jobs" / f"{matched.uid}"
        control.mkdir(parents=True)
        (control / "job.token").write_text(matched.job_token)
        return Taken(matched, ours.attempt(control, matched.attempt), agent)


@dataclass
class Diracx:
    """A real DiracX: jobs are named to the agent, everybody has the owner's token."""

    client: WmsClient
    other: WmsClient
    folder: Path
    search_url: str

    def parameters(self, job_id: int) -> dict[str, Any]:
        hits = requests.get(f"{self.search_url}/any/_search", timeout=20).json()["hits"]["hits"]
        (found,) = (each["_source"] for each in hits if each["_source"].get("JobID") == job_id)
        return dict(found)

    def submit(self, **description: Any) -> int:
        return self.client.submit([from_mapping(description).to_jdl()])[0].job_id

    def take(self, job_id: int) -> Taken | None:
        theirs = open_wms(load(folder=self.folder))
        agent = theirs.agent({job_id: None})
        matched = agent.match({}, 0.0)
        return Taken(matched, theirs.attempt(self.folder, matched.attempt), agent) if matched else None


@pytest.fixture(scope="module", params=["jobspan", "diracx"])
def wms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wms]:
    """One WMS of each kind for the module."""
    folder = tmp_path_factory.mktemp("node")
    if request.param == "jobspan":
        with running_wms(folder) as running:
            tokens = (running.user_token, running.token_for("bob"))
            yield Jobspan(running, *(WmsClient(running.url, FixedToken(token)) for token in tokens), folder=folder)
        return
    diracx = request.getfixturevalue("diracx")
    with diracx_site(folder, diracx) as site:
        yield Diracx(site.client, WmsClient(diracx.url, FixedToken(diracx.token("bob"))), folder, diracx.search_url)


@pytest.fixture
def job(wms: Wms) -> Taken:
    """A job that was just taken."""
    return taken(wms, wms.submit(Executable="/bin/true"))


def taken(wms: Wms, job_id: int) -> Taken:
    """*job_id*, taken by an agent."""
    return eventually(lambda: wms.take(job_id), 20.0, f"job {job_id} to be matched")


def row(wms: Wms, job_id: int, *columns: str) -> dict[str, Any]:
    """A job as the WMS has it."""
    (found,) = wms.client.search([*columns] or None, [{"parameter": "JobID", "operator": "eq", "value": job_id}])
    return dict(found)


def log(wms: Wms, job_id: int) -> list[tuple[str, str]]:
    """Status and minor status of all that was logged."""
    return [(each["Status"], each["MinorStatus"]) for each in row(wms, job_id, "JobID", "LoggingInfo")["LoggingInfo"]]


def killed(wms: Wms, job_id: int) -> None:
    """The job's owner has ordered its end."""
    assert wms.client.kill(job_id, _CLOCK.utc_ns() + STEP_NS).status == "Killed"


# --- who we are -----------------------------------------------------------------------------------


def test_the_wms_has_an_id(wms: Wms) -> None:
    """A UUID that stays the same, so that every attempt has a name of its own in the world."""
    first = wms.client.info()["WMSID"]
    assert str(uuid.UUID(first)) == first == wms.client.info()["WMSID"]


def test_a_bad_token_is_refused(wms: Wms) -> None:
    """An error of its own, so that the token can be renewed."""
    client = WmsClient(wms.client.url, FixedToken("no.such.token"))
    with pytest.raises(UnauthorizedError) as caught:
        client.search(None)
    assert caught.value.status_code == 401


def test_others_jobs_are_not_ours(wms: Wms, job: Taken) -> None:
    """Nobody but the owner reports about a job or gets it rescheduled."""
    with pytest.raises(UnauthorizedError):
        wms.other.set_statuses(job.job_id, {utc_text(_CLOCK.utc_ns()): {"Status": "Done"}})
    with pytest.raises(UnauthorizedError):
        wms.other.heartbeat(job.job_id, {})
    with pytest.raises(UnauthorizedError):
        wms.other.reschedule([job.job_id])


def test_a_job_that_is_not_there(wms: Wms) -> None:
    """Is an error that will not go away by repetition."""
    with pytest.raises((NotFoundError, UnauthorizedError)):
        wms.client.set_statuses(999_999, {utc_text(_CLOCK.utc_ns()): {"Status": "Done"}})


# --- from submission to the match -----------------------------------------------------------------


def test_submitted_jobs_have_numbers_in_order(wms: Wms) -> None:
    """Several descriptions in one call are several jobs, in that order, each with its own name."""
    site = "LCG.Nowhere.org"
    jdls = [f'Executable = "/bin/true"; JobName = "number {each}"; Site = "{site}";' for each in range(3)]
    jobs = wms.client.submit(jdls)
    assert [row(wms, job.job_id)["JobName"] for job in jobs] == ["number 0", "number 1", "number 2"]


def test_a_taken_job_is_known_by_all_that_identifies_it(wms: Wms) -> None:
    """The match says which attempt of which job of whom it is, and what it is to do; the WMS shows it as Matched."""
    job_id = wms.submit(Executable="/bin/echo", Arguments="job %j", JobGroup="g", NumberOfProcessors=2, CPUTime=77)
    matched = taken(wms, job_id).matched
    assert (matched.job_id, matched.attempt) == (job_id, 1)
    assert matched.wms_id == wms.client.info()["WMSID"]
    assert matched.uid == attempt_uid(matched.wms_id, job_id, 1)
    assert (matched.owner, matched.job_group, matched.previous_uid) == ("alice", "g", "")
    description = from_mapping(matched.description)
    assert (description.executable, description.arguments) == ("/bin/echo", f"job {job_id}")
    assert (description.number_of_processors, description.cpu_time_seconds) == (2, 77)
    assert (
        matched.submit_start_utc_ns <= matched.waiting_utc_ns <= matched.match_start_utc_ns <= matched.match_end_utc_ns
    )
    assert row(wms, job_id)["Status"] == "Matched"
    assert log(wms, job_id)[-1] == ("Matched", "Assigned")


def test_a_job_is_taken_once(wms: Wms, job: Taken) -> None:
    """Whoever asks later does not get it again."""
    assert wms.take(job.job_id) is None


# --- statuses -------------------------------------------------------------------------------------


def test_statuses_of_one_call_are_taken_in_order(wms: Wms, job: Taken) -> None:
    """The last one is kept, all are logged."""
    kept = job.report(("Running", "Job Initialization"), ("", "Application"), ("Completing", "Uploading Outputs"))
    assert (kept.status, kept.minor_status) == ("Completing", "Uploading Outputs")
    assert log(wms, job.job_id)[-3:] == [
        ("Running", "Job Initialization"), ("Running", "Application"), ("Completing", "Uploading Outputs"),
    ]  # fmt: skip


def test_a_refused_transition_shows_in_what_is_kept(wms: Wms, job: Taken) -> None:
    """It is no error; the answer has the status that stays."""
    job.report(("Running", ""), ("Completing", ""), ("Done", "Execution Complete"))
    assert job.report(("Running", "again")).status == "Done"
    assert row(wms, job.job_id)["Status"] == "Done"


def test_what_comes_late_changes_nothing(wms: Wms, job: Taken) -> None:
    """A report that is dated before the last one is only logged: the answer has no status, or the one that stays."""
    job.report(("Running", "Job Initialization"))
    early = {utc_text(job.matched.match_start_utc_ns - 10**9): {"Status": "Waiting", "MinorStatus": "late"}}
    assert job.client.set_statuses(job.job_id, early).status in ("", "Running")
    assert row(wms, job.job_id)["Status"] == "Running"


def test_texts_are_cut_to_what_the_wms_holds(wms: Wms, job: Taken) -> None:
    """An error message of any length does not cost the status that it comes with."""
    job.report(("Running", "m" * 500))
    moment = utc_text(max(_CLOCK.utc_ns(), job.last_ns + STEP_NS))
    job.client.set_statuses(job.job_id, {moment: {"ApplicationStatus": "a" * 5000}})
    found = row(wms, job.job_id)
    assert (found["MinorStatus"], found["ApplicationStatus"]) == ("m" * 128, "a" * 255)


def test_parameters_of_every_kind_are_taken(wms: Wms, job: Taken) -> None:
    """Texts and numbers, known names and others; a number that is none does not cost the others."""
    given = {"HostName": "wn1", "Mine": "x", "CPUNormalizationFactor": 10.7, "PayloadPID": 5}
    job.client.set_parameters(job.job_id, {**given, "Broken": float("nan")})
    held = wms.parameters(job.job_id)
    # DiracX holds this factor as a whole number
    assert {name: held[name] for name in given} in (given, {**given, "CPUNormalizationFactor": 11})
    assert "Broken" not in held


# --- heartbeats and the kill ----------------------------------------------------------------------

BEAT = {"CPUConsumed": 1.5, "WallClockTime": 3.0, "MemoryUsed": 100.0, "StandardOutput": "so far\n"}


def test_heartbeats_may_come_thick_and_fast(wms: Wms, job: Taken) -> None:
    """However often they come none is an error, and the WMS has heard."""
    job.report(("Running", "Application"))
    for _ in range(4):
        assert job.client.heartbeat(job.job_id, BEAT) == []
    assert row(wms, job.job_id)["HeartBeatTime"]


def test_a_kill_comes_with_the_heartbeat(wms: Wms, job: Taken) -> None:
    """The owner's order reaches the job by its next heartbeat."""
    job.report(("Running", "Application"))
    killed(wms, job.job_id)
    assert [each.command for each in job.client.heartbeat(job.job_id, {})] == ["Kill"]


def test_a_kill_shows_in_the_next_status(wms: Wms, job: Taken) -> None:
    """A wrapper that reports learns it from the answer, and what it reported is not kept."""
    job.report(("Running", "Application"))
    killed(wms, job.job_id)
    before = row(wms, job.job_id)["Status"]
    assert job.report(("Completing", "Application Finished Successfully")).status == "Killed"
    assert row(wms, job.job_id)["Status"] == before == "Killed"


def test_a_kill_reaches_the_agent(wms: Wms, job: Taken) -> None:
    """It is told the agent of that attempt until it is acknowledged, and then no more."""
    job.report(("Running", "Application"))
    asked = [(job.job_id, job.matched.attempt)]
    killed(wms, job.job_id)
    for _ in range(2):
        (command,) = job.agent.commands("contract", asked, 1.0)
        assert (command.job_id, command.attempt, command.command) == (job.job_id, 1, "Kill")
    job.agent.acknowledge_commands([command.command_id])
    assert job.agent.commands("contract", asked, 0.0) == []


def test_a_job_that_says_it_is_tomorrow_can_be_killed(wms: Wms, job: Taken) -> None:
    """A node whose clock is ahead does not make its job unkillable."""
    job.last_ns = _CLOCK.utc_ns() + 3600 * 10**9
    assert job.report(("Running", "Application")).status == "Running"
    killed(wms, job.job_id)
    assert row(wms, job.job_id)["Status"] == "Killed"


# --- sandboxes ------------------------------------------------------------------------------------


def test_a_sandbox_goes_there_and_back(wms: Wms, tmp_path: Path) -> None:
    """What was stored is what is fetched, also when it was stored before."""
    archive = tmp_path / "input.tar.zst"
    archive.write_bytes(uuid.uuid4().bytes * 1000)
    store = WmsSandboxStore(wms.client)
    pfn = store.upload(archive)
    assert store.upload(archive) == pfn
    assert store.download(pfn, tmp_path / "back") == 16_000
    assert (tmp_path / "back").read_bytes() == archive.read_bytes()


def test_an_output_sandbox_belongs_to_its_job(wms: Wms, job: Taken, tmp_path: Path) -> None:
    """The wrapper stores and assigns it; the owner finds it there. Once more is no error."""
    archive = tmp_path / "output.tar.zst"
    archive.write_bytes(uuid.uuid4().bytes)
    store = WmsSandboxStore(job.client, job_id=job.job_id)
    assert store.upload_output(archive) == store.upload_output(archive)
    (found,) = wms.client.sandboxes(job.job_id, "output")
    WmsSandboxStore(wms.client).download(found, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == archive.read_bytes()


# --- the next attempt -----------------------------------------------------------------------------


def goes_back(job: Taken) -> bool:
    """Whether the attempt ends as Rescheduled with a next one."""
    job.report(("Rescheduled", "Going to reschedule job"))
    return job.job_id in job.client.reschedule([job.job_id]).succeeded


def test_the_next_attempt_and_the_fence(wms: Wms, job: Taken) -> None:
    """A job that goes back is taken as attempt 2; what attempt 1 still says of itself is fenced off."""
    job.report(("Running", "Application"))
    assert goes_back(job)
    second = taken(wms, job.job_id)
    assert (second.matched.attempt, second.matched.previous_uid) == (2, job.matched.uid)
    assert second.matched.uid != job.matched.uid
    for late in (("Running", "Application"), ("Done", "Execution Complete")):
        with pytest.raises(FencedError):
            job.report(late)
    with pytest.raises(FencedError):
        job.client.reschedule([job.job_id])
    with pytest.raises(FencedError):
        job.client.assign_output(job.job_id, "SB:SandboxSE|/S3/x/sha256:" + "0" * 64 + ".tar.zst")
    assert second.report(("Running", "Application")).status == "Running"


def test_a_job_goes_back_from_completing_too(wms: Wms, job: Taken) -> None:
    """When its outputs cannot be uploaded, though the state machine has no way from Completing to Rescheduled."""
    job.report(("Running", "Application"), ("Completing", "Application Finished Successfully"))
    assert goes_back(job)
    assert taken(wms, job.job_id).matched.attempt == 2


def test_there_is_a_last_attempt(wms: Wms, job: Taken) -> None:
    """Beyond MaxRescheduling there is none, and the answer says why."""
    for attempt in (2, 3, 4):
        job.report(("Running", "Application"))
        assert goes_back(job)
        job = taken(wms, job.job_id)
        assert job.matched.attempt == attempt
    job.report(("Running", "Application"), ("Rescheduled", "Going to reschedule job"))
    refused = job.client.reschedule([job.job_id]).failed[job.job_id]
    assert "Maximum number of reschedul" in refused.reason
