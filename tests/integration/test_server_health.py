"""Health, readiness, and the end of the WMS: asked over HTTP, ended by real signals to real processes."""

import hashlib
import http.client
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.waiting import eventually
from tests.support.wms import RunningWms, running_wms

DEADLINE_SECONDS = 60.0
#: The server has 40 threads for calls.
MORE_THAN_THREADS = 50


def readiness(wms: RunningWms) -> tuple[int, dict[str, str]]:
    """Code and checks of /readyz."""
    answer = wms.call("GET", "/readyz", token=None)
    body = answer.json()
    assert body["Ready"] == (answer.status_code == 200)
    return answer.status_code, body["Checks"]


def unready(wms: RunningWms, check: str) -> str:
    """What /readyz says of *check*, as soon as it is not ready; and that the process is alive all the same."""

    def words() -> str:
        code, checks = readiness(wms)
        return checks[check] if code == 503 else ""

    found = eventually(words, DEADLINE_SECONDS, f"{check} to be reported")
    assert wms.call("GET", "/healthz", token=None).text == "ok\n"
    return found


def test_a_fresh_server_is_ready(tmp_path: Path, patient_probes: None) -> None:
    """Both probes say yes, without a token."""
    with running_wms(tmp_path) as wms:
        assert wms.call("GET", "/healthz", token=None).status_code == 200
        assert readiness(wms) == (
            200,
            {"database": "ok", "schema": "ok", "sandboxes": "ok", "disk": "ok", "server": "ok"},
        )


def test_a_sandbox_folder_that_is_gone_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, patient_probes: None
) -> None:
    """Without it the server is not ready, and says why: where it should be to the log only; with it, it is again."""
    with running_wms(tmp_path) as wms:
        folder = wms.context.settings.sandboxes
        shutil.rmtree(folder)
        assert unready(wms, "sandboxes") == "the folder is not there"
        assert f"not ready: sandboxes: the folder is not there {folder}" in caplog.text
        folder.mkdir()
        eventually(lambda: readiness(wms)[0] == 200, DEADLINE_SECONDS, "the server to be ready")


def test_too_little_disk_is_named(tmp_path: Path, patient_probes: None) -> None:
    """Less than MinDiskSpace is said, in numbers."""
    with running_wms(tmp_path, overrides={"WMS": {"MinDiskSpace": 1 << 60}}) as wms:
        assert "less than MinDiskSpace" in unready(wms, "disk")


def test_a_schema_of_another_version_is_named(tmp_path: Path, patient_probes: None) -> None:
    """A database that somebody has migrated under the running server is not ready for it."""
    with running_wms(tmp_path) as wms:
        with sqlite3.connect(tmp_path / "wms" / "wms.sqlite") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0099'")
        connection.close()
        assert "version 0099" in unready(wms, "schema")


def test_a_database_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else keeps the database locked the probe answers in time, and leaves the other threads to work."""
    for module in ("services", "routes"):
        monkeypatch.setattr(f"runner.server.{module}.health.PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("runner.server.db.connections.BUSY_TIMEOUT_SECONDS", 600.0)
    with running_wms(tmp_path) as wms:
        with lock_of(tmp_path / "wms" / "wms.sqlite"), ThreadPoolExecutor(8) as pool:
            for code, checks in pool.map(lambda _: get_readiness(wms.url), range(MORE_THAN_THREADS)):
                assert code == 503
                assert checks["database"].startswith(("no answer for", "nobody has looked"))
            assert (
                1 <= sum(each.name == "AnyIO worker thread" for each in threading.enumerate()) < MORE_THAN_THREADS // 2
            )
        eventually(lambda: readiness(wms)[0] == 200, DEADLINE_SECONDS, "the server to be ready")


def get_readiness(url: str) -> tuple[int, dict[str, str]]:
    answer = requests.get(f"{url}/readyz", timeout=DEADLINE_SECONDS)
    return answer.status_code, answer.json()["Checks"]


@contextmanager
def lock_of(database: Path) -> Iterator[None]:
    """Somebody else writes, and does not end."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


# --- the end --------------------------------------------------------------------------------------


#: `jobspan` whose database is waited for longer than any test.
PATIENT = """
import sys
from runner.server.db import connections
connections.BUSY_TIMEOUT_SECONDS = 600.0
from runner.cli import main
sys.exit(main())
"""


@contextmanager
def command(folder: Path, *arguments: str, **options: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`jobspan wms` as a process, and its address."""
    lines = ["[WMS]", *(f"{name} = {json.dumps(value)}" for name, value in options.items())]
    (folder / "jobspan.toml").write_text("\n".join(lines) + "\n")
    line = [sys.executable, "-c", PATIENT, "--folder", str(folder), "wms", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


CONTENT = b"x" * 20_000


class Upload:
    """A sandbox on its way into the store: the first half has gone, the second comes when the test says so."""

    def __init__(self, folder: Path, url: str) -> None:
        token = (folder / "tokens" / "user.token").read_text().strip()
        info = {"checksum_algorithm": "sha256", "checksum": hashlib.sha256(CONTENT).hexdigest()}
        answer = requests.post(
            f"{url}/api/jobs/sandbox",
            json={**info, "size": len(CONTENT), "format": "tar.bz2"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=DEADLINE_SECONDS,
        )
        target = urlsplit(answer.json()["url"])
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        body = head + CONTENT + b"\r\n--b--\r\n"
        self._rest = body[len(body) // 2 :]
        self.connection = http.client.HTTPConnection(target.netloc, timeout=DEADLINE_SECONDS)
        self.connection.putrequest("POST", f"{target.path}?{target.query}")
        self.connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        self.connection.putheader("Content-Length", str(len(body)))
        self.connection.endheaders(body[: len(body) // 2])
        metrics = (folder / "wms-metrics.url").read_text().strip()
        wanted = 'jobspan_wms_requests_in_progress{route="/api/jobspan/sandboxes"} 1.0'
        eventually(
            lambda: wanted in requests.get(metrics, timeout=DEADLINE_SECONDS).text,
            DEADLINE_SECONDS,
            "the upload to begin",
        )

    def finish(self) -> int:
        """Send the second half; the code of the answer."""
        self.connection.send(self._rest)
        with closing(self.connection), self.connection.getresponse() as answer:
            return answer.status


def refuses(url: str) -> bool:
    """Whether nobody listens there any more."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=DEADLINE_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_call_that_is_under_way_ends_well(tmp_path: Path) -> None:
    """Told to stop, the server takes no new connection, finishes the upload that has begun, and exits with 0."""
    with command(tmp_path) as (process, url):
        upload = Upload(tmp_path, url)
        process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(url), DEADLINE_SECONDS, "the server to stop listening")
        assert process.poll() is None
        assert upload.finish() == 204
        assert process.wait(DEADLINE_SECONDS) == 0
    assert [path.read_bytes() for path in (tmp_path / "wms" / "sandboxes").iterdir()] == [CONTENT]


def test_a_call_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    """After ShutdownTime the server goes, with 0, and nothing of the unfinished call is kept."""
    with command(tmp_path, ShutdownTime=0.2) as (process, url):
        upload = Upload(tmp_path, url)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        upload.connection.close()
    assert list((tmp_path / "wms" / "sandboxes").iterdir()) == []
    assert not (tmp_path / "wms.url").exists()
    assert not (tmp_path / "wms-metrics.url").exists()


def test_a_call_that_hangs_in_the_database_does_not_keep_the_process(tmp_path: Path) -> None:
    """A thread that waits for a lock cannot be cancelled; the process leaves it behind, says so, and exits with 0."""
    with command(tmp_path, ShutdownTime=0.2) as (process, url), lock_of(tmp_path / "wms" / "wms.sqlite"):
        token = (tmp_path / "tokens" / "user.token").read_text().strip()
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=DEADLINE_SECONDS) as caller:
            body = b'["Executable = \\"/bin/true\\";"]'
            caller.sendall(
                b"POST /api/jobs/jdl HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (token.encode(), len(body), body)
            )
            metrics = (tmp_path / "wms-metrics.url").read_text().strip()
            wanted = 'jobspan_wms_requests_in_progress{route="/api/jobs/jdl"} 1.0'
            eventually(
                lambda: wanted in requests.get(metrics, timeout=DEADLINE_SECONDS).text,
                DEADLINE_SECONDS,
                "the call to begin",
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == 0
            assert process.stderr
            assert "1 calls that did not end in time" in process.stderr.read()


def test_every_line_of_the_log_is_json_when_asked(tmp_path: Path) -> None:
    """With --log-format json a machine can read all of it, from the start to the end, and -v names every call."""
    with command(tmp_path, "--log-format", "json", "-v") as (process, url):
        answer = requests.get(f"{url}/api/jobspan/info?token=hunter22", timeout=DEADLINE_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert process.stderr
        lines = [json.loads(line) for line in process.stderr]
    assert "serves" in lines[0]["message"]
    assert lines[-1]["message"] == "has ended in order"
    (call,) = [line for line in lines if line.get("request_id") == answer.headers["X-Request-ID"]]
    assert call["message"].startswith("GET /api/jobspan/info 200 in ")
    assert len(call["trace_id"]) == 32
    assert "hunter22" not in json.dumps(lines)
