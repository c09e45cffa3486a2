"""An OTLP collector on loopback that answers as a test says, and keeps what it got."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from telemetry.catalogue import SERVICE, SERVICE_NAME, WMS_SERVICE_NAME
from tests.support.http_faults import Server


@dataclass
class Reply:
    """One answer: empty protobuf with 200 unless told otherwise."""

    status: int = 200
    content_type: str = "application/x-protobuf"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    #: Whom alone it is for, as a `service.name`; empty: whoever comes next.
    service: str = ""


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Collector:
    """Serves in a thread; `replies` are used up one by one, then every answer is a good one."""

    def __init__(self, port: int = 0) -> None:
        """Listen on *port*; 0: any free one."""
        self.replies: list[Reply] = []
        self.received: list[Received] = []
        self._mutex = threading.Lock()
        self._server = Server(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self) -> list[str]:
        """Names of all spans received, in order."""
        return [span.name for message in self._messages("/v1/traces") for span in _spans(message)]

    def uids(self) -> list[str]:
        """UIDs of all accounting events received, in order."""
        found = []
        for received in self.received:
            if received.path == "/v1/logs":
                request = ExportLogsServiceRequest.FromString(received.body)
                for resource in request.resource_logs:
                    for scope in resource.scope_logs:
                        for record in scope.log_records:
                            found += [
                                each.value.string_value.partition("/")[0]
                                for each in record.attributes
                                if each.key == "log.record.uid"
                            ]
        return found

    def _messages(self, path: str) -> Iterator[ExportTraceServiceRequest]:
        for received in self.received:
            if received.path == path:
                yield ExportTraceServiceRequest.FromString(received.body)

    def _reply(self, path: str, body: bytes) -> Reply:
        service = _sender(path, body)
        with self._mutex:  # two may ask at one time
            for number, reply in enumerate(self.replies):
                if reply.service in ("", service):
                    return self.replies.pop(number)
        return Reply()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.received.append(Received(self.path, dict(self.headers), body))
                reply = collector._reply(self.path, body)
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _sender(path: str, body: bytes) -> str:
    """Whose *body* is: an agent sends the spans with which the WMS takes part in a job under the WMS's name."""
    if path == "/v1/logs":
        resources = [each.resource for each in ExportLogsServiceRequest.FromString(body).resource_logs]
    else:
        resources = [each.resource for each in ExportTraceServiceRequest.FromString(body).resource_spans]
    services = [each.value.string_value for one in resources for each in one.attributes if each.key == SERVICE]
    return WMS_SERVICE_NAME if {*services} == {WMS_SERVICE_NAME} else SERVICE_NAME


def _spans(message: ExportTraceServiceRequest) -> Iterator["object"]:
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector for the length of a test."""
    running = Collector()
    try:
        yield running
    finally:
        running.close()
