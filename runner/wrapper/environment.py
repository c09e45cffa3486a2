"""The variables of a payload: what it inherits, DIRAC's, ours, and the job's own, which win. Pure."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from runner.config import payload_environment
from runner.process.command import PayloadUser
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.ports import TelemetryDoor
from telemetry.catalogue import JOB_ATTEMPT, JOB_ID, JOB_UID, PAYLOAD_PATH, is_ours
from telemetry.identity import span_id, trace_id, traceparent

#: Of a payload that has no name.
PAYLOAD_SERVICE = "payload"
_EXPORTER = "OTEL_EXPORTER_OTLP_"
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def environment_of(
    arguments: WrapperArguments,
    inherited: Mapping[str, str],
    work: Path,
    user: PayloadUser | None,
    door: TelemetryDoor | None = None,
) -> dict[str, str]:
    """The environment in which the job's payload runs.

    *inherited* is the wrapper's own, of which nothing secret and none of our OTEL_* is passed on,
    unless the job asks for it by name. JOBID, DIRACSITE, DIRAC_PROCESSORS and DIRAC_JOB_PROCESSORS
    are DIRAC's. TRACEPARENT names the payload's span, so that spans of its own join the trace; *door* is where it
    may send them.
    """
    description = arguments.description
    result = payload_environment(inherited, frozenset(description.keep_environment))
    own = {**{name: result[name] for name in description.keep_environment if name in result}, **description.environment}
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
    if door is not None:
        result.update(_otel(arguments, door, {**result, **own}, own))
    return {**result, **own}


def service_name(arguments: WrapperArguments) -> str:
    """`service.name` of a payload that gives itself none: its job's."""
    name = arguments.description.job_name.strip()
    return name if name and not is_ours(name) else PAYLOAD_SERVICE


def _otel(
    arguments: WrapperArguments, door: TelemetryDoor, environment: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """With which an instrumented payload finds the door by itself. One that sends elsewhere is not shown the secret."""
    identity = {JOB_ID: arguments.job_id, JOB_ATTEMPT: arguments.attempt, JOB_UID: arguments.uid}
    variables = {
        "OTEL_SERVICE_NAME": service_name(arguments),
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{name}={value}" for name, value in identity.items()),
    }
    if any(name.startswith(_EXPORTER) and name.endswith("ENDPOINT") for name in own):
        return variables
    variables |= {
        f"{_EXPORTER}ENDPOINT": door.url,
        f"{_EXPORTER}PROTOCOL": "http/protobuf",
        f"{_EXPORTER}HEADERS": f"Authorization={quote(f'Bearer {door.token}')}",
        "OTEL_METRICS_EXPORTER": "none",
    }
    if any(environment.get(name) for name in _PROXIES):  # what is meant for us must not go there, secret and all
        for name in ("no_proxy", "NO_PROXY"):
            variables[name] = ",".join(filter(None, (environment.get(name), "127.0.0.1")))
    return variables
