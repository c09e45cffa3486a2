"""The embedded WMS speaks DiracX's REST dialect, as measured on DiracX 0.7.0: paths, codes, bodies; not its faults."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from runner.server.tokens import Role
from telemetry.clock import parse_utc
from tests.support.wms import RunningWms, running_wms

ATTRIBUTES = """
    JobID JobType JobGroup Site JobName Owner OwnerGroup VO SubmissionTime RescheduleTime LastUpdateTime StartExecTime
    HeartBeatTime EndExecTime Status MinorStatus ApplicationStatus UserPriority RescheduleCounter VerifiedFlag
    AccountedFlag
"""
ECHO = """
Executable = "/bin/echo";
Arguments = "hello %j";
JobName = "n";
JobGroup = "g";
Site = "LCG.Test.org";
Priority = 3;
"""
_NUMBER = count(1)


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module, on each kind of database."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        yield running


@pytest.fixture
def job_id(wms: RunningWms) -> int:
    """A job of alice's that waits."""
    return wms.submit(ECHO)


def now(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def status(wms: RunningWms, body: Any, token: str = "", query: str = "") -> Any:
    return wms.call("PATCH", f"/api/jobs/status{query}", body, token=token or wms.pilot_token)


def search(wms: RunningWms, query: str = "", **body: Any) -> Any:
    return wms.call("POST", f"/api/jobs/search{query}", body)


def where(parameter: str, operator: str, value: Any) -> dict[str, Any]:
    key = "values" if isinstance(value, list) else "value"
    return {"parameter": parameter, "operator": operator, key: value}


# --- who calls --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "code", "detail"),
    [
        (None, 401, "Authorization header is missing"),
        ("Basic abc", 400, "Invalid authorization header"),
        ("Bearer", 400, "Invalid authorization header"),
        ("Bearer rubbish", 401, "Invalid JWT"),
    ],
)
def test_bad_tokens(wms: RunningWms, header: str | None, code: int, detail: str) -> None:
    """Without a good token the answer is DiracX's."""
    headers = {"Authorization": header} if header else {}
    answer = wms.call("GET", "/api/auth/userinfo", token=None, headers=headers)
    assert (answer.status_code, answer.json()) == (code, {"detail": detail})
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (code == 401)


def test_userinfo(wms: RunningWms) -> None:
    """The bearer's subject, group, properties and name."""
    found = wms.call("GET", "/api/auth/userinfo", token=wms.admin_token).json()
    assert found.pop("sub").startswith("local:")
    assert found == {
        "vo": "local",
        "dirac_group": "local_user",
        "policies": {},
        "properties": ["JobAdministrator", "NormalUser"],
        "preferred_username": "alice",
    }


# --- submit and search ------------------------------------------------------------------------


def test_submit_several(wms: RunningWms) -> None:
    """201 with an InsertedJob for each description, brackets or not."""
    answer = wms.call("POST", "/api/jobs/jdl", ['[ Executable="/bin/true"; ]', 'Executable="/bin/false";'])
    assert answer.status_code == 201
    first, second = answer.json()
    assert second["JobID"] == first["JobID"] + 1
    assert set(first) == {"JobID", "Status", "MinorStatus", "TimeStamp"}
    assert (first["Status"], first["MinorStatus"]) == ("Received", "Job accepted")
    assert first["TimeStamp"].endswith("Z")


@pytest.mark.parametrize("body", [[], [""], ['Executable = "x'], ['Executable="a"; Parameters=3;', 'Executable="b";']])
def test_submit_refusals(wms: RunningWms, body: list[str]) -> None:
    """400 with a sentence: nothing to do, no description, an open quote, parametric in bulk."""
    answer = wms.call("POST", "/api/jobs/jdl", body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_search_row(wms: RunningWms, job_id: int) -> None:
    """Without parameters a row has DiracX's 21 columns."""
    answer = search(wms, search=[where("JobID", "eq", job_id)])
    assert answer.status_code == 200
    (row,) = answer.json()
    assert list(row) == ATTRIBUTES.split()
    shown = {name: row[name] for name in ("JobID", "JobGroup", "Site", "JobName", "Owner", "VO", "UserPriority")}
    assert shown == {
        "JobID": job_id, "JobGroup": "g", "Site": "LCG.Test.org", "JobName": "n", "Owner": "alice", "VO": "local",
        "UserPriority": 3,
    }  # fmt: skip
    assert (row["StartExecTime"], row["VerifiedFlag"], row["RescheduleCounter"]) == (None, True, 0)


def test_search_logging_info(wms: RunningWms, job_id: int) -> None:
    """LoggingInfo has DiracX's five keys, and the arrival by the WMS's clock."""
    (row,) = search(wms, parameters=["JobID", "LoggingInfo"], search=[where("JobID", "eq", job_id)]).json()
    assert set(row) == {"JobID", "LoggingInfo"}
    keys = {"Status", "MinorStatus", "ApplicationStatus", "StatusTime", "Source", "ArrivalTime"}
    assert set(row["LoggingInfo"][0]) == keys
    assert row["LoggingInfo"][0]["ApplicationStatus"] == "Unknown"


def test_search_pages(wms: RunningWms) -> None:
    """206 with a Content-Range for a part, 416 beyond the end, 200 for all."""
    jobs = [wms.submit('Executable = "/bin/true"; JobGroup = "paged";') for _ in range(5)]
    body = {"parameters": ["JobID"], "search": [where("JobGroup", "eq", "paged")]}
    part = search(wms, "?page=2&per_page=2", **body)
    assert (part.status_code, part.headers["Content-Range"]) == (206, "jobs 2-3/5")
    assert part.json() == [{"JobID": job} for job in jobs[2:4]]
    beyond = search(wms, "?page=9&per_page=2", **body)
    assert (beyond.status_code, beyond.headers["Content-Range"], beyond.json()) == (416, "jobs */5", [])
    assert search(wms, **body).status_code == 200
    assert search(wms, search=[where("JobID", "eq", 999999)]).json() == []


@pytest.mark.parametrize(
    ("specs", "found"),
    [
        ([where("JobName", "eq", "op-a")], "a"),
        ([where("JobName", "neq", "op-a")], "bc"),
        ([where("JobName", "gt", "op-a"), where("JobName", "lt", "op-c")], "b"),
        ([where("JobName", "like", "%-a")], "a"),
        ([where("JobName", "not like", "%-a")], "bc"),
        ([where("JobName", "regex", "op-[bc]")], "bc"),
        ([where("JobName", "in", ["op-a", "op-c"])], "ac"),
        ([where("JobName", "not in", ["op-a", "op-c"])], "b"),
        ([where("UserPriority", "gt", 1)], "c"),
        ([where("UserPriority", "eq", "7")], "c"),
        ([where("SubmissionTime", "gt", "2026-01-01")], "abc"),
        ([where("SubmissionTime", "lt", "2026-01-01T00:00:00Z")], ""),
        ([where("UserPriority", "lt", 1 << 40), where("RescheduleCounter", "neq", str(1 << 40))], "abc"),
        ([where("SubmissionTime", "gt", "0001")], "abc"),
        ([where("SubmissionTime", "lt", "9999-12-31T23:59:59.999999Z")], "abc"),
        ([where("SubmissionTime", "eq", "9999")], ""),
        ([where("StartExecTime", "not in", [])], "abc"),
        ([where("PilotStamp", "eq", "none")], ""),
        ([where("VerifiedFlag", "eq", "true")], "abc"),
    ],
)
def test_search_operators(operators: tuple[RunningWms, str], specs: list[dict[str, Any]], found: str) -> None:
    """Every operator on names, numbers, moments and flags."""
    wms, group = operators
    answer = search(wms, parameters=["JobName"], search=[where("JobGroup", "eq", group), *specs])
    assert answer.status_code == 200, answer.text
    assert "".join(row["JobName"][-1] for row in answer.json()) == found


@pytest.fixture(scope="module")
def operators(wms: RunningWms) -> tuple[RunningWms, str]:
    """Three jobs in a group of their own."""
    for letter, priority in (("a", 1), ("b", 1), ("c", 7)):
        wms.submit(f'Executable="/bin/true"; JobGroup="operators"; JobName="op-{letter}"; Priority={priority};')
    return wms, "operators"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"search": [where("Nope", "eq", 1)]}, 400),
        ({"parameters": ["Nope"]}, 400),
        ({"sort": [{"parameter": "Nope", "direction": "asc"}]}, 400),
        ({"search": [where("JobID", "eq", "abc")]}, 400),
        ({"search": [where("JobID", "eq", "9" * 30)]}, 400),
        ({"search": [where("JobID", "gt", f"-{1 << 63}1")]}, 400),
        ({"search": [where("JobID", "in", ["1", "9" * 255])]}, 400),
        ({"search": [where("UserPriority", "eq", str(1 << 63))]}, 400),
        ({"search": [where("RescheduleCounter", "neq", "9" * 30)]}, 400),
        ({"search": [where("SubmissionTime", "gt", "yesterday")]}, 400),
        ({"search": [where("SubmissionTime", "gt", "2026-13")]}, 400),
        ({"search": [where("SubmissionTime", "gt", "20260101")]}, 400),
        ({"search": [where("SubmissionTime", "gt", "0001-01-01T00:00+14:00")]}, 400),
        ({"search": [where("SubmissionTime", "like", "2026%")]}, 400),
        ({"search": [where("SubmissionTime", "not like", "2026%")]}, 400),
        ({"search": [where("StartExecTime", "regex", "^2026")]}, 400),
        ({"search": [where("SubmissionTime", "in", [str(year) for year in range(1000, 2000)])]}, 400),
        ({"parameters": ["JobName"], "distinct": True, "sort": [{"parameter": "Nope", "direction": "asc"}]}, 400),
        ({"parameters": ["JobName"], "distinct": True, "sort": [{"parameter": "JobID", "direction": "asc"}]}, 400),
        ({"search": [where("JobID", "~", 1)]}, 422),
        ({"search": [where("JobName", "regex", "(a+)+$")]}, 422),
        ({"search": [where("JobName", "regex", "(")]}, 422),
        ({"sort": [{"parameter": "JobID", "direction": "up"}]}, 422),
    ],
)
def test_search_refusals(wms: RunningWms, body: dict[str, Any], code: int) -> None:
    """Unknown columns and values that do not fit are 400, what has not its form 422."""
    assert search(wms, **body).status_code == code


def test_search_sort_and_distinct(operators: tuple[RunningWms, str]) -> None:
    """Rows come in the order that was asked for, each once if so wanted."""
    wms, group = operators
    mine = [where("JobGroup", "eq", group)]
    body = {"parameters": ["JobName"], "search": mine, "sort": [{"parameter": "JobName", "direction": "desc"}]}
    assert [row["JobName"] for row in search(wms, **body).json()] == ["op-c", "op-b", "op-a"]
    assert search(wms, parameters=["JobGroup"], search=mine, distinct=True).json() == [{"JobGroup": group}]


def test_search_distinct_rows_in_order(operators: tuple[RunningWms, str]) -> None:
    """They come in the order that was asked for, then by what they show, on every page alike; unknown values first."""
    wms, group = operators
    body = {"search": [where("JobGroup", "eq", group)], "distinct": True}
    by_name = {**body, "parameters": ["JobName"], "sort": [{"parameter": "JobName", "direction": "desc"}]}
    assert [row["JobName"] for row in search(wms, **by_name).json()] == ["op-c", "op-b", "op-a"]
    pages = [search(wms, f"?page={page}&per_page=2", **by_name) for page in (1, 2)]
    assert [row["JobName"] for page in pages for row in page.json()] == ["op-c", "op-b", "op-a"]
    assert pages[0].headers["Content-Range"] == "jobs 0-1/3"
    shown = {**body, "parameters": ["UserPriority", "JobName", "StartExecTime"]}
    order = [{"parameter": name, "direction": "desc"} for name in ("StartExecTime", "UserPriority")]
    assert [row["JobName"] for row in search(wms, **shown, sort=order).json()] == ["op-c", "op-a", "op-b"]
    with_history = {**body, "parameters": ["JobName", "LoggingInfo"]}
    by_start = [{"parameter": "StartExecTime", "direction": "asc"}, {"parameter": "UserPriority", "direction": "desc"}]
    assert [row["JobName"] for row in search(wms, **with_history, sort=by_start).json()] == ["op-c", "op-a", "op-b"]


SUBMITTED = datetime(2026, 2, 28, 23, 59, 59, 500000, tzinfo=UTC)


@pytest.fixture(scope="module")
def submitted(wms: RunningWms) -> int:
    """A job that was submitted in the last second of a February."""
    job_id = wms.submit('Executable = "/bin/true"; JobGroup = "submitted";')
    with wms.context.databases.write() as transaction:
        transaction.jobs.change(job_id, {"SubmissionTime": parse_utc(SUBMITTED.isoformat())})
    return job_id


@pytest.mark.parametrize(
    ("period", "before", "after"),
    [
        ("2026", "2025", "2027"),
        ("2026-02", "2026-01", "2026-03"),
        ("2026-02-28", "2026-02-27", "2026-03-01"),
        ("2026-02-28T23", "2026-02-28 22", "2026-03-01T00"),
        ("2026-02-28 23:59", "2026-02-28T23:58", "2026-03-01 00:00"),
        ("2026-02-28T23:59Z", "2026-03-01T00:58+01:00", "2026-02-28 23:00:00-01:00"),
        ("2026-02-28T23:59:59", "2026-02-28T23:59:58", "2026-03-01T00:00:00"),
        ("2026-02-28T23:59:59Z", "2026-02-28 23:59:58Z", "2026-03-01T00:00:00Z"),
        ("2026-02-28T23:59:59.5Z", "2026-02-28T23:59:59.499999Z", "2026-02-28T23:59:59.500001"),
    ],
)
def test_search_by_times(wms: RunningWms, submitted: int, period: str, before: str, after: str) -> None:
    """A moment stands for all of the year, month, day ... that it names, as in DiracX, with every operator."""
    expected = {
        ("eq", period): True, ("eq", before): False, ("eq", after): False,
        ("neq", period): False, ("neq", before): True, ("neq", after): True,
        ("gt", period): False, ("gt", before): True, ("gt", after): False,
        ("lt", period): False, ("lt", before): False, ("lt", after): True,
    }  # fmt: skip
    mine = where("JobGroup", "eq", "submitted")
    for (compared, value), found in expected.items():
        answer = search(wms, parameters=["JobID"], search=[mine, where("SubmissionTime", compared, value)])
        assert answer.json() == ([{"JobID": submitted}] if found else []), (compared, value)
    for compared, values, found in (
        ("in", [before, period], True), ("in", [before, after], False), ("in", [], False),
        ("not in", [before, period], False), ("not in", [before, after], True), ("not in", [], True),
    ):  # fmt: skip
        answer = search(wms, parameters=["JobID"], search=[mine, where("SubmissionTime", compared, values)])
        assert answer.json() == ([{"JobID": submitted}] if found else []), (compared, values)


def test_summary(operators: tuple[RunningWms, str]) -> None:
    """Counts by the grouping columns."""
    wms, group = operators
    body = {"grouping": ["UserPriority"], "search": [where("JobGroup", "eq", group)]}
    found = wms.call("POST", "/api/jobs/summary", body)
    assert found.json() == [{"UserPriority": 1, "count": 2}, {"UserPriority": 7, "count": 1}]
    assert wms.call("POST", "/api/jobs/summary", {"grouping": ["Nope"]}).status_code == 400


def test_pilots_of_jobs(wms: RunningWms) -> None:
    """PilotStamp is as good as a column of jobs, and JobID as one of pilots."""
    stamp, site = f"stamp-{next(_NUMBER)}", "LCG.Pilot.org"
    registration = {"pilot_stamp": stamp, "vo": "local", "grid_site": site, "pilot_status": "Running"}
    assert wms.call("POST", "/api/pilots/", registration, token=wms.pilot_token).status_code == 201
    job = wms.submit(f'Executable = "/bin/true"; Site = "{site}"; Priority = 999;')
    wms.match(Site=site, PilotStamp=stamp)
    rows = search(wms, parameters=["JobID", "PilotStamp"], search=[where("PilotStamp", "eq", stamp)]).json()
    assert rows == [{"JobID": job, "PilotStamp": stamp}]
    body = {"parameters": ["PilotStamp", "GridSite"], "search": [where("JobID", "eq", job)]}
    assert wms.call("POST", "/api/pilots/search", body).json() == [{"PilotStamp": stamp, "GridSite": site}]


# --- status -----------------------------------------------------------------------------------


def test_status_answer(wms: RunningWms, job_id: int) -> None:
    """Seven keys for each job; what was not said is null."""
    wms.match()
    moment = now()
    body = {str(job_id): {moment: {"Status": "Matched", "MinorStatus": "m", "Source": "JobWrapper"}}}
    answer = status(wms, body).json()
    assert answer["failed"] == {}
    found = answer["success"][str(job_id)]
    assert list(found) == [
        "Status", "MinorStatus", "ApplicationStatus", "HeartBeatTime", "StartExecTime", "EndExecTime", "LastUpdateTime",
    ]  # fmt: skip
    assert (found["Status"], found["MinorStatus"], found["ApplicationStatus"]) == ("Matched", "m", None)
    assert found["HeartBeatTime"]


@pytest.mark.parametrize("form", ["%sZ", "%s+00:00"])
@pytest.mark.parametrize("separator", ["T", " "])
def test_status_moments(wms: RunningWms, job_id: int, form: str, separator: str) -> None:
    """Moments may be written in all forms that DIRAC's clients use."""
    moment = form % datetime.now(UTC).replace(tzinfo=None).isoformat(separator)
    answer = status(wms, {str(job_id): {moment: {"ApplicationStatus": "a"}}})
    assert answer.json()["success"][str(job_id)]["ApplicationStatus"] == "a"


@pytest.mark.parametrize(
    ("updates", "code"),
    [
        ({"2026-11-21T00:00:00": {"Status": "Running"}}, 400),
        ({"2026-11-21T01:00:00+01:00": {"MinorStatus": "m"}}, 400),
        ({"9999-01-01T00:00:00Z": {"MinorStatus": "m"}}, 400),
        ({"yesterday": {"MinorStatus": "m"}}, 422),
        ({"2026-11-21T00:00:00Z": {"Status": "Weird"}}, 422),
        ({"2026-11-21T00:00:00Z": {"MinorStatus": "x" * 129}}, 422),
        ({"2026-11-21T00:00:00Z": {"ApplicationStatus": "x" * 256}}, 422),
        ({}, 422),
    ],
)
def test_status_refusals(wms: RunningWms, job_id: int, updates: dict[str, Any], code: int) -> None:
    """No zone or another one is 400; an unknown status, or a text that no column holds, is 422, never 500."""
    before = wms.job(job_id)
    assert status(wms, {str(job_id): updates}).status_code == code
    assert wms.job(job_id) == before


def test_status_of_unknown_jobs(wms: RunningWms, job_id: int) -> None:
    """404 if no job was updated, 200 if one was; a user learns nothing of jobs that are not his."""
    update = {now(): {"MinorStatus": "m"}}
    failed = {"999999": {"detail": "Not found"}}
    none = status(wms, {"999999": update})
    assert (none.status_code, none.json()) == (404, {"detail": {"success": {}, "failed": failed}})
    assert status(wms, {}).status_code == 404
    some = status(wms, {"999999": update, str(job_id): update})
    assert (some.status_code, some.json()["failed"]) == (200, failed)
    assert status(wms, {"999999": update}, wms.user_token).status_code == 403


def test_status_keeps_what_is_not_said_and_ignores_unknown_keys(wms: RunningWms, job_id: int) -> None:
    """A minor status leaves the application status alone, and the other way round."""
    status(wms, {str(job_id): {now(): {"MinorStatus": "m", "Foo": 1}, now(1e-3): {"ApplicationStatus": "a"}}})
    row = wms.job(job_id)
    assert (row["Status"], row["MinorStatus"], row["ApplicationStatus"]) == ("Waiting", "m", "a")


def test_status_from_the_past_is_logged_only(wms: RunningWms, job_id: int) -> None:
    """An update before the newest record answers null; one before the first record does not break the search."""
    before = wms.job(job_id)
    answer = status(wms, {str(job_id): {now(-3600): {"MinorStatus": "late"}}}).json()["success"][str(job_id)]
    assert (answer["Status"], answer["MinorStatus"], answer["LastUpdateTime"]) == (None, None, None)
    assert wms.job(job_id) == before
    first = wms.logging_info(job_id)[0]
    assert (first["Status"], first["MinorStatus"]) == ("Received", "late")


def test_status_can_be_forced(wms: RunningWms, job_id: int) -> None:
    """Administrators may set any status, nobody else may use force."""
    body = {str(job_id): {now(): {"Status": "Done"}}}
    assert status(wms, body, wms.pilot_token, "?force=true").status_code == 403
    answer = status(wms, {str(job_id): {now(): {"Status": "Done"}}}, wms.admin_token, "?force=true")
    assert answer.json()["success"][str(job_id)]["Status"] == "Done"
    assert status(wms, {str(job_id): {now(): {"MinorStatus": "m"}}}, query="?force=false").status_code == 200


# --- heartbeat and metadata -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beat", "code"),
    [
        (
            {
                "LoadAverage": 1.5,
                "MemoryUsed": 1,
                "Vsize": 2,
                "AvailableDiskSpace": 3,
                "CPUConsumed": 4,
                "WallClockTime": 5,
            },
            200,
        ),
        ({"LoadAverage": "1.5"}, 200),
        ({}, 200),
        ({"Bogus": 1}, 422),
        ({"LoadAverage": "nan"}, 422),
        ({"LoadAverage": "many"}, 422),
    ],
)
def test_heartbeats(wms: RunningWms, job_id: int, beat: dict[str, Any], code: int) -> None:
    """Seven keys, finite numbers; as many a second as one likes."""
    for _ in range(2):
        assert wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): beat}).status_code == code


def test_heartbeat_of_an_unknown_job(wms: RunningWms, job_id: int) -> None:
    """The whole call is refused."""
    answer = wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {}, "999999": {}}, token=wms.pilot_token)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Job 999999 not found"})
    assert wms.job(job_id)["HeartBeatTime"] is None


def test_heartbeats_leave_other_statuses_alone(wms: RunningWms, job_id: int) -> None:
    """A waiting job does not run because somebody says so."""
    wms.call("PATCH", "/api/jobs/heartbeat", {str(job_id): {}}, token=wms.pilot_token)
    assert wms.status(job_id)[0] == "Waiting"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"HostName": "wn1", "PayloadPID": 12, "AnyOther": [1, {"a": 2}], "timestamp": "2026-01-01T00:00:00Z"}, 204),
        ({"Site": "LCG.Other.org"}, 204),
        ({"JobName": "x"}, 400),
        ({"Status": "Done"}, 400),
        ({"PayloadPID": "abc"}, 422),
        ({"PayloadPID": 10**400}, 422),
        ({"PayloadPID": 10**4299}, 422),
        ({"NormCPUTime(s)": "9" * 5000}, 422),
        ({"Site": "x" * 101}, 422),
        ({"x" * 256: 1}, 422),
    ],
)
def test_metadata(wms: RunningWms, job_id: int, values: dict[str, Any], code: int) -> None:
    """Parameters of any name and kind; of the attributes only Site."""
    answer = wms.call("PATCH", "/api/jobs/metadata", {str(job_id): values}, token=wms.pilot_token)
    assert answer.status_code == code
    if code == 400:
        name = next(iter(values))
        assert answer.json() == {"detail": f"Job attribute {name} cannot be modified through this endpoint"}
    if "Site" in values and code == 204:
        assert wms.job(job_id)["Site"] == "LCG.Other.org"


def test_metadata_of_an_unknown_job(wms: RunningWms) -> None:
    """404 in DiracX's words."""
    answer = wms.call("PATCH", "/api/jobs/metadata", {"999999": {"A": 1}}, token=wms.pilot_token)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Job 999999 not found"})


# --- pilots -----------------------------------------------------------------------------------


def test_pilots(wms: RunningWms) -> None:
    """Register, change, and everything that is refused, with DiracX's codes."""
    stamp = f"stamp-{next(_NUMBER)}"

    def register(**changes: Any) -> int:
        body = {"pilot_stamp": stamp, "vo": "local", "pilot_reference": "ref", **changes}
        return wms.call("POST", "/api/pilots/", body, token=wms.pilot_token).status_code

    def change(name: str, **metadata: Any) -> int:
        return wms.call("PATCH", "/api/pilots/metadata", {name: metadata}, token=wms.pilot_token).status_code

    assert [register(), register(), register(pilot_stamp="x" * 33), register(vo="other")] == [201, 409, 422, 400]
    assert [change(stamp, Status="Running", BenchMark=12.3, CurrentJobID=1), change("none", Status="Done")] == [
        204,
        404,
    ]
    assert [change(stamp, Status="Weird"), change(stamp, Extra=1)] == [422, 422]
    body = {"parameters": ["Status", "BenchMark", "PilotJobReference"], "search": [where("PilotStamp", "eq", stamp)]}
    found = wms.call("POST", "/api/pilots/search", body).json()
    assert found == [{"Status": "Running", "BenchMark": 12.3, "PilotJobReference": "ref"}]
    assert wms.call("POST", "/api/pilots/summary", {"grouping": ["VO"]}).json()[0]["VO"] == "local"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (where("CurrentJobID", "eq", "9" * 30), 400),
        (where("CurrentJobID", "in", ["9" * 30]), 400),
        (where("BenchMark", "gt", "fast"), 400),
        (where("BenchMark", "lt", "nan"), 400),
        (where("BenchMark", "in", ["9" * 255]), 200),
        (where("BenchMark", "eq", "1" + "0" * 400), 400),
        (where("SubmissionTime", "like", "2026%"), 400),
    ],
)
def test_pilots_are_searched_by_values_that_fit(wms: RunningWms, spec: dict[str, Any], code: int) -> None:
    """What is no number, or none that a column can have, is refused in words."""
    answer = wms.call("POST", "/api/pilots/search", {"search": [spec]})
    assert (answer.status_code, type(answer.json())) == (code, list if code == 200 else dict)


def test_distinct_pilots(wms: RunningWms) -> None:
    """Each combination of what was asked for comes once, in the order that was asked for."""
    for number, site in enumerate(("LCG.B.org", "LCG.A.org", "LCG.B.org")):
        pilot = {"pilot_stamp": f"distinct-{number}", "vo": "local", "grid_type": "Distinct", "grid_site": site}
        assert wms.call("POST", "/api/pilots/", pilot, token=wms.pilot_token).status_code == 201
    body = {"parameters": ["GridSite"], "search": [where("GridType", "eq", "Distinct")], "distinct": True}
    order = [{"parameter": "GridSite", "direction": "desc"}]
    found = [wms.call("POST", "/api/pilots/search", {**body, **more}).json() for more in ({}, {"sort": order})]
    assert [[row["GridSite"] for row in rows] for rows in found] == [
        ["LCG.A.org", "LCG.B.org"],
        ["LCG.B.org", "LCG.A.org"],
    ]
    hidden = {"sort": [{"parameter": "PilotID", "direction": "asc"}]}
    assert wms.call("POST", "/api/pilots/search", {**body, **hidden}).status_code == 400


# --- reschedule and form ----------------------------------------------------------------------


def test_reschedule_answer(wms: RunningWms, job_id: int) -> None:
    """200 with the row of each job under success, 400 with both maps if none could be rescheduled."""
    wms.call(
        "PATCH", "/api/jobs/status?force=true", {str(job_id): {now(): {"Status": "Running"}}}, token=wms.admin_token
    )
    answer = wms.call("POST", "/api/jobs/reschedule", {"job_ids": [job_id]}, token=wms.pilot_token)
    row = answer.json()["success"][str(job_id)]
    assert answer.status_code == 200
    assert answer.json()["failed"] == {}
    assert (row["Status"], row["MinorStatus"], row["RescheduleCounter"]) == ("Received", "Job Rescheduled", 1)
    unknown = wms.call("POST", "/api/jobs/reschedule", {"job_ids": [999999]}, token=wms.pilot_token)
    assert (unknown.status_code, set(unknown.json()["detail"])) == (400, {"failed", "success"})


def test_validation_errors_have_diracx_form(wms: RunningWms) -> None:
    """422 lists type, place, message and input of each error."""
    (error,) = wms.call("POST", "/api/jobs/reschedule", {}).json()["detail"]
    assert set(error) == {"type", "loc", "msg", "input"}
    assert error["loc"] == ["body", "job_ids"]


def test_other_owners(wms: RunningWms, job_id: int) -> None:
    """Another user sees a job in the search, and cannot touch it."""
    bob = wms.token_for("bob", Role.USER)
    assert wms.call("POST", "/api/jobs/search", {"search": [where("JobID", "eq", job_id)]}, token=bob).json()
    answer = status(wms, {str(job_id): {now(): {"Status": "Killed"}}}, bob)
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


def test_answers_carry_the_time(wms: RunningWms) -> None:
    """The Date header tells wrappers how far their clock is off; a slash too many is redirected."""
    assert wms.call("GET", "/api/jobspan/info", token=None).headers["Date"].endswith("GMT")
    assert wms.call("POST", "/api/jobs/jdl/", []).status_code == 307
