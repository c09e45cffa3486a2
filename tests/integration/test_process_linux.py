"""Kernel calls of our own."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner.errors import ConfigError
from runner.process.starter import payload_user

ROOT = Path(__file__).parents[2]


def _python(script: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_harden() -> None:
    """A hardened process is not dumpable, which keeps others of its user out of its memory."""
    script = "import ctypes; from runner.process.linux import harden; harden(); print(ctypes.CDLL(None).prctl(3))"
    assert _python(script) == "0"


def test_name() -> None:
    """The name that ps shows is cut to what the kernel takes."""
    script = (
        "from runner.process.linux import set_name; set_name('jobspan-starter-and-more')\n"
        "print(open('/proc/self/comm').read())"
    )
    assert _python(script) == "jobspan-starter"


@pytest.mark.root
def test_payload_user_is_looked_up() -> None:
    """An account is found with its groups; one that does not exist is refused in words."""
    found = payload_user("nobody")
    assert (found.name, found.gid in found.groups) == ("nobody", True)
    with pytest.raises(ConfigError, match="no account 'no-such-account'"):
        payload_user("no-such-account")
