"""A real Alertmanager in tests, on loopback, and a receiver that keeps what it is told."""

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from tests.support.components import require
from tests.support.ports import free_port
from tests.support.waiting import eventually

START_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass
class Receiver:
    """A webhook: what was sent to each path, as it came."""

    server: ThreadingHTTPServer
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def alerts(self, path: str) -> list[dict[str, Any]]:
        """All alerts that have come to *path*."""
        return [alert for message in self.told.get(path, []) for alert in message["alerts"]]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A webhook that says yes to everything until the block ends."""
    told: dict[str, list[dict[str, Any]]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.setdefault(self.path, []).append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="webhook", daemon=True)
        thread.start()
        try:
            yield Receiver(server, told)
        finally:
            server.shutdown()
            thread.join(STOP_SECONDS)


@contextmanager
def alertmanager(folder: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """An Alertmanager with that configuration until the block ends; its address, as host:port."""
    require("alertmanager")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-alertmanager", "--config.file=alertmanager.yml", "--storage.path=data"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address="]  # no port for others of its kind
    log = folder / "alertmanager.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
    try:
        eventually(lambda: _is_ready(address, process, log), START_SECONDS, "Alertmanager")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    assert process.poll() is None, f"Alertmanager ended with {process.returncode}: {log.read_text()[-2000:]}"
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(f"http://{address}/-/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False
