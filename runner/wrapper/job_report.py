"""JobReport: statuses and parameters of the job, as facts; somebody else delivers them."""

import math
from collections.abc import Mapping

from runner.job.status import JobStatus, MinorStatus
from runner.process.cancel import Cancel
from telemetry.bus import Emit
from telemetry.facts import ParametersSet, Scalar, StatusChanged


class JobReport:
    """What the wrapper has to say about its job. After a Kill it sets no status, after a fence it is silent."""

    def __init__(self, emit: Emit, cancel: Cancel) -> None:
        self._emit = emit
        self._cancel = cancel

    def set_job_status(
        self,
        status: JobStatus | None = None,
        minor_status: MinorStatus | str | None = None,
        application_status: str | None = None,
    ) -> None:
        """Report a status; None leaves a part as it is."""
        if self._cancel.said("user") or self._cancel.said("fence"):
            return
        self._emit(
            StatusChanged(
                status=str(status) if status else None,
                minor_status=str(minor_status) if minor_status else None,
                application_status=application_status or None,
            )
        )

    def set_job_parameters(self, parameters: Mapping[str, Scalar]) -> None:
        """Report parameters under DIRAC's names; numbers that are none (NaN, infinite) are left out."""
        kept: dict[str, Scalar] = {}
        for name, value in parameters.items():
            if isinstance(value, float) and not math.isfinite(value):
                continue
            kept[name] = value
        if kept and not self._cancel.said("fence"):
            self._emit(ParametersSet(parameters=kept))

    def set_job_parameter(self, name: str, value: Scalar) -> None:
        """Report one parameter."""
        self.set_job_parameters({name: value})
