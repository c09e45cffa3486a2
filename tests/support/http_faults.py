"""A real HTTP server that misbehaves on order: refuses, hangs, loses replies, redirects, speaks HTML."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.support.ports import free_port


@dataclass(frozen=True)
class Seen:
    """A request that has arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The content as JSON."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Reply:
    """What to answer. *body* is sent as JSON unless it is bytes.

    ending "reset": the reply is lost, the connection is reset. "cut": half of the content is sent.
    "hang": nothing is sent until the server closes.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Literal["", "reset", "cut", "hang"] = ""


RESET = Reply(ending="reset")
HANG = Reply(ending="hang")


class FaultyServer:
    """Answers from `handler`, which a test may replace at any time; all requests stand in `seen`."""

    def __init__(self, handler: Callable[[Seen], Reply] | None = None) -> None:
        self.handler = handler or (lambda _: Reply(404, {"detail": "nothing here"}))
        self.seen: list[Seen] = []
        self.released = threading.Event()

    def script(self, *replies: Reply) -> None:
        """Answer with *replies*, one after another, then with the last of them for ever."""
        left, mutex = list(replies), threading.Lock()

        def following(_: Seen) -> Reply:
            with mutex:  # two may ask at one time
                return left.pop(0) if len(left) > 1 else left[0]

        self.handler = following

    @property
    def paths(self) -> list[str]:
        """Method and path of all requests, in order of arrival."""
        return [f"{each.method} {each.path}" for each in self.seen]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faulty: FaultyServer

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, dict(self.headers), content)
        self.faulty.seen.append(seen)
        reply = self.faulty.handler(seen)
        if reply.ending == "hang":
            self.faulty.released.wait(30)
        if reply.ending in ("hang", "reset"):
            self._reset()
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in ({"Content-Type": "application/json"} | dict(reply.headers)).items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if reply.status != 204:
            self.wfile.write(data[: len(data) // 2] if reply.ending == "cut" else data)
        if reply.ending == "cut":
            self.wfile.flush()
            self._reset()

    do_GET = do_POST = do_PATCH = _serve

    def _reset(self) -> None:
        """Close with RST, so that the client sees a reset and no orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `seen` instead."""


class Server(ThreadingHTTPServer):
    """Hangs up when it is closed: a kept-alive connection would hold its thread for as long as the client lives."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """The connection is over."""
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Free the port, and hang up."""
        super().server_close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news here."""


@contextlib.contextmanager
def faulty_server(handler: Callable[[Seen], Reply] | None = None) -> Iterator[tuple[FaultyServer, str]]:
    """The server and its address, until the block ends."""
    faulty = FaultyServer(handler)
    server = Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"faulty": faulty}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="faulty")
    thread.start()
    try:
        yield faulty, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        faulty.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def nobody() -> str:
    """An address at which nobody listens."""
    return f"http://127.0.0.1:{free_port()}"
