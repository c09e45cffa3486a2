"""What a payload is told about where its telemetry goes."""

from pathlib import Path
from typing import Any

import pytest

from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.environment import environment_of
from runner.wrapper.ports import TelemetryDoor
from tests.support.attempts import uid_of

DOOR = TelemetryDoor(url="http://127.0.0.1:4711", token="7.1~correct-horse")
SITE = {"PATH": "/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": "https://site", "OTEL_EXPORTER_OTLP_HEADERS": "x=site-secret"}


def told(inherited: dict[str, str] | None = None, **job: Any) -> dict[str, str]:
    """The environment of a payload."""
    arguments = WrapperArguments.from_mapping(
        {"Job": {"Executable": "a", "JobID": 7, **job}, "Jobspan": {"Attempt": 1, "UID": uid_of()}}
    )
    return environment_of(arguments, {**SITE, **(inherited or {})}, Path("/w"), None, DOOR)


def test_a_payload_is_told_by_the_standard_variables() -> None:
    """Endpoint, protocol, the secret as a percent-encoded header, and who it is; nothing of the site's."""
    seen = told(JobName="my fit")
    assert {name: value for name, value in seen.items() if name.startswith("OTEL_")} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4711",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%207.1~correct-horse",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "my fit",
        "OTEL_RESOURCE_ATTRIBUTES": f"jobspan.job.id=7,jobspan.job.attempt=1,jobspan.job.uid={uid_of()}",
    }
    assert "no_proxy" not in seen


@pytest.mark.parametrize("name", ["", "jobspan", "jobspan.job", "Jobspan-wms"])
def test_a_payload_has_a_name_of_its_own(name: str) -> None:
    """A job without a name, or with one of ours, is a payload."""
    assert told(JobName=name)["OTEL_SERVICE_NAME"] == "payload"


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"])
def test_a_job_that_sends_elsewhere_does_not_take_our_secret_there(variable: str) -> None:
    """Its own endpoint wins, and then it gets neither our header nor our protocol."""
    seen = told(ExecutionEnvironment=[f"{variable}=https%3A//mine"])
    assert seen[variable] == "https://mine"
    assert DOOR.token not in str(seen)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" not in seen
    assert seen["OTEL_SERVICE_NAME"] == "payload"


def test_what_the_job_says_wins() -> None:
    """Whatever it sets in its description, or keeps of the node's environment by name."""
    seen = told(
        {"OTEL_SERVICE_NAME": "of-the-node"},
        ExecutionEnvironment=["OTEL_METRICS_EXPORTER=console"],
        KeepEnvironment=["OTEL_SERVICE_NAME"],
    )
    assert (seen["OTEL_METRICS_EXPORTER"], seen["OTEL_SERVICE_NAME"]) == ("console", "of-the-node")


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_does_not_get_it(proxy: str) -> None:
    """Where a proxy is configured, the door is excepted from it, by both spellings."""
    seen = told({proxy: "http://proxy", "no_proxy": "cern.ch"})
    assert (seen["no_proxy"], seen["NO_PROXY"]) == ("cern.ch,127.0.0.1", "127.0.0.1")
