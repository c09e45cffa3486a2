"""Imports point down only, and the machine that keeps it so does notice."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.tree import PACKAGES, ROOT

#: For each contract of pyproject.toml one line that breaks it, and the module to which it is added.
VIOLATIONS = {
    "imports point down only": ("runner/errors.py", "import runner.config, runner.agent"),
    "telemetry: the lanes meet only in facts": ("telemetry/clock.py", "import telemetry.facts, telemetry.bus"),
    "the server never touches the machinery that runs jobs": ("runner/server/__init__.py", "import runner.process"),
    "routes reach the databases through services only": (
        "runner/server/routes/health.py",
        "import runner.server.db.engine",
    ),
    "stages and computing elements do not know the WMS": ("runner/data/__init__.py", "import runner.wms"),
    "only telemetry knows OpenTelemetry and Prometheus": ("runner/errors.py", "import prometheus_client"),
    "pure modules do no I/O": ("runner/job/status.py", "import socket"),
    "dashboards read the catalogue only": ("dashboards/__init__.py", "import telemetry.journal"),
}


def lint(folder: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--cache-dir", cache],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_contracts_are_kept(tmp_path: Path) -> None:
    """Every import contract of pyproject.toml holds."""
    result = lint(ROOT, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_violations_are_noticed(tmp_path: Path) -> None:
    """Each contract, broken on purpose in a copy of the tree, is reported as broken."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert {each["name"] for each in contracts} == set(VIOLATIONS)
    copy = tmp_path / "copy"
    for top in PACKAGES:
        shutil.copytree(ROOT / top, copy / top, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for module, line in VIOLATIONS.values():
        with (copy / module).open("a") as file:
            file.write(f"\n{line}\n")
    result = lint(copy, tmp_path / "cache")
    missed = [each for each in VIOLATIONS if f"{each} BROKEN" not in result.stdout]
    assert result.returncode == 1, result.stdout + result.stderr
    assert missed == [], result.stdout
