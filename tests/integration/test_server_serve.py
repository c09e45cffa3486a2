"""The process of the WMS: one a folder, secrets closed, an end in order."""

import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from runner.config import load
from runner.errors import ConfigError
from runner.server.serve import ROLES, running
from telemetry.clock import SystemClock
from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

DEADLINE_SECONDS = 60.0
SERVER = """
import sys
from pathlib import Path
from runner.compose.wms_telemetry import WmsTelemetry
from runner.config import load
from runner.errors import ConfigError
from runner.server.serve import serve
from telemetry.clock import SystemClock
config = load(folder=Path(sys.argv[1]))
try:
    serve(config, SystemClock(), lambda url: print(url, flush=True), WmsTelemetry(config))
except ConfigError as error:
    sys.exit(str(error))
"""


@contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A WMS as a process of its own, and its address."""
    with subprocess.Popen([sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Told to stop, the server answers who waits, removes its address and exits with 0. It waits for nobody: all that
    is over while the same poll of another server, which began before, still lasts."""
    ours, others = tmp_path / "ours", tmp_path / "others"
    with server(others) as (other, their_url), server(ours) as (process, url), ThreadPoolExecutor(2) as pool:
        assert (ours / "wms.url").read_text() == f"{url}\n"
        lasting = pool.submit(long_poll, others, their_url)
        eventually(lambda: is_polled(others), 20, "the other long poll to be under way")
        polling = pool.submit(long_poll, ours, url)
        eventually(lambda: is_polled(ours), 20, "the long poll to be under way")
        process.send_signal(number)
        ended, _ = wait([polling, lasting], return_when=FIRST_COMPLETED)
        assert ended == {polling}
        assert polling.result().json() == {"Job": None}
        assert process.wait(60) == 0
        assert not lasting.done()
        other.kill()
    assert not (ours / "wms.url").exists()


def long_poll(folder: Path, url: str) -> requests.Response:
    """Ask for a job, and wait for one as long as a server lets us."""
    token = (folder / "tokens" / "pilot.token").read_text().strip()
    return requests.post(
        f"{url}/api/jobspan/match",
        json={"PilotStamp": "s", "WaitSeconds": 30},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    )


def is_polled(folder: Path) -> bool:
    """Whether the server has a long poll in hand: a connection alone may wait for it still, and be cut off."""
    metrics = requests.get((folder / "wms-metrics.url").read_text().strip(), timeout=DEADLINE_SECONDS).text
    return 'jobspan_wms_requests_in_progress{route="/api/jobspan/match"} 1.0' in metrics


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    """A second server on the same folder is refused in words, and the first goes on."""
    with server(tmp_path) as (_, url):
        second = subprocess.run(
            [sys.executable, "-c", SERVER, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert second.returncode == 1
        assert "another WMS serves" in second.stderr
        assert requests.get(f"{url}/api/jobspan/info", timeout=DEADLINE_SECONDS).status_code == 200


def test_a_server_that_was_killed_leaves_no_obstacle(tmp_path: Path) -> None:
    """After a SIGKILL the next server takes the folder, and what was acknowledged is there."""
    with server(tmp_path) as (process, url):
        token = (tmp_path / "tokens" / "user.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        body = ['Executable = "/bin/true";']
        job_id = requests.post(f"{url}/api/jobs/jdl", json=body, headers=headers, timeout=DEADLINE_SECONDS).json()[0][
            "JobID"
        ]
        process.kill()
    with server(tmp_path) as (_, url):
        answer = requests.get(f"{url}/api/jobspan/jobs/{job_id}/description", headers=headers, timeout=DEADLINE_SECONDS)
        assert answer.json()["Description"]["Executable"] == "/bin/true"


def test_secrets_are_closed_to_others(tmp_path: Path) -> None:
    """Tokens and signing keys are readable by their owner only, and so is the folder of the databases."""
    with running_wms(tmp_path):
        secret = [*(tmp_path / "tokens").iterdir(), tmp_path / "wms" / "keys.json"]
        assert {path.name for path in secret} == {"keys.json", *(f"{each}.token" for each in ROLES)}
        assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
        assert (tmp_path / "wms").stat().st_mode & 0o777 == 0o700


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    """Unless [WMS] Host says otherwise, nobody outside this machine can connect."""
    with running_wms(tmp_path) as wms:
        assert wms.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("options", [{"Host": "203.0.113.7"}, {"Host": "no such host"}, {"Port": 70_000}])
def test_an_impossible_address_is_refused_in_words(tmp_path: Path, options: dict[str, object]) -> None:
    """An address that cannot be listened on is named, and no folder of a WMS is made."""
    config = load(folder=tmp_path, environment={}, overrides={"WMS": options})
    with pytest.raises(ConfigError, match="Host and Port"), running(config, SystemClock(), lambda _: None):
        pass
    assert not (tmp_path / "wms").exists()


def test_a_port_in_use_is_refused_in_words(tmp_path: Path) -> None:
    """A port that somebody else has is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = load(folder=tmp_path, environment={}, overrides={"WMS": {"Port": taken.getsockname()[1]}})
        with pytest.raises(ConfigError, match="cannot listen"), running(config, SystemClock(), lambda _: None):
            pass


@pytest.mark.parametrize("damage", ["rubbish", "newer"])
def test_an_unusable_database_is_refused_in_words(tmp_path: Path, damage: str) -> None:
    """What is no database, or one of another version, is left as it is."""
    config = load(folder=tmp_path, environment={})
    database = tmp_path / "wms" / "wms.sqlite"
    with running(config, SystemClock(), lambda _: None):
        pass
    if damage == "rubbish":
        for path in (tmp_path / "wms").glob("wms.sqlite*"):
            path.unlink()
        database.write_bytes(b"not a database" * 1000)
    else:
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.close()
    with pytest.raises(ConfigError, match="database"), running(config, SystemClock(), lambda _: None):
        pass


# --- limits and rubbish -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for the rest of the module."""
    with running_wms(tmp_path_factory.mktemp("wms")) as running_one:
        yield running_one


@pytest.mark.parametrize("length", ["99999999", "0" * 20 + "99999999", "0" * 5000], ids=("plain", "zeros", "digits"))
def test_large_bodies_are_refused_unread(wms: RunningWms, length: str) -> None:
    """A body of more than 16 MiB is 413 by its announced length, also when zeros make that longer than any number."""
    with socket.create_connection(
        ("127.0.0.1", int(wms.url.rpartition(":")[2])), timeout=DEADLINE_SECONDS
    ) as connection:
        connection.sendall(b"POST /api/jobs/jdl HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % length.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


RUBBISH = ["", "{", "[" * 100_000, '{"1":' * 50_000, "\x00", '{"1": NaN}', '"\\ud800"', "1e999", '["\\ud800"]', "null"]


@pytest.mark.parametrize("body", RUBBISH, ids=range(len(RUBBISH)))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs/jdl"),
        ("PATCH", "/api/jobs/status"),
        ("PATCH", "/api/jobs/heartbeat"),
        ("PATCH", "/api/jobs/metadata"),
        ("POST", "/api/jobs/search"),
        ("POST", "/api/jobspan/accounting"),
        ("POST", "/api/jobspan/match"),
        ("PATCH", "/api/jobs/1/sandbox/output"),
    ],
)
def test_rubbish_is_refused_and_never_an_error_of_the_server(
    wms: RunningWms, method: str, path: str, body: str
) -> None:
    """Whatever the body is, the answer is a refusal, not a 5xx."""
    headers = {"Content-Type": "application/json"}
    answer = wms.call(method, path, data=body.encode(), headers=headers, token=wms.admin_token)
    assert answer.status_code < 500


VALUES = ["\ud800", "x\x00y", "x" * 70_000, 10**30, 1e308, [[[]]], {"a": {"b": None}}, True]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_strange_values_are_kept_or_refused(wms: RunningWms, value: object) -> None:
    """Parameters, names and texts of any kind never break the server."""
    job_id = wms.submit('Executable = "/bin/true"; Site = "LCG.Nowhere.org";')
    bodies = [
        ("PATCH", "/api/jobs/metadata", {str(job_id): {"A": value, str(value): 1}}),
        ("PATCH", "/api/jobs/metadata", {str(job_id): {"Site": value}}),
        ("PATCH", "/api/jobs/metadata", {str(job_id): {"PayloadPID": value}}),
        ("PATCH", "/api/jobs/heartbeat", {str(job_id): {"StandardOutput": value}}),
        ("PATCH", "/api/jobs/status", {str(job_id): {"2026-01-01T00:00:00Z": {"MinorStatus": value, "Source": value}}}),
        ("POST", "/api/jobs/search", {"search": [{"parameter": "JobName", "operator": "eq", "value": value}]}),
        ("POST", "/api/jobs/search", {"search": [{"parameter": "JobID", "operator": "in", "values": [value]}]}),
        ("POST", "/api/jobs/jdl", [value]),
    ]
    codes = [wms.call(method, path, body).status_code for method, path, body in bodies]
    assert [code for code in codes if code >= 500] == []
    assert wms.call("GET", f"/api/jobspan/jobs/{job_id}/parameters").status_code == 200
    assert wms.logging_info(job_id)


def test_an_unexpected_error_costs_one_call_only(
    wms: RunningWms, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug is a 500 for its caller and a log line without secrets; connection and server go on."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("runner.server.services.job_monitoring.JobMonitoring.peek", broken)
    answer = wms.call("GET", "/api/jobspan/jobs/1/peek?secret=hunter2")
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert "Connection" not in answer.headers
    assert "GET /api/jobspan/jobs/1/peek failed" in caplog.text
    assert "hunter2" not in caplog.text
    assert wms.call("GET", "/api/jobspan/info").status_code == 200


def test_a_head_that_does_not_end_is_refused(tmp_path: Path) -> None:
    """Nobody fills the memory with headers: beyond 64 KiB of them the answer is 400, and the connection ends."""
    with server(tmp_path) as (_, url), connection_to(url) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                sock.sendall(b"x" * 4096)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 400 ")


def test_a_head_of_usual_length_is_read_in_whatever_pieces(tmp_path: Path) -> None:
    """A call that comes byte by byte is answered, and so is the next one on its connection."""
    call = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2000 + b"\r\n\r\n"
    with server(tmp_path) as (_, url), connection_to(url) as sock:
        for _ in range(2):
            for number in range(0, len(call), 7):
                sock.sendall(call[number : number + 7])
            answer = b""
            while not answer.endswith(b"ok\n"):
                part = sock.recv(1 << 16)
                assert part, answer
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 ")


def connection_to(url: str) -> socket.socket:
    """A connection of its own."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_SECONDS)
