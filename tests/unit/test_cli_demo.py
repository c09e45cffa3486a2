"""The demonstration's jobs and manifest, without running them."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from runner.commands.demonstration.leftovers import descendants
from runner.commands.demonstration.manifest import read_manifest
from runner.commands.demonstration.performance import _escaped
from runner.commands.demonstration.preparing import CANARY
from runner.commands.packing import read_job
from runner.errors import ConfigError
from runner.job.document import _kind
from tests.support.tree import ROOT
from tests.support.waiting import eventually

DEMO = ROOT / "tests" / "data" / "demo"
MANIFEST = read_manifest(DEMO)


def test_the_demonstration_has_the_eight_jobs() -> None:
    """Each promised end is there."""
    assert [(job.status, job.minor_status) for job in MANIFEST.jobs] == [
        ("Done", "Execution Complete"),
        ("Done", "Execution Complete"),
        ("Done", "Execution Complete"),
        ("Failed", "Application Finished With Errors"),
        ("Failed", "Job has exceeded maximum CPU time limit"),
        ("Done", "Execution Complete"),
        ("Failed", "Failed Downloading InputSandbox"),
        ("Killed", "Received Kill signal"),
    ]


@pytest.mark.parametrize("job", MANIFEST.jobs, ids=lambda job: job.file)
def test_each_description_is_valid(job: object) -> None:
    """Every description can be read, and its local files are there."""
    assert read_job(DEMO / job.file).description.executable == "python3"  # type: ignore[attr-defined]


def test_all_three_languages_are_shown() -> None:
    """JDL, JSON and YAML each describe a job."""
    assert {_kind((DEMO / job.file).read_text()) for job in MANIFEST.jobs} == {"jdl", "json", "yaml"}


def test_payloads_need_only_the_standard_library() -> None:
    """No payload imports what a worker node may lack."""
    for path in DEMO.glob("*.py"):
        words = [line.split() for line in path.read_text().splitlines()]
        imported = {line[1].split(".")[0] for line in words if line[:1] in (["import"], ["from"]) and len(line) > 1}
        assert imported <= sys.stdlib_module_names, path


def test_a_manifest_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A typing error in the manifest is no silent pass."""
    (tmp_path / "demo.toml").write_text('[[job]]\nfile = "x"\nwhat = "y"\nstatus = "Done"\nminor = "z"\n')
    with pytest.raises(ConfigError, match="unknown key minor"):
        read_manifest(tmp_path)


def test_the_hostile_sandbox_tries_every_way_out(tmp_path: Path) -> None:
    """It has traversal, absolute names, links and devices; otherwise its failure would prove little."""
    archive = tmp_path / "h.tar.gz"
    subprocess.run([sys.executable, "-I", str(DEMO / "make_hostile.py"), str(archive), "/x"], check=True, timeout=60)
    with tarfile.open(archive) as tar:
        kinds = {member.type for member in tar}
        names = [member.name for member in tar]
    assert {tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE} <= kinds
    assert any(name.startswith("../") for name in names)
    assert any(name.startswith("/") for name in names)


def test_what_escapes_is_found(tmp_path: Path) -> None:
    """The check after the hostile job sees a new file beside and below the folder, and a changed canary."""
    folder, outside = tmp_path / "demo", tmp_path / "demo" / "outside"
    outside.mkdir(parents=True)
    (outside / "canary").write_text(CANARY)
    assert _escaped(folder, outside) == ""
    (tmp_path / "escaped-far-upwards").touch()
    (folder / "jobs").mkdir()
    (folder / "jobs" / "escaped-upwards").touch()
    (outside / "canary").write_text("changed")
    found = _escaped(folder, outside)
    assert all(word in found for word in ("escaped-far-upwards", "escaped-upwards", "canary was changed"))


def test_processes_that_are_left_are_found() -> None:
    """A child and its child are both seen; once they have ended they are not."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        eventually(lambda: len(descendants(child.pid)) == 1, 10, "the grandchild")
        grandchild = descendants(child.pid)
        assert child.stdin is not None
        child.stdin.close()
    assert grandchild
    assert descendants(child.pid) == []
