"""What the agent writes for a job: its folders, the arguments of its wrapper, and the first facts."""

import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.computing.inprocess import BATCH_SYSTEM
from runner.config import Config
from runner.job.status import JobStatus, MinorStatus
from runner.wms.answers import MatchedJob
from runner.wms.tokens import TOKEN_FILE, write_secret
from runner.wrapper.node import batch_job
from telemetry.clock import NANOSECONDS, Clock
from telemetry.facts import JobMatched, ParametersSet, StatusChanged
from telemetry.journal import SUFFIX, read_journal

AGENT = "JobAgent"
#: Below the agent's folder: the stamps of its last pilots, a line each.
STAMPS = "stamps"
MOST_STAMPS = 20
_NAME = re.compile(r"(\d+)\.(\d+)(?:-\d+)?")


@dataclass(frozen=True)
class Pilot:
    """This agent, as the WMS knows it."""

    stamp: str
    reference: str
    #: When its batch job ends, by CLOCK_BOOTTIME; None: nobody knows.
    end_boottime_ns: int | None = None
    #: Of the agents that worked on this folder before, as far as they may matter.
    earlier_stamps: tuple[str, ...] = ()

    @classmethod
    def new(cls, agent: Path, end_boottime_ns: int | None = None) -> "Pilot":
        """A pilot of its own for this process; *agent* is the folder where all agents of this place leave stamps."""
        try:
            earlier = tuple((agent / STAMPS).read_text().split())
        except FileNotFoundError:
            earlier = ()
        reference = f"{socket.gethostname()}:{os.getpid()}"
        return cls(uuid.uuid4().hex, reference, end_boottime_ns, earlier[-MOST_STAMPS:])

    def leave_stamp(self, agent: Path) -> None:
        """For the agents after us: what was given to this one and never arrived, they ask for again."""
        path = agent / STAMPS
        temporary = path.with_suffix(".new")
        temporary.write_text("\n".join((*self.earlier_stamps, self.stamp)) + "\n")
        temporary.replace(path)

    def seconds_left(self, clock: Clock) -> float | None:
        """Until the end of its batch job, never negative; None: nobody knows."""
        if self.end_boottime_ns is None:
            return None
        return max(0.0, (self.end_boottime_ns - clock.boottime_ns()) / NANOSECONDS)


@dataclass(frozen=True)
class JobFolder:
    """`jobs/<JobID>.<Attempt>`: `control` is ours alone, `work` is the payload's."""

    root: Path
    job_id: int
    attempt: int

    @property
    def control(self) -> Path:
        """Script, arguments, journals, token; mode 0700."""
        return self.root / "control"

    @property
    def work(self) -> Path:
        """The payload's working directory."""
        return self.root / "work"

    @classmethod
    def make(cls, jobs: Path, matched: MatchedJob) -> "JobFolder":
        """New folders for *matched*, with its token.

        A number is added when the name is taken: by another WMS's job on the same folder, or by
        an earlier claim of this very attempt.

        Raises:
            OSError: they cannot be made; nothing is left of them.
        """
        jobs.mkdir(parents=True, exist_ok=True)
        for root in _free_names(jobs / f"{matched.job_id}.{matched.attempt}"):
            try:
                root.mkdir(mode=0o711)
            except FileExistsError:
                continue
            break
        folder = cls(root, matched.job_id, matched.attempt)
        try:
            folder.control.mkdir(mode=0o700)
            folder.work.mkdir(mode=0o755)
            write_secret(folder.control / TOKEN_FILE, matched.job_token)
        except OSError:
            folder.remove()
            raise
        return folder

    def remove(self) -> None:
        """All of it, as far as that can be; of an attempt about which nothing was written down."""
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def uid(self) -> str:
        """Of the attempt, once its first fact has been written; empty before."""
        facts = (entry.fact for entry in read_journal(self.control))
        return next((fact.uid for fact in facts if isinstance(fact, JobMatched)), "")

    @property
    def has_begun(self) -> bool:
        """Whether anything was ever written down about the attempt, readable or not."""
        return any(b"\n" in path.read_bytes() for path in self.control.glob(f"*{SUFFIX}"))

    @classmethod
    def of(cls, jobs: Path, job_id: int) -> "list[JobFolder]":
        """Those of one job, first attempt first."""
        found = [(_NAME.fullmatch(path.name), path) for path in jobs.glob(f"{job_id}.*")]
        folders = [cls(path, job_id, int(name[2])) for name, path in found if name]
        return sorted(folders, key=lambda each: (each.attempt, each.root.name))

    @classmethod
    def named(cls, jobs: Path, name: str) -> "JobFolder | None":
        """The folder *name* below *jobs*; None: that is no name of one."""
        found = _NAME.fullmatch(name)
        return cls(jobs / name, int(found[1]), int(found[2])) if found else None

    @classmethod
    def all(cls, jobs: Path) -> "list[JobFolder]":
        """Those below *jobs*, oldest job first."""
        if not jobs.is_dir():
            return []
        found = [(_NAME.fullmatch(path.name), path) for path in jobs.iterdir() if path.is_dir()]
        folders = [cls(path, int(name[1]), int(name[2])) for name, path in found if name]
        return sorted(folders, key=lambda each: (each.job_id, each.attempt, each.root.name))


def wrapper_arguments(
    config: Config, matched: MatchedJob, pilot: Pilot, wms_url: str, seconds_left: float | None = None
) -> dict[str, Any]:
    """What stands beside the wrapper's script, in DIRAC's shape. No token: that is a file of its own.

    *seconds_left* are those of the batch job; CPUTimeLeft is CPU work, as in DIRAC.
    """
    site = config.site
    left = {} if seconds_left is None else {"CPUTimeLeft": seconds_left * site.cpu_normalization_factor}
    return {
        "Job": {
            **matched.description,
            "JobID": matched.job_id,
            "Owner": matched.owner,
            "OwnerGroup": matched.owner_group,
            "VO": matched.vo,
        },
        "CE": {
            "Site": site.name,
            "GridCE": site.computing_element,
            "Queue": site.queue,
            "Processors": processors_of(matched.description),
            "CPUNormalizationFactor": site.cpu_normalization_factor,
            "PilotReference": pilot.reference,
            "PilotStamp": pilot.stamp,
            "LocalSE": list(config.wms.storage_elements),
            **left,
        },
        "Optimizer": {},
        "Jobspan": {
            "UID": matched.uid,
            "WMSID": matched.wms_id,
            "JobID": matched.job_id,
            "Attempt": matched.attempt,
            "Claim": matched.claim,
            "WMSURL": wms_url,
            "Config": str(config.source) if config.source else None,
            "Folder": str(config.folder),
        },
    }


def job_matched(config: Config, matched: MatchedJob, pilot: Pilot, clock_offset_seconds: float) -> JobMatched:
    """The fact that begins every attempt."""
    site = config.site
    batch = batch_job(config.environment)
    return JobMatched(
        uid=matched.uid,
        wms_id=matched.wms_id,
        job_id=matched.job_id,
        attempt=matched.attempt,
        claim=matched.claim,
        owner=matched.owner,
        owner_group=matched.owner_group,
        vo=matched.vo,
        job_group=matched.job_group,
        job_name=matched.job_name,
        job_type=matched.job_type or "User",
        processing_type=_text(matched.description, "ProcessingType") or "unknown",
        site=site.name,
        computing_element=site.computing_element,
        queue=site.queue,
        host_name=socket.gethostname(),
        pilot_stamp=pilot.stamp,
        pilot_reference=pilot.reference,
        batch_system=batch.system if batch else BATCH_SYSTEM,
        batch_job_id=batch.number if batch else "",
        processors=processors_of(matched.description),
        processors_requested=processors_of(matched.description),
        cpu_normalization_factor=site.cpu_normalization_factor,
        benchmark_name=site.benchmark_name,
        benchmark_value=site.cpu_normalization_factor if site.benchmark_name else 0.0,
        benchmark_source=site.benchmark_source,
        submit_start_utc_ns=matched.submit_start_utc_ns,
        submit_end_utc_ns=matched.submit_end_utc_ns,
        waiting_utc_ns=matched.waiting_utc_ns,
        match_start_utc_ns=matched.match_start_utc_ns,
        match_end_utc_ns=matched.match_end_utc_ns,
        submit_traceparent=matched.submit_traceparent,
        previous_uid=matched.previous_uid,
        clock_offset_seconds=clock_offset_seconds,
    )


def received() -> StatusChanged:
    """The job has arrived on the node."""
    return StatusChanged(status=JobStatus.MATCHED, minor_status=MinorStatus.JOB_RECEIVED_BY_AGENT, source=AGENT)


def submitting() -> StatusChanged:
    """It goes to the computing element now."""
    return StatusChanged(minor_status=MinorStatus.SUBMITTING_TO_CE, source=AGENT)


def where_it_runs(config: Config, pilot: Pilot) -> ParametersSet:
    """The job parameters that an agent sets."""
    site = config.site
    return ParametersSet(
        parameters={
            "GridCE": site.computing_element,
            "CEQueue": site.queue,
            "BatchSystem": BATCH_SYSTEM,
            "Pilot_Reference": pilot.reference,
        }
    )


def _free_names(root: Path) -> Iterator[Path]:
    yield root
    for number in range(2, 1000):
        yield root.with_name(f"{root.name}-{number}")
    raise FileExistsError(f"{root} exists a thousand times")


def _text(description: Mapping[str, Any], name: str) -> str:
    value = description.get(name)
    return value if isinstance(value, str) else ""


def processors_of(description: Mapping[str, Any]) -> int:
    """How many processors the job asks for; it fills as many slots."""
    value = str(description.get("NumberOfProcessors", 1))
    return int(value) if value.isdecimal() and 0 < int(value) < 100_000 else 1
