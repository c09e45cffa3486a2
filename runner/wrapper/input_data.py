"""The stage `resolve_input_data`: the module that the job, else the configuration, names brings the LFNs."""

from runner.data.input_data_resolution import Resolve, load
from runner.errors import PermanentJobError, TransientJobError
from runner.job.status import MinorStatus
from runner.wrapper.attempt import Attempt
from runner.wrapper.input_sandbox import request_for
from telemetry.facts import DataMoved


def resolve_input_data(attempt: Attempt) -> None:
    """Bring all InputData into the working directory, or say in MissingLFNs what the catalogue does not know.

    Raises:
        PermanentJobError: missing names, wrong checksums, no such module.
        TransientJobError, UnavailableError: no replica can be read now; the site lacks its own module.
    """
    attempt.report.set_job_status(minor_status=MinorStatus.INPUT_DATA_RESOLUTION)
    resolve = _module(attempt)
    result = resolve(request_for(attempt, attempt.parts.arguments.description.input_data))
    if result.missing:
        attempt.report.set_job_parameter("MissingLFNs", "\n".join(result.missing))
        raise PermanentJobError(
            f"the catalogue does not know {', '.join(result.missing[:5])}", error_type="missing_input_data"
        )
    total = sum(each.size_bytes for each in result.files)
    attempt.parts.emit(DataMoved(kind="input_data", files=len(result.files), bytes=total))


def _module(attempt: Attempt) -> Resolve:
    asked = attempt.parts.arguments.description.input_data_module
    try:
        return load(asked or attempt.options.input_data_module)
    except PermanentJobError as error:
        if asked:
            raise
        raise TransientJobError(str(error), error_type=error.error_type) from error
