"""JobExecutionCoordinator: what a community does around its payloads.

A community brings its own class under the entry point group `jobspan.job_execution_coordinator` and
names it in the option JobExecutionCoordinator. It may derive from ours.
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from runner.errors import TransientJobError

GROUP = "jobspan.job_execution_coordinator"
OURS = "default"


class Coordinator(Protocol):
    """What the execute stage calls."""

    def pre_process(
        self, command: tuple[str, ...], environment: dict[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Command and environment as the payload shall get them."""
        ...

    def post_process(self) -> None:
        """The payload has ended."""
        ...


class JobExecutionCoordinator:
    """The default: changes nothing. `job_args` and `ce_args` are the wrapper's arguments "Job" and "CE"."""

    def __init__(self, job_args: Mapping[str, Any], ce_args: Mapping[str, Any]) -> None:
        self.job_args = job_args
        self.ce_args = ce_args

    def pre_process(
        self, command: tuple[str, ...], environment: dict[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Called before the payload starts, in the job's folder's wrapper; may change *command* and *environment*.

        Raise `TransientJobError` to have the job rescheduled, `PermanentJobError` to have it fail.
        """
        return command, environment

    def post_process(self) -> None:
        """Called when the payload has ended, whatever its exit code; raises like `pre_process`."""


def load(name: str, job_args: Mapping[str, Any], ce_args: Mapping[str, Any]) -> Coordinator:
    """The coordinator *name* for this job.

    Raises:
        TransientJobError: it is not installed here.
    """
    if name == OURS:
        return JobExecutionCoordinator(job_args, ce_args)
    found = entry_points(group=GROUP, name=name)
    if not found:
        known = ", ".join(sorted(each.name for each in entry_points(group=GROUP)))
        raise TransientJobError(
            f"JobExecutionCoordinator {name!r} is not installed here; known are {known}", error_type="coordinator"
        )
    return cast(Coordinator, next(iter(found)).load()(job_args, ce_args))
