"""Where telemetry is sent and how: `[Telemetry]`, and the standard OTEL_* variables over it. Pure.

The variables mean what the specification says, which is not what every SDK makes of them: timeouts are milliseconds,
headers and attributes are percent-encoded, the endpoint of one signal is used as it is, an empty value says nothing.
What can never work is refused at the start, in words; the SDKs would drop everything they are given instead.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from runner.errors import ConfigError
from runner.tables import COMPRESSIONS, SignalConfig, TelemetryConfig

PREFIX = "OTEL_EXPORTER_OTLP_"
LEAST_TIMEOUT_SECONDS = 0.1
SERVICE_NAME = "service.name"
#: The end of a variable's name -> the option that it wins over.
_OPTIONS = {
    "ENDPOINT": "otlp_endpoint",
    "HEADERS": "otlp_headers",
    "TIMEOUT": "otlp_timeout_seconds",
    "COMPRESSION": "otlp_compression",
    "CERTIFICATE": "otlp_certificate",
    "CLIENT_CERTIFICATE": "otlp_client_certificate",
    "CLIENT_KEY": "otlp_client_key",
}
#: RFC 9110: a name of a header; and what a value may hold besides, so that it can be sent at all.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_log = logging.getLogger(__name__)


def with_environment(options: TelemetryConfig, environment: Mapping[str, str]) -> TelemetryConfig:
    """*options* with what the standard variables say, and what follows for each signal.

    Raises:
        ConfigError: a value with which nothing could ever be sent.
    """
    said = {name: value.strip() for name, value in environment.items() if name.startswith("OTEL_") and value.strip()}
    both = replace(options, **_said(said, PREFIX))
    attributes = pairs(options.resource_attributes, "[Telemetry] ResourceAttributes") | _attributes(said)
    service = said.get("OTEL_SERVICE_NAME") or attributes.pop(SERVICE_NAME, "") or options.service_name
    attributes.pop(SERVICE_NAME, None)
    return replace(
        both,
        service_name=service,
        resource=attributes,
        traces=_signal(both, said, "traces"),
        logs=_signal(both, said, "logs"),
    )


def pairs(items: Iterable[str], where: str) -> dict[str, str]:
    """Of "name=value", both percent-encoded.

    Raises:
        ConfigError: one is something else; its value is not quoted, because it may be secret.
    """
    found = {}
    for item in items:
        name, is_pair, value = item.partition("=")
        name = unquote(name.strip())
        if not is_pair or not name:
            raise ConfigError(f"{where} must be a list of name=value, with commas in values as %2C")
        found[name] = unquote(value.strip())
    return found


def _said(said: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """The options that variables with that prefix set."""
    found: dict[str, Any] = {}
    for end, option in _OPTIONS.items():
        if value := said.get(prefix + end):
            found[option] = _value(end, value, prefix + end)
    return found


def _value(kind: str, value: str, variable: str) -> Any:
    if kind == "HEADERS":
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if kind == "TIMEOUT":  # milliseconds by the specification, whatever SDKs make of it
        if not value.isdecimal():
            raise ConfigError(f"{variable} must be a number of milliseconds")
        return max(LEAST_TIMEOUT_SECONDS, int(value) / 1000)
    if kind == "COMPRESSION" and value not in COMPRESSIONS:
        raise ConfigError(f"{variable} must be one of {', '.join(COMPRESSIONS)}, not {value!r}")
    return value


def _signal(both: TelemetryConfig, said: Mapping[str, str], signal: str) -> SignalConfig | None:
    """What holds for *signal*; None when it is not sent."""
    prefix = f"{PREFIX}{signal.upper()}_"
    own = replace(both, **_said(said, prefix))
    is_off = (
        said.get("OTEL_SDK_DISABLED", "").lower() == "true" or said.get(f"OTEL_{signal.upper()}_EXPORTER") == "none"
    )
    if is_off or not own.otlp_endpoint:
        return None
    # that of one signal is the whole address; below the common one each signal has its own
    url = own.otlp_endpoint if prefix + "ENDPOINT" in said else f"{both.otlp_endpoint.rstrip('/')}/v1/{signal}"
    if not url.startswith(("http://", "https://")):
        raise ConfigError("the collector's endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) must begin with http:// or https://")
    _check_protocol(said, prefix)
    return SignalConfig(
        url=url,
        headers=_headers(own.otlp_headers),
        token_file=own.otlp_token_file,
        timeout_seconds=own.otlp_timeout_seconds,
        compression=own.otlp_compression,
        certificate=own.otlp_certificate,
        client_certificate=own.otlp_client_certificate,
        client_key=own.otlp_client_key,
    )


def _check_protocol(said: Mapping[str, str], prefix: str) -> None:
    for variable in (f"{prefix}PROTOCOL", f"{PREFIX}PROTOCOL"):
        if variable in said:
            if said[variable] != "http/protobuf":
                raise ConfigError(
                    f"{variable} is {said[variable]!r}: jobspan speaks http/protobuf alone; "
                    "name the collector's HTTP port (4318) and unset the variable"
                )
            return


def _headers(items: Iterable[str]) -> tuple[tuple[str, str], ...]:
    found = pairs(items, "the collector's headers (OTEL_EXPORTER_OTLP_HEADERS)")
    for name, value in found.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name of a header for the collector (OTEL_EXPORTER_OTLP_HEADERS)")
        if not _HEADER_VALUE.fullmatch(value):
            raise ConfigError(f"the value of the collector's header {name} is not plain ASCII")
    return tuple(found.items())


def _attributes(said: Mapping[str, str]) -> dict[str, str]:
    """Of OTEL_RESOURCE_ATTRIBUTES; one mistake in it, and all of it is ignored, as the specification asks for."""
    try:
        return pairs(filter(None, map(str.strip, said.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))), "it")
    except ConfigError as error:
        _log.warning("OTEL_RESOURCE_ATTRIBUTES is ignored: %s", error)
        return {}
