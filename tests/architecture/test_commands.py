"""The command line explains itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.readme import DOCUMENTS, README
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
    "slow",
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


def shown(document: Path) -> set[str]:
    """The commands in the plain blocks and in the text of a document, but for its title and first paragraph."""
    plain = re.sub(
        r"^```(\w*)\n(.*?)^```$", lambda match: "" if match[1] else match[2], document.read_text(), flags=FENCES
    )
    return set(re.findall(r"(?:^|`)jobspan ([a-z]+)(?= |`|$)", plain.split("\n\n", 2)[2], re.MULTILINE))


def test_readme_shows_every_command() -> None:
    """The README uses every command (the demo as `make demo`)."""
    assert set(COMMANDS) - {"demo"} <= shown(README)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: str(each.relative_to(ROOT)))
def test_documents_show_no_command_that_is_none(document: Path) -> None:
    """What a document calls exists."""
    assert shown(document) <= set(COMMANDS)


def test_a_wrong_command_is_an_error_in_words() -> None:
    """What is no command ends with exit code 2 and no traceback."""
    result = jobspan("submitt")
    assert result.returncode == 2
    assert "submitt" in result.stderr
    assert "Traceback" not in result.stderr
