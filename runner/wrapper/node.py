"""The machine, as DIRAC's job parameters describe it (NodeInformation)."""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

import psutil

from telemetry.facts import Scalar

#: Where batch systems tell a job its number.
_BATCH_VARIABLES = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "QSUB_REQNAME", "JOB_ID")


def node_parameters(environment: Mapping[str, str]) -> dict[str, Scalar]:
    """HostName, Memory(MB) (available now), ModelName, LocalAccount and, in a batch system, LocalJobID."""
    found: dict[str, Scalar] = {
        "HostName": os.uname().nodename,
        "Memory(MB)": psutil.virtual_memory().available >> 20,
        "LocalAccount": _account(),
    }
    if model := _model():
        found["ModelName"] = model
    local = next((environment[name] for name in _BATCH_VARIABLES if environment.get(name)), "")
    return {**found, "LocalJobID": local} if local else found


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
