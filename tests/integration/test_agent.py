"""The agent as a process, with the embedded WMS, the real zygote and a small script in place of the wrapper."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runner.agent.outbox import expired
from telemetry.clock import SystemClock, utc_text
from telemetry.facts import AttemptEnded, JobAccepted, StageFinished, StatusChanged, WrapperReaped, WrapperStarted
from telemetry.journal import read_journal
from telemetry.outbox import Acknowledgements
from tests.support.http_faults import FaultyServer, Reply, faulty_server, nobody
from tests.support.journals import facts_of
from tests.support.processes import is_alive, living
from tests.support.small_agent import DEADLINE_SECONDS, agent
from tests.support.waiting import at_best, eventually
from tests.support.wms import RunningWms, running_wms


@pytest.fixture
def wms(tmp_path: Path) -> Iterator[RunningWms]:
    with running_wms(tmp_path) as running:
        yield running


def submit(wms: RunningWms, behaviour: str) -> int:
    return wms.submit(f'Executable = "/bin/true"; JobName = "{behaviour}";')


def reaches(wms: RunningWms, job_id: int, *wanted: str) -> None:
    eventually(lambda: wms.status(job_id)[0] in wanted, DEADLINE_SECONDS, f"job {job_id} to be {wanted}")


def says(folder: Path, words: str) -> None:
    log = folder / "agent.log"
    eventually(lambda: words in log.read_text(), DEADLINE_SECONDS, f"the agent to say: {words}")


def control(wms: RunningWms, job_id: int, attempt: int = 1) -> Path:
    return wms.folder / "jobs" / f"{job_id}.{attempt}" / "control"


def ended(process: "subprocess.Popen[bytes]") -> int:
    return process.wait(DEADLINE_SECONDS)


def records(wms: RunningWms, job_id: int) -> list[tuple[str, str, str]]:
    """Status, minor status and recorder of the current records of a job, by attempt."""
    answer = wms.call("GET", f"/api/jobspan/accounting?job_id={job_id}", token=wms.admin_token).json()["Records"]
    found = sorted(answer, key=lambda each: each["Attempt"])
    return [(each["FinalMajorStatus"], each["FinalMinorStatus"], each["RecordedBy"]) for each in found]


def kill(wms: RunningWms, job_id: int) -> None:
    """As the user does."""
    update = {"Status": "Killed", "Source": "JobManager"}
    wms.call("PATCH", "/api/jobs/status", {str(job_id): {utc_text(SystemClock().utc_ns()): update}})


def wrapper_pid(folder: Path) -> int:
    return facts_of(read_journal(folder), WrapperStarted)[0].pid


def test_drain_takes_all_jobs_and_ends(wms: RunningWms) -> None:
    """Every job is run, also the next attempt of one that died early; all is delivered; then the agent ends."""
    quick = [submit(wms, "quick") for _ in range(3)]
    never = submit(wms, "never")
    with agent(wms.folder, wms.url, "drain") as process:
        assert ended(process) == 0
    assert [wms.status(job_id) for job_id in quick] == [("Done", "Execution Complete")] * 3
    assert wms.status(never) == ("Failed", "Maximum of reschedulings reached")
    assert records(wms, quick[0]) == [("Done", "Execution Complete", "wrapper")]
    assert [each[2] for each in records(wms, never)] == ["agent"] * 4
    told = (wms.folder / "told").read_text().splitlines()
    assert told.count(f"started {quick[0]}.1") == told.count(f"ended {quick[0]}.1 Done") == 1
    assert told[-1] == "closed"


def test_drain_does_not_stay_for_what_the_wms_never_takes(wms: RunningWms) -> None:
    """An attempt whose token is gone is left to the next agent, after a time; it is said, and nothing of it is lost."""
    job_id = submit(wms, "quick")
    with agent(wms.folder, wms.url, "drain") as process:
        assert ended(process) == 0
    left = control(wms, job_id)
    (left / "settled").unlink()
    (left / "job.token").unlink()
    for each in left.glob("*.acks.jsonl"):
        each.unlink()
    with agent(wms.folder, wms.url, "drain", "patience=2") as process:
        assert ended(process) == 0
    says(wms.folder, f"job {job_id}.1: not finished; the next agent goes on with it")
    assert read_journal(left)


def test_the_acceptance_is_recorded_at_once(wms: RunningWms) -> None:
    """While the job still runs: a fact, a parameter, and "Submitting To CE" before it in the logging info."""
    job_id = submit(wms, "pause")
    with agent(wms.folder, wms.url):
        reaches(wms, job_id, "Running")
        # The wrapper may have told the WMS that it runs before the agent, which has forked it, comes to its line.
        accepted = eventually(lambda: facts_of(read_journal(control(wms, job_id)), JobAccepted), DEADLINE_SECONDS)
        assert len(accepted) == 1

        def parameters() -> dict[str, str]:
            found: dict[str, str] = wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()
            return found

        eventually(lambda: "TaskID" in parameters(), DEADLINE_SECONDS)
        assert parameters()["SubmittedToCE"] == f"Job submitted as {accepted[0].task}"
        assert parameters()["Pilot_Reference"]
        minors = [(each["Status"], each["MinorStatus"]) for each in wms.logging_info(job_id)][-4:]
        assert minors == [
            ("Matched", "Assigned"),
            ("Matched", "Job Received by Agent"),
            ("Matched", "Submitting To CE"),
            ("Running", "Job Initialization"),
        ]
        os.kill(wrapper_pid(control(wms, job_id)), signal.SIGKILL)
        reaches(wms, job_id, "Waiting", "Matched", "Rescheduled", "Running", "Failed")


def test_the_control_folder_is_ours_alone(wms: RunningWms) -> None:
    """Mode 0700, the token in a file of mode 0600 and nowhere else."""
    job_id = submit(wms, "quick")
    with agent(wms.folder, wms.url, "drain") as process:
        assert ended(process) == 0
    folder = control(wms, job_id)
    assert folder.stat().st_mode & 0o777 == 0o700
    token = folder / "job.token"
    assert token.stat().st_mode & 0o777 == 0o600
    secret = token.read_text().strip()
    others = [path for path in folder.iterdir() if path.is_file() and path != token]
    assert [path.name for path in others if secret in path.read_text(errors="replace")] == []
    assert secret not in (wms.folder / "agent.log").read_text()


def test_a_kill_reaches_the_wrapper(wms: RunningWms) -> None:
    """Within 2 s of the user's order, by the agent's long poll and the control socket; the WMS knows it was heard."""

    def seconds(_: int) -> float:
        job_id = submit(wms, "pause")
        reaches(wms, job_id, "Running")
        begin = time.monotonic()
        kill(wms, job_id)
        eventually(lambda: wms.status(job_id) == ("Killed", "Received Kill signal"), DEADLINE_SECONDS)
        elapsed = time.monotonic() - begin
        found = eventually(lambda: records(wms, job_id), DEADLINE_SECONDS)
        assert found == [("Killed", "Received Kill signal", "wrapper")]
        return elapsed

    with agent(wms.folder, wms.url):
        at_best(2.0, seconds)


def test_a_wrapper_that_dies_is_recovered(wms: RunningWms) -> None:
    """Its stage is closed, the job is Failed / JobWrapper execution, the record says by whom, within 5 s."""

    def seconds(_: int) -> float:
        begin = time.monotonic()
        job_id = submit(wms, "die")
        eventually(lambda: wms.status(job_id) == ("Failed", "JobWrapper execution"), DEADLINE_SECONDS)
        eventually(lambda: records(wms, job_id) == [("Failed", "JobWrapper execution", "agent")], DEADLINE_SECONDS)
        elapsed = time.monotonic() - begin
        look_at_one_that_died(control(wms, job_id))
        return elapsed

    with agent(wms.folder, wms.url):
        at_best(5.0, seconds)


def look_at_one_that_died(folder: Path) -> None:
    """The stage is closed and the end is known, with the cause."""
    entries = read_journal(folder)
    (stage,) = facts_of(entries, StageFinished)
    (reaped,) = facts_of(entries, WrapperReaped)
    (end,) = facts_of(entries, AttemptEnded)
    assert (stage.stage, stage.error_type, end.error_type) == ("initialize", "wrapper_died", "wrapper_died")
    assert stage.at_boottime_ns == reaped.end_boottime_ns
    assert reaped.signal == signal.SIGKILL


def test_what_a_wrapper_could_not_tell_is_delivered(wms: RunningWms) -> None:
    """Statuses and record of a wrapper that never reached the WMS arrive through the agent."""
    job_id = submit(wms, "away")
    with agent(wms.folder, wms.url, "drain") as process:
        assert ended(process) == 0
    assert wms.status(job_id) == ("Done", "Execution Complete")
    assert records(wms, job_id) == [("Done", "Execution Complete", "wrapper")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_jobs_as_preempted(wms: RunningWms, number: signal.Signals) -> None:
    """Every running job goes back to the queue and is not counted; no process is left; the next agent carries on."""
    jobs = [submit(wms, "pause"), submit(wms, "pause")]
    with agent(wms.folder, wms.url) as process:
        for job_id in jobs:
            reaches(wms, job_id, "Running")
        process.send_signal(number)
        assert ended(process) == 0
        assert [seen.pid for seen in living() if str(wms.folder) in seen.command] == []
    wms.settle()
    assert [wms.status(job_id)[0] for job_id in jobs] == ["Waiting", "Waiting"]
    for job_id in jobs:
        (end,) = facts_of(read_journal(control(wms, job_id)), AttemptEnded)
        assert (end.status, end.error_type) == ("Rescheduled", "preempted")
        assert len(records(wms, job_id)) == 1
    with agent(wms.folder, wms.url) as process:
        reaches(wms, jobs[0], "Running")
        assert control(wms, jobs[0], 2).is_dir()
        process.send_signal(number)
        assert ended(process) == 0


def test_a_second_signal_kills(wms: RunningWms) -> None:
    """A wrapper that takes no notice of SIGTERM is killed at the second signal, and its job goes back as well."""
    job_id = submit(wms, "stubborn")
    with agent(wms.folder, wms.url) as process:
        reaches(wms, job_id, "Running")
        process.send_signal(signal.SIGTERM)
        says(wms.folder, "told to stop")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    (end,) = facts_of(read_journal(control(wms, job_id)), AttemptEnded)
    assert (end.status, end.error_type, end.recorded_by) == ("Rescheduled", "preempted", "agent")
    wms.settle()
    assert wms.status(job_id)[0] == "Waiting"


def test_the_next_agent_carries_on(wms: RunningWms) -> None:
    """A killed agent's wrapper goes on; the next agent sees it to its end, and ends what has died meanwhile."""
    lives, dies = submit(wms, "pause"), submit(wms, "pause")
    with agent(wms.folder, wms.url):
        for job_id in (lives, dies):
            reaches(wms, job_id, "Running")
    pid = wrapper_pid(control(wms, lives))
    assert is_alive(pid)
    os.kill(wrapper_pid(control(wms, dies)), signal.SIGKILL)
    with agent(wms.folder, wms.url, "JobAgent.Slots=1") as process:
        eventually(lambda: facts_of(read_journal(control(wms, dies)), AttemptEnded), DEADLINE_SECONDS)
        assert is_alive(pid)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    eventually(lambda: not is_alive(pid), DEADLINE_SECONDS)  # its journal is closed, and it may still be ending
    (end,) = facts_of(read_journal(control(wms, lives)), AttemptEnded)
    assert (end.status, end.error_type, end.recorded_by) == ("Rescheduled", "preempted", "wrapper")


def test_one_agent_a_folder(wms: RunningWms) -> None:
    """The second one says so and ends; the first is not disturbed."""
    job_id = submit(wms, "pause")
    with agent(wms.folder, wms.url) as first:
        reaches(wms, job_id, "Running")
        with agent(wms.folder, wms.url) as second:
            assert ended(second) == 1
        assert "another agent works on" in (wms.folder / "agent.log").read_text()
        assert first.poll() is None
        first.send_signal(signal.SIGTERM)
        assert ended(first) == 0


def test_a_wms_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """No busy loop, no end: the agent asks with growing pauses, and still stops at once when it is told to."""
    with faulty_server(lambda _: Reply(503, {})) as (server, url):
        for number, address in enumerate((url, nobody())):
            folder = tmp_path / str(number)
            (folder / "tokens").mkdir(parents=True)
            (folder / "tokens" / "pilot.token").write_text("a-pilot-token\n")
            with agent(folder, address) as process:
                says(folder, "no jobs can be taken now")
                process.send_signal(signal.SIGTERM)
                assert ended(process) == 0
        assert len(server.seen) < 12


def test_a_token_that_is_no_pilots_is_said(wms: RunningWms) -> None:
    """An agent without rights ends at once with the reason, and without the token in it."""
    (wms.folder / "tokens" / "pilot.token").write_text(wms.user_token)
    with agent(wms.folder, wms.url) as process:
        assert ended(process) == 1
    log = (wms.folder / "agent.log").read_text()
    assert "HTTP 403" in log
    assert wms.user_token not in log


def test_low_disk_takes_no_job(wms: RunningWms) -> None:
    """With less room than MinDiskSpace no job is taken, and the agent says so."""
    job_id = submit(wms, "quick")
    wanted = shutil.disk_usage(wms.folder).total * 2
    with agent(wms.folder, wms.url, f"JobAgent.MinDiskSpace={wanted}") as process:
        says(wms.folder, "no new job is taken")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    assert wms.status(job_id)[0] == "Waiting"


def test_a_full_outbox_takes_no_job(wms: RunningWms) -> None:
    """With more ended jobs that wait for the WMS than MaxOutboxJobs the agent takes no other one and says so; when they
    are delivered it goes on."""
    first = submit(wms, "quick")
    with agent(wms.folder, wms.url, "drain") as process:
        assert ended(process) == 0
    (control(wms, first) / "settled").unlink()
    (control(wms, first) / "wms-status.acks.jsonl").unlink()

    with agent(wms.folder, nobody(), "JobAgent.MaxOutboxJobs=0") as process:
        says(wms.folder, "more than MaxOutboxJobs: no new job is taken")
        eventually(lambda: "short of outbox" in (wms.folder / "told").read_text())  # the observer hears after the log
    second = submit(wms, "quick")
    with agent(wms.folder, wms.url, "JobAgent.MaxOutboxJobs=0") as process:
        reaches(wms, second, "Done")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    assert records(wms, first) == [("Done", "Execution Complete", "wrapper")]


def test_without_filling_mode_one_job_is_all(wms: RunningWms) -> None:
    """FillingModeFlag off: one job, then the agent ends."""
    jobs = [submit(wms, "quick"), submit(wms, "quick")]
    with agent(wms.folder, wms.url, "JobAgent.FillingModeFlag=no") as process:
        assert ended(process) == 0
    assert sorted(wms.status(job_id)[0] for job_id in jobs) == ["Done", "Waiting"]


def test_failed_matches_stop_the_agent(wms: RunningWms) -> None:
    """StopAfterFailedMatches: after so many calls in a row without a job the agent ends."""
    options = ("JobAgent.StopAfterFailedMatches=2", "JobAgent.PollingTime=0.1")
    with agent(wms.folder, wms.url, *options) as process:
        assert ended(process) == 0


def test_old_folders_are_removed(wms: RunningWms) -> None:
    """A folder whose attempt is settled and older than JobRetention goes; one that is not delivered stays."""
    old, open_ = submit(wms, "quick"), submit(wms, "quick")
    with agent(wms.folder, wms.url, "drain") as process:
        assert ended(process) == 0
    (control(wms, open_) / "settled").unlink()
    (control(wms, open_) / "wms-accounting.acks.jsonl").unlink()
    # By hand, a dead letter: what goes with the folder undelivered is counted.
    Acknowledgements(control(wms, old), "sink-of-another-version").settle("document", "dead", "refused")
    os.utime(control(wms, old) / "settled", (1, 1))
    with agent(wms.folder, wms.url, "drain", "JobAgent.JobRetention=3600") as process:
        assert ended(process) == 0
    assert not control(wms, old).parent.exists()
    assert expired(wms.folder / "agent") == {"sink-of-another-version": 1}
    assert "document was never taken by sink-of-another-version: refused" in (wms.folder / "agent.log").read_text()
    assert (control(wms, open_) / "settled").exists()


def test_no_status_follows_a_kill(wms: RunningWms) -> None:
    """Neither the wrapper nor the agent reports a status for a job that the user has killed."""
    job_id = submit(wms, "pause")
    with agent(wms.folder, wms.url) as process:
        reaches(wms, job_id, "Running")
        kill(wms, job_id)
        eventually(lambda: records(wms, job_id), DEADLINE_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    statuses = facts_of(read_journal(control(wms, job_id)), StatusChanged)
    assert [fact.status for fact in statuses if fact.status] == ["Matched", "Running"]
    assert wms.status(job_id) == ("Killed", "Received Kill signal")


def test_a_killed_pilot_ends_and_its_jobs_go_back(wms: RunningWms) -> None:
    """Told by the WMS, the agent stops as by SIGTERM, with jobs and without; its log is there to be read."""
    stamp = ""
    for behaviour in ("pause", ""):
        job_id = submit(wms, behaviour) if behaviour else 0
        with agent(wms.folder, wms.url) as process:
            if job_id:
                reaches(wms, job_id, "Running")
            # The one before may not have been heard when it said that it ends.
            fresh = partial(lambda known: [each for each in working(wms) if each != known], stamp)
            (stamp,) = eventually(fresh, DEADLINE_SECONDS, "the agent to register")
            answer = wms.call("POST", f"/api/jobspan/pilots/{stamp}/kill", token=wms.admin_token)
            assert answer.status_code == 204
            assert ended(process) == 0
        if job_id:
            reaches(wms, job_id, "Waiting")
            wms.call("POST", "/api/jobspan/jobs/kill", {"job_ids": [job_id]})
        said = wms.call("GET", f"/api/jobspan/pilots/{stamp}/log").json()["Log"]
        assert any("told to stop" in each["Message"] for each in said)


def working(wms: RunningWms) -> list[str]:
    """Stamps of the pilots that have not ended."""
    found = wms.call("POST", "/api/pilots/search", {}).json()
    return [each["PilotStamp"] for each in found if each["Status"] == "Running"]


OFFERING = """
[Site]
Site = "LCG.Offer.org"
GridCE = "ce1"
Tag = ["GPU", "SSD"]
RequiredTag = ["GPU"]
MaxRAM = 4096
CPUNormalizationFactor = 2.0
CPUTimeLeft = 7200

[JobAgent]
Slots = 2
JobType = ["Merge", "User"]
Owner = ["alice"]
OwnerGroup = ["local_user"]
"""


def test_what_the_options_say_of_a_slot_is_offered(tmp_path: Path) -> None:
    """Required tags, whole node, memory, work left, types, owners and groups are in the call that asks for a job."""
    (tmp_path / "jobspan.toml").write_text(OFFERING)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "pilot.token").write_text("a-pilot-token\n")
    with faulty_server(lambda _: Reply(503, {})) as (server, url), agent(tmp_path, url):
        eventually(lambda: offers(server), DEADLINE_SECONDS, "a match call")
        offer = offers(server)[0]
    assert {name: offer[name] for name in ("Site", "GridCE", "Tags", "RequiredTags")} == {
        "Site": "LCG.Offer.org", "GridCE": "ce1", "Tags": ["GPU", "SSD"], "RequiredTags": ["GPU"],
    }  # fmt: skip
    assert (offer["JobTypes"], offer["Owners"], offer["OwnerGroups"]) == (["Merge", "User"], ["alice"], ["local_user"])
    assert (offer["Processors"], offer["WholeNode"], offer["MemoryMB"]) == (2, True, 4096)
    assert 7000 < offer["CPUWorkLeft"] <= 7200


def offers(server: FaultyServer) -> list[dict[str, Any]]:
    """The bodies of all match calls that have arrived."""
    return [each.body for each in server.seen if each.path == "/api/jobspan/match"]
