"""Orders for many jobs, parametric submission, the site mask, pilots, and why a job waits."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from runner.server.db.pilots_logging_db import STOPS
from runner.server.tokens import Role
from tests.support.wms import RunningWms, running_wms


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module on each kind of database."""
    options = {"WMS": {"MaxParametricJobs": 20, "MaxRescheduling": 1}}
    with running_wms(tmp_path_factory.mktemp("wms"), database=database, overrides=options) as running:
        yield running


def order(wms: RunningWms, what: str, *job_ids: int, token: str = "") -> Any:
    answer = wms.call("POST", f"/api/jobspan/jobs/{what}", {"job_ids": list(job_ids)}, token=token)
    assert answer.status_code == 200, answer.text
    return answer.json()


def at(site: str, demands: str = "") -> str:
    return f'Executable = "/bin/true"; Site = "{site}"; {demands}'


def running(wms: RunningWms, site: str) -> dict[str, Any]:
    """A job that runs there, as its match was answered."""
    wms.submit(at(site))
    match = wms.match(Site=site)
    assert match
    wms.report(match["JobID"], {"Status": "Running"}, token=match["JobToken"])
    return match


def why(wms: RunningWms, job_id: int) -> dict[str, Any]:
    answer: dict[str, Any] = wms.call("GET", f"/api/jobspan/jobs/{job_id}/why").json()
    return answer


def test_a_parametric_description_makes_its_jobs(wms: RunningWms) -> None:
    """Each job has its value, its own number, and can be found with the others."""
    text = 'Executable = "/bin/echo"; Arguments = "%s of %j"; JobName = "p%n"; Parameters = {"a", "b", "c"};'
    answer = wms.call("POST", "/api/jobs/jdl", [text])
    assert answer.status_code == 201
    ids = [each["JobID"] for each in answer.json()]
    assert len(ids) == 3
    found = wms.call("GET", f"/api/jobspan/jobs/{ids[1]}/description").json()["Description"]
    assert (found["Arguments"], found["JobName"]) == (f"b of {ids[1]}", "p1")
    assert (found["Parameter"], found["ParameterNumber"]) == ("b", "1")
    assert "Parameters" not in found


def test_too_many_descriptions_make_no_job(wms: RunningWms) -> None:
    """One call takes a thousand; one more, and it is refused as a whole, in DiracX's words."""
    token = wms.token_for("eager", Role.USER)
    answer = wms.call("POST", "/api/jobs/jdl", ['Executable = "/bin/true";'] * 1001, token=token)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "Normal user cannot submit more than 1000 jobs at once"
    own = {"search": [{"parameter": "Owner", "operator": "eq", "value": "eager"}]}
    assert wms.call("POST", "/api/jobs/search", own, token=token).json() == []


@pytest.mark.parametrize("count", [0, 21])
def test_too_many_parameters_make_no_job(wms: RunningWms, count: int) -> None:
    """Beyond the limit the call is refused as a whole, in words."""
    answer = wms.call("POST", "/api/jobs/jdl", [f'Executable = "/bin/echo"; Parameters = {count};'])
    assert answer.status_code == 400
    assert "1 to 20" in answer.json()["detail"]


def test_a_kill_of_many_says_for_each_what_came_of_it(wms: RunningWms) -> None:
    """One that waits, one that runs, one of another user, one that is not there: each has its own outcome."""
    waiting, match = wms.submit(at("LCG.Kill.org")), running(wms, "LCG.Kill2.org")
    bob = wms.token_for("bob", Role.USER)
    foreign = wms.call("POST", "/api/jobs/jdl", [at("LCG.Kill3.org")], token=bob).json()[0]["JobID"]
    answer = order(wms, "kill", waiting, match["JobID"], foreign, 999_999)
    assert set(answer["success"]) == {str(waiting), str(match["JobID"])}
    assert answer["failed"] == {str(foreign): {"detail": "Forbidden"}, "999999": {"detail": "Forbidden"}}
    assert wms.status(match["JobID"]) == ("Killed", "Marked for termination")
    wanted = {"PilotStamp": "stamp-1", "Jobs": [{"JobID": match["JobID"], "Attempt": 1}]}
    (command,) = wms.call("POST", "/api/jobspan/commands", wanted, token=wms.pilot_token).json()["Commands"]
    assert command["Command"] == "Kill"
    assert wms.job(waiting)["EndExecTime"] is not None
    assert order(wms, "kill", waiting)["failed"][str(waiting)]["detail"] == "a job that is Killed cannot be killed"


def test_jobs_of_the_group_can_be_ended_by_who_shares(wms: RunningWms) -> None:
    """JobSharing gives an owner's rights on jobs of the same group, and on no others."""
    job_id = wms.submit(at("LCG.Shared.org"))
    other = wms.token_for("bob", Role.USER, Role.SHARING, group="another")
    body = {"job_ids": [job_id]}
    assert wms.call("POST", "/api/jobspan/jobs/kill", body, token=other).status_code == 403
    mate = wms.token_for("bob", Role.USER, Role.SHARING)
    assert str(job_id) in order(wms, "kill", job_id, token=mate)["success"]


def test_a_monitor_sees_all_jobs_and_changes_none(wms: RunningWms) -> None:
    """JobMonitor searches and reads, and is refused everything else."""
    job_id, monitor = wms.submit(at("LCG.Monitor.org")), wms.token_for("m", Role.MONITOR)
    assert wms.call("POST", "/api/jobs/search", {}, token=monitor).status_code in (200, 206)
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters", token=monitor).status_code == 200
    assert wms.call("POST", "/api/jobspan/jobs/kill", {"job_ids": [job_id]}, token=monitor).status_code == 403


def test_a_job_is_deleted_after_its_end(wms: RunningWms) -> None:
    """A job with a wrapper is killed first; one that waits is deleted at once."""
    match, waiting = running(wms, "LCG.Delete.org"), wms.submit(at("LCG.Delete2.org"))
    answer = order(wms, "delete", match["JobID"], waiting)
    assert answer["success"][str(match["JobID"])]["Status"] == "Killed"
    assert "delete it when it has ended" in answer["success"][str(match["JobID"])]["Reason"]
    assert wms.status(waiting) == ("Deleted", "Checking accounting")
    assert order(wms, "delete", match["JobID"])["success"][str(match["JobID"])]["Status"] == "Deleted"


def test_a_job_is_forgotten_when_it_is_over_and_accounted_for(wms: RunningWms) -> None:
    """Removed is removed from everywhere; a job that waits, or whose attempt has no record, is kept."""
    never_ran, match = wms.submit(at("LCG.Remove.org")), running(wms, "LCG.Remove2.org")
    assert "kill or delete it first" in order(wms, "remove", never_ran)["failed"][str(never_ran)]["detail"]
    order(wms, "kill", never_ran, match["JobID"])
    answer = order(wms, "remove", never_ran, match["JobID"])
    assert list(answer["success"]) == [str(never_ran)]
    assert "not accounted" in answer["failed"][str(match["JobID"])]["detail"]
    body = {"search": [{"parameter": "JobID", "operator": "eq", "value": never_ran}]}
    assert wms.call("POST", "/api/jobs/search", body).json() == []
    assert wms.call("GET", f"/api/jobspan/jobs/{never_ran}/parameters", token=wms.admin_token).status_code == 404


def test_a_reset_gives_all_attempts_back(wms: RunningWms) -> None:
    """Where rescheduling is refused for good, a reset goes on, and the attempts are still counted upwards."""
    match = running(wms, "LCG.Reset.org")
    job_id = match["JobID"]
    wms.report(job_id, {"Status": "Failed"}, token=match["JobToken"])
    again = wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]})
    assert again.status_code == 200
    wms.settle()
    second = wms.match(Site="LCG.Reset.org") or {}
    wms.report(job_id, {"Status": "Failed"}, token=second["JobToken"])
    refused = wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]})
    assert "Maximum number of reschedules" in refused.text
    assert str(job_id) in order(wms, "reset", job_id)["success"]
    wms.settle()
    assert (wms.match(Site="LCG.Reset.org") or {})["Attempt"] == 3


def test_a_banned_site_gets_no_jobs_until_it_is_allowed(wms: RunningWms) -> None:
    """The mask holds at the match; a slot that waits gets its job as soon as the site is allowed; all is on record."""
    change = {"Site": "LCG.Mask.org", "Comment": "storage is down"}
    job_id = wms.submit(at("LCG.Mask.org"))
    assert wms.call("POST", "/api/jobspan/sites/ban", change, token=wms.admin_token).status_code == 204
    assert wms.match(Site="LCG.Mask.org") is None
    assert why(wms, job_id)["Unmet"] or why(wms, job_id)["Agents"]
    assert wms.call("POST", "/api/jobspan/sites/allow", change, token=wms.admin_token).status_code == 204
    assert (wms.match(5.0, Site="LCG.Mask.org") or {})["JobID"] == job_id
    (site,) = [each for each in wms.call("GET", "/api/jobspan/sites").json()["Sites"] if each["Site"] == "LCG.Mask.org"]
    assert (site["Status"], site["Author"]) == ("Active", "alice")
    history = wms.call("GET", "/api/jobspan/sites/history?site=LCG.Mask.org").json()["History"]
    assert [(each["Status"], each["Comment"]) for each in history] == [
        ("Banned", "storage is down"),
        ("Active", "storage is down"),
    ]


def test_why_names_what_no_live_agent_has(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without agents, with agents that cannot, with one that can: each is said, agent by agent."""
    with running_wms(tmp_path_factory.mktemp("why")) as wms:
        job_id = wms.submit('Executable = "/bin/true"; Tags = "GPU"; NumberOfProcessors = 8;')
        assert why(wms, job_id)["Summary"].startswith("waits for an agent: none has asked")
        wms.match(PilotStamp="one", Processors=8)
        wms.match(PilotStamp="two", Processors=2)
        answer = why(wms, job_id)
        assert answer["Unmet"] == ["the job asks for tags that are not offered: GPU"]
        assert "cannot run on any of the 2 agents" in answer["Summary"]
        reasons = {each["PilotStamp"]: each["Reasons"] for each in answer["Agents"]}
        assert len(reasons["one"]) == 1
        assert "the job asks for 8 processors, 2 are free" in reasons["two"]
        first = wms.submit()
        assert "waits for its turn: 2 of 2 agents" in why(wms, first)["Summary"]
        assert "1 jobs of its queue come first" in why(wms, wms.submit())["Summary"]
        assert wms.match(PilotStamp="one")
        assert why(wms, first)["Summary"].startswith("does not wait: it is Matched")


def test_a_pilot_leaves_its_log_with_the_job(wms: RunningWms) -> None:
    """What a pilot says can be read by its stamp and through the job that ran in it."""
    pilot = {"pilot_stamp": "logger", "vo": "local"}
    assert wms.call("POST", "/api/pilots/", pilot, token=wms.pilot_token).status_code == 201
    said = {"Messages": [{"Message": "hello", "Source": "agent"}, {"Message": "bye", "Time": "2026-01-01T00:00:00Z"}]}
    path = "/api/jobspan/pilots/logger/log"
    assert wms.call("POST", path, said, token=wms.pilot_token).status_code == 204
    assert [each["Message"] for each in wms.call("GET", path).json()["Log"]] == ["hello", "bye"]
    job_id = wms.submit(at("LCG.Logged.org"))
    assert wms.match(Site="LCG.Logged.org", PilotStamp="logger")
    answer = wms.call("GET", f"/api/jobspan/jobs/{job_id}/pilot").json()
    assert answer["PilotStamp"] == "logger"
    assert [each["Message"] for each in answer["Output"]] == ["hello", "bye"]
    unknown = wms.call("POST", "/api/jobspan/pilots/nobody/log", said, token=wms.pilot_token)
    assert unknown.status_code == 404


def test_pilots_are_of_one_virtual_organisation(wms: RunningWms) -> None:
    """A pilot of another one neither registers ours nor changes what we know of them."""
    foreign = wms.token_for("pilot", Role.PILOT, vo="other")
    ours = {"pilot_stamp": "ours", "vo": "local"}
    assert wms.call("POST", "/api/pilots/", ours, token=foreign).status_code == 403
    assert wms.call("POST", "/api/pilots/", ours, token=wms.pilot_token).status_code == 201
    for token, code in ((foreign, 404), (wms.pilot_token, 204)):
        changed = wms.call("PATCH", "/api/pilots/metadata", {"ours": {"Status": "Done"}}, token=token)
        assert changed.status_code == code


def test_a_killed_pilot_gets_no_more_jobs(wms: RunningWms) -> None:
    """It hears of its end in its next call, whether it asks for a job or for commands."""
    wms.call("POST", "/api/pilots/", {"pilot_stamp": "doomed", "vo": "local"}, token=wms.pilot_token)
    assert wms.call("POST", "/api/jobspan/pilots/doomed/kill", token=wms.admin_token).status_code == 204
    job_id = wms.submit(at("LCG.Doomed.org"))
    slot = {"PilotStamp": "doomed", "Site": "LCG.Doomed.org"}
    assert wms.call("POST", "/api/jobspan/match", slot).status_code == 403  # a user learns nothing of it
    taken = select(STOPS.c.TakenTime).where(STOPS.c.PilotStamp == "doomed")
    with wms.context.databases.read() as transaction:
        assert transaction.connection.scalar(taken) is None
    answer = wms.call("POST", "/api/jobspan/match", slot, token=wms.pilot_token).json()
    assert answer == {"Job": None, "Stop": True}
    wanted = {"PilotStamp": "doomed", "Jobs": []}
    assert wms.call("POST", "/api/jobspan/commands", wanted, token=wms.pilot_token).json()["Stop"] is True
    assert (wms.match(Site="LCG.Doomed.org") or {})["JobID"] == job_id
