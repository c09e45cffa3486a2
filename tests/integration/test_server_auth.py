"""Logins: the device flow, proofs and their limits, sessions, rotation and reuse, revocation, the audit log."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from runner.server.db.schema import METADATA
from runner.server.services.passwords import digest_of
from runner.server.services.registry import Registry
from runner.server.services.revocations import Revocations
from runner.server.tokens import Role
from tests.support.browser import Browser
from tests.support.clock import JumpClock
from tests.support.wms import RunningWms, running_wms

CLIENT = "myDIRACClientID"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PASSWORD = "correct horse battery"
CLOCK = JumpClock()
WAIT_SECONDS = 20.0
#: What must not happen has so long to happen.
CHANCE_SECONDS = 0.3
#: For tests of pages, words and passwords, which ask the database for nothing that others do not ask for.
in_file = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[RunningWms]:
    """One WMS for the module on each kind of database, with users."""
    with running_wms(tmp_path_factory.mktemp("wms"), database=database, clock=CLOCK) as running:
        registry = Registry(running.context)
        registry.add("bea", ["local_user"], PASSWORD)
        registry.add("carl", ["local_user", "local_admin"], PASSWORD)
        registry.add("dora", ["local_user"], None)
        yield running


@pytest.fixture(autouse=True)
def _limits_are_over(wms: RunningWms) -> None:
    """Each test comes some minutes after the one before."""
    CLOCK.advance(601)


def begin(wms: RunningWms, scope: str = "vo:local", client: str = CLIENT) -> Any:
    query = {"client_id": client, "scope": scope}
    return requests.post(f"{wms.url}/api/auth/device", params=query, timeout=60)


def token(wms: RunningWms, **fields: str) -> Any:
    return requests.post(f"{wms.url}/api/auth/token", data={"client_id": CLIENT, **fields}, timeout=60)


def redeem(wms: RunningWms, asked: Any) -> Any:
    return token(wms, grant_type=DEVICE, device_code=asked.json()["device_code"])


def refresh(wms: RunningWms, refresh_token: str) -> Any:
    return token(wms, grant_type="refresh_token", refresh_token=refresh_token)


def logged_in(wms: RunningWms, name: str = "bea", secret: str = PASSWORD, scope: str = "vo:local") -> Any:
    asked = begin(wms, scope)
    page = Browser().log_in(asked.json()["verification_uri_complete"], name, secret)
    assert page.status_code == 200, page.text
    answer = redeem(wms, asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def last_events(wms: RunningWms, count: int) -> list[str]:
    return [entry["Event"] for entry in reversed(Registry(wms.context).audit(count))]


def userinfo(wms: RunningWms, access_token: str) -> Any:
    return wms.call("GET", "/api/auth/userinfo", token=access_token)


def test_a_program_is_let_in_by_its_user(wms: RunningWms) -> None:
    """The program waits, the user enters the code and proves who he is, the program gets tokens, once."""
    asked = begin(wms)
    waiting = redeem(wms, asked)
    assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
    browser = Browser().open(asked.json()["verification_uri"])
    browser.send(user_code=asked.json()["user_code"].lower().replace("-", " "))
    assert "local_user" in browser.page.text
    assert CLIENT in browser.page.text
    browser.send(name="bea", secret=PASSWORD)
    assert browser.page.status_code == 303
    given = redeem(wms, asked)
    assert given.headers["cache-control"] == "no-store"
    found = given.json()
    assert (found["token_type"], found["expires_in"]) == ("Bearer", 1200)
    who = userinfo(wms, found["access_token"]).json()
    assert (who["preferred_username"], who["dirac_group"], who["properties"]) == ("bea", "local_user", ["NormalUser"])
    assert redeem(wms, asked).json()["error"] == "invalid_grant"
    assert last_events(wms, 2) == ["login approved", "session opened"]


def test_a_group_gives_its_properties_and_only_to_its_members(wms: RunningWms) -> None:
    """Carl may act as an administrator; Bea, who asks for the same with the right password, may not."""
    found = logged_in(wms, "carl", scope="vo:local group:local_admin property:JobAdministrator")
    who = userinfo(wms, found["access_token"]).json()
    assert (who["dirac_group"], who["properties"]) == ("local_admin", ["JobAdministrator", "NormalUser"])
    asked = begin(wms, "vo:local group:local_admin")
    page = Browser().log_in(asked.json()["verification_uri_complete"], "bea", PASSWORD)
    assert page.status_code == 403
    assert "bea is not in group local_admin" in page.text
    assert redeem(wms, asked).json()["error"] == "authorization_pending"
    assert last_events(wms, 1) == ["group refused"]


@in_file
@pytest.mark.parametrize(
    ("scope", "client", "error"),
    [
        ("", CLIENT, "invalid_scope"),
        ("vo:other", CLIENT, "invalid_scope"),
        ("vo:local vo:other", CLIENT, "invalid_scope"),
        ("vo:local group:root", CLIENT, "invalid_scope"),
        ("vo:local property:JobAdministrator", CLIENT, "invalid_scope"),
        ("vo:local everything", CLIENT, "invalid_scope"),
        ("vo:local", "somebody", "invalid_client"),
    ],
)
def test_nothing_is_begun_for_what_does_not_exist(wms: RunningWms, scope: str, client: str, error: str) -> None:
    """Programs, VOs, groups and properties that are not there are refused at once, with OAuth's word."""
    answer = begin(wms, scope, client)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@in_file
def test_wrong_passwords_are_limited(wms: RunningWms) -> None:
    """After five wrong ones nobody looks at a sixth, right or wrong; some minutes later it is looked at again."""
    asked = begin(wms)
    browser = Browser().open(asked.json()["verification_uri_complete"])
    for _ in range(5):
        assert browser.send(name="bea", secret="wrong").status_code == 401
        assert browser.error == "wrong name, password or code"
    answer = browser.send(name="bea", secret=PASSWORD)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    CLOCK.advance(301)
    assert browser.send(name="bea", secret=PASSWORD).status_code == 303
    assert last_events(wms, 6) == [*["login refused"] * 5, "login approved"]


@in_file
def test_nobody_learns_who_exists(wms: RunningWms) -> None:
    """An unknown name, a wrong password and a user without one are answered alike, with the same work done."""
    pages = []
    for name in ("nobody", "bea", "dora"):
        page = Browser().log_in(begin(wms).json()["verification_uri_complete"], name, "wrong password")
        pages.append((page.status_code, "wrong name, password or code" in page.text))
    assert pages == [(401, True)] * 3


def test_codes_cannot_be_guessed(wms: RunningWms) -> None:
    """Whoever tries codes that are not known is stopped, and the address is in the audit log."""
    codes = [
        Browser().open(f"{wms.url}/api/auth/device?user_code=BBBB-BBB{letter}").page.status_code
        for letter in "BCDFGHJKLMNPQRSTVWXZBC"
    ]
    assert codes == [404] * 20 + [429] * 2
    assert Registry(wms.context).audit(1)[0]["Address"] == "127.0.0.1"


def test_a_form_is_good_in_one_browser_for_one_login(wms: RunningWms) -> None:
    """A form without its cookie, of another login, or from another site approves nothing, though the proof is right."""
    asked, other = begin(wms), begin(wms)
    browser = Browser().open(asked.json()["verification_uri_complete"])
    kept = browser.page
    browser.session.cookies.clear()
    assert browser.send(name="bea", secret=PASSWORD).status_code == 403
    assert "fresh one" in browser.error
    browser.page = kept  # the cookie is that of the fresh form now
    assert browser.send(name="bea", secret=PASSWORD).status_code == 403
    sent = browser.send(name="bea", secret=PASSWORD, user_code=other.json()["user_code"])
    assert sent.status_code == 403
    browser.open(asked.json()["verification_uri_complete"])
    for origin in ("https://evil.example", "http://["):
        foreign = browser.send(name="bea", secret=PASSWORD, headers={"Origin": origin})
        assert foreign.status_code == 403, origin
    assert {redeem(wms, each).json()["error"] for each in (asked, other)} == {"authorization_pending"}
    assert browser.send(name="bea", secret=PASSWORD, headers={"Origin": wms.url}).status_code == 303


@in_file
def test_pages_cannot_be_framed_or_scripted(wms: RunningWms) -> None:
    """The pages forbid frames, scripts, foreign forms and caches, and show what they were given as text."""
    page = Browser().open(f"{wms.url}/api/auth/device?user_code=%3Cscript%3Ealert(1)%3C/script%3E").page
    assert "<script" not in page.text
    shown = Browser().open(begin(wms).json()["verification_uri_complete"]).page
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert shown.headers["cache-control"] == "no-store"
    cookie = shown.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_code_of_the_operator_lets_in_once(wms: RunningWms) -> None:
    """Dora, who has no password, gets in with the code that she was told, and a second time not."""
    code = Registry(wms.context).login_code("dora")
    assert logged_in(wms, "dora", code.lower())["access_token"]
    again = Browser().log_in(begin(wms).json()["verification_uri_complete"], "dora", code)
    assert again.status_code == 401
    late = Registry(wms.context).login_code("dora")
    CLOCK.advance(901)
    assert Browser().log_in(begin(wms).json()["verification_uri_complete"], "dora", late).status_code == 401
    others = Registry(wms.context).login_code("dora")
    assert Browser().log_in(begin(wms).json()["verification_uri_complete"], "bea", others).status_code == 401


def test_a_login_waits_for_ten_minutes(wms: RunningWms) -> None:
    """Then its code is unknown, and its program is told."""
    asked = begin(wms)
    CLOCK.advance(600)
    assert Browser().open(asked.json()["verification_uri_complete"]).page.status_code == 404
    assert redeem(wms, asked).json()["error"] == "expired_token"


def test_a_reused_refresh_token_ends_its_session_and_no_other(wms: RunningWms) -> None:
    """Each is exchanged once. A second time means a copy: that session is over, the user's other one goes on."""
    first, other = logged_in(wms), logged_in(wms)
    second = refresh(wms, first["refresh_token"]).json()
    third = refresh(wms, second["refresh_token"]).json()
    assert userinfo(wms, third["access_token"]).status_code == 200
    stolen = refresh(wms, first["refresh_token"])
    assert stolen.status_code == 401
    assert "used before" in stolen.json()["detail"]
    assert refresh(wms, third["refresh_token"]).status_code == 401
    assert refresh(wms, other["refresh_token"]).status_code == 200
    assert "reuse detected" in last_events(wms, 3)


def test_a_lost_answer_does_not_end_a_session(wms: RunningWms) -> None:
    """Who never saw the answer asks again within a minute; should somebody else have seen it, the session is over."""
    first = logged_in(wms)
    lost = refresh(wms, first["refresh_token"]).json()
    again = refresh(wms, first["refresh_token"]).json()
    third = refresh(wms, again["refresh_token"]).json()
    assert refresh(wms, lost["refresh_token"]).status_code == 401
    assert refresh(wms, third["refresh_token"]).status_code == 401
    late = logged_in(wms)
    assert refresh(wms, late["refresh_token"]).status_code == 200
    CLOCK.advance(60)
    assert refresh(wms, late["refresh_token"]).status_code == 401


def test_of_many_who_refresh_at_once_one_can_go_on(wms: RunningWms) -> None:
    """A refresh token that two show at the same moment has one successor: whoever has the other ends the session."""
    shown = logged_in(wms)["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(wms, shown), range(8)))
    given = [each.json()["refresh_token"] for each in answers if each.status_code == 200]
    assert given
    with wms.context.databases.read() as transaction:
        rows = list(filter(None, (transaction.auth.token(wms.context.mint.read_refresh(each)) for each in given)))
    assert Counter(row["Status"] for row in rows)["Active"] <= 1
    last = [refresh(wms, each).status_code for each in given]
    assert last.count(200) <= 1


def test_a_successor_in_use_is_not_exchanged_for_a_lost_answer(wms: RunningWms) -> None:
    """While the next token is being used, the one before it cannot be shown again: both wait for one another."""
    first = logged_in(wms)["refresh_token"]
    second = refresh(wms, first).json()["refresh_token"]
    read_refresh, databases = wms.context.mint.read_refresh, wms.context.databases
    with ThreadPoolExecutor(1) as pool:
        with databases.write() as transaction:
            row = transaction.auth.token(read_refresh(second))
            assert row is not None
            again = pool.submit(refresh, wms, first)
            assert not wait([again], CHANCE_SECONDS).done
            transaction.auth.use_token(row["JTI"])
        assert again.result(WAIT_SECONDS).status_code == 401


def test_a_device_code_that_is_being_redeemed_is_nobody_elses(wms: RunningWms) -> None:
    """A login gives one session: who shows its code at the same moment waits, and then there is no such login."""
    asked, databases = begin(wms), wms.context.databases
    assert Browser().log_in(asked.json()["verification_uri_complete"], "bea", PASSWORD).status_code == 200
    with ThreadPoolExecutor(1) as pool:
        with databases.write() as transaction:
            flow = transaction.auth.flow(secret_hash=digest_of(asked.json()["device_code"]))
            assert flow is not None
            second = pool.submit(redeem, wms, asked)
            assert not wait([second], CHANCE_SECONDS).done
            transaction.auth.end_flow(flow["FlowID"])
        assert second.result(WAIT_SECONDS).json()["error"] == "invalid_grant"


def test_a_session_ends_when_it_is_not_used_or_too_old(wms: RunningWms) -> None:
    """Unused for a week it is over; renewed all the time it is over after thirty days."""
    found = logged_in(wms)
    CLOCK.advance(1200)
    assert userinfo(wms, found["access_token"]).status_code == 401
    CLOCK.advance(7 * 86400 - 1200)
    assert refresh(wms, found["refresh_token"]).status_code == 401
    kept = logged_in(wms)
    for _ in range(5):
        CLOCK.advance(6 * 86400 - 1)
        answer = refresh(wms, kept["refresh_token"])
        assert answer.status_code == 200, answer.text
        kept = answer.json()
    CLOCK.advance(6)
    assert refresh(wms, kept["refresh_token"]).status_code == 401


def test_rights_are_those_of_the_moment(wms: RunningWms) -> None:
    """Whoever has left a group, has a new password, or is gone, cannot renew what was given before."""
    registry = Registry(wms.context)
    registry.add("emil", ["local_user", "local_admin"], PASSWORD)
    in_group = logged_in(wms, "emil", scope="vo:local group:local_admin")
    with_password, to_the_end = logged_in(wms, "emil"), logged_in(wms, "emil")
    registry.set_groups("emil", ["local_user"])
    assert refresh(wms, in_group["refresh_token"]).status_code == 401
    to_the_end = refresh(wms, to_the_end["refresh_token"]).json()
    registry.set_password("emil", PASSWORD + "!")
    assert refresh(wms, with_password["refresh_token"]).status_code == 401
    to_the_end = logged_in(wms, "emil", PASSWORD + "!")
    registry.remove("emil")
    assert refresh(wms, to_the_end["refresh_token"]).status_code == 401


def test_a_logout_ends_the_session(wms: RunningWms) -> None:
    """A revoked refresh token gives nothing any more; what is no token can be revoked too."""
    found = logged_in(wms)
    for shown in (found["refresh_token"], found["refresh_token"], "rubbish"):
        answer = requests.post(f"{wms.url}/api/auth/revoke", data={"token": shown, "client_id": CLIENT}, timeout=60)
        assert (answer.status_code, type(answer.json())) == (200, str)
    assert refresh(wms, found["refresh_token"]).status_code == 401


def revoke(wms: RunningWms, shown: str) -> int:
    form = {"token": shown, "client_id": CLIENT, "token_type_hint": "access_token"}
    return requests.post(f"{wms.url}/api/auth/revoke", data=form, timeout=60).status_code


def test_a_single_token_can_be_revoked(wms: RunningWms) -> None:
    """Its bearer revokes an access token: it counts no more, its session goes on, and the audit log has it once."""
    found = logged_in(wms)
    assert [revoke(wms, found["access_token"]) for _ in range(2)] == [200, 200]
    refused = userinfo(wms, found["access_token"])
    assert (refused.status_code, "revoked" in refused.json()["detail"]) == (401, True)
    after = refresh(wms, found["refresh_token"]).json()
    assert userinfo(wms, after["access_token"]).status_code == 200
    assert last_events(wms, 1) == ["token revoked"]


def test_an_administrator_revokes_a_token_by_its_id(wms: RunningWms) -> None:
    """Of a pilot's or a job's token the id is enough; a job token that was revoked is not renewed either."""
    admin, pilot = wms.token_for("carl", Role.ADMIN), wms.token_for("pilot", Role.PILOT)
    user = wms.token_for("zoe", Role.USER)  # the clock of this module runs ahead of the token that the owner has
    job_id = int(wms.call("POST", "/api/jobs/jdl", ['Executable = "/bin/true";'], token=user).json()[0]["JobID"])
    wms.settle()
    slot = {"PilotStamp": "s", "Site": "LCG.Here.org"}
    job = wms.call("POST", "/api/jobspan/match", slot, token=pilot).json()["Job"]["JobToken"]
    for shown in (pilot, job):
        jti = wms.context.mint.name(shown)[0]
        assert wms.call("DELETE", f"/api/auth/access-tokens/{jti}", token=admin).status_code == 200
    assert wms.call("POST", "/api/jobspan/match", {"PilotStamp": "s"}, token=pilot).status_code == 401
    assert wms.call("POST", f"/api/jobspan/jobs/{job_id}/token", token=job).status_code == 401
    assert wms.call("DELETE", "/api/auth/access-tokens/nothing", token=admin).status_code == 400


@pytest.mark.parametrize("by", ["administrator", "operator, by its id", "operator, who has it"])
def test_a_refresh_token_that_is_revoked_ends_its_session(wms: RunningWms, by: str) -> None:
    """Whoever revokes it, and in whatever way he names it: nobody gets a token for it any more."""
    shown = logged_in(wms)["refresh_token"]
    jti = wms.context.mint.read_refresh(shown)
    if by == "administrator":
        admin = wms.token_for("carl", Role.ADMIN)
        assert wms.call("DELETE", f"/api/auth/access-tokens/{jti}", token=admin).status_code == 200
    else:
        assert Registry(wms.context).revoke_token(shown if "has it" in by else jti) == jti
    refused = refresh(wms, shown)
    assert (refused.status_code, "session is over" in refused.json()["detail"]) == (401, True)
    assert last_events(wms, 1) == ["session revoked"]


def test_a_refresh_token_that_an_earlier_version_has_revoked_is_refused(wms: RunningWms) -> None:
    """Such a version wrote it among the single tokens: it counts no more, and neither does its session."""
    shown = logged_in(wms)["refresh_token"]
    jti = wms.context.mint.read_refresh(shown)
    wms.context.mint.revoke(frozenset({jti}))
    assert refresh(wms, shown).status_code == 401
    with wms.context.databases.read() as transaction:
        assert (transaction.auth.token(jti) or {})["Status"] == "Revoked"


@pytest.mark.parametrize("way", ["device code", "redirection"])
@pytest.mark.parametrize("ending", ["password", "remove", "logout", "groups"])
def test_a_login_that_was_approved_ends_with_the_others(wms: RunningWms, ending: str, way: str) -> None:
    """It gives no tokens after the operator has ended all logins of the user, or taken the group from him."""
    registry, name = Registry(wms.context), f"eve-{ending}-{way[:6]}"
    registry.add(name, ["local_user"], PASSWORD)
    if way == "device code":
        asked = begin(wms)
        assert Browser().log_in(asked.json()["verification_uri_complete"], name, PASSWORD).status_code == 200
        fields = {"grant_type": DEVICE, "device_code": asked.json()["device_code"]}
    else:
        answer = Browser().log_in(authorize(wms), name, PASSWORD)
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    if ending == "password":
        registry.set_password(name, "another one for eve")
    elif ending == "remove":
        registry.remove(name)
    elif ending == "logout":
        assert registry.end_sessions(name) == 0
    else:
        registry.set_groups(name, ["local_admin"])
    refused = token(wms, **fields)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def test_a_revocation_is_kept_as_long_as_the_token_would_have_counted(wms: RunningWms) -> None:
    """A server that starts knows it from the database; when the token is over nothing is kept of it."""
    shown = wms.token_for("zoe", Role.USER)
    assert revoke(wms, shown) == 200
    jti, expiry_ns, _ = wms.context.mint.name(shown)
    with wms.context.databases.read() as transaction:
        assert jti in transaction.auth.revoked(wms.context.now_ns())
        assert jti not in transaction.auth.revoked(expiry_ns)
    wms.context.mint.revoked = frozenset()
    Revocations(wms.context).load()
    assert userinfo(wms, shown).status_code == 401
    with wms.context.databases.write() as transaction:
        transaction.auth.expire(expiry_ns, 0)
        assert jti not in transaction.auth.revoked(0)


def test_sessions_are_their_owners(wms: RunningWms) -> None:
    """A user sees and ends his own sessions, an administrator everybody's, a stranger none."""
    found, stranger, admin = logged_in(wms), wms.token_for("zoe", Role.USER), wms.token_for("carl", Role.ADMIN)
    mine = wms.call("GET", "/api/auth/refresh-tokens", token=found["access_token"]).json()
    assert {each["preferred_username"] for each in mine} == {"bea"}
    assert wms.call("GET", "/api/auth/refresh-tokens", token=stranger).json() == []
    path = f"/api/auth/refresh-tokens/{mine[0]['jti']}"
    assert wms.call("DELETE", path, token=stranger).status_code == 403
    assert wms.call("DELETE", "/api/auth/refresh-tokens/nothing", token=stranger).status_code == 403
    assert wms.call("DELETE", "/api/auth/refresh-tokens/nothing", token=admin).status_code == 404
    assert wms.call("DELETE", path, token=admin).status_code == 200
    assert refresh(wms, found["refresh_token"]).status_code == 401


VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
BACK = "http://127.0.0.1:4242/callback"


def authorize(wms: RunningWms, **changes: str) -> str:
    fields = {
        "response_type": "code",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "client_id": CLIENT,
        "redirect_uri": BACK,
        "scope": "vo:local",
        "state": "s p&",
        **changes,
    }
    return requests.Request("GET", f"{wms.url}/api/auth/authorize", params=fields).prepare().url or ""


def test_a_browser_carries_a_code_back(wms: RunningWms) -> None:
    """With PKCE: the code counts once, with the verifier and the address of its request, within a minute."""
    answer = Browser().log_in(authorize(wms), "bea", PASSWORD)
    where = urlsplit(answer.headers["location"])
    assert f"{where.scheme}://{where.netloc}{where.path}" == BACK
    carried = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert carried["state"] == "s p&"
    fields = {"grant_type": "authorization_code", "code": carried["code"], "redirect_uri": BACK}
    found = token(wms, **fields, code_verifier=VERIFIER)
    assert userinfo(wms, found.json()["access_token"]).json()["preferred_username"] == "bea"
    assert token(wms, **fields, code_verifier=VERIFIER).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("wrong", [{"code_verifier": "w" * 64}, {"redirect_uri": "http://127.0.0.1:1/"}, {"late": "1"}])
def test_a_stolen_code_is_worth_nothing(wms: RunningWms, wrong: dict[str, str]) -> None:
    """Whoever has the code but not the verifier gets no token, and the code is used up."""
    answer = Browser().log_in(authorize(wms), "bea", PASSWORD)
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    good = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    if "late" in wrong:
        CLOCK.advance(60)
    assert token(wms, **{**good, **wrong}).status_code == 400
    assert token(wms, **good).status_code == 400


@in_file
@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://evil.example@127.0.0.1/"},
        {"redirect_uri": "http://127.0.0.1.evil.example/"},
        {"redirect_uri": "http://127.0.0.1/#x"},
        {"redirect_uri": "javascript:alert(1)"},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"response_type": "token"},
        {"client_id": "somebody"},
    ],
)
def test_a_browser_is_sent_nowhere_else(wms: RunningWms, changes: dict[str, str]) -> None:
    """Tokens go to a program on the browser's own machine, and only with a challenge."""
    page = Browser().open(authorize(wms, **changes)).page
    assert page.status_code == 400
    assert "<form" not in page.text


@in_file
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": DEVICE}, "invalid_request"),
        ({"grant_type": DEVICE, "device_code": "x"}, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "x"}, "invalid_request"),
        ({"grant_type": DEVICE, "device_code": "x", "client_id": "y"}, "invalid_client"),
    ],
)
def test_refusals_have_oauths_words(wms: RunningWms, fields: dict[str, str], error: str) -> None:
    """`error` is for programs, `detail` is for people, and 400 for both."""
    answer = token(wms, **fields)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["detail"]


@in_file
def test_the_keys_can_be_changed_under_a_running_server(wms: RunningWms) -> None:
    """A rotation without overlap ends every token; those in the folder are written anew for who reads them again."""
    found, path = logged_in(wms), wms.folder / "tokens" / "user.token"
    before = path.read_text()
    type(wms.context.mint.keys)(wms.folder / "wms" / "keys.json", CLOCK).rotate(0)
    assert userinfo(wms, found["access_token"]).status_code == 401
    assert refresh(wms, found["refresh_token"]).status_code == 401
    assert path.read_text() != before
    assert userinfo(wms, path.read_text().strip()).status_code == 200


@in_file
def test_what_clients_must_know_first(wms: RunningWms) -> None:
    """The documents under /.well-known need no token and lead to the address under which they were asked for."""
    found = wms.call("GET", "/.well-known/openid-configuration", token=None).json()
    assert found["token_endpoint"] == f"{wms.url}/api/auth/token"
    named = wms.call("GET", "/.well-known/openid-configuration", token=None, headers={"Host": "wms.example"}).json()
    assert named["token_endpoint"] == "http://wms.example/api/auth/token"
    (key,) = wms.call("GET", "/.well-known/jwks.json", token=None).json()["keys"]
    assert (key["kty"], key["crv"], "d" in key) == ("OKP", "Ed25519", False)
    vos = wms.call("GET", "/.well-known/dirac-metadata", token=None).json()["virtual_organizations"]
    assert vos["local"]["default_group"] == "local_user"
    assert vos["local"]["groups"]["local_pilot"] == {"properties": ["GenericPilot"]}
    text = wms.call("GET", "/.well-known/security.txt", token=None).text
    assert text.startswith("Contact: mailto:")
    user = wms.token_for("bea", Role.USER)
    config = wms.call("GET", "/api/config/", token=user)
    assert config.json()["Registry"]["local"]["DefaultGroup"] == "local_user"
    again = wms.call("GET", "/api/config/", token=user, headers={"If-None-Match": config.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_no_secret_is_in_the_database(wms: RunningWms) -> None:
    """Passwords, codes and tokens are there as hashes and names only."""
    code, found = Registry(wms.context).login_code("dora"), logged_in(wms)
    with wms.context.databases.read() as transaction:
        rows = [transaction.connection.execute(table.select()).all() for table in METADATA.sorted_tables]
    content = repr(rows)
    if not wms.context.databases.is_shared:  # with what the file holds beside the rows
        files = Path(wms.folder, "wms").glob("wms.sqlite*")
        content += "".join(path.read_bytes().decode("latin-1") for path in files)
    assert "bea" in content
    secret = (PASSWORD, code, found["access_token"], found["refresh_token"])
    assert [each for each in secret if each in content] == []
