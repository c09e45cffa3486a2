"""TLS: the WMS has it, clients insist on it, and without it no network is served."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from runner.compose.kinds import open_client
from runner.config import load
from runner.errors import ConfigError, UnavailableError
from runner.server.serve import running
from telemetry.clock import SystemClock
from tests.support import certificates


@pytest.fixture
def made(tmp_path: Path) -> certificates.Certificates:
    """A certificate for this machine."""
    return certificates.make(tmp_path, "localhost", "127.0.0.1")


def config_of(folder: Path, **options: Any) -> Any:
    return load(folder=folder, environment={}, overrides={"WMS": options})


def test_a_network_is_not_served_in_the_clear(tmp_path: Path) -> None:
    """Beyond loopback it needs TLS, or an option that says that this is wanted; nothing is made before that."""
    config = config_of(tmp_path / "site", Host="0.0.0.0")
    with pytest.raises(ConfigError, match="--tls-cert"), running(config, SystemClock(), lambda _: None):
        pass
    assert not (tmp_path / "site" / "wms").exists()
    config = config_of(tmp_path / "site", Host="0.0.0.0", PlainHTTPFlag=True)
    with running(config, SystemClock(), lambda _: None):
        assert (tmp_path / "site" / "wms").exists()


@pytest.mark.parametrize("wrong", ["TLSCert", "TLSKey", "both", "alone"])
def test_unusable_certificates_are_refused_in_words(
    tmp_path: Path, made: certificates.Certificates, wrong: str
) -> None:
    """A missing file, a key of another certificate, a key alone: the options are named."""
    other = tmp_path / "other"
    other.mkdir()
    options = {"TLSCert": str(made.certificate), "TLSKey": str(made.key)}
    if wrong == "both":
        options["TLSKey"] = str(certificates.make(other, "localhost").key)
    elif wrong == "alone":
        del options["TLSCert"]
    else:
        options[wrong] = str(tmp_path / "none.pem")
    config = config_of(tmp_path / "site", **options)
    with pytest.raises(ConfigError, match="TLSCert"), running(config, SystemClock(), lambda _: None):
        pass


@pytest.fixture
def served(tmp_path: Path, made: certificates.Certificates) -> Iterator[tuple[str, list[str]]]:
    """`jobspan wms` with that certificate: its address, and the beginning of commands on its folder."""
    toml = tmp_path / "jobspan.toml"
    toml.write_text(f'[WMS]\nHost = "localhost"\nCAFile = {json.dumps(str(made.authority))}\n')
    command = [sys.executable, "-m", "runner.cli", "--config", str(toml), "--folder", str(tmp_path / "site")]
    serving = [*command, "wms", "--tls-cert", str(made.certificate), "--tls-key", str(made.key)]
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip().rpartition(" ")[2], command
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_the_command_serves_with_tls(served: tuple[str, list[str]]) -> None:
    """`jobspan wms --tls-cert --tls-key` announces an https address, at which the other commands find it."""
    url, command = served
    assert url.startswith("https://localhost:")
    result = subprocess.run([*command, "whoami"], capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, url in result.stdout) == (0, True), result.stderr


def test_a_client_believes_only_the_authority_that_it_was_told(
    served: tuple[str, list[str]], tmp_path: Path, made: certificates.Certificates
) -> None:
    """With CAFile the runner's client reaches the WMS by the name in its certificate; without, it does not."""
    with contextlib.closing(open_client(config_of(tmp_path / "site", CAFile=str(made.authority)))) as client:
        assert client.userinfo()["preferred_username"]
    with (
        contextlib.closing(open_client(config_of(tmp_path / "site"))) as client,
        pytest.raises(UnavailableError, match="cannot reach"),
    ):
        client.userinfo()


def test_a_key_without_its_certificate_is_not_passed_over(tmp_path: Path, made: certificates.Certificates) -> None:
    """`jobspan wms --tls-key` alone ends in words, instead of serving without TLS."""
    command = [
        sys.executable,
        "-m",
        "runner.cli",
        "--folder",
        str(tmp_path / "site"),
        "wms",
        "--tls-key",
        str(made.key),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, "TLSCert" in result.stderr) == (2, True), result.stderr


def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path, made: certificates.Certificates) -> None:
    """A browser that keeps its connection over TLS is not waited for, however long calls under way may take."""
    (tmp_path / "jobspan.toml").write_text("[WMS]\nShutdownTime = 3600\n")
    command = [sys.executable, "-m", "runner.cli", "--config", str(tmp_path / "jobspan.toml"), "--folder"]
    tls = ["--tls-cert", str(made.certificate), "--tls-key", str(made.key)]
    with (
        subprocess.Popen([*command, str(tmp_path / "site"), "wms", *tls], stdout=subprocess.PIPE, text=True) as process,
        requests.Session() as session,
    ):
        assert process.stdout
        session.trust_env = False
        url = process.stdout.readline().strip().rpartition(" ")[2]
        assert session.get(f"{url}/healthz", verify=str(made.authority), timeout=60).status_code == 200
        process.terminate()
        try:
            assert process.wait(20) == 0  # TLS by itself waits for 30 s
        finally:
            process.kill()


def test_old_tls_is_refused(served: tuple[str, list[str]], made: certificates.Certificates) -> None:
    """Nothing before TLS 1.2 is spoken, and nothing without TLS is answered."""
    address = (str(urlsplit(served[0]).hostname), urlsplit(served[0]).port or 0)
    context = ssl.create_default_context(cafile=str(made.authority))
    with socket.create_connection(address, 30) as plain, context.wrap_socket(plain, server_hostname="localhost") as tls:
        assert tls.version() in ("TLSv1.2", "TLSv1.3")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(address, 30) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")
    with socket.create_connection(address, 30) as plain:
        plain.sendall(b"GET /api/jobspan/info HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")
