"""Every route, asked by everybody: what the policy table says is what happens."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from fastapi.routing import APIRoute

from runner.server.app import ROUTES
from runner.server.errors import ForbiddenError, ServiceError
from runner.server.routes.console import COOKIE
from runner.server.services.console_sessions import ConsoleSessions
from runner.server.services.registry import Registry
from runner.server.services.sessions import Login, Sessions
from runner.server.tokens import Role
from tests.support.wms import RunningWms, running_wms

INFO = {"checksum_algorithm": "sha256", "checksum": "0" * 64, "size": 1, "format": "tar.bz2"}
FILE = {"Catalog": "FileCatalog", "LFN": "/local/x", "Size": 3, "Adler32": "1", "SE": "SE-USER", "PFN": "x"}
STATUS_OPERATION = {"Type": "SetFileStatus", "Arguments": {"Statuses": [{"LFN": "/a/b", "Status": "x"}]}}
PFN = f"/S3/sandboxes/local/local_user/alice/sha256:{'0' * 64}.tar.bz2"
T = "2026-01-01T00:00:00Z"
#: Columns: no token, owner, another user, administrator without NormalUser, pilot, the job's token, another job's,
#: one of the owner's group who shares, one who monitors, one who manages sites.
#: "+" is anything but 401 and 403; 422, for which no right is asked, is neither. Bodies may be impossible otherwise:
#: rights are asked first.
WALK = """
POST  /api/jobs/jdl                             - + + - - - - - - -
POST  /api/jobs/search                          - + + + - - - - + -
POST  /api/jobs/summary                         - + + + - - - - + -
PATCH /api/jobs/status                          - + - + + + - + - -
PATCH /api/jobs/status?force=true               - - - + - - - - - -
PATCH /api/jobs/heartbeat                       - + - + + + - + - -
PATCH /api/jobs/metadata                        - + - + + + - + - -
POST  /api/jobs/sandbox                         - + + - - + + - - -
GET   /api/jobs/sandbox?pfn={pfn}               - + - + - - - - - -
GET   /api/jobs/{job_id}/sandbox                - + - + - + - + - -
GET   /api/jobs/{job_id}/sandbox/{type}         - + - + - + - + - -
PATCH /api/jobs/{job_id}/sandbox/output         - + - + + + - + - -
DELETE /api/jobs/{job_id}/sandbox               - + - + + - - + - -
POST  /api/jobs/sandbox/unassign                - + - + + - - + - -
POST  /api/pilots/                              - - - - + - - - - -
PATCH /api/pilots/metadata                      - - - - + - - - - -
POST  /api/pilots/search                        - + + + - - - - + -
POST  /api/pilots/summary                       - + + + - - - - + -
GET   /api/auth/userinfo                        - + + + + + + + + +
GET   /api/jobspan/info                         + + + + + + + + + +
POST  /api/jobspan/match                        - - - - + - - - - -
POST  /api/jobspan/commands                     - - - - + - - - - -
POST  /api/jobspan/commands/ack                 - - - - + + - - - -
POST  /api/jobspan/jobs/{job_id}/token          - - - - - + - - - -
POST  /api/jobspan/jobs/{job_id}/report         - - - - - + - - - -
GET   /api/jobspan/jobs/{job_id}/parameters     - + - + - + - + + -
GET   /api/jobspan/jobs/{job_id}/peek           - + - + - + - + + -
GET   /api/jobspan/jobs/{job_id}/description    - + - + - + - + + -
POST  /api/jobspan/accounting                   - - - + + + - - - -
GET   /api/jobspan/accounting                   - + + + - - - - - -
GET   /api/jobspan/accounting/history           - + + + - - - - - -
GET   /api/jobspan/witness                      - + + + - - - - - -
POST  /api/jobspan/catalog/lookup               - + + + - + + - - -
POST  /api/jobspan/catalog/register             - + + + - + + - - -
POST  /api/jobspan/catalog/remove               - - - + - - - - - -
POST  /api/jobspan/requests                     - - - - - + - - - -
GET   /api/jobspan/requests                     - + + + - - - - - -
GET   /api/jobspan/requests/{request_id}        - + - + - - - - - -
POST  /api/jobspan/requests/claim               - - - + - - - - - -
POST  /api/jobspan/requests/{request_id}/renew  - - - + - - - - - -
POST  /api/jobspan/requests/{request_id}/operations/{order}  - - - + - - - - - -
POST  /api/jobspan/file-status                  - - - + - - - - - -
GET   /api/jobspan/file-status                  - + + + - - - - - -
POST  /api/jobspan/jobs/kill                    - + - + - - - + - -
POST  /api/jobspan/jobs/reset                   - + - + - - - + - -
POST  /api/jobspan/jobs/delete                  - + - + - - - + - -
POST  /api/jobspan/jobs/remove                  - + - + - - - + - -
GET   /api/jobspan/jobs/{job_id}/why            - + - + - + - + + -
GET   /api/jobspan/jobs/{job_id}/pilot          - + - + - + - + + -
GET   /api/jobspan/sites                        - + + + - - - - + +
GET   /api/jobspan/sites/history                - + + + - - - - + +
POST  /api/jobspan/sites/ban                    - - - + - - - - - +
POST  /api/jobspan/sites/allow                  - - - + - - - - - +
POST  /api/jobspan/pilots/{stamp}/log           - - - - + - - - - -
GET   /api/jobspan/pilots/{stamp}/log           - + + + - - - - + -
POST  /api/jobspan/pilots/{stamp}/kill          - - - + - - - - - -
POST  /api/jobspan/targets                      - - - - + - - - - -
POST  /api/jobspan/targets/remove               - - - - + - - - - -
GET   /sd                                       - - - + - - - - + -
GET   /api/jobspan/accounting/summary           - + + + - - - - - -
GET   /api/jobspan/accounting/export            - + + + - - - - - -
GET   /api/jobspan/accounting/digests           - + + + - - - - - -
POST  /api/jobspan/sandboxes?permit=forged      - - - - - - - - - -
GET   /api/jobspan/sandboxes?permit=forged      - - - - - - - - - -
POST  /api/jobs/reschedule                      - + - + + + - + - -
GET   /api/auth/refresh-tokens                  - + + + + - - + + +
DELETE /api/auth/refresh-tokens/{jti}           - + - + - - - - - -
DELETE /api/auth/access-tokens/{jti}            - - - + - - - - - -
GET   /api/config/                              - + + + + - - + + +
GET   /.well-known/openid-configuration         + + + + + + + + + +
GET   /.well-known/jwks.json                    + + + + + + + + + +
GET   /.well-known/dirac-metadata               + + + + + + + + + +
GET   /.well-known/security.txt                 + + + + + + + + + +
POST  /api/auth/device?client_id=x&scope=x      + + + + + + + + + +
GET   /api/auth/device                          + + + + + + + + + +
GET   /api/auth/device/complete/finished        + + + + + + + + + +
GET   /api/auth/authorize?{authorize}           + + + + + + + + + +
POST  /api/auth/verify                          + + + + + + + + + +
POST  /api/auth/token                           + + + + + + + + + +
POST  /api/auth/revoke                          + + + + + + + + + +
GET   /console                                  - + + + + - - + + +
GET   /console/login                            + + + + + + + + + +
POST  /console/login                            - - - - - - - - - -
POST  /console/logout                           - + + + + - - + + +
GET   /console/jobs                             - + + + - - - - + -
GET   /console/jobs/{job_id}                    - + - + - - - + + -
GET   /console/jobs/{job_id}/peek               - + - + - - - + + -
GET   /console/jobs/{job_id}/trace              - + - + - - - + + -
POST  /console/jobs/{job_id}/kill               - + - + - - - + - -
POST  /console/jobs/{job_id}/reschedule         - + - + + - - + - -
GET   /console/sandboxes?pfn={pfn}              - + - + - - - - - -
GET   /console/pilots                           - + + + - - - - + -
GET   /console/pilots/{stamp}                   - + + + - - - - + -
GET   /console/accounting                       - + + + - - - - - -
GET   /console/reconciliation                   - - - + - - - - - -
GET   /healthz                                  + + + + + + + + + +
GET   /readyz                                   + + + + + + + + + +
"""
#: What the open routes of logins take: it proves by itself who asks, or proves nothing.
FORMS: dict[str, dict[str, str]] = {
    "/api/auth/token": {"grant_type": "x", "client_id": "x"},
    "/api/auth/revoke": {"token": "x"},
    "/api/auth/verify": {"user_code": "x", "token": "x", "name": "x", "secret": "x"},
}
AUTHORIZE = "&".join(
    f"{name}=x"
    for name in (
        "response_type",
        "code_challenge",
        "code_challenge_method",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
    )
)
ROWS = [(method, path, marks) for method, path, *marks in map(str.split, WALK.strip().splitlines())]
CALLERS = (
    "nobody", "owner", "other", "administrator", "pilot", "job", "other job", "mate", "monitor", "site manager",
)  # fmt: skip


#: Callers of the console show a cookie instead of the token that they have logged in with; jobs cannot log in.
CONSOLE = "/console"


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database) as running:
        yield running


def running_job(wms: RunningWms) -> tuple[int, str]:
    """A job of alice's that runs, with its token."""
    job_id = wms.submit()
    token = (wms.match() or {})["JobToken"]
    wms.report(job_id, {"Status": "Running"}, token=token)
    return job_id, token


@pytest.fixture
def tokens(wms: RunningWms) -> dict[str, str | None]:
    """A token for each caller; the job of "job" is the object of every call."""
    job_id, token = running_job(wms)
    wms.report(job_id, {"Status": "Killed"})
    return {
        "id": str(job_id),
        "nobody": None,
        "owner": wms.user_token,
        "other": wms.token_for("bob", Role.USER),
        "administrator": wms.token_for("carol", Role.ADMIN),
        "pilot": wms.token_for("pilot", Role.PILOT),
        "mate": wms.token_for("dora", Role.SHARING),
        "monitor": wms.token_for("mona", Role.MONITOR),
        "site manager": wms.token_for("sam", Role.SITES),
        "job": token,
        "other job": running_job(wms)[1],
        "request": str(
            wms.call("POST", "/api/jobspan/requests", request_of(str(job_id)), token=token).json()["RequestID"]
        ),
    }


def body_for(wms: RunningWms, path: str, job_id: str) -> Any:
    kill = {"PilotStamp": "s", "Jobs": [{"JobID": int(job_id), "Attempt": 1}]}
    bodies: dict[str, Any] = {
        "/api/jobs/jdl": ['Executable = "x"; OutputSE = "none";'],
        "/api/jobs/search": {},
        "/api/jobs/summary": {"grouping": ["Status"]},
        "/api/pilots/search": {},
        "/api/pilots/summary": {"grouping": ["Status"]},
        "/api/jobs/status": {job_id: {T: {"MinorStatus": "m"}}},
        "/api/jobs/heartbeat": {job_id: {}},
        "/api/jobs/metadata": {job_id: {"A": 1}},
        "/api/jobs/reschedule": {"job_ids": [job_id]},
        "/api/jobs/sandbox/unassign": {"job_ids": [job_id]},
        "/api/jobs/sandbox": INFO,
        "/api/pilots/": {"pilot_stamp": "s", "vo": "other"},
        "/api/pilots/metadata": {"none": {}},
        "/api/jobspan/match": {"PilotStamp": "s", "Site": "LCG.Nowhere.org"},
        "/api/jobspan/commands": kill,
        "/api/jobspan/commands/ack": {"CommandIDs": [commands(wms, kill)]},
        "/api/jobspan/jobs/{job_id}/report": {"Statuses": {T: {"MinorStatus": "m"}}},
        "/api/jobspan/jobs/kill": {"job_ids": [job_id]},
        "/api/jobspan/jobs/reset": {"job_ids": [job_id]},
        "/api/jobspan/jobs/delete": {"job_ids": [job_id]},
        "/api/jobspan/jobs/remove": {"job_ids": [job_id]},
        "/api/jobspan/sites/ban": {"Site": "LCG.Banned.org"},
        "/api/jobspan/sites/allow": {"Site": "LCG.Banned.org"},
        "/api/jobspan/pilots/{stamp}/log": {"Messages": []},
        "/api/jobspan/targets": {"Port": 9411, "Role": "agent", "PilotStamp": "s"},
        "/api/jobspan/targets/remove": {"Port": 9411},
        "/api/jobspan/accounting": {"Records": [{"JobID": int(job_id), "UID": uid_of(wms, job_id)}]},
        "/api/jobspan/catalog/lookup": {"LFNs": []},
        "/api/jobspan/catalog/register": FILE,
        "/api/jobspan/catalog/remove": {name: FILE[name] for name in ("Catalog", "LFN", "SE")},
        "/api/jobspan/requests": request_of(job_id),
        "/api/jobspan/requests/claim": {"RequestIDs": []},
        "/api/jobspan/requests/{request_id}/renew": {"Claim": "0" * 32},
        "/api/jobspan/requests/{request_id}/operations/{order}": {"Claim": "0" * 32, "Outcome": "Retry"},
        "/api/jobspan/file-status": {"JobID": int(job_id), "Attempt": 1, "Statuses": []},
    }
    if path.endswith("/report"):
        return {"Statuses": {T: {"MinorStatus": "m"}}}
    return PFN if path.endswith("/sandbox/output") else bodies.get(path.partition("?")[0])


def request_of(job_id: str) -> dict[str, Any]:
    return {"RequestName": "r", "JobID": int(job_id), "Operations": [STATUS_OPERATION]}


def jti(wms: RunningWms) -> str:
    """The refresh token of a session that alice has begun."""
    with wms.context.databases.write() as transaction:
        sessions = Sessions(wms.context, Registry(wms.context))
        sessions.open(transaction, Login("alice", "local", "local_user", "jobspan", ""))
        return str(transaction.auth.active_tokens(("alice", "local"), wms.context.now_ns())[0]["JTI"])


def commands(wms: RunningWms, wanted: dict[str, Any]) -> int:
    found = wms.call("POST", "/api/jobspan/commands", wanted, token=wms.pilot_token).json()["Commands"]
    return int(found[0]["CommandID"])


def uid_of(wms: RunningWms, job_id: str) -> str:
    with wms.context.databases.read() as transaction:
        row = transaction.attempts.get(int(job_id), 1)
    assert row is not None
    return str(row["UID"])


@pytest.mark.parametrize(("method", "path", "marks"), ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS])
def test_a_route_serves_whom_the_policy_allows(
    wms: RunningWms, tokens: dict[str, str | None], method: str, path: str, marks: list[str], patient_probes: None
) -> None:
    """Nobody gets 401, whoever lacks the right 403, and the others an answer."""
    job_id = str(tokens["id"])
    body = body_for(wms, path, job_id) if method != "GET" and path not in FORMS else None
    form: dict[str, Any] = {"data": FORMS[path]} if path in FORMS else {}
    found = {}
    is_console = path.startswith(CONSOLE)
    for caller in reversed(CALLERS):  # the owner last but one, because he may do most
        target = path.format(
            job_id=job_id,
            pfn=PFN,
            type="output",
            request_id=tokens["request"],
            order=1,
            stamp="none",
            jti=jti(wms),
            authorize=AUTHORIZE,
        )
        if is_console:
            answer = console_call(wms, method, target, tokens[caller])
        else:
            answer = wms.call(method, target, body, token=tokens[caller], **form)
        assert answer.status_code < 500
        assert answer.status_code != 422, answer.text  # nobody has asked the policy
        found[caller] = "-" if answer.status_code in (401, 403) or is_sent_to_login(answer) else "+"
        if caller == "nobody" and found[caller] == "-" and "sandboxes" not in path and not is_console:
            assert answer.status_code == 401
    assert [found[caller] for caller in CALLERS] == marks


def console_call(wms: RunningWms, method: str, target: str, token: str | None) -> requests.Response:
    """The same from a browser: with the cookie of a session that *token* has opened, and its forms' token."""
    headers, data = {}, {}
    if token is None:
        return wms.call(method, target, token=None)
    with contextlib.suppress(ServiceError):
        session = ConsoleSessions(wms.context, Registry(wms.context)).log_in_with_token(token, "")
        headers["Cookie"] = f"{COOKIE}={session.secret}"
        data["form_token"] = session.form_token
    more: dict[str, Any] = {"data": data} if method == "POST" else {}
    return wms.call(method, target, token=None, headers=headers, **more)


def is_sent_to_login(answer: requests.Response) -> bool:
    """A page that asks who is there."""
    return answer.status_code == 303 and "/console/login?next=" in answer.headers["location"]


def test_every_route_is_walked(wms: RunningWms) -> None:
    """A route that is added later needs its row, whether the OpenAPI document has it or not."""
    there = {
        (method, route.path_format.replace("{sandbox_type}", "{type}"))
        for module in ROUTES
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert there == {(method, path.partition("?")[0]) for method, path, _ in ROWS}


#: What reads one job, beside what is open to all.
READING = {
    ("GET", "/api/auth/userinfo"),
    *(
        ("GET", f"/api/jobspan/jobs/{{job_id}}/{what}")
        for what in ("parameters", "peek", "description", "why", "pilot")
    ),
}


def test_a_reader_reads_its_job_and_does_nothing_else(wms: RunningWms, tokens: dict[str, str | None]) -> None:
    """The token that the WMS itself shows to an agent: of all routes it opens those that read that job."""
    mint, job_id = wms.context.mint, str(tokens["id"])
    mine, others = (mint.identify(str(tokens[name])).job for name in ("job", "other job"))
    assert mine is not None
    assert others is not None
    token = mint.reader(mint.identify(wms.user_token), mine, 600)
    opened = set()
    for method, path, marks in ROWS:
        if marks[0] == "-" and not path.startswith(CONSOLE):
            body = body_for(wms, path, job_id) if method != "GET" else None
            target = path.format(
                job_id=job_id, pfn=PFN, type="output", request_id=tokens["request"], order=1, stamp="none", jti=jti(wms)
            )
            if wms.call(method, target, body, token=token).status_code not in (401, 403):
                opened.add((method, path))
    assert opened == READING
    assert wms.call("GET", f"/api/jobspan/jobs/{others.job_id}/parameters", token=token).status_code == 403
    with pytest.raises(ForbiddenError):
        ConsoleSessions(wms.context, Registry(wms.context)).log_in_with_token(token, "")
