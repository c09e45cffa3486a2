"""One call to the door of the payloads: OTLP over HTTP/1.1, read within bounds of bytes and time, answered, closed."""

import contextlib
import io
import json
import socket
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTracePartialSuccess

from telemetry.live.otlp_received import JSON, PROTOBUF
from telemetry.live.payload_desk import Call, Desk, Refused

#: Of a request, packed and unpacked.
MOST_BYTES = 4 << 20
#: A caller has so long to say who he is, and so long for all of it.
HEAD_SECONDS, CALL_SECONDS = 3.0, 10.0
#: What is still coming when we have answered is read for so long, so that the answer is not lost with it.
_LINGER_SECONDS = 0.5
_CHUNK = 64 << 10


class _Bounded(io.RawIOBase):
    """What a caller sends, until *deadline* (monotonic seconds)."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self.deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the caller is too slow")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class CallHandler(BaseHTTPRequestHandler):
    """Answers one call."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "jobspan", ""

    def __init__(self, connection: socket.socket, desk: Desk, on_known: Callable[[], object]) -> None:
        """*on_known* is told as soon as the caller has shown a valid secret. The call is over on return."""
        self._desk = desk
        self._on_known = on_known
        self._began = time.monotonic()
        self._incoming = _Bounded(connection, self._began + HEAD_SECONDS)
        self._is_read = False
        super().__init__(connection, ("127.0.0.1", 0), None)  # type: ignore[arg-type]

    def setup(self) -> None:
        """Read within the deadline."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(self._incoming)

    def handle_expect_100(self) -> bool:
        """Whoever waits to be asked for the body is asked when it is wanted."""
        return True

    def do_POST(self) -> None:
        """Take telemetry."""
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            with self._desk.call(self.path, self.headers.get("Authorization", "")) as call:
                self._on_known()
                self._incoming.deadline = self._began + CALL_SECONDS
                content = self._take(call, kind)
        except Refused as refused:
            self._refuse(refused, kind)
        else:
            self._answer(200, kind, content)

    def do_GET(self) -> None:
        """Nothing is shown here."""
        self._refuse(Refused(405, "POST only", Allow="POST"), "")

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the base class finds wrong with a request, in our words."""
        self._refuse(Refused(code, message or "this is no request"), "")

    def log_message(self, format: str, *args: Any) -> None:
        """Calls of payloads are not news."""

    def _take(self, call: Call, kind: str) -> bytes:
        if kind not in (PROTOBUF, JSON):
            raise Refused(415, f"send {PROTOBUF} or {JSON}")
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip"):
            raise Refused(415, "send it as it is, or packed by gzip")
        body = self._body()
        self._is_read = True
        return call.take(unpacked(body) if coding == "gzip" else body, kind)

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").strip().lower() == "chunked":
            return self._chunks()
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()) or "Transfer-Encoding" in self.headers:
            raise Refused(411, "say Content-Length, or send chunks")
        # Thousands of digits would be no int; twelve without zeros before them are too many bytes, whatever follows.
        size = int(length.lstrip("0")[:12] or "0")
        if size > MOST_BYTES:
            raise too_big()
        return self._exactly(size)

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(_LONGEST_LINE).partition(b";")[0], 16)
            except ValueError:
                raise Refused(400, "these are no chunks") from None
            if not 0 <= size <= MOST_BYTES - len(body):
                raise too_big()
            if size == 0:
                return bytes(body)  # trailers are of no use to us, and we close
            body += self._exactly(size)
            self.rfile.readline(_LONGEST_LINE)

    def _exactly(self, size: int) -> bytes:
        content = self.rfile.read(size)
        if len(content) < size:
            raise Refused(400, "the body ends too early")
        return content

    def _refuse(self, refused: Refused, kind: str) -> None:
        self._desk.counts.refused(refused.status)
        text = str(refused)
        if kind == PROTOBUF:
            # google.rpc.Status, as the protocol wants it: its message is field 2, like this one's
            content = ExportTracePartialSuccess(error_message=text).SerializeToString()
        else:
            kind, content = JSON, json.dumps({"message": text}).encode()
        self._answer(refused.status, kind, content, refused.headers)
        if not self._is_read:
            self._linger()

    def _answer(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        given = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close"}
        for name, value in {**given, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _linger(self) -> None:
        self._incoming.deadline = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            left = 2 * MOST_BYTES
            while left > 0 and (piece := self.rfile.read1(_CHUNK)):
                left -= len(piece)


_LONGEST_LINE = 1024


def unpacked(body: bytes) -> bytes:
    """What gzip has packed, as far as it is not too much.

    Raises:
        Refused: it is too much, or not gzip.
    """
    packer = zlib.decompressobj(wbits=31)
    try:
        content = packer.decompress(body, MOST_BYTES + 1)
    except zlib.error:
        raise Refused(400, "this is not gzip") from None
    if len(content) > MOST_BYTES:
        raise too_big()
    if not packer.eof:
        raise Refused(400, "the gzip ends too early")
    return content


def too_big() -> Refused:
    """For a body beyond all bounds."""
    return Refused(413, f"at most {MOST_BYTES} bytes in one call, unpacked")
