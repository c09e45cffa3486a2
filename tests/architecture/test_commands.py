"""The command line explains itself."""

import re
import subprocess
import sys

import pytest

from tests.support.readme import README
from tests.support.tree import ROOT

FENCES = re.MULTILINE | re.DOTALL
COMMANDS = [
    "accounting",
    "agent",
    "config",
    "delete",
    "demo",
    "doctor",
    "kill",
    "log",
    "login",
    "logout",
    "metrics",
    "module",
    "outbox",
    "output",
    "parameters",
    "peek",
    "pilots",
    "reconcile",
    "report",
    "requests",
    "reschedule",
    "run",
    "sites",
    "status",
    "submit",
    "trace",
    "why",
    "whoami",
    "wms",
]


def jobspan(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner.cli", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_help_lists_all_commands() -> None:
    """`jobspan --help` names every command."""
    result = jobspan("--help")
    assert result.returncode == 0, result.stderr
    assert [each for each in COMMANDS if not re.search(rf"\b{each}\b", result.stdout)] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    """The help of every command shows how it is called, in full."""
    result = jobspan(command, "--help")
    assert result.returncode == 0, result.stderr
    usage, _, examples = result.stdout.lower().partition("example")
    assert f"jobspan {command}" in examples, result.stdout
    assert usage.startswith("usage: ")


def test_readme_shows_every_command() -> None:
    """The README uses every command, and none that does not exist."""
    text = re.sub(
        r"^```(\w*)\n(.*?)^```$", lambda match: "" if match[1] else match[2], README.read_text(), flags=FENCES
    )
    shown = set(re.findall(r"(?:^|`)jobspan ([a-z]+)(?= |`|$)", text.partition("## Tasks")[2], re.MULTILINE))
    assert shown - {"slow"} <= set(COMMANDS)  # `slow` is named as missing
    assert set(COMMANDS) - {"demo"} <= shown  # the demo is shown as `make demo`


def test_a_wrong_command_is_an_error_in_words() -> None:
    """What is no command ends with exit code 2 and no traceback."""
    result = jobspan("submitt")
    assert result.returncode == 2
    assert "submitt" in result.stderr
    assert "Traceback" not in result.stderr
