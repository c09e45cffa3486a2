"""RequestService: requests are taken once, executed by one at a time, in order, and end the jobs that wait for them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner.server.tokens import Role
from tests.support.clock import JumpClock
from tests.support.wms import RunningWms, running_wms

OTHER_UID = "00000000-0000-0000-0000-000000000000"


def file_status(status: str = "Processed") -> dict[str, Any]:
    return {"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/local/a", "Status": status}]}}


@pytest.fixture
def clock() -> JumpClock:
    """A clock that the test moves."""
    return JumpClock()


@pytest.fixture
def wms(tmp_path: Path, clock: JumpClock, fresh_database: str) -> Iterator[RunningWms]:
    """A WMS by that clock, which gives requests up after three failures."""
    options = {"WMS": {"RequestTries": 3, "RequestRetryTime": 10}}
    with running_wms(tmp_path, clock=clock, database=fresh_database, overrides=options) as running:
        yield running


def running_job(wms: RunningWms) -> tuple[int, str]:
    """A job that runs, and its token."""
    job_id = wms.submit()
    token = (wms.match() or {})["JobToken"]
    report(wms, job_id, token, "Running", "Application")
    return job_id, token


def report(wms: RunningWms, job_id: int, token: str, status: str, minor: str) -> Any:
    wms.context.clock.advance(1)  # type: ignore[attr-defined]

    at = datetime.fromtimestamp(wms.context.clock.utc_ns() / 1e9, UTC)
    return wms.report(job_id, {"Status": status, "MinorStatus": minor}, token=token, at=at)


def complete(wms: RunningWms, job_id: int, token: str) -> None:
    """The wrapper ends the job, which has a request."""
    report(wms, job_id, token, "Completing", "Output Data Uploaded")
    report(wms, job_id, token, "Completed", "Pending Requests")


def put(wms: RunningWms, job_id: int, token: str, *operations: Any, name: str = "r", **more: Any) -> Any:
    body = {"RequestName": name, "JobID": job_id, "Operations": list(operations) or [file_status()], **more}
    return wms.call("POST", "/api/jobspan/requests", body, token=token)


def claim(wms: RunningWms, ids: list[int] | None = None) -> Any:
    answer = wms.call("POST", "/api/jobspan/requests/claim", {"RequestIDs": ids}, token=wms.admin_token)
    assert answer.status_code == 200, answer.text
    return answer.json()["Request"]


def say(wms: RunningWms, request: Any, order: int, outcome: str, error: str = "") -> Any:
    path = f"/api/jobspan/requests/{request['RequestID']}/operations/{order}"
    body = {"Claim": request["Claim"], "Outcome": outcome, "Error": error}
    return wms.call("POST", path, body, token=wms.admin_token)


def shown(wms: RunningWms, number: int) -> Any:
    return wms.call("GET", f"/api/jobspan/requests/{number}").json()


def test_a_request_is_taken_once(wms: RunningWms) -> None:
    """Put again after a lost reply it is the same one; under its name with other operations it is a conflict."""
    job_id, token = running_job(wms)
    first, again = put(wms, job_id, token), put(wms, job_id, token)
    other = put(wms, job_id, token, file_status("Unused"))

    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json() == again.json()
    assert len(wms.call("GET", f"/api/jobspan/requests?job_id={job_id}").json()["Requests"]) == 1


def test_a_request_waits_for_the_end_of_its_attempt(wms: RunningWms) -> None:
    """Nobody gets it while the wrapper may still report; then the job is Done by it, and by it alone."""
    job_id, token = running_job(wms)
    number = put(wms, job_id, token).json()["RequestID"]
    early = claim(wms, [number])
    complete(wms, job_id, token)
    before = wms.status(job_id)
    refused = report(wms, job_id, token, "Done", "Execution Complete")
    request = claim(wms)
    answer = say(wms, request, 1, "Done")
    after = report(wms, job_id, token, "Completed", "Pending Requests")

    assert early is None
    assert before == ("Completed", "Pending Requests")
    assert (refused["Status"], "executor" in refused.get("Reason", "")) == ("Completed", True)
    assert answer.json() == {"Status": "Done"}
    assert (after["Status"], wms.status(job_id)) == ("Done", ("Done", "Requests done"))
    assert next(each["Source"] for each in wms.logging_info(job_id) if each["Status"] == "Done") == "RequestExecutor"


def test_one_executor_at_a_time(wms: RunningWms, clock: JumpClock) -> None:
    """While a lease lasts nobody else gets the request; after it another does, and the first one's word is void."""
    job_id, token = running_job(wms)
    put(wms, job_id, token, file_status(), file_status("Unused"))
    complete(wms, job_id, token)
    first = claim(wms)
    meanwhile, by_number = claim(wms), claim(wms, [first["RequestID"]])
    renewed = wms.call(
        "POST", f"/api/jobspan/requests/{first['RequestID']}/renew", {"Claim": first["Claim"]}, token=wms.admin_token
    )
    clock.advance(61)
    second = claim(wms)
    late = say(wms, first, 1, "Done")
    good = say(wms, second, 1, "Done")

    assert (meanwhile, by_number, renewed.status_code) == (None, None, 200)
    assert second["RequestID"] == first["RequestID"]
    assert (late.status_code, good.status_code) == (409, 200)


def test_operations_are_done_in_order_and_once(wms: RunningWms) -> None:
    """The second cannot be reported before the first; a report that is repeated changes nothing."""
    job_id, token = running_job(wms)
    put(wms, job_id, token, file_status(), file_status("Unused"))
    complete(wms, job_id, token)
    request = claim(wms)
    codes = [say(wms, request, order, "Done").status_code for order in (2, 1, 1, 3)]
    last = [say(wms, request, 2, "Done").json()["Status"] for _ in range(2)]

    assert codes == [409, 200, 200, 404]
    assert last == ["Done", "Done"]
    assert [each["Status"] for each in shown(wms, request["RequestID"])["Operations"]] == ["Done", "Done"]


def test_failures_are_tried_again_later_and_given_up(wms: RunningWms, clock: JumpClock) -> None:
    """Each failure doubles the pause; after the last one the request is Failed, visible, and its number runs it."""
    job_id, token = running_job(wms)
    number = put(wms, job_id, token).json()["RequestID"]
    complete(wms, job_id, token)
    found = []
    for pause in (10, 20):
        say(wms, claim(wms), 1, "Retry", "the element is away")
        clock.advance(pause - 1)
        found.append(claim(wms))
        clock.advance(1.5)
    dead = say(wms, claim(wms), 1, "Retry", "the element is away").json()["Status"]
    clock.advance(100_000)
    due, row = claim(wms), shown(wms, number)
    again = claim(wms, [number])

    assert found == [None, None]
    assert (dead, due) == ("Failed", None)
    assert (row["Failures"], row["Error"], row["Operations"][0]["Status"]) == (3, "the element is away", "Failed")
    assert wms.status(job_id) == ("Completed", "Pending Requests")
    assert again["Operations"][0]["Status"] == "Waiting"


def test_not_before(wms: RunningWms, clock: JumpClock) -> None:
    """FailoverRequestDelay: the request is not due before; whoever names it gets it at once."""
    job_id, token = running_job(wms)
    number = put(wms, job_id, token, Delay=600).json()["RequestID"]
    complete(wms, job_id, token)
    early = claim(wms)
    clock.advance(601)

    assert early is None
    assert claim(wms)["RequestID"] == number


def test_a_failed_job_stays_failed(wms: RunningWms) -> None:
    """The requests of a failed job are executed, and the cause of its failure stands."""
    job_id, token = running_job(wms)
    put(wms, job_id, token)
    report(wms, job_id, token, "Failed", "Application Finished With Errors")
    say(wms, claim(wms), 1, "Done")

    assert wms.status(job_id) == ("Failed", "Application Finished With Errors")


def test_all_requests_of_a_job_must_be_done(wms: RunningWms) -> None:
    """With two requests the job is Done after the second."""
    job_id, token = running_job(wms)
    put(wms, job_id, token, name="a")
    put(wms, job_id, token, name="b")
    complete(wms, job_id, token)
    found = []
    for _ in range(2):
        say(wms, claim(wms), 1, "Done")
        found.append(wms.status(job_id)[0])

    assert found == ["Completed", "Done"]


def test_an_earlier_attempt_asks_for_nothing(wms: RunningWms) -> None:
    """A fenced wrapper cannot put a request."""
    job_id, token = running_job(wms)
    wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]})
    answer = put(wms, job_id, token)

    assert (answer.status_code, answer.headers["Jobspan-Fenced"]) == (409, "1")


@pytest.mark.parametrize(
    "operation",
    [
        {"Type": "Nonsense"},
        {"Type": "RemoveReplica", "TargetSE": "SE-NOWHERE", "Catalog": "FileCatalog", "Files": [{"LFN": "/a/b"}]},
        {"Type": "RemoveReplica", "TargetSE": "SE-USER", "Catalog": "None", "Files": [{"LFN": "/a/b"}]},
        {"Type": "RemoveReplica", "TargetSE": "SE-USER", "Catalog": "FileCatalog", "Files": [{"LFN": "/a/../b"}]},
        {"Type": "ForwardDISET", "Arguments": {"Call": "Accounting", "Records": [{"UID": OTHER_UID}]}},
        {"Type": "SetFileStatus", "Arguments": {"Statuses": "all"}},
    ],
)
def test_impossible_requests_are_refused(wms: RunningWms, operation: Any) -> None:
    """What nobody could execute, or what is another attempt's, is refused in words when it is put."""
    job_id, token = running_job(wms)
    answer = put(wms, job_id, token, operation)

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_requests_are_their_owners(wms: RunningWms) -> None:
    """The owner sees his requests, another user none of them, an administrator all."""
    job_id, token = running_job(wms)
    number = put(wms, job_id, token).json()["RequestID"]
    bob, carol = wms.token_for("bob", Role.USER), wms.token_for("carol", Role.ADMIN)
    lists = [
        len(wms.call("GET", "/api/jobspan/requests", token=each).json()["Requests"])
        for each in (wms.user_token, bob, carol)
    ]
    codes = [
        wms.call("GET", f"/api/jobspan/requests/{each}", token=bob).status_code for each in (number, number + 1000)
    ]

    assert lists == [1, 0, 1]
    assert codes == [403, 403]


def test_processed_files_stay_so(wms: RunningWms) -> None:
    """A file that is Processed changes only by force; the same report again changes nothing; owners see their own."""
    job_id, _ = running_job(wms)

    def changed(status: str, force: bool = False) -> int:
        body = {"JobID": job_id, "Attempt": 1, "ProductionID": 5, "Force": force}
        body["Statuses"] = [{"LFN": "/local/a", "Status": status}]
        answer = wms.call("POST", "/api/jobspan/file-status", body, token=wms.admin_token)
        return int(answer.json()["Changed"])

    counts = [changed("Processed"), changed("Processed"), changed("Unused"), changed("Unused", force=True)]
    (row,) = wms.call("GET", f"/api/jobspan/file-status?job_id={job_id}").json()["Files"]
    bobs = wms.call("GET", "/api/jobspan/file-status", token=wms.token_for("bob", Role.USER)).json()["Files"]

    assert counts == [1, 0, 0, 1]
    assert (row["ProductionID"], row["LFN"], row["Status"], bobs) == (5, "/local/a", "Unused", [])


def test_a_bottomless_document_blocks_nobody(wms: RunningWms) -> None:
    """However deep it is: what is not known of it is left out, what is impossible refused, and others are executed."""
    job_id, token = running_job(wms)
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    strange = {**file_status(), "Else": deep}
    strange["Arguments"] = {**strange["Arguments"], "X": deep}
    taken = put(wms, job_id, token, strange)
    refused = put(wms, job_id, token, {"Type": "ForwardDISET", "Arguments": {"Call": "JobReport", "Parameters": deep}})
    text = '{"RequestName": ' + "[" * 100_000 + "]" * 100_000 + "}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    bottomless = wms.session.post(f"{wms.url}/api/jobspan/requests", data=text, headers=headers, timeout=30)
    complete(wms, job_id, token)
    claimed = claim(wms)

    assert (taken.status_code, refused.status_code, bottomless.status_code) == (201, 400, 400)
    assert set(claimed["Operations"][0]["Arguments"]) == {"ProductionID", "Statuses", "Force"}
    assert "Else" not in claimed["Operations"][0]
