"""The web console as a browser without script sees it: who gets in, what forms must carry, what payloads cannot do."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from runner.server.db.auth_db import AuthDB
from runner.server.services.registry import Registry
from runner.server.services.revocations import Revocations
from tests.support.browser import Browser
from tests.support.clock import JumpClock
from tests.support.wms import RunningWms, running_wms

PASSWORD = "correct horse battery"
CLOCK = JumpClock()
HOSTILE = "<script>document.title='owned'</script>\x1b[31m\u202e\" onload='x'"


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for the module, with users."""
    overrides = {"WMS": {"ConsoleHosts": ("console.example.org",)}}
    with running_wms(tmp_path_factory.mktemp("wms"), clock=CLOCK, overrides=overrides) as running:
        registry = Registry(running.context)
        registry.add("alice", ["local_user"], PASSWORD)
        registry.add("bob", ["local_user"], PASSWORD)
        registry.add("carol", ["local_admin"], PASSWORD)
        yield running


@pytest.fixture(autouse=True)
def _limits_are_over(wms: RunningWms) -> None:
    """Each test comes some minutes after the one before."""
    CLOCK.advance(601)


def login(wms: RunningWms, name: str = "alice", secret: str = PASSWORD, group: str = "local_user") -> Browser:
    browser = Browser().open(f"{wms.url}/console/login")
    browser.send(name=name, secret=secret, group=group)
    return browser


def inside(wms: RunningWms, name: str = "alice", group: str = "local_user") -> Browser:
    browser = login(wms, name, group=group)
    assert (browser.page.status_code, browser.page.headers["location"]) == (303, "/console/jobs")
    return browser


def at(wms: RunningWms, browser: Browser, path: str, **headers: str) -> requests.Response:
    return browser.session.get(wms.url + path, headers=headers, timeout=30, allow_redirects=False)


def form_token(page: requests.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def order(wms: RunningWms, browser: Browser, path: str, token: str, **headers: str) -> requests.Response:
    return browser.session.post(
        wms.url + path, data={"form_token": token}, headers=headers, timeout=30, allow_redirects=False
    )


def last_events(wms: RunningWms, count: int) -> list[str]:
    return [entry["Event"] for entry in reversed(Registry(wms.context).audit(count))]


def test_a_stranger_is_asked_who_he_is_and_comes_where_he_wanted(wms: RunningWms) -> None:
    """Without a session every page leads to the login, and the login back to the page."""
    browser = Browser().open(f"{wms.url}/console/jobs?status=Done")
    asked = browser.page.headers["location"]
    assert (browser.page.status_code, asked) == (303, "/console/login?next=/console/jobs%3Fstatus%3DDone")
    browser.open(wms.url + asked).send(name="alice", secret=PASSWORD, group="local_user")
    assert (browser.page.status_code, browser.page.headers["location"]) == (303, "/console/jobs?status=Done")
    assert last_events(wms, 2) == ["login approved", "console login"]


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example/console/", "/console/\\evil", "/api/x"])
def test_a_login_leads_nowhere_else(wms: RunningWms, elsewhere: str) -> None:
    """An address that somebody has put behind the login, and that is not the console's, is not followed."""
    browser = Browser().open(f"{wms.url}/console/login?next={elsewhere}")
    browser.send(name="alice", secret=PASSWORD, group="local_user")
    assert browser.page.headers["location"] == "/console/jobs"


def test_the_cookie_is_for_us_only(wms: RunningWms) -> None:
    """HttpOnly, SameSite=Strict, below /console, with an end; a second login has another one."""
    first, second = login(wms), login(wms)
    set_by = first.page.headers["set-cookie"]
    assert "jobspan_console=" in set_by
    words = set_by.partition("jobspan_console=")[2].lower()
    assert all(each in words for each in ("httponly", "samesite=strict", "path=/console", "max-age=43200"))
    assert first.session.cookies["jobspan_console"] != second.session.cookies["jobspan_console"]


def test_a_wrong_password_is_refused_and_too_many_are_not_looked_at(wms: RunningWms) -> None:
    """401 with a fresh form and no session, then 429; the right password waits with them."""
    for _ in range(5):
        refused = login(wms, "bob", "wrong horse battery")
        assert (refused.page.status_code, refused.error) == (401, "wrong name, password or code")
        assert "jobspan_console" not in refused.session.cookies
    late = login(wms, "bob")
    assert (late.page.status_code, late.page.headers["retry-after"]) == (429, "60")
    assert "jobspan_console" not in late.session.cookies


def test_a_token_opens_a_session_with_its_own_rights(wms: RunningWms) -> None:
    """A user's token does what it does over the API; a job's token, and a forged one, open nothing."""
    job_id = wms.submit()
    job_token = (wms.match() or {})["JobToken"]
    browser = Browser().open(f"{wms.url}/console/login")
    browser.send(token=wms.user_token)
    assert browser.page.status_code == 303
    assert at(wms, browser, f"/console/jobs/{job_id}").status_code == 200
    assert at(wms, browser, "/console/reconciliation").status_code == 403
    for token, code in ((job_token, 403), (wms.user_token[:-4] + "AAAA", 401)):
        other = Browser().open(f"{wms.url}/console/login")
        assert other.send(token=token).status_code == code
        assert "jobspan_console" not in other.session.cookies


def test_a_session_ends_with_its_token(wms: RunningWms) -> None:
    """Revoking the token ends the session that it has opened."""
    token = wms.context.mint.login(wms.context.mint.identify(wms.user_token), 3600)
    browser = Browser().open(f"{wms.url}/console/login")
    browser.send(token=token)
    assert at(wms, browser, "/console/jobs").status_code == 200
    Registry(wms.context).revoke_token(token)
    Revocations(wms.context).load()  # what the server's own thread learns a second later
    assert at(wms, browser, "/console/jobs").headers["location"].startswith("/console/login")


def test_a_token_that_is_revoked_while_the_server_looks_stays_revoked(
    wms: RunningWms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads what others have revoked, and had begun before, does not forget it again."""
    mint, read = wms.context.mint, AuthDB.revoked
    token = mint.login(mint.identify(wms.user_token), 3600)

    def revoked(auth: AuthDB, now_ns: int) -> frozenset[str]:
        found = read(auth, now_ns)
        mint.revoke(frozenset({mint.name(token)[0]}))
        return found

    monkeypatch.setattr(AuthDB, "revoked", revoked)
    Revocations(wms.context).load()
    assert Browser().open(f"{wms.url}/console/login").send(token=token).status_code == 401


def test_a_form_of_another_site_changes_nothing(wms: RunningWms) -> None:
    """Without the token of the form, with somebody else's, or from another origin an order is refused."""
    job_id = wms.submit()
    mine, other = inside(wms), inside(wms, "bob")
    token = form_token(at(wms, mine, f"/console/jobs/{job_id}"))
    path = f"/console/jobs/{job_id}/kill"
    assert order(wms, mine, path, "").status_code == 403
    assert order(wms, mine, path, form_token(at(wms, other, "/console/jobs"))).status_code == 403
    for origin in ("https://evil.example", "null", "http://[", "http://[x]", f"{wms.url}.evil.example"):
        assert order(wms, mine, path, token, Origin=origin).status_code == 403, origin
    assert wms.status(job_id)[0] == "Waiting"
    done = order(wms, mine, path, token, Origin=wms.url)
    assert (done.status_code, done.headers["location"]) == (303, f"/console/jobs/{job_id}?said=killed")
    assert wms.status(job_id)[0] == "Killed"
    assert "The order to kill the job was given." in at(wms, mine, done.headers["location"]).text


def test_a_login_form_of_another_site_logs_nobody_in(wms: RunningWms) -> None:
    """The form is good only in the browser that it was given to, and from our own pages."""
    stolen = Browser().open(f"{wms.url}/console/login").form.fields["form_token"]
    typed = {"name": "alice", "secret": PASSWORD, "group": "local_user", "form_token": stolen}
    answer = requests.post(f"{wms.url}/console/login", data=typed, timeout=30, allow_redirects=False)
    assert answer.status_code == 403
    assert "jobspan_console=" not in answer.headers["set-cookie"]
    browser = Browser().open(f"{wms.url}/console/login")
    typed = {"name": "alice", "secret": PASSWORD, "group": "local_user"}
    for origin in ("https://evil.example", "http://["):
        assert browser.send(**typed, headers={"Origin": origin}).status_code == 403, origin
    assert browser.send(**typed, headers={"Origin": wms.url}).status_code == 303


def test_orders_are_for_whom_the_policy_allows(wms: RunningWms) -> None:
    """Another user gets neither the page nor his order; an administrator gets both."""
    job_id = wms.submit()
    other, admin = inside(wms, "bob"), inside(wms, "carol", "local_admin")
    assert at(wms, other, f"/console/jobs/{job_id}").status_code == 403
    token = form_token(at(wms, other, "/console/jobs"))
    assert order(wms, other, f"/console/jobs/{job_id}/kill", token).status_code == 403
    assert wms.status(job_id)[0] == "Waiting"
    page = at(wms, admin, f"/console/jobs/{job_id}")
    assert f"Kill job {job_id}" in page.text
    assert order(wms, admin, f"/console/jobs/{job_id}/kill", form_token(page)).status_code == 303
    assert wms.status(job_id)[0] == "Killed"
    assert f"Kill job {job_id}" not in at(wms, admin, f"/console/jobs/{job_id}").text


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("evil.example", 421),
        ("10.1.2.3", 421),
        ("localhost.evil.example:80", 421),
        ("", 421),
        ("console.example.org", 303),
        ("CONSOLE.example.org:8443", 303),
        ("localhost:1", 303),
    ],
)
def test_only_our_own_names_lead_to_the_console(wms: RunningWms, host: str, code: int) -> None:
    """A foreign name that points here (DNS rebinding) gets no page, not even the login."""
    assert wms.call("GET", "/console/jobs", token=None, headers={"Host": host}).status_code == code


def test_every_answer_carries_its_policy(wms: RunningWms) -> None:
    """Pages, refusals, redirections: no script but the one on the page, no frame, nothing from elsewhere, not kept."""
    browser = inside(wms)
    scripts = re.findall(r"<script.*?</script>", at(wms, browser, "/console/jobs").text, re.DOTALL)
    (script,) = (each.removeprefix("<script>").removesuffix("</script>") for each in scripts)
    source = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    paths = ("/console/jobs", "/console/jobs/9999", "/console/login", "/console/jobs?live=part", "/console/jobs?page=0")
    for answer in [at(wms, browser, path) for path in paths] + [at(wms, Browser(), "/console/jobs")]:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert f"script-src {source}; connect-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("site", "is_cut_off"),
    [("cross-site", True), ("same-site", True), ("", True), ("same-origin", False), ("none", False)],
)
def test_whoever_may_have_opened_a_page_is_cut_off_from_it(wms: RunningWms, site: str, is_cut_off: bool) -> None:
    """Another site, or port, keeps no hand on a window with the console; somebody's own way in costs no new process."""
    browser, headers = inside(wms), {"Sec-Fetch-Site": site} if site else {}
    answers = [at(wms, browser, path, **headers) for path in ("/console/jobs", "/console/login", "/console")]
    answers += [at(wms, Browser(), path, **headers) for path in ("/console/jobs", "/console/login")]
    found = {answer.headers.get("cross-origin-opener-policy") for answer in answers}
    assert found == {"same-origin" if is_cut_off else None}


def test_what_a_payload_writes_is_text(wms: RunningWms) -> None:
    """Names, parameters, output and statuses of a hostile job stand escaped, without control characters."""
    job_id = wms.submit('Executable = "/bin/true"; JobName = "<b>\'x";')
    token = (wms.match() or {})["JobToken"]
    wms.report(job_id, {"Status": "Running", "ApplicationStatus": HOSTILE}, token=token)
    beat = {str(job_id): {"CPUConsumed": 1.0, "StandardOutput": HOSTILE + "\n</pre>"}}
    assert wms.call("PATCH", "/api/jobs/heartbeat", beat, token=token).status_code == 200
    metadata = {str(job_id): {HOSTILE[:40]: HOSTILE}}
    assert wms.call("PATCH", "/api/jobs/metadata", metadata, token=token).status_code == 204
    browser = inside(wms)
    for path in (f"/console/jobs/{job_id}", f"/console/jobs/{job_id}/peek", "/console/jobs"):
        text = at(wms, browser, path).text
        assert "<script>document" not in text
        assert "<b>" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "onload='x'" not in text
    assert "&lt;script&gt;document" in at(wms, browser, f"/console/jobs/{job_id}").text


def test_a_table_is_filtered_sorted_and_paged(wms: RunningWms) -> None:
    """Filters narrow it, heads sort it, pages are bounded; what cannot be is refused in words."""
    texts = [f'Executable = "/bin/true"; JobName = "many{number:03}"; JobGroup = "pages";' for number in range(60)]
    assert wms.call("POST", "/api/jobs/jdl", texts).status_code == 201
    wms.settle()
    browser = inside(wms)
    first = at(wms, browser, "/console/jobs?job_group=pages&sort=JobName&order=asc").text
    assert re.findall(r"many\d{3}", first) == [f"many{number:03}" for number in range(50)]
    assert "1 to 50 of 60" in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = at(wms, browser, following[1].replace("&amp;", "&")).text
    assert re.findall(r"many\d{3}", second) == [f"many{number:03}" for number in range(50, 60)]
    assert 'rel="next"' not in second
    found = at(wms, browser, "/console/jobs?name=*ANY01*&job_group=pages").text
    assert sorted(re.findall(r"many\d{3}", found)) == [f"many01{number}" for number in range(10)]
    assert at(wms, browser, "/console/jobs?name=100%25_").status_code == 200
    assert at(wms, browser, "/console/jobs?sort=Password").status_code == 400
    assert at(wms, browser, "/console/jobs?page=0").status_code == 400
    assert at(wms, browser, "/console/jobs?job=7").headers["location"] == "/console/jobs/7"


def test_usage_is_drawn_over_time_and_thinned_out(wms: RunningWms) -> None:
    """Heartbeats become curves; however long the attempt, its points stay few."""
    job_id = wms.submit('Executable = "/bin/true"; JobType = "Long";')
    token = (wms.match(JobTypes=["Long"]) or {})["JobToken"]
    wms.report(job_id, {"Status": "Running"}, token=token)
    for number in range(5):
        CLOCK.advance(60)
        beat = {str(job_id): {"CPUConsumed": 30.0 * number, "MemoryUsed": 100.0 + number, "WallClockTime": 60.0}}
        assert wms.call("PATCH", "/api/jobs/heartbeat", beat, token=token).status_code == 200
    page = at(wms, inside(wms), f"/console/jobs/{job_id}").text
    assert page.count('<path fill="none"') == 2
    assert "Processors in use: 0.5 at the end, 0.5 at most" in page
    assert "Memory: 104 MiB at the end" in page
    with wms.context.databases.write() as transaction:
        for second in range(0, 7 * 86400, 60):
            transaction.usage.add(999, 1, second * 10**9, {"CPUConsumed": float(second)})
    with wms.context.databases.read() as transaction:
        points = transaction.usage.of_job(999)
    assert 300 < len(points) < 1200
    assert points[-1]["Time"] > 6.9 * 86400 * 10**9


def test_accounting_and_nodes_are_shown(wms: RunningWms) -> None:
    """The node that took a job stands with it, and what was used with its sums; each user sees his own."""
    job_id = wms.submit('Executable = "/bin/true"; JobType = "Short";')
    body = {"pilot_stamp": "node-7", "vo": "local", "pilot_status": "Running", "grid_site": "LCG.Test.org"}
    assert wms.call("POST", "/api/pilots/", body, token=wms.pilot_token).status_code == 201
    assert wms.match(PilotStamp="node-7", JobTypes=["Short"]) is not None
    browser = inside(wms)
    nodes = at(wms, browser, "/console/pilots").text
    assert '<a href="/console/pilots/node-7">node-7</a>' in nodes
    one = at(wms, browser, "/console/pilots/node-7").text
    assert f'<a href="/console/jobs/{job_id}">{job_id}</a>' in one
    assert at(wms, browser, "/console/pilots/nobody").status_code == 404
    assert at(wms, browser, "/console/accounting?by=JobType&days=7").status_code == 200
    assert at(wms, browser, "/console/accounting?by=Password").status_code == 400


def test_the_last_reconciliation_is_shown_to_whoever_may_see_all(wms: RunningWms) -> None:
    """Without a report the page says where one belongs, with one its verdict and tables, harmless; never to users."""
    admin = inside(wms, "carol", "local_admin")
    assert "There is no report yet" in at(wms, admin, "/console/reconciliation").text
    (wms.folder / "reports").mkdir()
    report = wms.folder / "reports" / "reconciliation.json"
    table = [{"site": HOSTILE, "pairs": 3}, {"site": "LCG.Test.org", "pairs": 4.25}]
    report.write_text(
        json.dumps({"verdict": "2 differences", "mood": "bad", "figures": {}, "tables": {"sites": table}})
    )
    text = at(wms, admin, "/console/reconciliation").text
    assert '<span class="badge bad">2 differences</span>' in text
    assert '<td class="num">4.25</td>' in text
    assert "<script>document" not in text
    two_ledgers = {"exit_code": 0, "summary": "all matched", "matched": 7, "pending": [{"uid": "x", "job_id": 12}]}
    report.write_text(json.dumps(two_ledgers))
    text = at(wms, admin, "/console/reconciliation").text
    assert '<span class="badge good">all matched</span>' in text
    assert "<dt>Matched</dt><dd>7</dd>" in text
    assert '<th scope="col">Job id</th>' in text
    for damaged in ("[]", "{", '{"tables": 7, "figures": []}', '{"exit_code": [], "mood": {}}'):
        report.write_text(damaged)
        assert at(wms, admin, "/console/reconciliation").status_code in (200, 400)
    assert at(wms, inside(wms, "alice"), "/console/reconciliation").status_code == 403


def test_where_there_is_tls_the_cookie_stays_there(wms: RunningWms) -> None:
    """Behind a proxy on this machine that has TLS, and says so, both cookies are Secure."""
    browser = Browser()
    browser.session.headers["X-Forwarded-Proto"] = "https"
    browser.open(f"{wms.url}/console/login")
    assert "Secure" in browser.page.headers["set-cookie"]
    nonce = browser.page.headers["set-cookie"].partition(";")[0]  # over plain HTTP the jar would keep it back
    browser.session.headers["Cookie"] = nonce
    browser.send(token=wms.user_token)
    assert "Secure" in browser.page.headers["set-cookie"].partition("jobspan_console=")[2]


def test_logging_out_ends_the_session(wms: RunningWms) -> None:
    """The cookie that somebody may have kept is worth nothing afterwards."""
    browser = inside(wms)
    kept: Any = browser.session.cookies["jobspan_console"]
    token = form_token(at(wms, browser, "/console/jobs"))
    assert order(wms, browser, "/console/logout", "").status_code == 403
    assert order(wms, browser, "/console/logout", token).headers["location"] == "/console/login"
    again = wms.call("GET", "/console/jobs", token=None, headers={"Cookie": f"jobspan_console={kept}"})
    assert urlsplit(again.headers["location"]).path == "/console/login"
    assert last_events(wms, 1) == ["console logout"]


def test_a_link_elsewhere_leads_to_the_page(wms: RunningWms) -> None:
    """A strict cookie is not sent by a click on another site: the page is asked for once more from here."""
    answer = at(wms, Browser(), "/console/jobs?status=Done", **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0;url=/console/jobs?status=Done">' in answer.text
