"""`jobspan run`: one job, nothing else running, as a user or a script calls it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.tree import ROOT
from tests.support.waiting import eventually

DEADLINE_SECONDS = 240
PROMISED = {"job_id", "status", "minor_status", "exit_code", "trace_id", "record", "accounting", "folder"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "runner.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def jobspan(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )


def run(folder: Path, description: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Run a job; exit code and the one object."""
    (folder / "job.json").write_text(json.dumps(description))
    done = jobspan("run", "job.json", "--json", "--folder", "site", cwd=folder)
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    assert set(result) >= PROMISED
    return done.returncode, result


def test_a_good_job_is_exit_code_0(tmp_path: Path) -> None:
    """Done: one object, one record on each side, the output unpacked, exit code 0."""
    (tmp_path / "hello.py").write_text("print('hello')\n")
    code, result = run(
        tmp_path,
        {
            "Executable": sys.executable,
            "Arguments": "hello.py",
            "InputSandbox": ["hello.py"],
            "OutputSandbox": ["std.out"],
        },
    )
    assert code == 0
    assert (result["status"], result["minor_status"], result["exit_code"]) == ("Done", "Execution Complete", 0)
    assert result["accounting"] == {"wms": 1, "otlp": 1}
    assert result["record"]["TraceID"] == result["trace_id"]
    assert result["record"]["JobID"] == result["job_id"]
    assert [Path(each).read_text() for each in result["output"]] == ["hello\n"]
    assert Path(result["folder"]) == tmp_path / "site"


def test_a_failed_job_is_exit_code_1(tmp_path: Path) -> None:
    """A payload that exits with 7 is reported whole, and the command fails."""
    code, result = run(tmp_path, {"Executable": "/bin/sh", "Arguments": "-c 'exit 7'"})
    assert code == 1
    assert (result["status"], result["exit_code"]) == ("Failed", 7)


def test_without_a_folder_a_new_one_is_made_and_named(tmp_path: Path) -> None:
    """For people: where everything lies, how the job ended, what it used."""
    (tmp_path / "job.yaml").write_text("Executable: /bin/true\n")
    done = jobspan("run", "job.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (folder,) = tmp_path.glob("jobspan-run-*")
    assert f"folder {folder}" in done.stdout
    assert "Done / Execution Complete" in done.stdout
    shown = jobspan("--folder", str(folder), "trace", "1", cwd=tmp_path)
    assert shown.returncode == 0  # although the WMS has gone with the command
    assert "execute" in shown.stdout


def test_a_wms_of_ones_own_is_not_mixed_with_another(tmp_path: Path) -> None:
    """A configuration that names a WMS is refused: `run` would not use it."""
    (tmp_path / "c.toml").write_text('[WMS]\nURL = "http://127.0.0.1:9"\n')
    (tmp_path / "job.yaml").write_text("Executable: /bin/true\n")
    done = jobspan("--config", "c.toml", "run", "job.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "jobspan submit" in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything(tmp_path: Path, signum: signal.Signals) -> None:
    """Ctrl-C or a termination while the job runs: exit code 130, and no process of the site is left."""
    (tmp_path / "job.yaml").write_text("Executable: /bin/sh\nArguments: \"-c 'while :; do :; done'\"\n")
    with subprocess.Popen(
        command("run", "job.yaml", "--folder", "site"),
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "Application" in line:
                break
        process.send_signal(signum)
        _, error = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert error == "jobspan: interrupted\n"
    eventually(lambda: not (tmp_path / "site" / "wms.url").exists(), DEADLINE_SECONDS, "the end of the WMS")
