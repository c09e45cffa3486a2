"""DiracX's own clients, from the package index, against `jobspan wms`: command line, generated client, sandboxes."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runner.server.services.registry import Registry
from runner.server.tokens import Role
from tests.support import certificates
from tests.support.browser import Browser
from tests.support.components import OFFICIAL, require
from tests.support.stores import S3Server
from tests.support.tree import ROOT
from tests.support.wms import RunningWms, running_wms

PASSWORD = "correct horse battery"
DEADLINE_SECONDS = 120


@dataclass
class Dirac:
    """The official clients in a home of their own."""

    wms: RunningWms
    home: Path
    more: Mapping[str, str]

    @property
    def credentials(self) -> Path:
        """Where they keep their login."""
        return self.home / "credentials.json"

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a program of their environment."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "PYTHONUNBUFFERED": "1",
            "DIRACX_URL": self.wms.url,
            "DIRACX_CREDENTIALS_PATH": str(self.credentials),
            "DIRACX_OUTPUT_FORMAT": "JSON",
            **self.more,
        }
        command = [str(OFFICIAL / "bin" / program), *arguments]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, cwd=self.home, **pipes)

    def run(self, program: str, *arguments: str) -> str:
        """Run one to its good end; what it printed."""
        with self.start(program, *arguments) as process:
            output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, output + errors
        return output

    def use(self, token: str) -> None:
        """Have them use a token that was not made for them."""
        values = {"access_token": token, "refresh_token": None, "expires_on": 9999999999}
        self.credentials.write_text(json.dumps(values))

    def log_in(self, *arguments: str, verify: str | bool = True) -> None:
        """`dirac login`, with somebody at a browser."""
        with self.start("dirac", "login", "local", *arguments) as process:
            assert process.stdout
            url = next(found[1] for line in process.stdout if (found := re.search(r"Now go to: (\S+)", line)))
            assert Browser(verify).log_in(url, "bea", PASSWORD).status_code == 200
            rest, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert (process.returncode, "Login successful!" in rest) == (0, True), rest + errors


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """A WMS with a user, if the clients are there."""
    require("official-clients")
    with running_wms(tmp_path_factory.mktemp("wms")) as running:
        Registry(running.context).add("bea", ["local_user", "local_pilot"], PASSWORD)
        yield running


@pytest.fixture
def dirac(wms: RunningWms, tmp_path: Path) -> Dirac:
    """The clients, not logged in."""
    return Dirac(wms, tmp_path, {})


def test_the_command_line(dirac: Dirac) -> None:
    """login, whoami, jobs submit, jobs search, config dump, logout: all of what `dirac` has."""
    dirac.log_in()
    who = json.loads(dirac.run("dirac", "whoami"))
    assert (who["preferred_username"], who["dirac_group"], who["properties"]) == ("bea", "local_user", ["NormalUser"])
    (dirac.home / "a.jdl").write_text(
        'Executable = "/bin/echo"; Arguments = "x"; JobName = "official"; Site = "LCG.N.org";'
    )
    said = dirac.run("dirac", "jobs", "submit", "a.jdl")
    job_id = int(re.search(r"\d+", said)[0])  # type: ignore[index]
    assert dirac.wms.job(job_id)["Owner"] == "bea"
    rows = json.loads(
        dirac.run("dirac", "jobs", "search", "--condition", f"JobID eq {job_id}", "--parameter", "JobName")
    )
    assert rows == [{"JobName": "official"}]
    assert "local_user" in dirac.run("dirac", "config", "dump")
    session = json.loads(dirac.credentials.read_text())
    assert "Logout successful!" in dirac.run("dirac", "logout")
    assert not dirac.credentials.exists()
    form = {"grant_type": "refresh_token", "client_id": "myDIRACClientID", "refresh_token": session["refresh_token"]}
    refused = dirac.wms.call("POST", "/api/auth/token", data=form, token=None)
    assert refused.status_code == 401


def test_a_login_that_is_about_to_end_is_renewed(dirac: Dirac) -> None:
    """The official client exchanges its refresh token by itself, and keeps what it gets."""
    dirac.log_in()
    before = json.loads(dirac.credentials.read_text())
    dirac.credentials.write_text(json.dumps({**before, "expires_on": 0}))
    assert json.loads(dirac.run("dirac", "whoami"))["preferred_username"] == "bea"
    assert json.loads(dirac.credentials.read_text())["refresh_token"] != before["refresh_token"]


def test_groups_and_properties_can_be_asked_for(dirac: Dirac) -> None:
    """A login in a group that is not the default has that group's rights."""
    dirac.log_in("--group", "local_pilot", "--property", "GenericPilot")
    assert json.loads(dirac.run("dirac", "whoami"))["properties"] == ["GenericPilot"]


def test_every_generated_call(dirac: Dirac) -> None:
    """Each operation of the generated client is answered with what its model expects; none is left out.

    A change that is not possible is answered with the status that was kept and the additional key Reason, which the
    client takes.
    """
    calls = str(ROOT / "tests" / "official" / "calls.py")
    dirac.log_in("--group", "local_pilot")
    as_pilot = json.loads(dirac.run("python", calls, "pilot", str(dirac.credentials)))
    dirac.credentials.unlink()
    dirac.log_in()
    as_user = json.loads(dirac.run("python", calls, "user", str(dirac.credentials)))
    found = {**as_pilot["found"], **as_user["found"]}
    assert {name: said for name, said in found.items() if said != "ok"} == {}
    assert sorted(found) == as_user["everything"]
    refused = as_user["refused"]
    assert (refused["Status"], refused["MinorStatus"]) == ("Killed", None)
    assert "Running" in refused["Reason"]


def test_sandboxes_on_an_s3_server(tmp_path: Path, s3: S3Server) -> None:
    """The official client brings a sandbox to the real S3 server behind the WMS, and fetches it from there."""
    require("official-clients")
    bucket = s3.bucket()
    with running_wms(tmp_path / "site", overrides={"WMS": s3.options(bucket)}) as wms:
        dirac = Dirac(wms, tmp_path, {})
        dirac.use(wms.token_for("bea", Role.USER))
        pfn = dirac.run("python", str(ROOT / "tests" / "official" / "calls.py"), "sandbox")
    (brought,) = (path for path in bucket.rglob("sha256:*") if path.is_file())
    assert pfn.startswith("SB:SandboxSE|/S3/sandboxes/local/local_user/bea/sha256:")
    assert brought.name in pfn


def test_the_clients_of_nobody_are_told_so(dirac: Dirac) -> None:
    """Without a login the command line says that one is not authenticated."""
    with dirac.start("dirac", "whoami") as process:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert "authenticated" in output + errors


def test_the_command_line_over_tls(tmp_path: Path) -> None:
    """With TLS and an authority of one's own (DIRACX_CA_PATH) the official clients log in and work."""
    require("official-clients")
    made = certificates.make(tmp_path, "localhost", "127.0.0.1")
    options = {"Host": "localhost", "TLSCert": str(made.certificate), "TLSKey": str(made.key)}
    with running_wms(tmp_path / "site", overrides={"WMS": options}) as wms:
        Registry(wms.context).add("bea", ["local_user"], PASSWORD)
        dirac = Dirac(wms, tmp_path, {"DIRACX_CA_PATH": str(made.authority)})
        dirac.log_in(verify=str(made.authority))
        assert json.loads(dirac.run("dirac", "whoami"))["preferred_username"] == "bea"


def test_a_token_of_ours_serves_theirs(dirac: Dirac) -> None:
    """Any token of the WMS in their credentials file will do: they do not look into it."""
    dirac.use(dirac.wms.token_for("bea", Role.USER))
    assert json.loads(dirac.run("dirac", "whoami"))["preferred_username"] == "bea"
