"""The stage `initialize`: the working directory, the community's coordinator, and the WMS's word that we may run."""

import os
from functools import partial

from runner import __version__
from runner.errors import ConfigError, TransientJobError
from runner.job.status import JobStatus, MinorStatus
from runner.process.command import PayloadUser
from runner.process.starter import payload_user
from runner.wrapper import job_execution_coordinator, workspace
from runner.wrapper.attempt import Attempt
from runner.wrapper.node import node_parameters

#: One deadline for so many calls to the WMS: the reporter tries again in between.
_CALLS = 3


def initialize(attempt: Attempt) -> None:
    """Report Running, make ready, and go on only when the WMS has accepted Running under our claim.

    Raises:
        TransientJobError: something is missing on this node.
        UnavailableError: the WMS does not answer.
        FencedError: the attempt is somebody else's.
    """
    parts = attempt.parts
    attempt.report.set_job_status(JobStatus.RUNNING, MinorStatus.JOB_INITIALIZATION)
    _report_parameters(attempt)
    if parts.obstacle is not None:
        raise parts.obstacle
    attempt.user = _user(attempt.options.payload_user)
    workspace.create(parts.folders.work)
    attempt.has_folder = True
    arguments = parts.arguments
    attempt.coordinator = job_execution_coordinator.load(attempt.options.coordinator, arguments.job, arguments.ce)
    attempt.interruptible(partial(parts.wms.confirm_running, _CALLS * parts.config.wms.timeout_seconds))


def _report_parameters(attempt: Attempt) -> None:
    arguments = attempt.parts.arguments
    attempt.report.set_job_parameters(
        {
            "JobWrapperPID": os.getpid(),
            "PilotAgent": __version__,
            "CPUNormalizationFactor": arguments.cpu_normalization_factor,
            **({"Pilot_Reference": arguments.pilot_reference} if arguments.pilot_reference else {}),
            **node_parameters(attempt.parts.config.environment),
        }
    )


def _user(name: str) -> PayloadUser | None:
    if not name:
        return None
    try:
        return payload_user(name)
    except ConfigError as error:  # another node may be set up better
        raise TransientJobError(str(error), error_type="payload_user") from error
