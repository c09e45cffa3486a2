"""Statuses, fences, kills and heartbeats, over real HTTP and SQLite."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from runner.server.models import MAX_ITEMS
from runner.server.tokens import Identity, JobClaims
from telemetry.ledger.record import Record
from tests.support.ledger import matched, whole_life
from tests.support.wms import RunningWms, running_wms

_SITES = count(1)
ANY_OF_MANY = {"parameter": "JobID", "operator": "in", "values": list(range(MAX_ITEMS // 2 + 1))}


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module, on each kind of database."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        yield running


@pytest.fixture
def job(wms: RunningWms) -> dict[str, Any]:
    """A job that was just matched: the answer of the match."""
    site = f"LCG.Site{next(_SITES)}.org"
    wms.submit(f'Executable = "/bin/true"; Site = "{site}";')
    match = wms.match(Site=site)
    assert match
    return match


def running(wms: RunningWms, job: dict[str, Any]) -> int:
    answer = wms.report(job["JobID"], {"Status": "Running", "MinorStatus": "Job Initialization"}, token=job["JobToken"])
    assert answer["Status"] == "Running"
    return int(job["JobID"])


def patch(wms: RunningWms, job_id: int, token: str, **update: str) -> Any:
    body = {str(job_id): {datetime.now(UTC).isoformat(): update}}
    return wms.call("PATCH", "/api/jobs/status", body, token=token)


def record_of(job: dict[str, Any], status: str = "Done", minor: str = "Execution Complete") -> dict[str, Any]:
    fact = matched(job["JobID"], job["Attempt"], uid=job["UID"], wms_id=job["WMSID"])
    record: Record = whole_life(fact).record().replace(FinalMajorStatus=status, FinalMinorStatus=minor)
    return {name: value for name, value in record.items() if value is not None}


# --- the state machine ------------------------------------------------------------------------


def test_a_refused_status_is_answered_with_the_one_kept(wms: RunningWms, job: dict[str, Any]) -> None:
    """A refused transition is 200: the status kept, a reason, and neither minor status nor any time has changed."""
    before = wms.job(job["JobID"])
    answer = wms.report(job["JobID"], {"Status": "Done", "MinorStatus": "x"}, token=wms.pilot_token)
    assert (answer["Status"], answer["MinorStatus"], answer["EndExecTime"]) == ("Matched", None, None)
    assert answer["Reason"] == "a job that is Matched cannot become Done"
    assert wms.job(job["JobID"]) == before


@pytest.mark.parametrize("back", ["Received", "Checking", "Staging", "Waiting", "Matched"])
@pytest.mark.parametrize("force", [False, True])
def test_a_job_that_was_handed_out_waits_again_by_a_reschedule_alone(
    wms: RunningWms, job: dict[str, Any], back: str, force: bool
) -> None:
    """No status takes a job back to before its match, nor does force: the attempt is given away, a new one can be."""
    job_id = running(wms, job)
    wms.report(job_id, {"Status": "Rescheduled", "MinorStatus": "by hand"})
    token = wms.admin_token if force else ""
    body = {str(job_id): {datetime.now(UTC).isoformat(): {"Status": back, "Source": "Manual"}}}
    answer = wms.call("PATCH", f"/api/jobs/status?force={force}", body, token=token).json()["success"][str(job_id)]
    assert (answer["Status"], answer["Reason"]) == (
        "Rescheduled",
        f"attempt 1 was handed out, so that the job cannot become {back}; ask for a reschedule",
    )
    assert wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]}).status_code == 200
    wms.settle()
    match = wms.match(Site=wms.job(job_id)["Site"])
    assert match
    assert (match["JobID"], match["Attempt"]) == (job_id, 2)


def test_a_running_job_does_not_become_received(wms: RunningWms, job: dict[str, Any]) -> None:
    """A status alone cannot hand an attempt to a second wrapper while the first one runs."""
    job_id = running(wms, job)
    assert wms.report(job_id, {"Status": "Received"})["Status"] == "Running"
    assert wms.match(Site=wms.job(job_id)["Site"]) is None


def test_the_agent_of_a_match_says_how_far_it_is(wms: RunningWms, job: dict[str, Any]) -> None:
    """A Matched job stays Matched with another minor status."""
    said = {"Status": "Matched", "MinorStatus": "Submitting To CE"}
    answer = wms.report(job["JobID"], said, token=job["JobToken"])
    assert (answer["Status"], answer["MinorStatus"], answer.get("Reason")) == ("Matched", "Submitting To CE", None)


def test_times_are_set_once_and_in_place(wms: RunningWms, job: dict[str, Any]) -> None:
    """Running sets StartExecTime, the end sets EndExecTime; neither moves with what follows."""
    job_id = running(wms, job)
    started = wms.job(job_id)["StartExecTime"]
    for status in ("Completing", "Done"):
        wms.report(job_id, {"Status": status}, token=job["JobToken"])
    first = wms.job(job_id)
    wms.report(job_id, {"Status": "Done", "MinorStatus": "Execution Complete"}, token=job["JobToken"])
    last = wms.job(job_id)
    assert first["StartExecTime"] == last["StartExecTime"] == started
    assert first["EndExecTime"] == last["EndExecTime"]
    assert first["EndExecTime"]


def test_a_wrapper_with_a_slow_clock_still_runs(wms: RunningWms, job: dict[str, Any]) -> None:
    """Reports of a wrapper are ordered by its own clock, even if that is an hour behind the WMS's."""
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    answer = wms.report(job["JobID"], {"Status": "Running"}, token=job["JobToken"], at=hour_ago)
    assert answer["Status"] == "Running"
    later = wms.report(job["JobID"], {"MinorStatus": "a"}, token=job["JobToken"], at=hour_ago + timedelta(seconds=1))
    assert later["MinorStatus"] == "a"
    history = wms.logging_info(job["JobID"])
    assert history[-1]["Status"] == "Running"
    assert history == sorted(history, key=lambda each: each["StatusTime"])


def test_a_wrapper_with_a_fast_clock_can_be_killed(wms: RunningWms, job: dict[str, Any]) -> None:
    """Reports from the future neither stand in the history as such nor keep the user from killing the job."""
    ahead = datetime.now(UTC) + timedelta(hours=1)
    wms.report(job["JobID"], {"Status": "Running"}, token=job["JobToken"], at=ahead)
    assert wms.report(job["JobID"], {"Status": "Killed"})["Status"] == "Killed"
    assert wms.status(job["JobID"]) == ("Killed", "Marked for termination")


def test_a_repeated_report_learns_what_the_job_is(wms: RunningWms, job: dict[str, Any]) -> None:
    """A wrapper whose answer was lost repeats the call: nothing happens twice, and the answer has the status."""
    running(wms, job)
    moment = datetime.now(UTC)
    body = {"Status": "Completing", "MinorStatus": "Application Finished Successfully"}
    first = wms.report(job["JobID"], body, token=job["JobToken"], at=moment)
    again = wms.report(job["JobID"], body, token=job["JobToken"], at=moment)
    assert first["Status"] == again["Status"] == "Completing"
    assert again["MinorStatus"] == "Application Finished Successfully"


def test_the_witness_has_its_own_clock(wms: RunningWms, job: dict[str, Any]) -> None:
    """Arrivals of Running and of the end are stamped by the WMS, whatever the wrapper's clock says."""
    before = datetime.now(UTC)
    past = before - timedelta(days=1)
    for number, status in enumerate(("Running", "Completing", "Done")):
        wms.report(job["JobID"], {"Status": status}, token=job["JobToken"], at=past + timedelta(seconds=number))
    attempt = wms.call("GET", f"/api/jobspan/witness?job_id={job['JobID']}").json()["Attempts"][0]
    moments = [datetime.fromisoformat(attempt[name]) for name in ("RunningTime", "EndTime")]
    assert before - timedelta(milliseconds=1) <= moments[0] <= moments[1] <= datetime.now(UTC)
    assert (attempt["UID"], attempt["Status"], attempt["Owner"]) == (job["UID"], "Done", "alice")


# --- the fence --------------------------------------------------------------------------------


def fenced(answer: Any) -> bool:
    return answer.status_code == 409 and answer.headers["Jobspan-Fenced"] == "1" and "fenced" in answer.json()["detail"]


def test_the_first_attempts_token_is_fenced_off_by_the_second(wms: RunningWms, job: dict[str, Any]) -> None:
    """After a reschedule every call with the old token is answered 409 with the mark, and changes nothing."""
    job_id, token = running(wms, job), job["JobToken"]
    assert wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]}).status_code == 200
    wms.settle()
    before = wms.job(job_id)
    info = {"checksum_algorithm": "sha256", "checksum": "0" * 64, "size": 1, "format": "tar.bz2"}
    answers = [
        patch(wms, job_id, token, Status="Done"),
        wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {}}, token=token),
        wms.call("PATCH", "/api/jobs/metadata", {str(job_id): {"A": "b"}}, token=token),
        wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]}, token=token),
        wms.call("POST", "/api/jobs/sandbox", info, token=token),
        wms.call("PATCH", f"/api/jobs/{job_id}/sandbox/output", "SB:SandboxSE|/S3/x", token=token),
        wms.call("POST", f"/api/jobspan/jobs/{job_id}/token", {}, token=token),
        wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters", token=token),
        wms.call("POST", "/api/jobspan/catalog/lookup", {"LFNs": []}, token=token),
        wms.call("POST", "/api/jobspan/commands/ack", {"CommandIDs": []}, token=token),
    ]
    assert [fenced(answer) for answer in answers] == [True] * len(answers)
    assert wms.job(job_id) == before


def test_a_fenced_attempt_still_delivers_its_record(wms: RunningWms, job: dict[str, Any]) -> None:
    """What an attempt has used is accounted even if the job has moved on."""
    job_id = running(wms, job)
    wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]})
    answer = wms.call("POST", "/api/jobspan/accounting", {"Records": [record_of(job)]}, token=job["JobToken"])
    assert answer.json()["Results"][0]["Outcome"] == "inserted"


def test_the_second_execution_of_an_attempt_is_fenced_off(wms: RunningWms, job: dict[str, Any]) -> None:
    """Two executions of one attempt: the first that reports Running goes on, the other is refused before a payload."""
    job_id, path = job["JobID"], f"/api/jobspan/jobs/{job['JobID']}/token"
    claims = ("first-execution-0", "second-execution")
    one, two = (wms.call("POST", path, {"Claim": claim}, token=job["JobToken"]).json()["JobToken"] for claim in claims)
    assert patch(wms, job_id, one, Status="Running", Source="JobWrapper").status_code == 200
    assert fenced(patch(wms, job_id, two, Status="Running", Source="JobWrapper"))
    assert fenced(wms.call("POST", path, {}, token=two))
    assert patch(wms, job_id, one, MinorStatus="Application").status_code == 200


def test_a_job_token_cannot_touch_another_job(wms: RunningWms, job: dict[str, Any]) -> None:
    """Every call for another job, of the same owner even, is 403 and changes nothing."""
    other, token = wms.submit('Executable = "/bin/true"; Site = "LCG.Nowhere.org";'), job["JobToken"]
    before = wms.job(other)
    answers = [
        patch(wms, other, token, Status="Killed"),
        wms.call("PATCH", "/api/jobs/heartbeat", {str(job["JobID"]): {}, str(other): {}}, token=token),
        wms.call("PATCH", "/api/jobs/metadata", {str(other): {"A": "b"}}, token=token),
        wms.call("POST", "/api/jobs/reschedule", {"job_ids": [other]}, token=token),
        wms.call("PATCH", f"/api/jobs/{other}/sandbox/output", "SB:SandboxSE|/S3/x", token=token),
        wms.call("GET", f"/api/jobs/{other}/sandbox", token=token),
        wms.call("POST", f"/api/jobspan/jobs/{other}/token", {}, token=token),
        wms.call("GET", f"/api/jobspan/jobs/{other}/peek", token=token),
        wms.call("GET", f"/api/jobspan/jobs/{other}/description", token=token),
        wms.call("POST", "/api/jobspan/accounting", {"Records": [record_of({**job, "JobID": other})]}, token=token),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert wms.job(other) == before


def test_a_job_token_is_renewed_for_the_same_attempt(wms: RunningWms, job: dict[str, Any]) -> None:
    """The new token works like the old one, and says when it expires."""
    job_id = running(wms, job)
    fresh = wms.call("POST", f"/api/jobspan/jobs/{job_id}/token", token=job["JobToken"]).json()
    assert datetime.fromisoformat(fresh["JobTokenExpires"]) > datetime.now(UTC) + timedelta(minutes=59)
    assert patch(wms, job_id, fresh["JobToken"], MinorStatus="m").status_code == 200


def test_an_attempt_that_was_never_handed_out_has_no_say(wms: RunningWms) -> None:
    """A token for an attempt without a match is fenced off, even if it is signed by us."""
    job_id = wms.submit('Executable = "/bin/true"; Site = "LCG.Nowhere.org";')
    owner = Identity("alice", "local_user", "local", frozenset())
    token, _ = wms.context.mint.job(owner, JobClaims(job_id, 1, "c"), 60)
    assert fenced(patch(wms, job_id, token, MinorStatus="m"))


# --- kill -------------------------------------------------------------------------------------


def commands(wms: RunningWms, job: dict[str, Any], wait_seconds: float = 0.0) -> list[dict[str, Any]]:
    names = {name: job[name] for name in ("JobID", "Attempt")}
    body = {"PilotStamp": "stamp-1", "Jobs": [names], "WaitSeconds": wait_seconds}
    found: list[dict[str, Any]] = wms.call("POST", "/api/jobspan/commands", body, token=wms.pilot_token).json()[
        "Commands"
    ]
    return found


def test_a_kill_is_ordered_repeated_acknowledged_and_confirmed(wms: RunningWms, job: dict[str, Any]) -> None:
    """The whole way of a kill: order, command until acknowledged, confirmation, and the end with the record."""
    job_id, token = running(wms, job), job["JobToken"]
    assert wms.report(job_id, {"Status": "Killed"})["Status"] == "Killed"
    assert wms.status(job_id) == ("Killed", "Marked for termination")
    assert wms.job(job_id)["EndExecTime"] is None
    first, again = commands(wms, job), commands(wms, job)
    assert first == again
    assert [(each["JobID"], each["Attempt"], each["Command"]) for each in first] == [(job_id, 1, "Kill")]
    beat = wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {}}, token=token).json()
    kill = first[0]["CommandID"]
    assert beat == [{"job_id": job_id, "command": "Kill", "arguments": "", "command_id": kill}]
    assert wms.call("POST", "/api/jobspan/commands/ack", {"CommandIDs": [kill]}, token=token).status_code == 204
    assert wms.status(job_id) == ("Killed", "Received Kill signal")
    assert commands(wms, job) == []
    assert wms.job(job_id)["EndExecTime"] is None
    record = record_of(job, "Killed", "Received Kill signal")
    wms.call("POST", "/api/jobspan/accounting", {"Records": [record]}, token=token)
    assert wms.job(job_id)["EndExecTime"]


def test_a_waiting_agent_hears_of_a_kill_at_once(wms: RunningWms, job: dict[str, Any]) -> None:
    """A call for commands that waits is answered when a kill is ordered, long before its time is over."""
    job_id = running(wms, job)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(commands, wms, job, 30.0)
        wms.report(job_id, {"Status": "Killed"})
        assert [each["JobID"] for each in waiting.result(20)] == [job_id]


def test_after_the_kill_the_wrapper_has_no_say(wms: RunningWms, job: dict[str, Any]) -> None:
    """Whatever a killed job's wrapper reports, status and minor status stay, and the answer says Killed."""
    job_id = running(wms, job)
    wms.report(job_id, {"Status": "Killed"})
    for update in ({"Status": "Done"}, {"MinorStatus": "Output Sandbox Uploaded"}, {"ApplicationStatus": "x"}):
        answer = wms.report(job_id, update, token=job["JobToken"])
        assert answer["Status"] == "Killed"
        assert answer.get("Reason")
    assert wms.status(job_id) == ("Killed", "Marked for termination")


def test_the_record_confirms_a_kill_whose_acknowledgement_was_lost(wms: RunningWms, job: dict[str, Any]) -> None:
    """Nothing of an attempt runs once its record is there: kill confirmed, job ended, command gone."""
    job_id = running(wms, job)
    wms.report(job_id, {"Status": "Killed"})
    record = record_of(job, "Killed", "Received Kill signal")
    wms.call("POST", "/api/jobspan/accounting", {"Records": [record]}, token=wms.pilot_token)
    assert wms.status(job_id) == ("Killed", "Received Kill signal")
    assert wms.job(job_id)["EndExecTime"]
    assert commands(wms, job) == []


def test_a_job_that_nobody_runs_is_killed_without_a_command(wms: RunningWms) -> None:
    """Killing a waiting job ends it at once."""
    job_id = wms.submit('Executable = "/bin/true"; Site = "LCG.Nowhere.org";')
    wms.report(job_id, {"Status": "Killed", "MinorStatus": "Marked for termination"})
    assert wms.job(job_id)["EndExecTime"]
    assert commands(wms, {"JobID": job_id, "Attempt": 1}) == []


def test_killing_twice_orders_once(wms: RunningWms, job: dict[str, Any]) -> None:
    """A second kill is the same kill."""
    job_id = running(wms, job)
    for _ in range(3):
        wms.report(job_id, {"Status": "Killed"})
    assert len(commands(wms, job)) == 1
    assert wms.status(job_id) == ("Killed", "Marked for termination")


# --- heartbeats and parameters ----------------------------------------------------------------


def test_heartbeats_feed_witness_and_peek(wms: RunningWms, job: dict[str, Any]) -> None:
    """Two heartbeats within a second are fine; the newest counts; the peek is readable by the owner."""
    job_id, token = running(wms, job), job["JobToken"]
    for cpu in (1.5, 2.5):
        beat = {"CPUConsumed": cpu, "WallClockTime": 9, "LoadAverage": 0.5, "StandardOutput": f"line {cpu}\n"}
        assert wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): beat}, token=token).json() == []
    seen = wms.call("GET", f"/api/jobspan/witness?job_id={job_id}").json()["Attempts"][0]["LastHeartbeat"]
    assert (seen["CPUConsumed"], seen["WallClockTime"]) == (2.5, 9)
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/peek").json()["StandardOutput"] == "line 2.5\n"
    assert "StandardOutput" not in wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()


def test_an_endless_peek_keeps_its_end(wms: RunningWms, job: dict[str, Any]) -> None:
    """Of a peek of several megabytes the last one is kept."""
    job_id = running(wms, job)
    beat = {"StandardOutput": "x" * (3 << 20) + "the end"}
    assert wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): beat}, token=job["JobToken"]).status_code == 200
    peek = wms.call("GET", f"/api/jobspan/jobs/{job_id}/peek").json()["StandardOutput"]
    assert len(peek) == 1 << 20
    assert peek.endswith("the end")


def test_a_heartbeat_starts_a_matched_job(wms: RunningWms, job: dict[str, Any]) -> None:
    """The first sign of life of a matched job makes it Running, and claims it."""
    assert wms.call("PATCH", "/api/jobs/heartbeat", {str(job["JobID"]): {}}, token=job["JobToken"]).status_code == 200
    assert wms.status(job["JobID"])[0] == "Running"
    assert wms.logging_info(job["JobID"])[-1]["Source"] == "Heartbeat"


def test_parameters_keep_their_values(wms: RunningWms, job: dict[str, Any]) -> None:
    """The last value of a name counts; numbers stay numbers, fractions too."""
    job_id = running(wms, job)
    for values in ({"A": "1", "HostName": "wn1"}, {"A": "2", "CPUNormalizationFactor": "10.5", "TotalCPUTime(s)": 4.0}):
        assert wms.call("PATCH", "/api/jobs/metadata", {str(job_id): values}, token=job["JobToken"]).status_code == 204
    expected = {"A": "2", "CPUNormalizationFactor": 10.5, "HostName": "wn1", "TotalCPUTime(s)": 4}
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json() == expected


def test_the_description_can_be_read_back(wms: RunningWms, job: dict[str, Any]) -> None:
    """The owner gets the description as a mapping and as JDL; a job without output has no peek."""
    found = wms.call("GET", f"/api/jobspan/jobs/{job['JobID']}/description").json()
    assert found["Description"]["Executable"] == "/bin/true"
    assert 'Executable = "/bin/true"' in found["JDL"]
    assert wms.call("GET", f"/api/jobspan/jobs/{job['JobID']}/peek").status_code == 404


# --- all in one call ----------------------------------------------------------------------------


def say(wms: RunningWms, job: dict[str, Any], token: str = "", **said: Any) -> Any:
    path = f"/api/jobspan/jobs/{job['JobID']}/report"
    return wms.call("POST", path, said, token=token or job["JobToken"])


def at(seconds: float = 0.0, **update: str) -> dict[str, Any]:
    return {(datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(): update}


def test_a_report_is_all_of_its_parts(wms: RunningWms, job: dict[str, Any]) -> None:
    """Statuses, parameters and heartbeat of one call have the effects of the three calls of the dialect."""
    parts = {"Parameters": {"PayloadPID": 7}, "Heartbeat": {"CPUConsumed": 3.5, "StandardOutput": "hello"}}
    answer = say(wms, job, Statuses=at(Status="Running", MinorStatus="Job Initialization"), **parts).json()
    assert (answer["Kept"]["Status"], answer["Commands"]) == ("Running", [])
    job_id = job["JobID"]
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").json()["PayloadPID"] == 7
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/peek").json()["StandardOutput"] == "hello"
    (seen,) = wms.call("GET", f"/api/jobspan/witness?job_id={job_id}").json()["Attempts"]
    assert (seen["Status"], seen["LastHeartbeat"]["CPUConsumed"]) == ("Running", 3.5)


def test_a_report_is_taken_whole_or_not(wms: RunningWms, job: dict[str, Any]) -> None:
    """A part that is refused leaves the others without effect; a report without parts changes nothing."""
    refused = say(wms, job, Statuses=at(Status="Running"), Parameters={"PayloadPID": "many"})
    assert refused.status_code == 422
    assert wms.job(job["JobID"])["Status"] == "Matched"
    assert say(wms, job).json() == {"Kept": None, "Commands": []}
    assert wms.job(job["JobID"])["Status"] == "Matched"


def test_only_its_wrapper_reports_so(wms: RunningWms, job: dict[str, Any]) -> None:
    """The call is a job token's, for its own job: pilot, owner and the token of another job are refused."""
    for token in (wms.pilot_token, wms.user_token, wms.admin_token):
        assert say(wms, job, token, Parameters={"a": 1}).status_code == 403
    assert say(wms, {**job, "JobID": job["JobID"] + 1}, job["JobToken"], Parameters={"a": 1}).status_code == 403


def test_the_first_report_names_its_execution(wms: RunningWms, job: dict[str, Any]) -> None:
    """Of two executions with the token of one match, the first to report Running under its claim fences off the
    other; it may repeat that call with the same token, as one whose answer was lost."""
    one, two = "first-execution-0", "second-execution"
    statuses = at(Status="Running")
    first = say(wms, job, Claim=one, Statuses=statuses).json()
    assert first["Kept"]["Status"] == "Running"
    again = say(wms, job, Claim=one, Statuses=statuses).json()
    assert again["Kept"]["Status"] == "Running"
    late = say(wms, job, Claim=two, Statuses=at(Status="Running"))
    assert (late.status_code, late.headers.get("Jobspan-Fenced")) == (409, "1")
    unnamed = say(wms, job, Parameters={"a": 1})
    assert (unnamed.status_code, unnamed.headers.get("Jobspan-Fenced")) == (409, "1")
    assert say(wms, job, first["JobToken"], Parameters={"a": 1}).json()["Commands"] == []
    path = f"/api/jobspan/jobs/{job['JobID']}/token"
    assert wms.call("POST", path, {"Claim": one}, token=job["JobToken"]).status_code == 200
    assert wms.call("POST", path, {"Claim": two}, token=job["JobToken"]).status_code == 409


def test_a_report_is_told_of_a_kill(wms: RunningWms, job: dict[str, Any]) -> None:
    """The answer has the status kept and the command, until it is acknowledged."""
    say(wms, job, Statuses=at(Status="Running"))
    wms.report(job["JobID"], {"Status": "Killed"})
    answer = say(wms, job, Statuses=at(1, Status="Done")).json()
    assert answer["Kept"]["Status"] == "Killed"
    assert [each["command"] for each in answer["Commands"]] == ["Kill"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/api/jobs/status", {str(number): {} for number in range(MAX_ITEMS + 1)}),
        ("PATCH", "/api/jobs/heartbeat", {str(number): {} for number in range(MAX_ITEMS + 1)}),
        ("PATCH", "/api/jobs/metadata", {str(number): {} for number in range(MAX_ITEMS + 1)}),
        ("PATCH", "/api/pilots/metadata", {str(number): {} for number in range(MAX_ITEMS + 1)}),
        ("POST", "/api/jobs/search", {"search": [ANY_OF_MANY] * 2}),
        ("POST", "/api/jobs/summary", {"grouping": ["Status"], "search": [ANY_OF_MANY] * 2}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_call_names_so_many_and_no_more(wms: RunningWms, method: str, path: str, body: Any) -> None:
    """More is refused as a whole, before anybody waits for it: never an error of the database."""
    assert wms.call(method, path, body).status_code == 422
