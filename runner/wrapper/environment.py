"""The variables of a payload: what it inherits, DIRAC's, ours, and the job's own, which win. Pure."""

from collections.abc import Mapping
from pathlib import Path

from runner.config import payload_environment
from runner.process.command import PayloadUser
from runner.wrapper.arguments import WrapperArguments
from telemetry.catalogue import PAYLOAD_PATH
from telemetry.identity import span_id, trace_id, traceparent


def environment_of(
    arguments: WrapperArguments, inherited: Mapping[str, str], work: Path, user: PayloadUser | None
) -> dict[str, str]:
    """The environment in which the job's payload runs.

    *inherited* is the wrapper's own, of which nothing secret and none of our OTEL_* is passed on,
    unless the job asks for it by name. JOBID, DIRACSITE, DIRAC_PROCESSORS and DIRAC_JOB_PROCESSORS
    are DIRAC's. TRACEPARENT names the payload's span, so that spans of its own join the trace.
    """
    description = arguments.description
    result = payload_environment(inherited, frozenset(description.keep_environment))
    result.update(
        {
            "JOBID": str(arguments.job_id),
            "DIRACSITE": arguments.site,
            "DIRAC_PROCESSORS": str(arguments.processors),
            "DIRAC_JOB_PROCESSORS": str(max(1, description.number_of_processors)),
            "JOBSPAN_JOB_ID": str(arguments.job_id),
            "JOBSPAN_JOB_ATTEMPT": str(arguments.attempt),
            "TRACEPARENT": traceparent(trace_id(arguments.uid), span_id(arguments.uid, PAYLOAD_PATH)),
            "PWD": str(work),
        }
    )
    result.pop("OLDPWD", None)
    if user is not None:
        result.update({"USER": user.name, "LOGNAME": user.name, "HOME": str(work)})
    return {**result, **description.environment}
