"""Where telemetry is sent: the standard variables over `[Telemetry]`, as the specification means them."""

from pathlib import Path

import pytest

from runner.config import Config, load
from runner.errors import ConfigError
from runner.redaction import Redactor
from runner.tables import SignalConfig

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def read(tmp_path: Path, text: str = "", **environment: str) -> Config:
    """A configuration of that file, `[Telemetry]` alone, and those variables after OTEL_."""
    (tmp_path / "jobspan.toml").write_text(f"[Telemetry]\n{text}")
    return load(folder=tmp_path, environment={f"OTEL_{name}": value for name, value in environment.items()})


def signals(config: Config) -> tuple[SignalConfig, SignalConfig]:
    """Those of a configuration that sends both."""
    assert config.telemetry.traces
    assert config.telemetry.logs
    return config.telemetry.traces, config.telemetry.logs


def test_the_common_endpoint_is_a_base(tmp_path: Path) -> None:
    """Each signal has its path below OTEL_EXPORTER_OTLP_ENDPOINT, with or without a slash at its end."""
    for endpoint in ("http://127.0.0.1:4318/otlp", "http://127.0.0.1:4318/otlp/"):
        traces, logs = signals(read(tmp_path, EXPORTER_OTLP_ENDPOINT=endpoint))
        assert (traces.url, logs.url) == (f"{endpoint.rstrip('/')}/v1/traces", f"{endpoint.rstrip('/')}/v1/logs")


def test_the_endpoint_of_one_signal_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is added to it; the other signal stays with the common one, or is not sent when there is none."""
    named = {"EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/in"}
    traces, logs = signals(read(tmp_path, EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:2", **named))
    assert (traces.url, logs.url) == ("http://127.0.0.1:1/in", "http://127.0.0.1:2/v1/logs")
    alone = read(tmp_path, **named).telemetry
    assert alone.sends
    assert alone.logs is None


def test_what_holds_for_one_signal_wins_for_it_alone(tmp_path: Path) -> None:
    """Headers, timeout, compression, certificates: of the signal, else common, else of the file."""
    traces, logs = signals(
        read(
            tmp_path,
            'OTLPTimeout = 3\nOTLPCertificate = "/file.pem"\nOTLPCompression = "none"\n',
            EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318",
            EXPORTER_OTLP_HEADERS="x-tenant=a%2Cb%3D, y=1 ,",
            EXPORTER_OTLP_LOGS_HEADERS="x-tenant=logs",
            EXPORTER_OTLP_LOGS_TIMEOUT="2500",
            EXPORTER_OTLP_LOGS_COMPRESSION="deflate",
            EXPORTER_OTLP_CLIENT_CERTIFICATE="/me.pem",
            EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE="/logs.pem",
            EXPORTER_OTLP_CLIENT_KEY="/me.key",
            EXPORTER_OTLP_LOGS_CERTIFICATE="/ca.pem",
        )
    )
    assert traces.headers == (("x-tenant", "a,b="), ("y", "1"))
    assert logs.headers == (("x-tenant", "logs"),)
    assert (traces.timeout_seconds, logs.timeout_seconds) == (3.0, 2.5)
    assert (traces.compression, logs.compression) == ("none", "deflate")
    assert (traces.certificate, logs.certificate) == ("/file.pem", "/ca.pem")
    assert (traces.client_certificate, logs.client_certificate) == ("/me.pem", "/logs.pem")
    assert traces.client_key == logs.client_key == "/me.key"


def test_timeouts_are_milliseconds(tmp_path: Path) -> None:
    """As the specification has it; who means seconds gets the least that makes sense, and not 10 ms."""
    for said, seconds in (("2500", 2.5), ("10", 0.1), ("0", 0.1), ("", 10.0), (" ", 10.0)):
        traces, _ = signals(read(tmp_path, EXPORTER_OTLP_ENDPOINT="http://c:4318", EXPORTER_OTLP_TIMEOUT=said))
        assert traces.timeout_seconds == seconds


@pytest.mark.parametrize("said", ["soon", "inf", "nan", "-1", "10s"])
def test_a_timeout_that_is_no_number_is_refused(tmp_path: Path, said: str) -> None:
    """It names the variable and its unit."""
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_LOGS_TIMEOUT must be a number of milliseconds"):
        read(tmp_path, EXPORTER_OTLP_LOGS_TIMEOUT=said, EXPORTER_OTLP_ENDPOINT="http://c:4318")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ENDPOINT", "localhost:4318", "must begin with http"),
        ("ENDPOINT", "grpc://user:very-secret@c:4317", "must begin with http"),
        ("PROTOCOL", "grpc", "http/protobuf alone"),
        ("TRACES_PROTOCOL", "http/json", "http/protobuf alone"),
        ("COMPRESSION", "zstd", "gzip, deflate, none"),
        ("HEADERS", "very-secret", "list of name=value"),
        ("HEADERS", "x=very-secret%0d%0aHost: evil", "not plain ASCII"),
        ("HEADERS", "a b=very-secret", "no name of a header"),
    ],
)
def test_what_could_never_be_sent_is_refused(tmp_path: Path, name: str, value: str, words: str) -> None:
    """At the start and in words, which quote no secret."""
    with pytest.raises(ConfigError, match=words) as found:
        read(tmp_path, **{"EXPORTER_OTLP_ENDPOINT": "http://c:4318", f"EXPORTER_OTLP_{name}": value})
    assert "very-secret" not in str(found.value)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ({"SDK_DISABLED": "TRUE"}, (False, False)),
        ({"SDK_DISABLED": "1"}, (True, True)),
        ({"TRACES_EXPORTER": "none"}, (False, True)),
        ({"LOGS_EXPORTER": "none", "TRACES_EXPORTER": "otlp"}, (True, False)),
        ({"EXPORTER_OTLP_ENDPOINT": " "}, (False, False)),
    ],
)
def test_what_is_off_is_not_sent(tmp_path: Path, said: dict[str, str], sent: tuple[bool, bool]) -> None:
    """OTEL_SDK_DISABLED (only "true" is true), an exporter "none", an endpoint that says nothing."""
    telemetry = read(tmp_path, **{"EXPORTER_OTLP_ENDPOINT": "http://c:4318", **said}).telemetry
    assert (telemetry.traces is not None, telemetry.logs is not None) == sent
    assert telemetry.sends is any(sent)


def test_what_a_site_says_of_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """OTEL_RESOURCE_ATTRIBUTES over the file's; OTEL_SERVICE_NAME over the service.name in them; one mistake, and the
    variable is ignored and not the job."""
    text = 'ServiceName = "file"\nResourceAttributes = ["rack=b%2C4", "kept=1"]\n'
    said = {"RESOURCE_ATTRIBUTES": "rack=c5,service.name=attributes"}
    telemetry = read(tmp_path, text, **said).telemetry
    assert (telemetry.service_name, telemetry.resource) == ("attributes", {"rack": "c5", "kept": "1"})
    assert read(tmp_path, text, **said, SERVICE_NAME="variable").telemetry.service_name == "variable"
    telemetry = read(tmp_path, text, RESOURCE_ATTRIBUTES="rack=c5,oops").telemetry
    assert (telemetry.service_name, telemetry.resource) == ("file", {"rack": "b,4", "kept": "1"})
    assert "OTEL_RESOURCE_ATTRIBUTES is ignored" in caplog.text


def test_credentials_of_the_collector_are_masked(tmp_path: Path) -> None:
    """Headers as they are written and as they are sent, with and without the scheme, and the token of a file."""
    (tmp_path / "token").write_text("token-of-a-file\n")
    config = read(
        tmp_path,
        f'OTLPTokenFile = "{tmp_path / "token"}"\n',
        EXPORTER_OTLP_ENDPOINT="http://c:4318",
        EXPORTER_OTLP_TRACES_HEADERS="authorization=Basic%20dXNlcjpwYXNz%3D",
    )
    redact = Redactor.of(config)
    assert redact("dXNlcjpwYXNz= and Basic dXNlcjpwYXNz= and token-of-a-file") == "*** and *** and ***"
    assert "dXNl" not in repr(config)
