"""A collector, by TLS, that does something else with one request in some, until it has done all of it."""

import contextlib
import gzip
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.support.ports import free_port

_GOOD = (200, {"Content-Type": "application/x-protobuf"}, b"")
_ANSWERS: Mapping[str, tuple[int, dict[str, str], bytes]] = {
    "500": (500, {}, b"no"),
    "503": (503, {"Retry-After": "1"}, b""),
    "429": (429, {"Retry-After": "1"}, b""),
    "401": (401, {}, b""),
    "302": (302, {"Location": "https://127.0.0.1:9/login"}, b""),
    "html": (200, {"Content-Type": "text/html"}, b"<html>log in</html>"),
    "rubbish": (200, {"Content-Type": "application/x-protobuf"}, b"\xff\xff\xff"),
}
#: In which order; at least one request that goes well stands between any two of them.
FAULTS = (*_ANSWERS, "hole", "slow", "reset", "lost", "cut", "wrong certificate", "down")
_DOWN_SECONDS = 1.0


class Collector:
    """Listens on loopback; `done` says what it has done, `uids` what has reached it."""

    def __init__(self, folder: Path, faults: Sequence[str], one_in: int) -> None:
        #: Requests that went well.
        self.taken = 0
        self.faults = tuple(faults)
        #: Set when all was done, for those who wait for that.
        self.through = threading.Event()
        #: What was done, the last fact before it, and what came of it.
        self.done: list[tuple[str, str, str]] = []
        #: While nobody says what it is, there is none.
        self.last_fact: Callable[[], str] = lambda: "no fact"
        self.uids: list[str] = []
        self.certificate = _certificate(folder, "right")
        self._right = _context(self.certificate)
        self._wrong = _context(_certificate(folder, "wrong"))
        self._left = list(faults)
        self._one_in = one_in
        self._count = 0
        self._closed = threading.Event()
        # Of the kernel's own choice it would be given to somebody else while nobody listens.
        self._listener = socket.create_server(("127.0.0.1", free_port()), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"https://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._count += 1
            fault = self._left.pop(0) if self._left and self._count % self._one_in == 1 else ""
            with connection:
                connection.settimeout(10)
                last = self.last_fact() if fault else ""
                try:
                    effect = self._one(connection, fault)
                except OSError:  # whoever called has given up meanwhile, and has met no fault
                    self._left[:0] = [fault] if fault else []
                    continue
                if fault:
                    self.done.append((fault, last, effect))
                    self.through.set() if not self._left else None
                else:
                    self.taken += 1

    def _one(self, raw: socket.socket, fault: str) -> str:
        if fault == "down":
            _reset(raw)
            self._listener.close()
            self._closed.wait(_DOWN_SECONDS)
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            return f"nobody listened for {_DOWN_SECONDS:g} s"
        if fault == "wrong certificate":
            try:
                self._wrong.wrap_socket(raw, server_side=True).recv(1)
            except OSError as error:
                return f"the client refused: {getattr(error, 'reason', '') or type(error).__name__}"
            return ""
        with self._right.wrap_socket(raw, server_side=True) as connection:
            path, body = _request(connection)
            if fault == "hole":
                with contextlib.suppress(OSError):
                    connection.recv(1)
                return "no answer, the client gave up"
            if fault == "slow":
                self._closed.wait(0.4)
            if fault in ("", "slow", "lost", "cut"):
                self._keep(path, body)
            if fault in ("reset", "lost"):
                _reset(connection)
                return "connection reset" if fault == "reset" else "taken, and the answer was dropped"
            status, headers, content = _ANSWERS.get(fault, _GOOD)
            answer = _http(status, headers, content)
            connection.sendall(answer[: len(answer) // 3] if fault == "cut" else answer)
            return f"answered {status}" if fault != "cut" else "a third of the answer came"

    def _keep(self, path: str, body: bytes) -> None:
        if path != "/v1/logs":
            return
        with contextlib.suppress(DecodeError):
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                for scope in resource.scope_logs:
                    for record in scope.log_records:
                        found = [each.value.string_value for each in record.attributes if each.key == "log.record.uid"]
                        self.uids += found


def _request(connection: socket.socket) -> tuple[str, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise OSError("no request")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return lines[0].split()[1], body


def _http(status: int, headers: Mapping[str, str], content: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _certificate(folder: Path, name: str) -> Path:
    """A certificate of its own authority, with its key in the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    path, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + key.read_text())
    return path


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
