"""How jobs are ended from outside: kills in every stage, fences, preemption. Real processes all the way."""

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runner.compose.site import LocalSite, Service
from telemetry.facts import AttemptEnded, Fenced, PayloadStarted, StatusChanged, WrapperStarted
from tests.support.processes import is_alive
from tests.support.proxy import StallingProxy
from tests.support.site import DEADLINE_SECONDS, Site, running_site, site_config
from tests.support.waiting import eventually

#: Real work without an end, and with a child of its own.
BURN = "-c 'import os; os.fork()\nwhile True: sum(range(1000))'"


#: Also bounds the upload of a killed job's outputs; these payloads end by themselves when they are told to.
GRACE = {"KillGracePeriod": 60.0}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site of its own for each test."""
    with running_site(tmp_path / "site", JobWrapper=GRACE) as running:
        yield running


def _payload(site: Site, job_id: int, attempt: int = 1) -> int:
    return int(site.wait_fact(job_id, PayloadStarted, attempt).fact.pid)  # type: ignore[attr-defined]


def _statuses_of_wrapper(site: Site, job_id: int) -> list[str]:
    return [each.status for each in site.facts(job_id, StatusChanged) if each.source == "JobWrapper" and each.status]


def test_kill_during_the_payload(site: Site) -> None:
    """A user's kill ends the payload; the job is Killed / Received Kill signal and the wrapper sends no status."""
    job_id = site.submit(Executable="/usr/bin/python3", Arguments=BURN, OutputSandbox=["std.out"])
    pid = _payload(site, job_id)
    site.kill(job_id)
    record = site.wait_record(job_id)

    assert site.status(job_id) == ("Killed", "Received Kill signal")
    assert not is_alive(pid)
    assert (record.text("FinalMajorStatus"), record.text("FinalMinorStatus")) == ("Killed", "Received Kill signal")
    assert set(_statuses_of_wrapper(site, job_id)) <= {"Running"}
    assert site.client.sandboxes(job_id, "output"), "the output of a killed job is uploaded too"


def test_a_kill_reaches_a_wrapper_of_its_own_interpreter(tmp_path: Path) -> None:
    """Without the warm start the wrapper is a new interpreter: a kill ends its payload and is accounted no less."""
    with running_site(tmp_path / "site", JobAgent={"WarmStart": False}, JobWrapper=GRACE) as cold:
        test_kill_during_the_payload(cold)
        (job,) = cold.client.search(None, [])
        (started,) = cold.facts(int(job["JobID"]), WrapperStarted)
    assert started.started_by == "interpreter"


@pytest.mark.parametrize(
    "request_line",
    [b"GET /api/jobspan/sandboxes", b"POST /api/jobspan/sandboxes"],
    ids=["slow download", "slow upload"],
)
def test_kill_during_a_slow_transfer(tmp_path: Path, request_line: bytes) -> None:
    """A kill takes effect while a sandbox download or upload stands still; the attempt ends and is accounted."""
    folder = tmp_path / "site"
    config = site_config(folder)
    (tmp_path / "input.txt").write_text("in")
    (tmp_path / "site" / "input.txt").write_text("in")
    with LocalSite(config) as local:
        local.agent.stop()
        upstream = urlsplit((folder / "wms.url").read_text().strip())
        with StallingProxy((str(upstream.hostname), int(upstream.port or 0)), request_line) as proxy:
            slow = site_config(folder, WMS={"URL": proxy.url})
            agent = Service(slow, ["agent", "--slots", "1"], folder / "logs" / "agent2.log")
            site = Site(config, local.client, agent, local.wms)
            try:
                job_id = site.submit(
                    Executable="/bin/cat", Arguments="input.txt", InputSandbox=["input.txt"], OutputSandbox=["std.out"]
                )
                assert proxy.reached.wait(DEADLINE_SECONDS), site.diagnosis(job_id)
                site.kill(job_id)
                record = site.wait_record(job_id)
            finally:
                agent.stop()
    assert record.text("FinalMajorStatus") == "Killed"


def test_an_earlier_attempt_is_fenced_off_and_stops_its_payload(site: Site) -> None:
    """After a reschedule attempt 1's wrapper gets the fenced answer, ends its payload and says nothing more."""
    job_id = site.submit(Executable="/usr/bin/python3", Arguments=BURN)
    pid = _payload(site, job_id)
    site.client.reschedule([job_id])
    site.wait_fact(job_id, Fenced)
    site.wait_fact(job_id, AttemptEnded)

    assert not is_alive(pid)
    _payload(site, job_id, attempt=2)
    site.kill(job_id)
    assert site.wait_record(job_id, 2).text("FinalMajorStatus") == "Killed"
    assert site.wait_record(job_id, 1).text("ErrorType") == "fenced"


def test_a_job_token_cannot_touch_another_job(site: Site) -> None:
    """The token that a wrapper holds is for its own job only."""
    from runner.compose.clients import client_with
    from runner.errors import RefusedError
    from runner.wms.tokens import FileToken

    other = site.submit(Executable="/bin/true")
    site.wait(other, "Done")
    job_id = site.submit(Executable="/usr/bin/python3", Arguments=BURN)
    _payload(site, job_id)
    token = FileToken(site.wait_folder(job_id) / "control" / "job.token")
    client = client_with(site.config, token, site.client.url)
    with pytest.raises(RefusedError):
        client.set_parameters(other, {"HostName": "stolen"})
    client.set_parameters(job_id, {"HostName": "mine"})
    client.close()
    site.kill(job_id)
    site.wait_record(job_id)


def test_sigint_of_the_agent_preempts_its_jobs_and_the_next_agent_carries_on(site: Site, tmp_path: Path) -> None:
    """SIGINT: jobs are Rescheduled as preempted, nothing is left running; the next agent runs them to the end."""
    done = tmp_path / "go"
    script = f"-c 'import os\nwhile not os.path.exists(\"{done}\"): sum(range(1000))'"
    job_id = site.submit(Executable="/usr/bin/python3", Arguments=script, OutputSandbox=["std.out"])
    pid = _payload(site, job_id)
    site.agent.process.send_signal(signal.SIGINT)
    site.agent.process.wait(DEADLINE_SECONDS)

    assert not is_alive(pid)
    record = site.wait_record(job_id)
    assert (record.text("FinalMajorStatus"), record.text("ErrorType")) == ("Rescheduled", "preempted")
    done.touch()
    site.wait(job_id, "Waiting")  # or an agent that drains may come before it, find nothing and end
    agent = Service(site.config, ["agent", "--drain"], site.agent.log)
    try:
        site.wait(job_id, "Done", "Execution Complete")
        eventually(lambda: agent.process.poll() is not None, DEADLINE_SECONDS, "the draining agent's end")
    finally:
        agent.stop()
    assert agent.process.returncode == 0
    assert site.wait_record(job_id, 2).text("FinalMajorStatus") == "Done"
