"""The machine, as DIRAC's job parameters describe it (NodeInformation), and the batch job on it in which we are."""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from telemetry.facts import Scalar
from telemetry.measure import procfs

#: Where batch systems tell a job its number, and what they are called.
_BATCH_VARIABLES = {
    "SLURM_JOB_ID": "Slurm",
    "LSB_JOBID": "LSF",
    "PBS_JOBID": "PBS",
    "QSUB_REQNAME": "NQS",
    "JOB_ID": "SGE",
}


@dataclass(frozen=True)
class BatchJob:
    """A job of a batch system, by the number under which that system accounts it."""

    system: str
    number: str


def batch_job(environment: Mapping[str, str]) -> BatchJob | None:
    """The one in which we are: the pilot, seen from below. None: in none that tells its jobs their numbers."""
    for variable, system in _BATCH_VARIABLES.items():
        if number := environment.get(variable):
            return BatchJob(system, number)
    return None


def node_parameters(environment: Mapping[str, str]) -> dict[str, Scalar]:
    """HostName, Memory(MB) (available now), ModelName, LocalAccount and, in a batch system, LocalJobID."""
    found: dict[str, Scalar] = {
        "HostName": os.uname().nodename,
        "Memory(MB)": procfs.available_memory_bytes() >> 20,
        "LocalAccount": _account(),
    }
    if model := _model():
        found["ModelName"] = model
    local = batch_job(environment)
    return {**found, "LocalJobID": local.number} if local else found


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for our uid
        return str(os.geteuid())


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return ""
