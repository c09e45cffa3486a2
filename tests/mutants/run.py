"""Break each promise on purpose and see whether its test notices.

`mutants.toml` has a table for each mutant: the promise of the README, what is broken, the file, the
text `old` that becomes `new`, and the test that must go red. Each mutant is applied to a copy of the
tree with an environment of its own, in which the copy is what everybody imports: children that are
started with `python -I` too, which look at no PYTHONPATH.

The exit code is 0 when every named test is green on the unchanged copy and red, by an assertion, on
its mutant. Mutants whose test this machine cannot run (it needs root, say) are named as skipped; in CI
they count as survivors.

    python tests/mutants/run.py          all of them
    python tests/mutants/run.py 1 6      those of promises 1 and 6
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from runner.process.linux import become_subreaper
from tests.support.waiting import MOST_SECONDS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("mutants.toml")
COPIED = ("runner", "telemetry", "dashboards", "tests", "pyproject.toml", "README.md", "requirements.lock")
#: For all tests together without a mutant, and for one with it.
HEALTHY_SECONDS, TIMEOUT_SECONDS = 900, 300
#: How long a test waits at most for what its mutant may have made impossible.
MOST_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One broken promise."""

    promise: int
    what: str
    file: str
    old: str
    new: str
    test: str


def load() -> list[Mutant]:
    """All mutants of the table."""
    return [Mutant(**each) for each in tomllib.loads(TABLE.read_text())["mutant"]]


class Copy:
    """A copy of the tree, and an interpreter that imports it and nothing of the original."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.python = folder / "venv" / "bin" / "python"
        self._report = folder / "report.xml"
        self._copy()
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self._connect(folder / "venv")

    def results(self, tests: Sequence[str], *options: str, timeout_seconds: float, **more: str) -> dict[str, str]:
        """Run *tests* with *options* of pytest and *more* variables: "passed", "assertion", or what else happened, by
        the test's name."""
        self._report.unlink(missing_ok=True)
        command = [
            str(self.python),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={self._report}",
            *options,
            *tests,
        ]
        environment = _environment() | more
        try:
            subprocess.run(
                command, cwd=self.tree, env=environment, capture_output=True, timeout=timeout_seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return dict.fromkeys(tests, f"no end within {timeout_seconds:.0f} s")
        finally:
            _end_what_is_left()
        outcomes = _outcomes(self._report)
        return {test: outcomes.get(_key(test), "not run") for test in tests}

    def apply(self, mutant: Mutant) -> str:
        """Change the copy; why it cannot be done, or nothing."""
        path = self.tree / mutant.file
        if not path.is_file():
            return f"no file {mutant.file}"
        text = path.read_text()
        if text.count(mutant.old) != 1:
            return f"the text to replace stands {text.count(mutant.old)} times in {mutant.file}"
        self._write(path, text.replace(mutant.old, mutant.new))
        return ""

    def restore(self, mutant: Mutant) -> None:
        """Undo `apply`."""
        self._write(self.tree / mutant.file, (ROOT / mutant.file).read_text())

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):  # its key is mtime in seconds and size
            compiled.unlink()

    def _copy(self) -> None:
        ignored = shutil.ignore_patterns("__pycache__", "*.csv")
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.tree / name, ignore=ignored)
            elif (ROOT / name).is_file():
                shutil.copy(ROOT / name, self.tree / name)

    def _connect(self, venv: Path) -> None:
        """Put the copy and the installed packages on the path; a path file's own path files are not read."""
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
        (packages / "copy.pth").write_text(f"{self.tree}\n{sysconfig.get_path('purelib')}\n")
        script = venv / "bin" / "jobspan"
        script.write_text(f"#!{self.python}\nimport sys\nfrom runner.cli import main\nsys.exit(main())\n")
        script.chmod(0o755)
        asked = "import runner, telemetry; print(runner.__file__, telemetry.__file__)"
        found = subprocess.run([self.python, "-I", "-c", asked], capture_output=True, text=True, check=True).stdout
        if not all(each.startswith(str(self.tree)) for each in found.split()):
            raise SystemExit(f"mutants: the copy is not what is imported: {found}")


def main(promises: Sequence[str]) -> int:
    """Run the mutants of *promises*, or all; the exit code."""
    become_subreaper()
    mutants = [each for each in load() if not promises or str(each.promise) in promises]
    with tempfile.TemporaryDirectory(prefix="jobspan-mutants-") as folder:
        copy = Copy(Path(folder).resolve())
        healthy = copy.results(sorted({each.test for each in mutants}), timeout_seconds=HEALTHY_SECONDS)
        print(f"{'promise':8}{'verdict':10}{'seconds':>8}  mutant / test")
        verdicts = [_try(copy, each, healthy[each.test]) for each in mutants]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in ("noticed", "SURVIVED", "skipped"))
    print(f"{len(mutants)} mutants: {counts}")
    return 1 if "SURVIVED" in verdicts or "noticed" not in verdicts else 0


def _try(copy: Copy, mutant: Mutant, healthy: str) -> str:
    start = time.monotonic()
    verdict, why = "SURVIVED", ""
    if healthy.startswith("skipped") and not os.environ.get("JOBSPAN_CI"):
        verdict, why = "skipped", f"this machine cannot run the test: {healthy}"
    elif healthy != "passed":
        why = f"without the mutant: {healthy}"
    elif not (why := copy.apply(mutant)):
        patience = {MOST_SECONDS_VARIABLE: str(MOST_SECONDS)}
        # Of a test with parameters the first that is red will do.
        options = ("-x", "--hypothesis-profile=mutant")
        outcome = copy.results([mutant.test], *options, timeout_seconds=TIMEOUT_SECONDS, **patience)[mutant.test]
        copy.restore(mutant)
        if outcome == "assertion":
            verdict = "noticed"
        else:
            why = "the test did not notice" if outcome == "passed" else f"red, but not by an assertion: {outcome}"
    seconds = time.monotonic() - start
    lines = (f"{mutant.promise:<8}{verdict:10}{seconds:8.1f}  {mutant.what}", mutant.test, why)
    print(f"\n{'':28}".join(line for line in lines if line), flush=True)
    return verdict


def _outcomes(report: Path) -> dict[str, str]:
    """Outcome of each test of a JUnit report, by `_key`."""
    if not report.is_file():
        return {}
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome = "passed"
        for child in case:
            message = child.get("message", "")
            if child.tag == "failure" and message.startswith(("AssertionError", "assert ", "Failed: ")):
                outcome = "assertion"
            elif child.tag in ("failure", "error", "skipped"):
                outcome = f"{child.tag}: {message[:160]}"
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        for key in {name, name.partition("[")[0]}:  # a test without its parameters: the worst of all of them
            found[key] = outcome if found.get(key, "passed") == "passed" else found[key]
    return found


def _key(test: str) -> str:
    """A test's name as JUnit reports have it: folder.module.Class.test[parameters]."""
    path, _, rest = test.partition("::")
    return f"{path.removesuffix('.py').replace('/', '.')}.{rest.replace('::', '.')}"


def _end_what_is_left() -> None:
    """Who breaks killing leaves processes; they have come to us, the subreaper of all that a test has started."""
    left = psutil.Process().children(recursive=True)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, timeout=10)


def _environment() -> dict[str, str]:
    dropped = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in dropped}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
