"""Between everybody and the WMS: passes calls on, and does to some of them what networks and servers do."""

import base64
import contextlib
import http.client
import json
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.faults.naming import CALLER, call_of, of_call
from tests.support.certificates import Certificates
from tests.support.ports import free_port
from tests.support.waiting import eventually

#: What may happen to a call: name -> what it is.
WHATS: Mapping[str, str] = {
    "reset": "the connection is reset before the call is passed on",
    "refused": "nobody listens, until the caller has met that",
    "hole": "nobody answers",
    "slow": "passed on late",
    "500": "HTTP 500",
    "503": "HTTP 503 with Retry-After",
    "302": "a redirect",
    "html": "a page of HTML with status 200",
    "lost": "passed on, and the answer is lost",
    "cut": "passed on, and half of the answer comes",
    "wms SIGKILL before": "the WMS is killed, then nobody answers",
    "wms SIGKILL within": "the WMS is killed while it works on the call",
    "wms SIGKILL after": "the WMS is killed after its answer, which is lost",
    "wms SIGTERM within": "the WMS is told to stop while it works on the call",
    "wms SIGINT within": "the same by SIGINT",
}
#: Of a relay that speaks TLS.
CERTIFICATE = "certificate"
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})
_SLOW_SECONDS = 0.5


@dataclass(frozen=True)
class NetworkFault:
    """*what* happens to the *number*-th *call* ("PATCH /api/jobs/status") of an attempt."""

    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.what} at {self.call}#{self.number}"


@dataclass
class Done:
    """A network fault that was carried out."""

    job_id: int
    fault: NetworkFault
    last_fact: str
    effect: str


class Relay:
    """Listens on a port of its own; `plan` says what is due for a job.

    With *certificates*, a right one and a wrong one, by TLS.
    """

    def __init__(self, upstream_port: int, certificates: tuple[Certificates, Certificates] | None = None) -> None:
        self.upstream_port = upstream_port
        self._contexts = [_context(each) for each in certificates or ()]
        #: What is shown to who connects now; None: no TLS.
        self.shown = self._contexts[0] if self._contexts else None
        self._misleading = threading.Lock()
        #: All calls for which there was no connection: lines with reason, pid and call, as the callers saw it.
        self.unconnected: Callable[[], Sequence[str]] = tuple
        self.done: list[Done] = []
        #: Calls of each attempt, in order, each with all of its names.
        self.calls: dict[tuple[int, int], list[list[str]]] = {}
        #: Called with a signal's name, to end the WMS.
        self.end_wms: Callable[[str], object] = lambda _: None
        self.last_fact: Callable[[int], str] = lambda _: ""
        self.on_done: Callable[[int], object] = lambda _: None
        self.down = threading.Event()
        #: Calls that came while it was down.
        self.refused = 0
        #: While somebody holds the matches, agents are told that there is no job.
        self._held = False
        self._matching = 0
        self._idle = threading.Condition()
        self._plans: dict[int, list[NetworkFault]] = {}
        self._counts: Counter[tuple[int, int, str]] = Counter()
        self._mutex = threading.Lock()
        self.released = threading.Event()
        self.port = free_port()
        self._listen()

    @property
    def url(self) -> str:
        """Where everybody finds the WMS."""
        return f"http{'s' if self.shown else ''}://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop, and let go of everybody who waits."""
        self.released.set()
        with self._misleading:
            self._hang_up()

    def mislead(self, what: str, caller: str, hang_up: Callable[[], object]) -> str:
        """Close the listener, or show a wrong certificate, until the process *caller*, whose connection *hang_up*
        ends, has met that with this call or its next one; which one it was, empty when it has not."""
        with self._misleading:
            start = f"{'ECONNREFUSED' if what == 'refused' else CERTIFICATE}\t{caller}\t"
            before = len(self.unconnected())
            with self._away() if what == "refused" else self._wrong_certificate():
                hang_up()
                try:
                    met = eventually(
                        lambda: [each for each in self.unconnected()[before:] if each.startswith(start)], 60.0
                    )
                except AssertionError:
                    return ""
            said = "nobody listened (ECONNREFUSED)" if what == "refused" else "the client refused the certificate"
            return f"{said} at {met[0].removeprefix(start)}"

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """Nobody listens. Calls by connections that stand are reset, as those of a process that has ended."""
        self._hang_up()
        self.down.set()
        try:
            yield
        finally:
            self.down.clear()
            self._listen()

    @contextlib.contextmanager
    def _wrong_certificate(self) -> Iterator[None]:
        right, self.shown = self._contexts
        try:
            yield
        finally:
            self.shown = right

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), type("Handler", (_Handler,), {"relay": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _hang_up(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextlib.contextmanager
    def matches_held(self) -> Iterator[None]:
        """No job is given away until the block ends; those that were asked for before have been."""
        with self._idle:
            self._held = True
            self._idle.wait_for(lambda: not self._matching, 10.0)
        try:
            yield
        finally:
            with self._idle:
                self._held = False
                self._idle.notify_all()

    @contextlib.contextmanager
    def a_match(self) -> Iterator[bool]:
        """A match call goes on; False when matches are held."""
        with self._idle:
            if self._held:
                self._idle.wait_for(lambda: not self._held, 0.5)
            if self._held:
                yield False
                return
            self._matching += 1
        try:
            yield True
        finally:
            with self._idle:
                self._matching -= 1
                self._idle.notify_all()

    def plan(self, job_id: int, faults: tuple[NetworkFault, ...]) -> None:
        """What is to happen to the calls of *job_id* in its first attempt."""
        with self._mutex:
            self._plans[job_id] = list(faults)

    def due(self, owner: tuple[int, int], names: Sequence[str], *, anybody: bool) -> tuple[int, NetworkFault] | None:
        """The fault for the call of these *names*, taken off the plan; with *anybody* any job's will do."""
        with self._mutex:
            self._counts.update((*owner, name) for name in names)
            numbers = {name: self._counts[*owner, name] for name in names}
            self.calls.setdefault(owner, []).append([f"{name}#{number}" for name, number in numbers.items()])
            jobs = list(self._plans) if anybody else [owner[0]] if owner[1] == 1 else []
            for job_id in jobs:
                for fault in self._plans.get(job_id, []):
                    if fault.call in numbers and (anybody or fault.number == numbers[fault.call]):
                        self._plans[job_id].remove(fault)
                        return job_id, fault
        return None

    def note(self, job_id: int, fault: NetworkFault, effect: str, last_fact: str) -> None:
        """It was done."""
        self.on_done(job_id)
        with self._mutex:
            self.done.append(Done(job_id, fault, last_fact, effect))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    relay: Relay

    def setup(self) -> None:
        """By TLS, where that is spoken; who does not like our certificate goes away here."""
        if self.relay.shown:
            self.request.settimeout(20.0)
            self.request = self.relay.shown.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
        super().setup()

    def finish(self) -> None:
        """TLS has made a socket of its own, which nobody else closes."""
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.relay.down.is_set():
            self.relay.refused += 1
            return self._reset()
        call = call_of(self.command, self.path)
        if not call.endswith("/match"):
            return self._one(call, body)
        with self.relay.a_match() as is_open:
            if not is_open:
                return self._answer(200, {"Content-Type": "application/json"}, b'{"Job": null}')
            return self._one(call, body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _one(self, call: str, body: bytes) -> None:
        owner = _owner(self.headers.get("Authorization", ""), body)
        due = self.relay.due(owner, _names(call, body), anybody=owner == (0, 0))
        if due is None:
            return self._pass_on(body)
        job_id, fault = due
        last = self.relay.last_fact(job_id)
        if fault.what in ("refused", CERTIFICATE):
            effect = self.relay.mislead(fault.what, self.headers.get(CALLER, ""), self._reset)
        else:
            effect = self._misbehave(fault.what, body)
        self.relay.note(job_id, fault, effect, last)
        return None

    def _misbehave(self, what: str, body: bytes) -> str:
        if what == "reset":
            self._reset()
            return "connection reset"
        if what == "hole":
            self.relay.released.wait(20.0) if not self._client_gone(20.0) else None
            self._reset()
            return "no answer, the client gave up"
        if what == "slow":
            self.relay.released.wait(_SLOW_SECONDS)
            self._pass_on(body)
            return f"{_SLOW_SECONDS:g} s late"
        if what in _PAGES:
            status, headers, page = _PAGES[what]
            self._answer(status, headers, page)
            return f"answered {status} {headers.get('Content-Type', '')}".strip()
        return self._lose(what, body)

    def _lose(self, what: str, body: bytes) -> str:
        """The faults in which the call, or a part of it, reaches the WMS."""
        if what.startswith("wms "):
            _, number, moment = what.split()
            if moment == "before":
                self.relay.end_wms(number)
            elif moment == "within":
                with (
                    contextlib.suppress(OSError, http.client.HTTPException),
                    contextlib.closing(self._upstream(body)) as upstream,
                ):
                    self.relay.end_wms(number)
                    upstream.getresponse().read()
            else:
                self._ask(body)
                self.relay.end_wms(number)
            self._reset()
            return f"the WMS ended by {number}"
        answer = self._ask(body)
        if answer is None:
            self._reset()
            return "the WMS was away"
        status, headers, content = answer
        if what == "cut":
            self._answer(status, headers, content, cut=True)
            return f"{len(content) // 2} of {len(content)} bytes of the answer {status} came"
        self._reset()
        return f"answer {status} dropped after the commit"

    def _pass_on(self, body: bytes) -> None:
        answer = self._ask(body)
        if answer is None:
            self._reset()
        else:
            self._answer(*answer)

    def _upstream(self, body: bytes) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.relay.upstream_port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection",)}
        if self.relay.shown:
            headers["X-Forwarded-Proto"] = "https"
        connection.request(self.command, self.path, body or None, headers)
        return connection

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        try:
            connection = self._upstream(body)
            with contextlib.closing(connection):
                response = connection.getresponse()
                content = response.read()
        except (OSError, http.client.HTTPException):
            return None
        return response.status, dict(response.getheaders()), content

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._reset()

    def _reset(self) -> None:
        """Close with RST, so that the client sees a reset and no orderly end."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _client_gone(self, seconds: float) -> bool:
        """Wait until the client closes its end."""
        self.connection.settimeout(seconds)
        with contextlib.suppress(OSError):
            return self.connection.recv(1) == b""
        return False

    def log_message(self, format: str, *args: Any) -> None:
        """The verdicts say it all."""


_PAGES: Mapping[str, tuple[int, dict[str, str], bytes]] = {
    "500": (500, {"Content-Type": "text/plain"}, b"Internal Server Error"),
    "503": (503, {"Retry-After": "1"}, b""),
    "302": (302, {"Location": "http://127.0.0.1:9/login"}, b""),
    "html": (200, {"Content-Type": "text/html"}, b"<html><body>Please log in</body></html>"),
}


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context


def _names(call: str, body: bytes) -> list[str]:
    with contextlib.suppress(ValueError, AttributeError):
        return of_call(call, json.loads(body))
    return [call]


def _owner(authorization: str, body: bytes) -> tuple[int, int]:
    """Job and attempt of a call: by its job token, or by the record that it brings; (0, 0) for an agent's own."""
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        payload = authorization.split()[1].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(claims["jobspan"]["job_id"]), int(claims["jobspan"]["attempt"])
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        (record,) = json.loads(body)["Records"]
        return int(record["JobID"]), int(record["Attempt"])
    return 0, 0
