"""From submission to the next attempt: JobManager, optimisers, matcher, over real HTTP and SQLite."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from telemetry.identity import attempt_uid
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

SITE = 'Executable = "/bin/true"; Site = "%s";'


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        yield running


def start(wms: RunningWms, site: str) -> tuple[int, dict]:
    """A job that has been matched at *site*, and the answer of the match."""
    job_id = wms.submit(SITE % site)
    match = wms.match(Site=site)
    assert match
    assert match["JobID"] == job_id
    return job_id, match


def report(wms: RunningWms, job_id: int, status: str | None = None, minor: str | None = None, token: str = "") -> dict:
    """Report a status now; the answer for the job."""
    return wms.report(job_id, {"Status": status, "MinorStatus": minor}, token=token)


def reschedule(wms: RunningWms, job_id: int, query: str = "", token: str = ""):
    """Reschedule a job, which the optimizers then take as far as it gets; the answer."""
    answer = wms.call("POST", f"/api/jobs/reschedule{query}", {"job_ids": [job_id]}, token=token)
    wms.settle()
    return answer


def test_a_job_goes_through_the_optimisers_to_waiting(wms: RunningWms) -> None:
    """Received, Checking with the next step as minor status, Waiting: with DIRAC's strings, in order of time."""
    job_id = wms.submit(SITE % "LCG.Nowhere.org")
    history = wms.logging_info(job_id)
    assert [(each["Status"], each["MinorStatus"], each["Source"]) for each in history] == [
        ("Received", "Job accepted", "JobManager"),
        ("Checking", "JobSanity", "JobPath"),
        ("Checking", "JobScheduling", "JobSanity"),
        ("Waiting", "Pilot Agent Submission", "JobScheduling"),
    ]
    assert all(one["StatusTime"] < two["StatusTime"] for one, two in pairwise(history))


def test_missing_input_data_fails_the_job_at_once(wms: RunningWms) -> None:
    """A job whose LFN no catalogue knows never waits: it fails with DIRAC's minor status, and names the file."""
    job_id = wms.submit('Executable = "/bin/true"; InputData = {"LFN:/local/a", "LFN:/local/none"};')
    assert wms.status(job_id) == ("Failed", "Input Data Not Available")
    assert wms.job(job_id)["EndExecTime"]
    parameters = wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()
    assert parameters["MissingLFNs"] == "/local/a,/local/none"


def test_known_input_data_lets_the_job_wait(wms: RunningWms) -> None:
    """A job whose files the catalogue knows passes the step InputData."""
    file = {"Catalog": "FileCatalog", "LFN": "/local/in", "Size": 3, "Adler32": "024d0127", "SE": "SE-USER", "PFN": "x"}
    assert wms.call("POST", "/api/jobspan/catalog/register", file).status_code == 201
    job_id = wms.submit('Executable = "/bin/true"; InputData = "LFN:/local/in"; Site = "LCG.Nowhere.org";')
    assert wms.status(job_id)[0] == "Waiting"
    assert "InputData" in [each["Source"] for each in wms.logging_info(job_id)]


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ('Executable = "/bin/true"; OutputSE = "SE-MARS";', "no storage element SE-MARS"),
        ('Executabel = "/bin/true";', "did you mean Executable"),
        ("", "empty"),
        ('Executable = "x"; InputSandbox = "SB:SandboxSE|/S3/none";', "not among your stored sandboxes"),
        ('Arguments = "[a]";', "Executable"),
    ],
)
def test_impossible_submissions_are_refused_in_words(wms: RunningWms, description: str, words: str) -> None:
    """A description that can never work is refused with the reason; no job of the call is made."""
    answer = wms.call("POST", "/api/jobs/jdl", ['Executable = "/bin/true";', description])
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


def test_a_match_carries_all_that_the_agent_needs(wms: RunningWms) -> None:
    """Identity, description, owner, token and the moments of queue and match, which are in order."""
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    text = 'Executable = "/bin/echo"; Arguments = "%j"; JobName = "n"; JobGroup = "g"; Site = "LCG.All.org";'
    answer = wms.call("POST", "/api/jobs/jdl", [text], headers={"traceparent": trace})
    job_id = answer.json()[0]["JobID"]
    wms.settle()
    match = wms.match(Site="LCG.All.org")
    assert match
    info = wms.call("GET", "/api/jobspan/info", token=None).json()
    assert match["UID"] == attempt_uid(info["WMSID"], job_id, 1)
    assert match["Description"]["Arguments"] == str(job_id)
    named = {name: match[name] for name in ("JobID", "Attempt", "Owner", "VO", "JobName", "JobGroup", "PreviousUID")}
    assert named == {
        "JobID": job_id, "Attempt": 1, "Owner": "alice", "VO": "local", "JobName": "n", "JobGroup": "g",
        "PreviousUID": "",
    }  # fmt: skip
    assert match["SubmitTraceparent"] == trace
    moments = [match["Times"][name] for name in ("SubmitStart", "SubmitEnd", "Waiting", "MatchStart", "MatchEnd")]
    assert moments == sorted(moments)
    assert wms.status(job_id) == ("Matched", "Assigned")


@pytest.mark.parametrize("trace", ["nonsense", f"ff-{'a' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01"])
def test_an_invalid_trace_context_is_dropped(wms: RunningWms, trace: str) -> None:
    """What is no W3C trace context is not handed on."""
    wms.call("POST", "/api/jobs/jdl", [SITE % "LCG.Trace.org"], headers={"traceparent": trace})
    wms.settle()
    match = wms.match(Site="LCG.Trace.org")
    assert match
    assert match["SubmitTraceparent"] == ""


def test_urgent_jobs_come_first_then_old_ones(wms: RunningWms) -> None:
    """Jobs are matched by priority, and among equals in the order of their submission."""
    text = 'Executable = "/bin/true"; Site = "LCG.Order.org"; Priority = %d;'
    low, high, low_too = (wms.submit(text % priority) for priority in (1, 9, 1))
    matched = [wms.match(Site="LCG.Order.org") for _ in range(4)]
    assert [each["JobID"] if each else None for each in matched] == [high, low, low_too, None]


def test_a_slot_gets_only_what_fits(wms: RunningWms) -> None:
    """A job that asks for more than the slot offers is left for another one."""
    job_id = wms.submit('Executable = "/bin/true"; Site = "LCG.Fit.org"; NumberOfProcessors = 4; Tags = "GPU";')
    assert wms.match(Site="LCG.Fit.org") is None
    assert wms.match(Site="LCG.Fit.org", Processors=4) is None
    match = wms.match(Site="LCG.Fit.org", Processors=4, Tags=["GPU"])
    assert match
    assert match["JobID"] == job_id


def test_no_job_is_matched_twice(wms: RunningWms) -> None:
    """Many agents that ask at once get each job once, and all of them."""
    jobs = {wms.submit(SITE % "LCG.Race.org") for _ in range(40)}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: wms.match(Site="LCG.Race.org"), range(60)))
    matched = [each["JobID"] for each in found if each]
    assert sorted(matched) == sorted(jobs)
    assert len({each["Claim"] for each in found if each}) == len(jobs)


def test_a_waiting_slot_gets_a_new_job_at_once(wms: RunningWms) -> None:
    """A match call that waits is answered when a job is submitted, long before its time is over."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wms.match, 30.0, Site="LCG.Poll.org")
        job_id = wms.submit(SITE % "LCG.Poll.org")
        match = waiting.result(20)
    assert match
    assert match["JobID"] == job_id
    assert match["Times"]["Waiting"] <= match["Times"]["MatchStart"]


def test_waiting_calls_do_not_use_up_the_server(wms: RunningWms) -> None:
    """While more calls wait than the server has threads, everybody else is served."""
    with ThreadPoolExecutor(45) as pool:
        waiting = [pool.submit(wms.match, 30.0, Site=f"LCG.Many{number}.org") for number in range(45)]
        eventually(lambda: threading.active_count() > 45, 10, "all callers to be under way")
        wms.submit(SITE % "LCG.Many0.org")
        rest = [SITE % f"LCG.Many{number}.org" for number in range(1, 45)]
        assert wms.call("POST", "/api/jobs/jdl", rest).status_code == 201
        assert all(each.result(20) for each in waiting)


def test_an_empty_poll_ends_when_its_time_is_over(wms: RunningWms) -> None:
    """Without a job the answer is null, after the time that was asked for."""
    assert wms.match(0.05, Site="LCG.Void.org") is None


def test_a_rescheduled_job_gets_its_next_attempt(wms: RunningWms) -> None:
    """Rescheduled and the reschedule call lead to Waiting, and the next match is attempt 2, which names the first."""
    job_id, first = start(wms, "LCG.Again.org")
    report(wms, job_id, "Running", "Job Initialization", first["JobToken"])
    report(wms, job_id, "Rescheduled", "Going to reschedule job", first["JobToken"])
    answer = reschedule(wms, job_id, token=first["JobToken"])
    assert answer.status_code == 200
    row = answer.json()["success"][str(job_id)]
    assert (row["Status"], row["MinorStatus"], row["RescheduleCounter"]) == ("Received", "Job Rescheduled", 1)
    job = wms.job(job_id)
    assert (job["Status"], job["StartExecTime"], job["EndExecTime"]) == ("Waiting", None, None)
    second = wms.match(Site="LCG.Again.org")
    assert second
    assert (second["JobID"], second["Attempt"], second["PreviousUID"]) == (job_id, 2, first["UID"])
    attempts = wms.call("GET", f"/api/jobspan/witness?job_id={job_id}").json()["Attempts"]
    assert [(each["Attempt"], each["Status"], each["MinorStatus"]) for each in attempts] == [
        (1, "Rescheduled", "Going to reschedule job"),
        (2, "Matched", "Assigned"),
    ]
    assert attempts[0]["RunningTime"] <= attempts[0]["EndTime"]


def test_rescheduling_has_an_end(wms: RunningWms) -> None:
    """After MaxRescheduling attempts of its own fault the job fails, and the answer says what became of it."""
    job_id = wms.submit(SITE % "LCG.Max.org")
    for _ in range(3):
        token = (wms.match(Site="LCG.Max.org") or {})["JobToken"]
        report(wms, job_id, "Running", token=token)
        assert reschedule(wms, job_id, token=token).status_code == 200
    token = (wms.match(Site="LCG.Max.org") or {})["JobToken"]
    report(wms, job_id, "Running", token=token)
    answer = reschedule(wms, job_id, token=token)
    assert answer.status_code == 400
    assert answer.json()["detail"] == {
        "failed": {
            str(job_id): {
                "detail": "Maximum number of reschedules exceeded (3)",
                "Status": "Failed",
                "MinorStatus": "Maximum of reschedulings reached",
            }
        },
        "success": {},
    }
    assert wms.status(job_id) == ("Failed", "Maximum of reschedulings reached")


def test_beyond_the_maximum_a_running_job_is_ordered_to_stop(wms: RunningWms) -> None:
    """Asked for by its owner: Failed, and its wrapper is told to end, and how; nothing that it says changes that."""
    job_id, match = start(wms, "LCG.GivenUp.org")
    for _ in range(3):
        assert reschedule(wms, job_id).status_code == 200
        match = wms.match(Site="LCG.GivenUp.org") or {}
    report(wms, job_id, "Running", "Application", match["JobToken"])
    assert reschedule(wms, job_id).status_code == 400

    given_up = ("Failed", "Maximum of reschedulings reached")
    assert wms.status(job_id) == given_up
    assert wms.job(job_id)["EndExecTime"] is None, "it ends when its wrapper says so"
    answer = wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {"CPUConsumed": 1.0}}, token=match["JobToken"])
    assert [(each["command"], each["arguments"]) for each in answer.json()] == [("Kill", given_up[1])]
    refused = report(wms, job_id, None, "Application Finished Successfully", match["JobToken"])
    assert (refused["Status"], refused["MinorStatus"]) == given_up
    assert given_up[1] in refused["Reason"]
    assert wms.status(job_id) == given_up


def test_preemption_does_not_count_against_the_job(wms: RunningWms) -> None:
    """A job that is preempted five times goes on, each time as another attempt."""
    job_id = wms.submit(SITE % "LCG.Preempt.org")
    for number in range(1, 6):
        match = wms.match(Site="LCG.Preempt.org")
        assert match
        assert match["Attempt"] == number
        report(wms, job_id, "Running", token=match["JobToken"])
        report(wms, job_id, "Rescheduled", token=match["JobToken"])
        assert reschedule(wms, job_id, "?preempted=true", match["JobToken"]).status_code == 200
    assert wms.status(job_id)[0] == "Waiting"


@pytest.mark.parametrize("status", ["Done", "Killed"])
def test_a_job_that_is_over_is_not_rescheduled(wms: RunningWms, status: str) -> None:
    """Done and Killed stay what they are."""
    job_id, match = start(wms, f"LCG.Over{status}.org")
    report(wms, job_id, "Running", token=match["JobToken"])
    report(wms, job_id, status)
    answer = reschedule(wms, job_id)
    assert answer.status_code == 400
    assert f"a job that is {status} cannot be rescheduled" in answer.text
    assert wms.status(job_id)[0] == status


def test_a_failed_job_can_be_tried_again_by_its_owner(wms: RunningWms) -> None:
    """Rescheduling a Failed job makes it wait again (on DiracX it silently stays Failed)."""
    job_id, match = start(wms, "LCG.Retry.org")
    report(wms, job_id, "Running", token=match["JobToken"])
    report(wms, job_id, "Failed", "Application Finished With Errors", match["JobToken"])
    assert reschedule(wms, job_id).status_code == 200
    assert wms.status(job_id)[0] == "Waiting"
    attempts = wms.call("GET", f"/api/jobspan/witness?job_id={job_id}").json()["Attempts"]
    assert [(each["Status"], each["MinorStatus"]) for each in attempts] == [
        ("Failed", "Application Finished With Errors")
    ]


def test_a_server_that_died_half_way_is_taken_up_again(tmp_path) -> None:
    """Jobs that were Received when the server ended wait after the next start."""
    with running_wms(tmp_path) as before:
        job_id = before.submit()
        with before.context.databases.write() as transaction:
            transaction.jobs.change(job_id, {"Status": "Checking"})
        wms_id = before.call("GET", "/api/jobspan/info", token=None).json()["WMSID"]
        old_token = before.user_token
    with running_wms(tmp_path) as after:
        after.settle()
        assert after.call("GET", "/api/jobspan/info", token=None).json()["WMSID"] == wms_id
        assert after.status(job_id)[0] == "Waiting"
        assert after.call("GET", "/api/auth/userinfo", token=old_token).status_code == 200
