"""Whatever a client sends that the OpenAPI document allows or forbids: an answer, and never an error of the server."""

import logging
import os
import subprocess
from pathlib import Path

import pytest

from runner.server.tokens import Role
from tests.support.components import OFFICIAL, require
from tests.support.wms import running_wms

#: Schemathesis goes on for so long. It begins with what is most likely to break something.
BUDGET_SECONDS = 60
DEADLINE_SECONDS = 600
COMMAND = (
    "run {url}/api/openapi.json --checks not_a_server_error --phases examples,coverage,fuzzing "
    "--max-time {budget} --request-timeout 120 --suppress-health-check all --warnings off --no-color --seed 1 "
    "--continue-on-failure --exclude-path /readyz"  # 503 is its answer where long polls are closed, as below
)


def test_nothing_that_is_sent_breaks_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A minute of schemathesis with a token that has every right finds no 5xx, and the log has no traceback."""
    require("official-clients")
    with running_wms(tmp_path / "site") as wms:
        wms.context.close_bells()  # long polls answer at once
        token = wms.token_for("alice", Role.USER, Role.ADMIN, Role.PILOT)
        arguments = COMMAND.format(url=wms.url, budget=BUDGET_SECONDS).split()
        ran = subprocess.run(
            [str(OFFICIAL / "bin" / "schemathesis"), *arguments, "--header", f"Authorization: Bearer {token}"],
            cwd=tmp_path,
            env={"PATH": os.defpath, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert wms.call("GET", "/api/jobspan/info").status_code == 200
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    assert "No issues found" in ran.stdout, ran.stdout
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
