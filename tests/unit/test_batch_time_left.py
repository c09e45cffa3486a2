"""The end of a batch job, as variables and files tell it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runner.computing.batch_time_left import BatchEnd, batch_end, read_file, time_left
from runner.config import load
from tests.support.waiting import eventually

NOW = 1_700_000_000.0
JOB_AD = """
ClusterId = 12
JobCurrentStartDate = 1699999000
JobCurrentStartExecutingDate = 1699999010
JobStartDate = 1600000000
AllowedJobDuration = 7200
Requirements = (TARGET.Arch == "X86_64")
MaxRuntime = 3 * 3600
"""
JOB_SCRIPT = "#!/bin/sh\n#BSUB -q long -W 2:30\n#BSUB -n 4\nexec pilot -W 1\n"


def ends(files: dict[str, str] | None = None, **environment: str) -> BatchEnd | None:
    """The end with these *files* on the node."""

    def read(path: str) -> str:
        if path not in (files or {}):
            raise FileNotFoundError(path)
        return (files or {})[path]

    return batch_end(environment, read, NOW)


@pytest.mark.parametrize(
    ("files", "environment", "source", "seconds"),
    [
        ({}, {"SLURM_JOB_END_TIME": "1700003600"}, "SLURM_JOB_END_TIME", 3600),
        ({"/ad": JOB_AD}, {"_CONDOR_JOB_AD": "/ad"}, "AllowedJobDuration", 7200 - 990),
        ({"/ad": "maxwalltime = 60\n"}, {"_CONDOR_JOB_AD": "/ad"}, "maxWallTime", 3600),
        ({"/ad": "GLIDEIN_ToDie = 1700000100\n"}, {"_CONDOR_MACHINE_AD": "/ad"}, "GLIDEIN_ToDie", 100),
        ({}, {"PBS_WALLTIME": "7200"}, "PBS_WALLTIME", 7200),
        ({}, {"PBS_WALLTIME": "01:00:10"}, "PBS_WALLTIME", 3610),
        ({"/spool/1": JOB_SCRIPT}, {"LSB_JOBFILENAME": "/spool/1"}, "#BSUB -W", 9000),
        ({"/spool/1.shell": "#BSUB -W 90\n"}, {"LSB_JOBFILENAME": "/spool/1"}, "#BSUB -W", 5400),
        ({"/j/shutdowntime_job": "1700000050\n"}, {"JOBFEATURES": "/j"}, "shutdowntime_job", 50),
        ({"/j/wall_limit_secs": "1000", "/j/jobstart_secs": "1699999900"}, {"JOBFEATURES": "/j"},
         "wall_limit_secs", 900),
        ({"/m/shutdowntime": "1700000007"}, {"MACHINEFEATURES": "/m"}, "shutdowntime", 7),
    ],
)  # fmt: skip
def test_each_system_tells_its_end(
    files: dict[str, str], environment: dict[str, str], source: str, seconds: float
) -> None:
    """What each batch system leaves on the node is enough to know the end, and the source is named."""
    end = ends(files, **environment)
    assert end is not None
    assert (end.source, end.end_utc_seconds - NOW) == (source, pytest.approx(seconds))


@pytest.mark.parametrize(
    ("files", "environment"),
    [
        ({}, {}),
        ({}, {"SLURM_JOB_END_TIME": ""}),
        ({}, {"SLURM_JOB_END_TIME": "soon"}),
        ({}, {"SLURM_JOB_END_TIME": "1.2.3"}),
        ({}, {"_CONDOR_JOB_AD": "/missing", "_CONDOR_MACHINE_AD": "relative"}),
        ({"/ad": 'MaxRuntime = ifThenElse(x, 1, 2)\nOwner = "MaxRuntime = 5"\n'}, {"_CONDOR_JOB_AD": "/ad"}),
        ({"/spool/1": "#BSUB -W 10/fasthost\n"}, {"LSB_JOBFILENAME": "/spool/1"}),
        ({}, {"PBS_WALLTIME": "unlimited"}),
        ({}, {"JOBFEATURES": "https://example.org/features"}),
    ],
)
def test_what_cannot_be_read_ends_nothing(files: dict[str, str], environment: dict[str, str]) -> None:
    """Absent, damaged or symbolic values are no end: no job is stopped for a guess."""
    assert ends(files, **environment) is None


def test_the_earliest_end_counts() -> None:
    """A glidein inside a Slurm job ends with whichever of them ends first."""
    files = {"/ad": "GLIDEIN_ToDie = 1700000100\n"}
    end = ends(files, _CONDOR_MACHINE_AD="/ad", SLURM_JOB_END_TIME="1700003600")
    assert end is not None
    assert (end.system, end.end_utc_seconds) == ("HTCondor", NOW + 100)


def test_the_configured_work_wins(tmp_path: Path) -> None:
    """CPUTimeLeft is CPU work: 1000 at power 10 are 100 s from our start, whatever a variable says."""
    environment = {"SLURM_JOB_END_TIME": "1700003600"}
    config = load(folder=tmp_path, environment=environment)
    end = time_left(config, read_file, NOW)
    assert end is not None
    assert end.end_utc_seconds == NOW + 3600
    site = {"CPUTimeLeft": 1000.0, "CPUNormalizationFactor": 10.0}
    end = time_left(load(folder=tmp_path, environment=environment, overrides={"Site": site}), read_file, NOW)
    assert end is not None
    assert end.end_utc_seconds == NOW + 100


CHILD = """
import sys
from pathlib import Path
from runner.computing.batch_time_left import time_left
from runner.config import load
import os
print("up", flush=True)
sys.stdin.readline()
end = time_left(load(folder=Path(sys.argv[1]), environment=dict(os.environ)), lambda path: "", 1_700_000_000.0)
print(end.end_utc_seconds - 1_700_000_000.0, flush=True)
"""


@pytest.mark.parametrize(("mark", "is_older"), [("12.server", True), ("13.server", False)])
def test_a_duration_counts_from_the_batch_job_s_first_process(tmp_path: Path, mark: str, is_older: bool) -> None:
    """Not from ours: the oldest process above with our job's variable dates it, and none of another batch job."""
    environment = {**os.environ, "PBS_JOBID": "12.server", "PBS_WALLTIME": "3600", "PYTHONPATH": os.getcwd()}
    script = f'read go; PBS_JOBID=12.server "{sys.executable}" -c "$0" "$1"'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, CHILD, str(tmp_path)],
        env={**environment, "PBS_JOBID": mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdin
        assert first.stdout
        born = time.monotonic()
        eventually(lambda: time.monotonic() - born > 0.2, 10, "a first process that is older than the next")
        between = time.monotonic()
        first.stdin.write("go\n")
        first.stdin.flush()
        assert first.stdout.readline() == "up\n"
        up = time.monotonic()
        first.stdin.write("now\n")
        first.stdin.flush()
        age = 3600 - float(first.stdout.readline())
    ticks = 0.03
    if is_older:
        assert age >= up - born - ticks
    else:
        assert age <= time.monotonic() - between + ticks


def test_only_the_beginning_of_a_file_is_read(tmp_path: Path) -> None:
    """A batch system's file cannot fill our memory, and need not be text."""
    (tmp_path / "big").write_bytes(b"\xff" * (3 << 20))
    assert len(read_file(str(tmp_path / "big"))) == 1 << 20
