"""Arguments, template, report and interruptible work: the small parts of a wrapper."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runner.config import JobWrapperConfig
from runner.errors import ConfigError, PermanentJobError
from runner.job.status import JobStatus
from runner.process.cancel import Cancel, Cancelled
from runner.wrapper import workspace
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.interruptible import Interruptible
from runner.wrapper.job_report import JobReport
from runner.wrapper.node import BatchJob, batch_job, node_parameters
from runner.wrapper.template import TEMPLATE, write_wrapper
from telemetry.facts import Fact, ParametersSet, StatusChanged
from tests.support.wrapper_fakes import Gate

DOCUMENT: dict[str, Any] = {
    "Job": {"JobID": 7, "Executable": "run.sh", "CPUTime": 100, "NumberOfProcessors": 2, "Owner": "alice"},
    "CE": {"Site": "LCG.Test.org", "CPUNormalizationFactor": 12},
    "Optimizer": {},
    "Jobspan": {"Attempt": 2, "UID": "u"},
}
#: Of one who finishes what is quick, also where a busy machine takes a second for it.
PATIENCE_SECONDS = 3.0


def changed(table: str, **values: Any) -> dict[str, Any]:
    return {**DOCUMENT, table: {**DOCUMENT[table], **values}}


def test_arguments_are_read(tmp_path: Path) -> None:
    """The JSON beside the script says which attempt of which job runs where."""
    path = tmp_path / "Wrapper_7.json"
    path.write_text(json.dumps(DOCUMENT))
    arguments = WrapperArguments.read(path)
    assert (arguments.job_id, arguments.attempt, arguments.uid, arguments.owner) == (7, 2, "u", "alice")
    assert (arguments.site, arguments.cpu_normalization_factor, arguments.processors) == ("LCG.Test.org", 12.0, 1)
    assert arguments.description.cpu_time_seconds == 100
    job = arguments.watchdog_job(1)
    assert (job.processors, job.cpu_time_seconds, job.cpu_normalization_factor) == (2, 100, 12.0)
    assert (arguments.job["JobID"], arguments.ce["Site"]) == (7, "LCG.Test.org")
    assert (job.check_cpu_consumed, job.job_type, job.memory_mb) == (True, "User", None)
    # DIRAC's Memory is in GB.
    described = changed("Job", DisableCPUCheck=True, JobType="Test", Memory=2)
    job = WrapperArguments.from_mapping(described).watchdog_job(1)
    assert (job.check_cpu_consumed, job.job_type, job.memory_mb) == (False, "Test", 2048)


def test_a_job_may_ask_for_less_wall_clock() -> None:
    """MaxWallClockTime of the job lowers the site's, and never raises it."""
    site = JobWrapperConfig(max_wall_clock_seconds=1000.0)
    for asked, expected in ((100, 100.0), (5000, 1000.0)):
        arguments = WrapperArguments.from_mapping(changed("Job", MaxWallClockTime=asked))
        assert arguments.options(site).max_wall_clock_seconds == expected


def test_a_job_has_a_graceful_stop_of_its_own() -> None:
    """StopSig* of the job stands above the site's; what it does not name stays the site's."""
    site = JobWrapperConfig(stop_signal_regex="site", stop_signal_number=15, stop_signal_finish_work=5.0)
    arguments = WrapperArguments.from_mapping(changed("Job", StopSigRegex="mine", StopSigStartWork="7"))
    options = arguments.options(site)
    assert (options.stop_signal_regex, options.stop_signal_number) == ("mine", 15)
    assert (options.stop_signal_start_work, options.stop_signal_finish_work) == (7.0, 5.0)
    assert WrapperArguments.from_mapping(DOCUMENT).options(site) == site


def test_the_time_left_is_work_by_the_power_of_the_node() -> None:
    """CPUTimeLeft of the CE is DIRAC's: 1200 at power 12 are 100 s; without it nobody knows."""
    assert WrapperArguments.from_mapping(DOCUMENT).watchdog_job(1).time_left_seconds is None
    for work, seconds in ((1200, 100.0), (0, 0.0)):
        job = WrapperArguments.from_mapping(changed("CE", CPUTimeLeft=work)).watchdog_job(1)
        assert job.time_left_seconds == seconds


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"Job": 7},
        changed("Job", JobID="seven"),
        changed("Job", Executable=None),
        changed("CE", Processors=True),
        changed("Jobspan", Attempt=0),
        changed("Jobspan", UID=7),
    ],
)
def test_impossible_arguments_are_refused(tmp_path: Path, document: Any) -> None:
    """What is no argument file of ours is refused with a reason."""
    path = tmp_path / "Wrapper_7.json"
    path.write_text(json.dumps(document))
    with pytest.raises(PermanentJobError, match="wrapper's arguments are wrong"):
        WrapperArguments.read(path)


def test_the_template_substitutes_one_thing(tmp_path: Path) -> None:
    """@SITEPYTHON@ is the only thing that is filled in; arguments are private, the script is its owner's."""
    script = write_wrapper(tmp_path, 7, DOCUMENT, python="/opt/py thon/bin/python3")
    assert script.read_text() == TEMPLATE.replace("@SITEPYTHON@", "/opt/py thon/bin/python3")
    assert "@" not in script.read_text().replace('"$@"', "")
    assert json.loads((tmp_path / "Wrapper_7.json").read_text()) == DOCUMENT
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("Wrapper_7", "Wrapper_7.json")]
    assert modes == [0o700, 0o600]


@pytest.mark.parametrize("python", ["python3", '/opt/"x"/python', "/opt/$x/python", "/opt/'/python"])
def test_an_interpreter_that_no_script_can_name(tmp_path: Path, python: str) -> None:
    """A path that a shell would change is refused."""
    with pytest.raises(ConfigError):
        write_wrapper(tmp_path, 7, DOCUMENT, python=python)


@pytest.mark.parametrize("by_python", [True, False])
def test_the_script_runs_by_hand(tmp_path: Path, by_python: bool) -> None:
    """Executed by the shell or by Python, the script gives its JSON to the wrapper of the installed product."""
    control = tmp_path / "a folder with blanks"
    control.mkdir()
    script = write_wrapper(control, 7, DOCUMENT)
    fake = tmp_path / "fake.py"
    fake.write_text(
        script.read_text().replace("from runner.compose.wrapper import wrapper_main", "wrapper_main = print")
    )
    stand_in = control / "Wrapper_7"
    stand_in.write_text(fake.read_text())
    argv = [sys.executable, "-I", str(stand_in)] if by_python else [str(stand_in)]
    seen = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert (seen.stdout.strip(), seen.returncode) == (str(control / "Wrapper_7.json"), 0), seen.stderr


@pytest.fixture
def facts() -> list[Fact]:
    return []


@pytest.fixture
def cancel(facts: list[Fact]) -> Cancel:
    return Cancel(facts.append)


def test_report(facts: list[Fact], cancel: Cancel) -> None:
    """Statuses and parameters become facts; numbers that are none are left out."""
    report = JobReport(facts.append, cancel)
    report.set_job_status(JobStatus.RUNNING, "Application", "step 1")
    report.set_job_parameters({"A": 1, "B": float("nan"), "C": float("inf"), "D": "x"})
    report.set_job_parameters({"B": float("nan")})
    assert facts == [
        StatusChanged(status="Running", minor_status="Application", application_status="step 1"),
        ParametersSet(parameters={"A": 1, "D": "x"}),
    ]


def test_report_after_the_wms_has_decided(facts: list[Fact], cancel: Cancel) -> None:
    """After a Kill no status is set, but parameters are; after a fence nothing is."""
    report = JobReport(facts.append, cancel)
    cancel.request("user", "Received Kill signal")
    report.set_job_status(JobStatus.DONE)
    report.set_job_parameter("A", 1)
    assert isinstance(facts[-1], ParametersSet)
    cancel.request("fence", "attempt 2 runs")
    report.set_job_parameter("B", 1)
    assert len(facts) == 2


def test_work_gives_its_result_or_its_error(cancel: Cancel) -> None:
    """Work that nobody interrupts is like a call."""
    interruptible = Interruptible(cancel)
    assert interruptible(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 / 0)


def test_a_kill_wakes_who_waits(cancel: Cancel) -> None:
    """Whoever waits for slow work goes on the moment the job is told to stop; nothing new begins then."""
    interruptible, gate = Interruptible(cancel), Gate()
    threading.Thread(target=lambda: gate.reached.wait(10) and cancel.request("user", "stop"), daemon=True).start()
    try:
        with pytest.raises(Cancelled, match="user: stop"):
            interruptible(gate.pass_through)
        assert not gate.passed.is_set()
        with pytest.raises(Cancelled):
            interruptible(lambda: pytest.fail("this must not run"))
    finally:
        gate.open()


def test_patience_is_shared_and_bounded(cancel: Cancel) -> None:
    """After a Kill a patient runner still finishes what is quick, and gives up when its time is over."""
    interruptible, gate = Interruptible(cancel), Gate()
    cancel.request("user", "stop")
    begin, patient = time.monotonic(), interruptible.patient(PATIENCE_SECONDS)
    patient.check()
    assert patient(lambda: 7) == 7
    try:
        with pytest.raises(Cancelled):
            patient(gate.pass_through)
        assert time.monotonic() - begin >= PATIENCE_SECONDS
        assert not gate.passed.is_set()
        with pytest.raises(Cancelled):
            patient.check()
    finally:
        gate.open()


def test_patience_without_a_kill_is_endless(cancel: Cancel) -> None:
    """While nobody stops the job, work may take as long as it takes."""
    patient = Interruptible(cancel).patient(0.0)
    patient.check()
    assert patient(lambda: threading.Event().wait(0.05)) is False


def test_sizes_do_not_follow_links(tmp_path: Path) -> None:
    """What a job's folder holds is the sum of its own files."""
    (tmp_path / "work" / "sub").mkdir(parents=True)
    (tmp_path / "work" / "sub" / "file").write_bytes(b"x" * 100)
    (tmp_path / "outside").write_bytes(b"x" * 1000)
    (tmp_path / "work" / "link").symlink_to(tmp_path / "outside")
    assert workspace.size_bytes(tmp_path / "work") == 100
    assert workspace.size_bytes(tmp_path / "nowhere") == 0


def test_a_working_directory_that_is_a_link_is_replaced(tmp_path: Path) -> None:
    """A link in the place of the working directory is removed, not what it leads to."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("x")
    (tmp_path / "work").symlink_to(tmp_path / "precious")
    workspace.create(tmp_path / "work")
    assert os.listdir(tmp_path / "work") == []
    assert (tmp_path / "precious" / "data").exists()


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"SLURM_JOB_ID": "17", "SLURM_ARRAY_JOB_ID": "16", "HOME": "/"}, BatchJob("Slurm", "17")),
        ({"PBS_JOBID": "12.server"}, BatchJob("PBS", "12.server")),
        ({"LSB_JOBID": "5"}, BatchJob("LSF", "5")),
        ({"SLURM_JOB_ID": ""}, None),
        ({}, None),
    ],
)
def test_the_batch_job_is_named_as_it_is_accounted(environment: dict[str, str], found: BatchJob | None) -> None:
    """By the number that the batch system gives to its job, an array's task too; outside of any there is none."""
    assert batch_job(environment) == found
    assert node_parameters(environment).get("LocalJobID") == (found.number if found else None)
