"""The optimizers: in their own threads, in the right order, durable, with steps of others."""

import contextlib
import json
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from runner.errors import ConfigError
from runner.server.db.job_db import DESCRIPTIONS
from runner.server.services import optimizers
from runner.server.services.context import ServiceContext
from runner.server.services.optimization_mind import OptimizationMind
from runner.server.services.optimizers import JobUnderWay, Optimizer, Verdict
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

JOB = 'Executable = "/bin/true"; Arguments = "%s"; Site = "LCG.Opt.org";'
ENTERED, LEAVE = threading.Event(), threading.Event()


def community(_context: ServiceContext) -> Optimizer:
    """A step that does what the job's arguments say."""

    def look(job: JobUnderWay) -> Verdict:
        if job.description.arguments == "break":
            raise ValueError("the community's service is away")
        if job.description.arguments == "refuse":
            return Verdict(minor="Not in our name", cause="policy 7")
        if job.description.arguments == "hold":
            return Verdict(hold_seconds=3600, cause="later")
        if job.description.arguments == "slow":
            ENTERED.set()
            assert LEAVE.wait(300)
        return Verdict(parameters={"Seen": job.owner})

    return look


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is found as an installed one is."""
    point = EntryPoint("Community", f"{__name__}:community", optimizers.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda _self: community)
    monkeypatch.setattr(optimizers, "entry_points", lambda **_query: EntryPoints([point]))


@contextlib.contextmanager
def served(folder: Path, **options: Any) -> Iterator[RunningWms]:
    with running_wms(folder, overrides={"WMS": options}) as wms:
        yield wms


def jdl_of(argument: str) -> str:
    return JOB % argument


def sources(wms: RunningWms, job_id: int) -> list[tuple[str, str, str]]:
    return [(each["Status"], each["MinorStatus"], each["Source"]) for each in wms.logging_info(job_id)]


def test_a_plain_job_takes_the_original_path(tmp_path: Path) -> None:
    """The history names each step and the one after it, as DIRAC's does."""
    with served(tmp_path) as wms:
        assert sources(wms, wms.submit(jdl_of(""))) == [
            ("Received", "Job accepted", "JobManager"),
            ("Checking", "JobSanity", "JobPath"),
            ("Checking", "JobScheduling", "JobSanity"),
            ("Waiting", "Pilot Agent Submission", "JobScheduling"),
        ]


def test_a_job_that_bans_where_it_asks_to_run_fails(tmp_path: Path) -> None:
    """There is no site where it could ever run: Failed, with the original's words."""
    with served(tmp_path) as wms:
        job_id = wms.submit('Executable = "/bin/true"; Site = "LCG.A.org"; BannedSites = "LCG.A.org";')
        assert wms.status(job_id) == ("Failed", "No candidate sites available")
        assert wms.job(job_id)["EndExecTime"]


@pytest.mark.parametrize(
    ("argument", "status"),
    [
        ("go", ("Waiting", "Pilot Agent Submission")),
        ("break", ("Failed", "the community's service is away")),
        ("refuse", ("Failed", "Not in our name")),
        ("hold", ("Checking", "Community")),
    ],
)
def test_a_step_of_others_has_its_say(tmp_path: Path, installed: None, argument: str, status: tuple[str, str]) -> None:
    """It lets the job pass, refuses it, holds it, or breaks, which is the job's failure with the error's words."""
    with served(tmp_path, Optimizers=["Community"]) as wms:
        job_id = wms.submit(jdl_of(argument))
        eventually(lambda: wms.status(job_id) == status, 60, "the step to have its say")
        if argument == "go":
            assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()["Seen"] == "alice"
        if argument == "hold":
            eventually(lambda: wms.job(job_id)["ApplicationStatus"] == "On Hold: later", 60, "the reason to be shown")


def test_a_slow_step_holds_up_nobody(tmp_path: Path, installed: None) -> None:
    """While a step of others takes its time, jobs are submitted, seen and ended; the job shows where it is."""
    ENTERED.clear()
    LEAVE.clear()
    with served(tmp_path, Optimizers=["Community"]) as wms:
        slow = wms.submit(jdl_of("slow"))
        assert ENTERED.wait(60)
        assert wms.status(slow) == ("Checking", "Community")
        other = wms.submit(jdl_of("go"))
        assert wms.call("POST", "/api/jobspan/jobs/kill", {"job_ids": [slow]}).json()["success"]
        LEAVE.set()
        eventually(lambda: wms.status(other)[0] == "Waiting", 60, "the next job to get through")
        assert wms.status(slow)[0] == "Killed", "what was killed meanwhile stays so"


def test_what_a_server_left_goes_on_where_it_was(tmp_path: Path) -> None:
    """Jobs that were on their way when the server ended are taken further by the next one."""
    with served(tmp_path) as wms:
        received, checking = wms.submit(jdl_of("a")), wms.submit(jdl_of("b"))
        with wms.context.databases.write() as transaction:
            transaction.jobs.change(received, {"Status": "Received", "MinorStatus": "Job accepted"})
            transaction.jobs.change(checking, {"Status": "Checking", "MinorStatus": "JobScheduling"})
        before = {job_id: len(wms.logging_info(job_id)) for job_id in (received, checking)}
    with served(tmp_path) as wms:
        wms.settle()
        assert {wms.status(job_id)[0] for job_id in (received, checking)} == {"Waiting"}
        assert len(wms.logging_info(received)) - before[received] == 3
        assert len(wms.logging_info(checking)) - before[checking] == 1, "it does not begin anew"


def test_a_submission_does_not_wait_for_the_optimizers(tmp_path: Path) -> None:
    """Without anybody who attends to received jobs a submission is answered, and the job stays Received."""
    with served(tmp_path) as wms:
        wms.context.received.attend(False)
        answer = wms.call("POST", "/api/jobs/jdl", [jdl_of("x")])
        assert answer.status_code == 201
        assert answer.json()[0]["Status"] == "Received"


def test_an_optimizer_that_is_not_installed_is_said_at_once(tmp_path: Path) -> None:
    """The server does not start with a step that is missing."""
    with pytest.raises(ConfigError, match="no entry point Missing"), served(tmp_path, Optimizers=["Missing"]):
        pass


def test_a_job_that_was_rescheduled_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """What a step found about one attempt is never written to another."""
    with served(tmp_path) as wms:
        job_id = wms.submit(jdl_of("x"))
        mind = OptimizationMind(wms.context)
        assert mind.advance([job_id]).held == {}
        assert wms.status(job_id)[0] == "Waiting"
        assert len(wms.logging_info(job_id)) == 4


NESTED = {"Executable": "/bin/echo", "GridCE": ["a", ["b", "c"]]}


def spoil(wms: RunningWms, job_id: int) -> None:
    """Give the job a description that an earlier version took in."""
    with wms.context.databases.write() as transaction:
        broken = update(DESCRIPTIONS).where(DESCRIPTIONS.c.JobID == job_id)
        transaction.connection.execute(broken, {"Description": json.dumps(NESTED)})


@pytest.mark.parametrize("text", ['Executable = "/bin/echo"; GridCE = {"a", {"b", "c"}};', json.dumps(NESTED)])
def test_a_computing_element_has_a_name(tmp_path: Path, text: str) -> None:
    """A list among the computing elements is refused at the submission, in every language."""
    with served(tmp_path) as wms:
        answer = wms.call("POST", "/api/jobs/jdl", [text])
        assert (answer.status_code, "GridCE" in answer.text) == (400, True)


def test_a_description_that_breaks_a_step_fails_its_job_alone(tmp_path: Path) -> None:
    """The others of its batch get through; what an earlier version took in is told as the original would."""
    with served(tmp_path) as wms:
        jobs = [wms.submit(jdl_of(str(number))) for number in range(3)]
        spoil(wms, jobs[1])
        with wms.context.databases.write() as transaction:
            for job_id in jobs:
                transaction.jobs.change(job_id, {"Status": "Received", "MinorStatus": "Job accepted"})
        wms.context.received.put(jobs)
        wms.settle()
        assert [wms.status(job_id)[0] for job_id in jobs] == ["Waiting", "Failed", "Waiting"]
        job = wms.job(jobs[1])
        assert (job["MinorStatus"], "GridCE" in job["ApplicationStatus"]) == ("Illegal Job JDL", True)
        assert job["EndExecTime"]


def test_a_job_of_before_that_nobody_can_read_keeps_no_server_from_starting(tmp_path: Path) -> None:
    """Of the jobs that wait without a queue the others get theirs."""
    with served(tmp_path) as wms:
        broken, good = wms.submit(jdl_of("a")), wms.submit(jdl_of("b"))
        spoil(wms, broken)
        with wms.context.databases.write() as transaction:
            for job_id in (broken, good):
                transaction.jobs.change(job_id, {"TaskQueueID": None})
    with served(tmp_path) as wms:
        match = wms.match(Site="LCG.Opt.org")
        assert match
        assert match["JobID"] == good
