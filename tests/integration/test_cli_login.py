"""`jobspan login`, `whoami`, `logout`, and what the operator does: as processes, against a real WMS."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner import cli
from runner.compose.clients import login_client
from runner.compose.kinds import open_client
from runner.config import load
from runner.errors import ConfigError, UnauthorizedError
from runner.server.services.registry import Registry
from runner.server.tokens import Role
from runner.wms.credentials import CredentialsToken, read_credentials
from telemetry.clock import SystemClock
from tests.support.browser import Browser
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """A WMS on a folder of its own, with two users."""
    with running_wms(tmp_path_factory.mktemp("wms")) as running:
        registry = Registry(running.context)
        registry.add("bea", ["local_user", "local_pilot"], PASSWORD)
        yield running


def jobspan(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """A command on *folder*, as a process."""
    command = [sys.executable, "-m", "runner.cli", "--folder", str(folder), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=180, check=False)


@contextmanager
def login(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A login that waits, and the address that it shows."""
    command = [sys.executable, "-m", "runner.cli", "--folder", str(folder), "login", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            yield process, process.stderr.readline().removeprefix("open ").strip()
        finally:
            process.kill()


def logged_in(folder: Path, wms: RunningWms, *arguments: str) -> None:
    with login(folder, wms.url, *arguments) as (process, url):
        assert Browser().log_in(url, "bea", PASSWORD).status_code == 200
        assert process.wait(120) == 0, process.stderr.read() if process.stderr else ""


def value(result: subprocess.CompletedProcess[str]) -> Any:
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def session_of(config: Any) -> CredentialsToken:
    """What a client of another process would use."""
    found = read_credentials(config.folder / "credentials.json")
    assert found is not None
    renew = login_client(config, found.url).renew
    return CredentialsToken(config.folder / "credentials.json", found.url, renew, SystemClock())


def test_a_user_logs_in_works_and_logs_out(wms: RunningWms, tmp_path: Path) -> None:
    """On a machine without the WMS's folder: log in, submit, look, log out; then there is no WMS any more."""
    logged_in(tmp_path, wms)
    kept = tmp_path / "credentials.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    who = value(jobspan(tmp_path, "whoami", "--json"))
    assert (who["preferred_username"], who["dirac_group"], who["url"]) == ("bea", "local_user", wms.url)
    (tmp_path / "job.yaml").write_text("Executable: /bin/true\nSite: NOWHERE.org\n")
    job_id = value(jobspan(tmp_path, "submit", str(tmp_path / "job.yaml"), "--json"))[0]["job_id"]
    assert wms.job(job_id)["Owner"] == "bea"
    session = json.loads(kept.read_text())
    assert wms.call("GET", "/api/auth/userinfo", token=session["access_token"]).status_code == 200
    assert jobspan(tmp_path, "logout").stdout == f"logged out at {wms.url}\n"
    assert not kept.exists()
    assert wms.call("GET", "/api/auth/userinfo", token=session["access_token"]).status_code == 401
    gone = jobspan(tmp_path, "whoami")
    assert gone.returncode == 3
    assert "jobspan login URL" in gone.stderr
    with pytest.raises(UnauthorizedError, match="over"):
        login_client(load(folder=tmp_path, environment={}), wms.url).renew(session["refresh_token"])


def test_processes_renew_a_login_once(wms: RunningWms, tmp_path: Path) -> None:
    """Refused all at once, eight clients exchange the refresh token one time, and all go on with what it gave."""
    logged_in(tmp_path, wms)
    config = load(folder=tmp_path, environment={})
    clients = [session_of(config) for _ in range(8)]
    refused = clients[0].token()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda client: client.renewed(refused), clients)) == [True] * 8
    assert len({client.token() for client in clients} - {refused}) == 1
    assert wms.call("GET", "/api/auth/userinfo", token=clients[0].token()).status_code == 200


def test_a_token_is_renewed_before_and_after_its_end(wms: RunningWms, tmp_path: Path) -> None:
    """A client renews what is about to end, and what the WMS refuses, without a word."""
    logged_in(tmp_path, wms)
    path = tmp_path / "credentials.json"
    for changes in ({"expires_on": 0}, {"access_token": "no.such.token"}):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        assert value(jobspan(tmp_path, "whoami", "--json"))["preferred_username"] == "bea"
        kept = json.loads(path.read_text())
        assert (kept["expires_on"] > 0, kept["access_token"] != "no.such.token") == (True, True)


def test_a_login_that_is_over_says_so(wms: RunningWms, tmp_path: Path) -> None:
    """When the operator has ended it, the command says what to do, with the exit code of a refusal."""
    logged_in(tmp_path, wms)
    Registry(wms.context).end_sessions("bea")
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "expires_on": 0}))
    result = jobspan(tmp_path, "whoami")
    assert result.returncode == 4
    assert "jobspan login" in result.stderr


def test_a_login_is_never_shown_elsewhere(wms: RunningWms, tmp_path: Path) -> None:
    """A login belongs to the WMS that gave it: with another address configured its token is not taken."""
    logged_in(tmp_path, wms)
    config = load(folder=tmp_path, environment={}, overrides={"WMS": {"URL": "http://127.0.0.1:9"}})
    with pytest.raises(ConfigError, match="no user token"):
        open_client(config)
    saved = tmp_path / "credentials.json"
    overrides = {"WMS": {"URL": "http://127.0.0.1:9", "TokenFile": str(saved)}}
    client = open_client(load(folder=tmp_path, environment={}, overrides=overrides))
    with pytest.raises(ConfigError, match="is a login at"):
        client.userinfo()


def test_an_agent_can_have_a_login_of_its_own(wms: RunningWms, tmp_path: Path) -> None:
    """A login that was saved for the pilot is a PilotTokenFile that is renewed."""
    logged_in(tmp_path, wms, "--group", "local_pilot", "--save", str(tmp_path / "pilot.json"))
    assert not (tmp_path / "credentials.json").exists()
    options = {"URL": wms.url, "PilotTokenFile": str(tmp_path / "pilot.json")}
    pilot = open_client(load(folder=tmp_path, environment={}, overrides={"WMS": options}), "pilot")
    assert pilot.match({"PilotStamp": "s", "Site": "LCG.Nowhere.org"}, 0) is None


def test_the_operator_revokes_a_token_of_a_server_that_runs(wms: RunningWms, tmp_path: Path) -> None:
    """By the file that holds it, from another process: within a second or so the server refuses it."""
    (tmp_path / "token").write_text(wms.token_for("bea", Role.USER) + "\n")
    shown = (tmp_path / "token").read_text().strip()
    jti = value(jobspan(wms.folder, "wms", "revoke-token", str(tmp_path / "token"), "--json"))["jti"]
    assert jti == wms.context.mint.name(shown)[0]

    def is_refused() -> bool:
        return wms.call("GET", "/api/auth/userinfo", token=shown).status_code == 401

    eventually(is_refused, 60.0, "the token to be refused")
    assert jobspan(wms.folder, "wms", "revoke-token", "rubbish").returncode == 4


def test_several_organisations_are_asked_for(wms: RunningWms, tmp_path: Path) -> None:
    """A VO or group that is not there is named, and nothing is kept."""
    result = jobspan(tmp_path, "login", wms.url, "--vo", "other")
    assert (result.returncode, "--vo takes one of local" in result.stderr) == (2, True)
    assert jobspan(tmp_path, "login", wms.url, "--group", "nobody").returncode == 4
    assert not (tmp_path / "credentials.json").exists()


def test_the_operator_has_users_codes_keys_and_the_log(tmp_path: Path) -> None:
    """Add, list, change and remove users, print a code, rotate the keys, read the log: the WMS need not run."""
    added = jobspan(tmp_path, "wms", "user", "add", "ann", "--group", "local_user", "--password-stdin", stdin=PASSWORD)
    assert (added.returncode, added.stdout) == (0, "ann can log in\n")
    assert jobspan(tmp_path, "wms", "user", "add", "ann", "--group", "local_user", "--no-password").returncode == 4
    weak = jobspan(tmp_path, "wms", "user", "add", "bob", "--group", "local_user", "--password-stdin", stdin="short")
    assert (weak.returncode, "10 to 256 characters" in weak.stderr) == (4, True)
    assert jobspan(tmp_path, "wms", "user", "groups", "ann", "--group", "local_admin").returncode == 0
    users = value(jobspan(tmp_path, "wms", "user", "list", "--json"))
    assert users == [{"UserName": "ann", "Groups": ["local_admin"], "Password": True}]
    code = value(jobspan(tmp_path, "wms", "login-code", "ann", "--json"))["Code"]
    assert len(code) == 14
    before = json.loads((tmp_path / "wms" / "keys.json").read_text())["keys"]
    kid = value(jobspan(tmp_path, "wms", "rotate-keys", "--json"))["kid"]
    after = json.loads((tmp_path / "wms" / "keys.json").read_text())["keys"]
    assert [key["kid"] for key in after] == [kid, before[0]["kid"]]
    jobspan(tmp_path, "wms", "rotate-keys", "--now")
    assert len(json.loads((tmp_path / "wms" / "keys.json").read_text())["keys"]) == 1
    assert jobspan(tmp_path, "wms", "user", "remove", "ann").returncode == 0
    events = [entry["Event"] for entry in value(jobspan(tmp_path, "wms", "audit", "--json"))]
    assert events == ["user added", "groups set", "login code made", "user removed"]


@pytest.mark.parametrize(
    "arguments", [["user"], ["user", "add"], ["user", "add", "x"], ["user", "shout", "x"], ["login-code"], ["sing"]]
)
def test_half_an_order_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """What is missing is named in one line, and no WMS is begun."""
    assert cli.main(["--folder", str(tmp_path), "wms", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not os.listdir(tmp_path)
