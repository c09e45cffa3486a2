"""The systemd units: systemd takes them, and they say of our commands what is true."""

import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from runner.compose.notify import notify
from runner.compose.wms import STOP_SECONDS
from runner.tables import JobWrapperConfig, WmsConfig
from tests.support.components import require
from tests.support.tree import ROOT

FOLDER = ROOT / "runner" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROGRAM = "/opt/jobspan/bin/jobspan"


def service(name: str) -> dict[str, str]:
    """The [Service] section of a unit; of an option that stands there twice, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / name)
    return dict(parser["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say: every option exists and has a possible value."""
    require("systemd-analyze")
    copy = tmp_path / unit.name  # with a program that there is on this machine
    copy.write_text(unit.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true"))
    result = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_command_of_the_unit_exists(unit: Path) -> None:
    """What the unit starts is a command line that jobspan takes, logging as machines read it."""
    program, *arguments = shlex.split(service(unit.name)["ExecStart"])
    assert program == PROGRAM
    assert "json" in arguments
    line = [sys.executable, "-m", "runner.cli", *arguments, "--help"]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_the_units_leave_time_for_an_end_in_order() -> None:
    """systemd waits longer than the WMS's ShutdownTime and than the agent's graces, by default."""
    assert int(service("jobspan-wms.service")["TimeoutStopSec"]) > WmsConfig().shutdown_seconds + 2 * STOP_SECONDS
    agent = service("jobspan-agent.service")
    assert agent["TimeoutStopSec"] == "10min"
    assert JobWrapperConfig().kill_grace_seconds + JobWrapperConfig().orphan_grace_seconds < 600
    assert agent["KillMode"] == "process"  # wrappers outlive an agent that dies
    assert agent["Delegate"]


def test_the_units_are_installed_where_systemd_looks() -> None:
    """A wheel carries the folder to lib/systemd/system below the prefix."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {"runner/systemd": "lib/systemd/system"}
    assert [unit.name for unit in UNITS] == ["jobspan-agent.service", "jobspan-wms.service"]


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """What systemd listens at, and its address in NOTIFY_SOCKET."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(120)
    return listener


def test_a_service_tells_systemd_when_it_answers_and_when_it_stops(tmp_path: Path, manager: socket.socket) -> None:
    """Type=notify: READY once the WMS listens, STOPPING when it was told to."""
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    line = [sys.executable, "-m", "runner.cli", "--folder", str(tmp_path / "site"), "wms"]
    with manager, subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            assert manager.recv(100) == b"READY=1"
            assert (tmp_path / "site" / "wms.url").is_file()
            process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert process.wait(120) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify", "@nobody-listens-here"])
def test_without_systemd_nothing_is_told(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, or one at which nobody listens, is no reason to fail; a relative one is none, and nothing stays
    open."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("relative")
        listener.setblocking(False)
        before = os.listdir("/proc/self/fd")
        notify({"NOTIFY_SOCKET": address}, "READY=1")
        assert os.listdir("/proc/self/fd") == before
        with pytest.raises(BlockingIOError):
            listener.recv(100)
