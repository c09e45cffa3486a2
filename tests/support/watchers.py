"""Who stands beside a Prometheus in tests, real, on loopback: an Alertmanager, who gets its alerts, an exporter."""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.stores import StoreServer

STOP_SECONDS = 15.0


class Alertmanager(StoreServer):
    """Prometheus's own, with the configuration given."""

    kind, probe = "alertmanager", "/-/ready"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        super().__init__()

    def command(self) -> list[str]:
        """JSON is YAML; without a port for others of its kind."""
        path = self.folder / "alertmanager.yml"
        path.write_text(json.dumps(self._config))
        options = [f"--config.file={path}", f"--storage.path={self.folder / 'data'}"]
        addresses = [f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="]
        return [str(shutil.which("prometheus-alertmanager")), *options, *addresses]


class NodeExporter(StoreServer):
    """Prometheus's exporter of a machine, of which it shows nothing but the `*.prom` files in its folder."""

    kind, probe = "node-exporter", "/"

    def command(self) -> list[str]:
        """The one collector."""
        collectors = ["--collector.disable-defaults", "--collector.textfile"]
        folder = f"--collector.textfile.directory={self.folder}"
        program = str(shutil.which("prometheus-node-exporter"))
        return [program, f"--web.listen-address=127.0.0.1:{self.port}", *collectors, folder]


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
