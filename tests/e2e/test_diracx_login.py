"""`jobspan login` at a real DiracX server, by the device flow and an identity provider; what the login is good for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from runner.compose.clients import login_client
from runner.config import load
from tests.support.diracx import VO, RunningDiracx

DEADLINE_SECONDS = 120.0


def jobspan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command on *folder*, as a process."""
    command = [sys.executable, "-m", "runner.cli", "--folder", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@contextmanager
def login(folder: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A login that waits, and the address that it shows."""
    command = [sys.executable, "-m", "runner.cli", "--folder", str(folder), "login", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            yield process, process.stderr.readline().removeprefix("open ").strip()
        finally:
            process.kill()


def logged_in(folder: Path, diracx: RunningDiracx, user: str, *arguments: str) -> None:
    """Type the command, and be *user* at the browser."""
    diracx.sit_down(user)
    with login(folder, diracx.url, *arguments) as (process, url):
        page = requests.get(url, timeout=DEADLINE_SECONDS)
        assert page.status_code == 200, page.text
        assert process.wait(DEADLINE_SECONDS) == 0, process.stderr.read() if process.stderr else ""


def value(result: "subprocess.CompletedProcess[str]") -> Any:
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_a_user_logs_in_works_and_logs_out(diracx: RunningDiracx, tmp_path: Path) -> None:
    """By the device flow: then the login submits and looks, is renewed by itself, and ends at the server too."""
    (tmp_path / "jobspan.toml").write_text(f'[WMS]\nURL = "{diracx.url}"\nDialect = "diracx"\n')
    logged_in(tmp_path, diracx, "alice", "--vo", VO)
    kept = tmp_path / "credentials.json"
    who = value(jobspan(tmp_path, "whoami", "--json"))
    assert (who["preferred_username"], who["dirac_group"]) == ("alice", "dirac_user")
    (tmp_path / "job.yaml").write_text("Executable: /bin/true\n")
    job_id = value(jobspan(tmp_path, "submit", str(tmp_path / "job.yaml"), "--json"))[0]["job_id"]
    status = value(jobspan(tmp_path, "status", str(job_id), "--json"))
    assert (status["jobs"] if isinstance(status, dict) else status)[0]["Status"] == "Received"
    before = json.loads(kept.read_text())
    kept.write_text(json.dumps({**before, "expires_on": 0}))
    assert value(jobspan(tmp_path, "whoami", "--json"))["preferred_username"] == "alice"
    session = json.loads(kept.read_text())
    assert session["refresh_token"] != before["refresh_token"]
    assert jobspan(tmp_path, "logout").stdout == f"logged out at {diracx.url}\n"
    assert not kept.exists()
    answer = requests.post(
        f"{diracx.url}/api/auth/token",
        data={"grant_type": "refresh_token", "refresh_token": session["refresh_token"], "client_id": "myDIRACClientID"},
        timeout=DEADLINE_SECONDS,
    )
    assert answer.status_code == 401, answer.text


def test_the_group_is_chosen(diracx: RunningDiracx, tmp_path: Path) -> None:
    """A member of another group acts in it; who is no member is refused, and nothing is kept."""
    logged_in(tmp_path, diracx, "carol", "--group", "dirac_admin")
    config = load(folder=tmp_path, environment={}, overrides={"WMS": {"Dialect": "diracx"}})
    assert login_client(config, diracx.url).organisations()[VO][0] == "dirac_user"
    who = value(jobspan(tmp_path, "whoami", "--json"))
    assert (who["preferred_username"], who["dirac_group"]) == ("carol", "dirac_admin")
    other = tmp_path / "other"
    diracx.sit_down("bob")
    with login(other, diracx.url, "--group", "dirac_admin") as (process, url):
        requests.get(url, timeout=DEADLINE_SECONDS)
        assert process.wait(DEADLINE_SECONDS) == 4, process.stderr.read() if process.stderr else ""
    assert not (other / "credentials.json").exists()
