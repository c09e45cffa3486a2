"""How long the batch system lets us live, as far as its variables and files tell without its commands.

Slurm says when a job ends (22.05 does not: its batch script can ask `squeue`, and set the same variable). HTCondor
leaves the job's and the machine's ClassAd on the node; Torque names the wall clock that was asked for, LSF keeps the
job's script, and sites with Machine/Job Features (HSF-TN-2016-02) have a folder of values. Where only a duration is
known it counts from the start of the batch job: where nobody dates that, from the start of the oldest process above us
that has the batch job's own variable. SGE tells nothing without its commands.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from runner.config import Config
from telemetry.measure import procfs

#: The text of a file; raises OSError.
Read = Callable[[str], str]
_LARGEST_FILE_BYTES = 1 << 20
_AD_LINE = re.compile(r"\s*(\w+)\s*=\s*([\d.]+)\s*")
_LSF_LIMIT = re.compile(r"^#BSUB\s(?:.*\s)?-W\s*(?:(\d+):)?(\d+)(/\S+)?(?:\s|$)", re.MULTILINE)
_HOURS = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)")
#: Attributes of a job's ad that bound its wall clock, and how many seconds are one of them.
_AD_DURATIONS = {
    "AllowedJobDuration": 1,
    "AllowedExecuteDuration": 1,
    "MaxRuntime": 1,
    "BatchRuntime": 1,
    "maxWallTime": 60,
}
#: What a batch system gives to the processes of a job of its own, and to no other.
_MARKS = ("PBS_JOBID", "LSB_JOBID", "_CONDOR_JOB_AD", "JOBFEATURES")
_AD_STARTS = ("JobCurrentStartDate", "JobCurrentStartExecutingDate")


@dataclass(frozen=True, kw_only=True)
class BatchEnd:
    """When our batch job ends, and who says so."""

    system: str
    source: str
    end_utc_seconds: float


def batch_end(environment: Mapping[str, str], read: Read, started_utc_seconds: float) -> BatchEnd | None:
    """The earliest end that anybody names; None where nobody does. *started_utc_seconds* is the batch job's start, as
    far as it is known."""
    found = [
        *_slurm(environment),
        *_htcondor(environment, read, started_utc_seconds),
        *_pbs(environment, started_utc_seconds),
        *_lsf(environment, read, started_utc_seconds),
        *_features(environment, read, started_utc_seconds),
    ]
    return min(found, key=lambda each: each.end_utc_seconds, default=None)


def time_left(config: Config, read: Read, now_utc_seconds: float) -> BatchEnd | None:
    """The same, unless the configuration says how much work is left now (CPUTimeLeft)."""
    site = config.site
    if not site.cpu_time_left:
        age = batch_job_age_seconds(config.environment)
        return batch_end(config.environment, read, now_utc_seconds - age)
    seconds = site.cpu_time_left / site.cpu_normalization_factor
    return BatchEnd(system="configured", source="CPUTimeLeft", end_utc_seconds=now_utc_seconds + seconds)


def batch_job_age_seconds(environment: Mapping[str, str]) -> float:
    """For how long the batch job has been running, by the oldest of its processes above us; 0 outside of any.

    Its processes are those above us, without a gap, that were started with the same mark in their environment.
    """
    marks = [f"{name}={environment[name]}".encode() for name in _MARKS if environment.get(name)]
    pid, begun = os.getpid(), None
    while (seen := procfs.look(pid, with_bytes=False)) is not None:
        is_ours = any(procfs.environment_has(pid, mark) for mark in marks)
        if not is_ours and pid != os.getpid():  # (we may have been given ours by a file)
            break
        if is_ours or marks:
            begun = seen.identity.start_ticks
        pid = seen.parent_pid
    if begun is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun / os.sysconf("SC_CLK_TCK"))


def read_file(path: str) -> str:
    """The beginning of a file that the batch system has written."""
    with open(path, "rb") as file:
        return file.read(_LARGEST_FILE_BYTES).decode(errors="replace")


def _slurm(environment: Mapping[str, str]) -> Iterator[BatchEnd]:
    end = _number(environment.get("SLURM_JOB_END_TIME", ""))
    if end:
        yield BatchEnd(system="Slurm", source="SLURM_JOB_END_TIME", end_utc_seconds=end)


def _htcondor(environment: Mapping[str, str], read: Read, started: float) -> Iterator[BatchEnd]:
    job = _class_ad(_text(read, environment.get("_CONDOR_JOB_AD", "")))
    # An ad that outlived an eviction still has dates of the run before: the latest one is this run's.
    begun = max((job[name.lower()] for name in _AD_STARTS if name.lower() in job), default=started)
    for name, unit in _AD_DURATIONS.items():
        seconds = job.get(name.lower(), 0.0) * unit
        if seconds:
            yield BatchEnd(system="HTCondor", source=name, end_utc_seconds=begun + seconds)
    machine = _class_ad(_text(read, environment.get("_CONDOR_MACHINE_AD", "")))
    if machine.get("glidein_todie"):
        yield BatchEnd(system="HTCondor", source="GLIDEIN_ToDie", end_utc_seconds=machine["glidein_todie"])


def _pbs(environment: Mapping[str, str], started: float) -> Iterator[BatchEnd]:
    asked = _HOURS.fullmatch(environment.get("PBS_WALLTIME", "").strip())
    if asked:
        hours, minutes, seconds = (int(each or 0) for each in asked.groups())
        end = started + hours * 3600 + minutes * 60 + seconds
        yield BatchEnd(system="PBS", source="PBS_WALLTIME", end_utc_seconds=end)


def _lsf(environment: Mapping[str, str], read: Read, started: float) -> Iterator[BatchEnd]:
    name = environment.get("LSB_JOBFILENAME", "")
    for path in (name, f"{name}.shell") if name else ():
        limit = _LSF_LIMIT.search(_text(read, path))
        if limit and not limit[3]:  # minutes of another machine are no minutes
            end = started + int(limit[1] or 0) * 3600 + int(limit[2]) * 60
            yield BatchEnd(system="LSF", source="#BSUB -W", end_utc_seconds=end)
            return


def _features(environment: Mapping[str, str], read: Read, started: float) -> Iterator[BatchEnd]:
    job, machine = environment.get("JOBFEATURES", ""), environment.get("MACHINEFEATURES", "")
    for folder, name in ((job, "shutdowntime_job"), (machine, "shutdowntime")):
        end = _number(_text(read, f"{folder}/{name}")) if folder else 0.0
        if end:
            yield BatchEnd(system="Machine/Job Features", source=name, end_utc_seconds=end)
    if job:
        limit = _number(_text(read, f"{job}/wall_limit_secs"))
        begun = _number(_text(read, f"{job}/jobstart_secs")) or started
        if limit:
            yield BatchEnd(system="Machine/Job Features", source="wall_limit_secs", end_utc_seconds=begun + limit)


def _class_ad(text: str) -> dict[str, float]:
    """The attributes of a ClassAd that are plain numbers, by their names in lower case."""
    lines = (_AD_LINE.fullmatch(line) for line in text.splitlines())
    return {line[1].lower(): _number(line[2]) for line in lines if line}


def _text(read: Read, path: str) -> str:
    """What a file says; nothing when it cannot be read. (Features may stand at a URL: those are not fetched.)"""
    if not path.startswith("/"):
        return ""
    try:
        return read(path)
    except OSError:
        return ""


def _number(text: str) -> float:
    try:
        return max(0.0, float(text)) if re.fullmatch(r"\s*[\d.]+\s*", text) else 0.0
    except ValueError:
        return 0.0
