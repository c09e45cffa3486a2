"""What a wrapper is told: the JSON beside its script, in DIRAC's shape, and which attempt it is.

`{"Job": {}, "CE": {}, "Optimizer": {}, "Jobspan": {}}`: the last one is ours.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from runner.config import JobWrapperConfig
from runner.errors import DescriptionError, PermanentJobError
from runner.job.description import JobDescription, from_mapping
from runner.process.limits import WatchdogJob

T = TypeVar("T", int, float, str)

#: Keys of "Job" that are no part of the description.
_STOP_SIGNAL = ("stop_signal_regex", "stop_signal_number", "stop_signal_start_work", "stop_signal_finish_work")
IDENTITY = ("JobID", "Owner", "OwnerGroup", "VO", "DIRACSetup", "Status")


@dataclass(frozen=True, kw_only=True)
class WrapperArguments:
    """A job's description with who it is, and where it runs."""

    description: JobDescription
    job_id: int
    attempt: int
    uid: str
    owner: str = ""
    owner_group: str = ""
    vo: str = ""
    site: str = ""
    computing_element: str = ""
    queue: str = ""
    pilot_reference: str = ""
    pilot_stamp: str = ""
    #: Processors of the slot; the job may have asked for fewer.
    processors: int = 1
    cpu_normalization_factor: float = 1.0
    #: CPU work for which the batch job still has wall clock, when the job is handed over; None: nobody knows.
    cpu_time_left: float | None = None
    #: "Job" and "CE" as they came, for a community's coordinator.
    job: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ce: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, path: Path) -> "WrapperArguments":
        """The arguments in the file *path*.

        Raises:
            PermanentJobError: unreadable, or no arguments (error_type illegal_arguments).
        """
        try:
            return cls.from_mapping(json.loads(path.read_text()))
        except (OSError, ValueError) as error:
            raise _illegal(f"{path.name}: {error}") from error

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> "WrapperArguments":
        """The arguments in a parsed *document*. Keys that we do not know are ignored.

        Raises:
            PermanentJobError: something is missing or of the wrong kind.
        """
        job, ce, ours = _table(document, "Job"), _table(document, "CE"), _table(document, "Jobspan")
        described = {name: value for name, value in job.items() if name not in IDENTITY}
        try:
            description = from_mapping(described, source="Job")
        except DescriptionError as error:
            raise _illegal(str(error)) from error
        if not (job.get("JobID") and ours.get("Attempt") and ours.get("UID")):
            raise _illegal("JobID, Attempt and UID must be there")
        return cls(
            description=description,
            job_id=_value(job, "JobID", 0),
            attempt=_value(ours, "Attempt", 0),
            uid=_value(ours, "UID", ""),
            owner=_value(job, "Owner", ""),
            owner_group=_value(job, "OwnerGroup", ""),
            vo=_value(job, "VO", ""),
            site=_value(ce, "Site", ""),
            computing_element=_value(ce, "GridCE", ""),
            queue=_value(ce, "Queue", ""),
            pilot_reference=_value(ce, "PilotReference", ""),
            pilot_stamp=_value(ce, "PilotStamp", ""),
            processors=_value(ce, "Processors", 1),
            cpu_normalization_factor=_value(ce, "CPUNormalizationFactor", 1.0),
            cpu_time_left=_value(ce, "CPUTimeLeft", 0.0) if "CPUTimeLeft" in ce else None,
            job=job,
            ce=ce,
        )

    def options(self, config: JobWrapperConfig) -> JobWrapperConfig:
        """*config* for this job, which may ask for less wall clock than the site grants, and for its own stop."""
        described = self.description
        asked = described.max_wall_clock_seconds or config.max_wall_clock_seconds
        changes: dict[str, Any] = {"max_wall_clock_seconds": min(asked, config.max_wall_clock_seconds)}
        for name in _STOP_SIGNAL:
            value = getattr(described, name)
            if value is not None:
                changes[name] = value
        return replace(config, **changes)

    def watchdog_job(self, start_boottime_ns: int) -> WatchdogJob:
        """What the watchdog needs to know of the job; *start_boottime_ns* is the start of the wrapper process."""
        described = self.description
        return WatchdogJob(
            start_boottime_ns=start_boottime_ns,
            processors=max(1, described.number_of_processors),
            cpu_normalization_factor=self.cpu_normalization_factor,
            cpu_time_seconds=described.cpu_time_seconds,
            memory_mb=described.memory_mb,
            check_cpu_consumed=not described.disable_cpu_check,
            job_type=described.job_type,
            time_left_seconds=self._time_left_seconds(),
        )

    def _time_left_seconds(self) -> float | None:
        """DIRAC counts the work that is left down by the wall clock."""
        return None if self.cpu_time_left is None else self.cpu_time_left / (self.cpu_normalization_factor or 1.0)


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name, {}) if isinstance(document, Mapping) else None
    if not isinstance(value, Mapping):
        raise _illegal(f"{name} must be an object")
    return value


def _value(table: Mapping[str, Any], name: str, default: T) -> T:
    value = table.get(name, default)
    if isinstance(default, float) and isinstance(value, int):
        value = float(value)
    if not isinstance(value, type(default)) or isinstance(value, bool):
        raise _illegal(f"{name} must be {type(default).__name__}, not {value!r}")
    return value


def _illegal(why: str) -> PermanentJobError:
    return PermanentJobError(f"the wrapper's arguments are wrong: {why}", error_type="illegal_arguments")
