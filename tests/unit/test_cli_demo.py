"""The demonstration's jobs and manifest, without running them."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dashboards.report_page import page
from runner.commands.demonstration.leftovers import descendants
from runner.commands.demonstration.manifest import DemoJob, read_manifest
from runner.commands.demonstration.page import demonstration_view
from runner.commands.demonstration.performance import escaped
from runner.commands.demonstration.preparing import CANARY
from runner.commands.demonstration.report import Outcome
from runner.commands.demonstration.results import JobResult, compare
from runner.commands.jobs import JobRow
from runner.commands.packing import read_job
from runner.errors import ConfigError
from runner.job.document import language
from tests.support.evidence import honest, reconcile
from tests.support.ledger import whole_life
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
    assert {language((DEMO / job.file).read_text()) for job in MANIFEST.jobs} == {"jdl", "json", "yaml"}


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
    assert escaped(folder, outside) == ""
    (tmp_path / "escaped-far-upwards").touch()
    (folder / "jobs").mkdir()
    (folder / "jobs" / "escaped-upwards").touch()
    (outside / "canary").write_text("changed")
    found = escaped(folder, outside)
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


def record(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "Attempt": 1, "FinalMajorStatus": "Done", "FinalMinorStatus": "Execution Complete", "ExitCode": 0,
        "OutputLines": 10, "WallClockTime": 1.5, "StageWallClockTime.execute": 1.25, "CPUTime": 2.0,
        "StageWallClockTime.initialize": 0.25,
    }  # fmt: skip
    return {**values, **changes}


def missed(job: DemoJob, output: Path | None = None, **changes: object) -> list[str]:
    found = JobRow({"JobID": 1, "Status": "Done", "MinorStatus": "Execution Complete"})
    return compare(job, found, (record(**changes),), output)


JOB = DemoJob(file="x", what="y", status="Done", minor_status="Execution Complete", lines=10, exit_code=0)


def test_a_job_as_promised_misses_nothing() -> None:
    """Status, records, sums and numbers as in the manifest: no complaint."""
    assert missed(JOB) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FinalMinorStatus": "Something Else"}, "its records say Done / Something Else"),
        ({"OutputLines": 9}, "OutputLines is 9, not 10"),
        ({"ExitCode": 1}, "ExitCode is 1, not 0"),
        ({"StageWallClockTime.execute": 1.2}, "the stages sum to 1.45 s"),
    ],
)
def test_each_broken_promise_is_a_sentence(changes: dict[str, object], words: str) -> None:
    """One wrong value in a record turns the row wrong, and says what it is."""
    (sentence,) = missed(JOB, **changes)
    assert words in sentence


def test_a_wrong_end_is_a_sentence() -> None:
    """A job that ended otherwise than promised is named with both ends."""
    job = DemoJob(file="x", what="y", status="Failed", minor_status="z", attempts=(("Done", "Execution Complete"),))
    assert missed(job) == ["ended as Done / Execution Complete, not as Failed / z"]


def test_cpu_below_the_processes_own_account_is_found(tmp_path: Path) -> None:
    """A record that misses the CPU of a daemon does not pass, nor does an output without its file."""
    job = DemoJob(
        file="x", what="y", status="Done", minor_status="Execution Complete", files=("r.json",), cpu_seconds_in="r.json"
    )
    assert missed(job) == ["its output lacks r.json"]
    (tmp_path / "r.json").write_text('{"cpu_seconds": 2.6}')
    (sentence,) = missed(job, tmp_path)
    assert "only 2.00 s were counted" in sentence
    assert missed(job, tmp_path, CPUTime=2.6) == []


def test_the_page_shows_every_job_and_what_was_missed(tmp_path: Path) -> None:
    """Each job, its time by stage, each check; what is not as promised is seen at once."""
    record = whole_life().record()
    row = JobRow({"JobID": 1, "Status": "Done", "MinorStatus": "Execution Complete", "JobName": "<b>first</b>"})
    results = tuple(
        JobResult(job, row, (record,), None, missed) for job, missed in zip(MANIFEST.jobs, ((), ("x",)), strict=False)
    )
    outcome = Outcome(
        folder=tmp_path, seconds=1.0, results=results, checks=(("all is well", ""), ("nothing is left", "a port")),
        reconciliation=reconcile(honest([record])), waterfall="", traces={}, metrics=(),
    )  # fmt: skip
    report = demonstration_view(outcome)
    assert (report.mood, len(report.main_table.rows)) == ("bad", 2)
    assert [row[-1] for row in report.main_table.rows] == ["ok", "bad"]
    text = page(report)
    assert "NOT all is as promised" in text
    assert "a port" in text
    assert "1 of 2" in text
    assert "<b>first" not in text
    assert text.count("execute 2.") >= 2  # seconds of that stage, on each bar
