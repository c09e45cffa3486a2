"""The steps between Received and Waiting, under the names of DIRAC's optimizers; communities bring their own.

A step looks at a job and gives a verdict. It changes nothing itself: what the verdict says is written
by `optimization_mind`, for all steps at once. So a step may take its time without holding up anybody.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, TypeAlias

from runner.errors import ConfigError
from runner.job.description import JobDescription
from runner.job.matching import Requirements
from runner.job.status import MinorStatus
from runner.server.services.context import ServiceContext

GROUP = "jobspan.optimizer"
JOB_PATH, JOB_SANITY, INPUT_DATA, JOB_SCHEDULING = "JobPath", "JobSanity", "InputData", "JobScheduling"


@dataclass(frozen=True)
class JobUnderWay:
    """What a step sees of a job."""

    job_id: int
    owner: str
    owner_group: str
    vo: str
    description: JobDescription


@dataclass(frozen=True)
class Verdict:
    """What a step found. Nothing said: the job goes on.

    *minor*: the job fails with this minor status, for this *cause*. *hold_seconds*: it is looked at
    again after that time. *parameters* are set, *sandboxes* (by number) are the job's input from now on.
    *sites*, of JobScheduling: the only ones where it may run.
    """

    minor: str = ""
    cause: str = ""
    hold_seconds: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sandboxes: tuple[int, ...] = ()
    sites: tuple[str, ...] = ()


Optimizer: TypeAlias = Callable[[JobUnderWay], Verdict]
#: An entry point of the group names one of these.
OptimizerFactory: TypeAlias = Callable[[ServiceContext], Optimizer]


class Optimizers:
    """The steps of one WMS."""

    def __init__(self, context: ServiceContext) -> None:
        """Load what the configuration names beyond our own.

        Raises:
            ConfigError: there is no such optimizer.
        """
        self._context = context
        self._ours: Mapping[str, Optimizer] = {
            JOB_SANITY: self._job_sanity,
            INPUT_DATA: self._input_data,
            JOB_SCHEDULING: self._job_scheduling,
        }
        self._others = {name: _load(name, context) for name in context.settings.optimizers}

    def path(self, description: JobDescription) -> list[str]:
        """JobPath: the steps that a job takes, in their order."""
        data = [INPUT_DATA] if description.input_data else []
        return [JOB_SANITY, *data, *self._others, JOB_SCHEDULING]

    def is_ours(self, name: str) -> bool:
        """Whether the step is known to be quick."""
        return name in self._ours

    def look(self, name: str, job: JobUnderWay) -> Verdict:
        """What the step *name* says of the job; a step that breaks fails the job with its message, as in DIRAC."""
        if name in self._ours:
            return self._ours[name](job)
        try:
            return self._others[name](job)
        except Exception as error:  # noqa: BLE001 - foreign code: its error is the verdict
            return Verdict(minor=str(error) or type(error).__name__, cause=f"{name}: {type(error).__name__}")

    def _job_sanity(self, job: JobUnderWay) -> Verdict:
        """The input sandboxes must be there; they belong to this job from now on."""
        found = []
        with self._context.databases.read() as transaction:
            for name in job.description.input_sandbox:
                if not name.startswith("SB:"):
                    continue
                sandbox = transaction.sandboxes.get(name.partition("|")[2])
                if sandbox is None or not sandbox["Stored"]:
                    return Verdict(MinorStatus.FAILED_DOWNLOADING_INPUT_SANDBOX, f"{name} is not stored here")
                found.append(int(sandbox["SBId"]))
        return Verdict(sandboxes=tuple(found))

    def _input_data(self, job: JobUnderWay) -> Verdict:
        """Every file must be known to the master catalogue, with a replica."""
        catalog, wanted = self._context.settings.catalogs[0], job.description.input_data
        with self._context.databases.read() as transaction:
            known = transaction.catalog.files(catalog, wanted)
        missing = ",".join(lfn for lfn in wanted if lfn not in known)
        if not missing:
            return Verdict()
        cause = f"not in {catalog}: {missing}"
        return Verdict(MinorStatus.INPUT_DATA_NOT_AVAILABLE, cause, parameters={"MissingLFNs": missing})

    def _job_scheduling(self, job: JobUnderWay) -> Verdict:
        """There must be a site where the job may run, near to all of its data. Whether that gets jobs now is asked at
        each match.
        """
        wanted = Requirements.of(job.description)
        asked = set(wanted.sites) - set(wanted.banned_sites)
        if wanted.sites and not asked:
            cause = f"the job bans {', '.join(wanted.sites)}, where it asks to run"
            return Verdict(MinorStatus.NO_CANDIDATE_SITE, cause)
        near = self._near(job.description.input_data)
        if near is None:
            return Verdict()
        sites = sorted((near & asked if asked else near) - set(wanted.banned_sites))
        if sites:
            return Verdict(sites=tuple(sites))
        cause = f"all input data are near {', '.join(sorted(near)) or 'no site'}, where the job may not run"
        return Verdict(MinorStatus.NO_CANDIDATE_SITE, cause)

    def _near(self, lfns: Sequence[str]) -> set[str] | None:
        """The sites that have a replica of each of *lfns* near; None when all have."""
        settings, found = self._context.settings, None
        if not settings.near_sites:
            return None
        with self._context.databases.read() as transaction:
            for lfn in lfns:
                elements = transaction.catalog.replicas(settings.catalogs[0], lfn)
                if any(element not in settings.near_sites for element in elements):
                    continue
                sites = {site for element in elements for site in settings.near_sites[element]}
                found = sites if found is None else found & sites
        return found


def following(path: list[str], done: str) -> list[tuple[str, str | None]]:
    """The steps of *path* from *done* on (from the first, if it is none of them), each with the one after it."""
    rest = path[path.index(done) :] if done in path else path
    return list(itertools.zip_longest(rest, rest[1:]))


def _load(name: str, context: ServiceContext) -> Optimizer:
    found = entry_points(group=GROUP, name=name)
    if not found:
        known = ", ".join(sorted(each.name for each in entry_points(group=GROUP))) or "none"
        raise ConfigError(f"[WMS] Optimizers: there is no entry point {name} in {GROUP}; installed are: {known}")
    factory: OptimizerFactory = next(iter(found)).load()
    return factory(context)
