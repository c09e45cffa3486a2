"""A job's whole life on a real DiracX server: what a user types, what the server then says."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.compose.diracx import DiracxWms
from runner.compose.users import user_names
from runner.errors import RefusedError
from runner.job.description import from_mapping
from runner.locks import lock_holder
from telemetry.clock import SystemClock, parse_utc
from tests.support.components import faketime, require
from tests.support.diracx import RunningDiracx
from tests.support.diracx_site import DEADLINE_SECONDS, DiracxSite, diracx_site
from tests.support.waiting import eventually
from tests.support.wms import running_wms

#: Also bounds the upload of a killed job's outputs; these payloads end by themselves when they are told to.
GRACE = {"KillGracePeriod": 60.0}


@pytest.fixture
def site(tmp_path: Path, diracx: RunningDiracx) -> Iterator[DiracxSite]:
    """A node of its own for each test."""
    with diracx_site(tmp_path / "node", diracx, JobWrapper=GRACE) as running:
        yield running


def test_a_good_job(site: DiracxSite) -> None:
    """Submitted, run, Done: with its sandboxes, every status in order, and its record as an OTLP event."""
    (site.config.folder / "greeting").write_text("hello from here\n")
    job_id = site.submit(
        Executable="/bin/cat", Arguments="greeting", InputSandbox=["greeting"], StdOutput="out", OutputSandbox=["out"],
        JobName="cat",
    )  # fmt: skip
    site.run(job_id)
    assert site.status(job_id) == ("Done", "Execution Complete"), site.diagnosis()
    statuses = list(dict.fromkeys(status for status, _, _ in site.log(job_id)))
    assert statuses == ["Received", "Checking", "Waiting", "Matched", "Running", "Completing", "Done"]
    done = site.command("output", str(job_id), "--to", str(site.config.folder / "fetched"))
    assert done.returncode == 0, done.stderr
    assert [each.read_text() for each in site.config.folder.rglob("fetched/**/out")] == ["hello from here\n"]
    (record,) = site.records(job_id)
    (event,) = site.events()
    named = {**record, "User": user_names(site.config)(str(record["User"]))}
    assert dict(event) == named  # the telemetry leaves the site, and knows users by a keyed hash
    assert (record["FinalMajorStatus"], record["Attempt"], record["User"]) == ("Done", 1, "alice")


def test_a_bad_job(site: DiracxSite) -> None:
    """A payload that fails is Failed, in DIRAC's words."""
    job_id = site.submit(Executable="/bin/false")
    site.run(job_id)
    assert site.status(job_id) == ("Failed", "Application Finished With Errors"), site.diagnosis()


def test_killed(site: DiracxSite) -> None:
    """A job that its user kills ends within seconds; its wrapper says no status after, and its outputs are saved."""
    job_id = site.submit(
        Executable="/bin/sh", Arguments="-c 'echo begun && exec sleep 600'", StdOutput="out", OutputSandbox=["out"]
    )
    with site.agent(job_id) as agent:
        site.wait_payload(job_id)  # the first heartbeat may come before it
        eventually(lambda: site.heartbeats(job_id), DEADLINE_SECONDS, "a heartbeat")
        done = site.command("kill", str(job_id))
        assert done.returncode == 0, done.stderr
        killed_at = len(site.log(job_id))
        assert agent.wait(DEADLINE_SECONDS) == 0, site.diagnosis()
    assert site.status(job_id)[0] == "Killed", site.diagnosis()
    assert site.log(job_id)[killed_at:] == []
    assert site.client.sandboxes(job_id, "output")
    (record,) = site.records(job_id)
    assert (record["FinalMajorStatus"], record["Signal"]) == ("Killed", 15)


def test_a_kill_whose_command_was_lost(site: DiracxSite) -> None:
    """DiracX gives a Kill out once; one that somebody else's heartbeat has fetched ends the job all the same."""
    job_id = site.submit(Executable="/bin/sleep", Arguments="600")
    with site.agent(job_id) as agent:
        site.wait(job_id, "Running")
        assert site.command("kill", str(job_id)).returncode == 0
        site.diracx.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {}})
        assert agent.wait(DEADLINE_SECONDS) == 0, site.diagnosis()
    assert [each["FinalMajorStatus"] for each in site.records(job_id)] == ["Killed"], site.diagnosis()


def test_rescheduled(site: DiracxSite) -> None:
    """A payload that asks for it gets a next attempt, which the same agent runs; the server counts both."""
    flag = site.config.folder / "flag"
    (site.config.folder / "try.sh").write_text(f"test -e {flag} && exit 0; touch {flag}; exit 222\n")
    job_id = site.submit(Executable="/bin/sh", Arguments="try.sh", InputSandbox=["try.sh"])
    site.run(job_id)
    assert site.status(job_id) == ("Done", "Execution Complete"), site.diagnosis()
    assert site.job(job_id)["RescheduleCounter"] == 1
    ends = {each["Attempt"]: each["FinalMajorStatus"] for each in site.records(job_id)}
    assert ends == {1: "Rescheduled", 2: "Done"}
    assert len({each["UID"] for each in site.records(job_id)}) == 2


def test_fenced(site: DiracxSite) -> None:
    """An attempt whose job has gone on without it says nothing more about the job."""
    go = tmp_flag(site)  # the payload must not end before the job has gone on
    (site.config.folder / "wait.sh").write_text(f"until test -e {go}; do sleep 0.1; done\n")
    job_id = site.submit(Executable="/bin/sh", Arguments="wait.sh", InputSandbox=["wait.sh"])
    with site.agent(job_id):
        site.wait_payload(job_id)
        assert site.command("reschedule", str(job_id)).returncode == 0
        before = site.log(job_id)
        go.touch()
        eventually(lambda: site.records(job_id), DEADLINE_SECONDS, "the record of the attempt")
        record = site.records(job_id)[0]
    assert (record["FinalMajorStatus"], record["ErrorType"]) == ("Rescheduled", "fenced"), site.diagnosis()
    assert ("Done", "Execution Complete", "JobWrapper") not in site.log(job_id)[: len(before) + 2]


def test_reconciled_with_one_ledger(site: DiracxSite) -> None:
    """Without an accounting service the telemetry is the only ledger: it is held against what the server saw."""
    job_id = site.submit(Executable="/bin/true")
    site.run(job_id)
    done = site.command("reconcile", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["matched"], result["witnessed"]["wms_status"]) == (1, 1)
    assert result["summary"].startswith("The WMS keeps no accounting, the telemetry holds 1 record: ")
    assert "\n0 " not in site.command("outbox", "list").stdout


def test_accounting_by_our_own_service(tmp_path: Path, diracx: RunningDiracx) -> None:
    """With AccountingURL the records of DiracX's jobs are kept by a `jobspan wms`, and both ledgers agree."""
    with running_wms(tmp_path / "wms") as wms:
        options = {"AccountingURL": wms.url, "AccountingTokenFile": str(wms.folder / "tokens" / "admin.token")}
        with diracx_site(tmp_path / "node", diracx, WMS=options) as site:
            job_id = site.submit(Executable="/bin/true")
            site.run(job_id)
            held = wms.call("GET", "/api/jobspan/accounting", token=wms.admin_token).json()["Records"]
            assert [(each["JobID"], each["FinalMajorStatus"]) for each in held] == [(job_id, "Done")]
            assert wms.call("GET", "/api/jobspan/accounting").json()["Records"] == []
            done = site.command("reconcile", "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            assert json.loads(done.stdout)["totals"]["wms"]["records"] == 1


def test_what_diracx_could_not_read_is_refused(site: DiracxSite) -> None:
    """A description that would hang the whole server is not sent, and the user reads which field it is."""
    (site.config.folder / "bad.json").write_text(json.dumps({"Executable": "/bin/echo", "Arguments": "[a]"}))
    done = site.command("submit", str(site.config.folder / "bad.json"))
    assert done.returncode == 2
    assert "Arguments: DiracX cannot read a text with '['" in done.stderr


def test_one_description_of_many_jobs(site: DiracxSite) -> None:
    """A parametric description becomes its jobs, more than DiracX takes in one call, and each can be run."""
    (site.config.folder / "many.jdl").write_text(
        'Executable = "/bin/echo"; Arguments = "value %s of job %j"; Parameters = 23; ParameterStart = 5; '
        'ParameterStep = 2; StdOutput = "out"; OutputSandbox = {"out"};'
    )
    done = site.command("submit", "--json", str(site.config.folder / "many.jdl"))
    assert done.returncode == 0, done.stderr
    job_ids = [each["job_id"] for each in json.loads(done.stdout)]
    assert len(set(job_ids)) == 23
    assert {site.status(job_id)[0] for job_id in (job_ids[0], job_ids[-1])}.isdisjoint({"Submitting"})
    site.run(job_ids[-1])
    assert site.status(job_ids[-1]) == ("Done", "Execution Complete"), site.diagnosis()
    done = site.command("output", str(job_ids[-1]), "--to", str(site.config.folder / "fetched"))
    assert done.returncode == 0, done.stderr
    said = [each.read_text() for each in site.config.folder.rglob("fetched/**/out")]
    assert said == [f"value 49 of job {job_ids[-1]}\n"]


def test_what_diracx_has_not(site: DiracxSite) -> None:
    """Commands that DiracX cannot serve say so, in one line."""
    job_id = site.submit(Executable="/bin/true")
    for command, words in (("parameters", "no call that reads the parameters"), ("accounting", "no accounting")):
        done = site.command(command, str(job_id))
        assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr
        assert f"a DiracX server has {words}" in done.stderr
    done = site.command("agent")
    assert (done.returncode, "--job" in done.stderr) == (2, True)


def test_jobs_that_cannot_be_run(site: DiracxSite) -> None:
    """The agent says why, and does not wait for ever: unknown, described nowhere, with files of nobody."""
    job_id = site.submit(Executable="/bin/true")
    done = site.command("agent", "--job", "999999")
    assert (done.returncode, "--job 999999=FILE" in done.stderr) == (4, True)
    file = site.config.folder / "other.json"
    file.write_text(json.dumps({"Executable": "/bin/echo", "Arguments": "%j", "InputSandbox": ["other.json"]}))
    done = site.command("agent", "--job", f"{job_id}={file}")
    assert (done.returncode, "never uploaded" in done.stderr) == (2, True)
    file.write_text(json.dumps({"Executable": "/bin/echo", "Arguments": "%j"}))
    done = site.command("agent", "--job", f"999999={file}", "--job", f"{job_id}={file}")
    assert (done.returncode, "job 999999: there is no such job" in done.stderr) == (0, True), done.stderr
    assert site.status(job_id) == ("Done", "Execution Complete")
    done = site.command("agent", "--job", str(job_id))
    assert (done.returncode, f"job {job_id}: Done" in done.stderr) == (0, True), done.stderr


def test_a_token_that_the_server_does_not_take(site: DiracxSite) -> None:
    """Ends the agent at once, in words."""
    job_id = site.submit(Executable="/bin/true")
    Path(site.config.wms.token_file).write_text("not.a.token")
    done = site.command("agent", "--job", str(job_id))
    assert (done.returncode, "Invalid JWT" in done.stderr) == (4, True), done.stderr


def test_an_agent_that_is_a_pilot(tmp_path: Path, diracx: RunningDiracx) -> None:
    """Where the owner's group may run pilots the server knows the agent: its site, the job that it has, its end."""
    with diracx_site(tmp_path / "node", diracx, user="dave") as site:
        job_id = site.submit(Executable="/bin/true")
        site.run(job_id)
        assert site.status(job_id) == ("Done", "Execution Complete"), site.diagnosis()
        wanted = {"search": [{"parameter": "CurrentJobID", "operator": "eq", "value": job_id}]}
        (pilot,) = diracx.call("POST", "/api/pilots/search", wanted).json()
        expected = {"Status": "Done", "GridSite": site.config.site.name, "VO": diracx.vo}
        assert {name: pilot[name] for name in expected} == expected
        assert "is not registered" not in site.diagnosis()


def test_an_agent_that_is_no_pilot(site: DiracxSite) -> None:
    """The token of an owner without that right registers none, and the refusal says what it lacks."""
    agent = DiracxWms(site.config, site.diracx.url).agent({1: from_mapping({"Executable": "/bin/true"})})
    try:
        with pytest.raises(RefusedError, match="without GenericPilot"):
            agent.register_pilot("a" * 32, vo="", reference="here:1", site="LCG.Test.org")
    finally:
        agent.close()
    wanted = {"search": [{"parameter": "PilotStamp", "operator": "eq", "value": "a" * 32}]}
    assert site.diracx.call("POST", "/api/pilots/search", wanted).json() == []


@pytest.mark.parametrize("offset", ["+3600s", "-3600s"])
def test_a_node_whose_clock_is_wrong(site: DiracxSite, offset: str) -> None:
    """DiracX orders by the time that a report carries: ours are dated by its clock, and a Kill is never too early."""
    require("faketime")
    job_id = site.submit(Executable="/bin/sleep", Arguments="600")
    fake = {"LD_PRELOAD": faketime(), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
    with site.agent(job_id, **fake) as agent:
        site.wait(job_id, "Running")
        assert site.command("kill", str(job_id)).returncode == 0
        agent.wait(DEADLINE_SECONDS)  # its code says nothing: under libfaketime time.sleep fails
    assert site.status(job_id)[0] == "Killed", site.diagnosis()
    assert [each["FinalMajorStatus"] for each in site.records(job_id)] == ["Killed"]
    assert {"Matched", "Running", "Killed"} <= {status for status, _, _ in site.log(job_id)}
    now_ns = SystemClock().utc_ns()
    assert all(abs(parse_utc(moment) - now_ns) < 120 * 10**9 for moment in site.times(job_id))


def test_the_token_is_exchanged_while_the_job_runs(tmp_path: Path, diracx: RunningDiracx) -> None:
    """A job outlives its owner's token: agent and wrapper get a new one from the server, and share it."""
    with diracx_site(tmp_path / "node", diracx) as site:
        job_id = site.submit(Executable="/bin/sleep", Arguments="1")
        path = diracx.credentials(tmp_path / "node" / "credentials.json", seconds_left=200)
        path.write_text(json.dumps({**json.loads(path.read_text()), "access_token": "of yesterday"}))
        site.run(job_id)
        assert site.status(job_id) == ("Done", "Execution Complete"), site.diagnosis()
        after = json.loads(path.read_text())
        assert after["access_token"].count(".") == 2
        assert after["expires_on"] > SystemClock().utc_ns() / 1e9 + 600
        assert path.stat().st_mode & 0o077 == 0


def test_a_node_that_is_stopped(site: DiracxSite) -> None:
    """Its job goes back to the server, and an agent that is named it again runs the next attempt."""
    (site.config.folder / "job.sh").write_text(f"test -e {tmp_flag(site)} || exec sleep 600\n")
    job_id = site.submit(Executable="/bin/sh", Arguments="job.sh", InputSandbox=["job.sh"])
    with site.agent(job_id) as agent:
        site.wait_payload(job_id)
        agent.terminate()
        assert agent.wait(DEADLINE_SECONDS) == 0, site.diagnosis()
    assert site.status(job_id)[0] == "Received", site.diagnosis()
    tmp_flag(site).touch()
    site.run(job_id)
    assert site.status(job_id) == ("Done", "Execution Complete"), site.diagnosis()
    assert [each["FinalMajorStatus"] for each in site.records(job_id)] == ["Rescheduled", "Done"]


def test_a_wrapper_that_dies(site: DiracxSite) -> None:
    """The agent ends its attempt for it, and the server hears so."""
    job_id = site.submit(Executable="/bin/sleep", Arguments="600")
    with site.agent(job_id) as agent:
        site.wait_payload(job_id)
        wrapper = lock_holder(site.config.jobs_folder / f"{job_id}.1" / "control" / "wrapper.lock")
        assert wrapper
        os.kill(wrapper, signal.SIGKILL)
        assert agent.wait(DEADLINE_SECONDS) == 0, site.diagnosis()
    assert site.status(job_id) == ("Failed", "JobWrapper execution"), site.diagnosis()
    assert [(each["FinalMajorStatus"], each["RecordedBy"]) for each in site.records(job_id)] == [("Failed", "agent")]


def test_output_while_it_runs(site: DiracxSite) -> None:
    """DiracX has no call for it; the agent shows it to the job's owner."""
    job_id = site.submit(Executable="/bin/sh", Arguments="-c 'echo so far && exec sleep 600'")
    with site.agent(job_id):
        site.wait(job_id, "Running")
        shown = eventually(lambda: site.command("peek", str(job_id)).stdout, DEADLINE_SECONDS, "the output")
        assert shown == "so far\n"
        assert site.status(job_id)[0] == "Running"


def tmp_flag(site: DiracxSite) -> Path:
    return site.config.folder / "flag"
