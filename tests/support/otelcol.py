"""A real OpenTelemetry Collector on loopback: OTLP comes in over HTTP and goes to files. `make servers` builds it."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from telemetry.live.otlp import AccountingEvent, SpanValue
from telemetry.live.otlp_files import LOGS, TRACES, read_accounting, read_spans
from tests.support.components import collector_program
from tests.support.stores import StoreServer

#: With `rotation` the exporter writes before it answers; without, it keeps what it has accepted for a second, and a
#: collector that is killed loses it.
_AT_ONCE = {"max_megabytes": 4096}


class OtelCollector(StoreServer):
    """What it has received stands in `spans()` and `events()`, copies included; it keeps its port and its files when it
    is started again. *http* is added to the receiver's `http`, *extensions* as they are; *memory_mib* bounds it."""

    kind = "otelcol"

    def __init__(
        self,
        *,
        http: Mapping[str, Any] | None = None,
        extensions: Mapping[str, Any] | None = None,
        memory_mib: int = 0,
    ) -> None:
        self._http = dict(http or {})
        self._extensions = dict(extensions or {})
        self.memory_mib = memory_mib
        #: Lines that it had begun when it was killed.
        self.torn: dict[str, int] = {TRACES: 0, LOGS: 0}
        super().__init__()

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT would say."""
        return f"{'https' if 'tls' in self._http else 'http'}://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """With a configuration of its own, in JSON, which is YAML."""
        path = self.folder / "otelcol.yaml"
        path.write_text(json.dumps(self._configuration()))
        return [str(collector_program()), "--config", f"file:{path}"]

    def start(self) -> None:
        """As any server. Half a line that it was killed over, and never confirmed, must not swallow the next one."""
        for name in self.torn:
            path = self.folder / name
            if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
                with path.open("ab") as file:
                    file.write(b"\n")
                self.torn[name] += 1
        super().start()

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
            return True
        return False

    def terminate(self) -> None:
        """Tell it to end, and wait until it has."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def spans(self) -> tuple[SpanValue, ...]:
        """All spans, in the order of their arrival."""
        read = read_spans(self.folder / TRACES)
        assert read.damaged <= self.torn[TRACES]
        return read.spans

    def events(self) -> tuple[AccountingEvent, ...]:
        """All accounting events, in the order of their arrival."""
        read = read_accounting(self.folder / LOGS)
        assert read.damaged <= self.torn[LOGS]
        return read.events

    def _configuration(self) -> dict[str, Any]:
        files = {"traces": self.folder / TRACES, "logs": self.folder / LOGS}
        limiter = {"check_interval": "10ms", "limit_mib": self.memory_mib}
        processors = {"memory_limiter": limiter} if self.memory_mib else {}
        return {
            "receivers": {
                "otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{self.port}", **self._http}}},
            },
            "processors": processors,
            "exporters": {
                f"file/{signal}": {"path": str(path), "rotation": _AT_ONCE} for signal, path in files.items()
            },
            "extensions": self._extensions,
            "service": {
                "extensions": list(self._extensions),
                "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
                "pipelines": {
                    signal: {"receivers": ["otlp"], "processors": list(processors), "exporters": [f"file/{signal}"]}
                    for signal in files
                },
            },
        }


@contextmanager
def otelcol(**options: Any) -> Iterator[OtelCollector]:
    """A collector for the length of a block."""
    running = OtelCollector(**options)
    try:
        yield running
    finally:
        running.close()
