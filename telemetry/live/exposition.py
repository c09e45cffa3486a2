"""/metrics and /healthz over plain WSGI on a few threads, and beside them what others serve below /jobs/.

Loopback by default; another address only with a bearer token. GET and HEAD only. A client that is
slow or hangs costs one of a bounded number of threads, for a bounded time.
"""

import gzip
import hmac
import ipaddress
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeAlias, cast
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.registry import CollectorRegistry

MOST_THREADS = 8
REQUEST_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.2
_PLAIN = "text/plain; charset=utf-8"

Answer: TypeAlias = tuple[str, dict[str, str], bytes]
_log = logging.getLogger(__name__)


class ExposureRefused(ValueError):
    """Metrics beyond loopback need a token."""


def render_metrics(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Body and content type for the Accept header *accept*: OpenMetrics with exemplars, or the text format."""
    try:
        encode, content_type = choose_encoder(accept)
    except (ValueError, TypeError):  # a version that is no number
        encode, content_type = choose_encoder("")
    if not content_type.endswith(("dots", "values")):  # these change names that need no escaping, too
        # Those of the catalogue need none in the other schemes; to look whether they do is half of a scrape.
        encode = partial(cast(Callable[..., bytes], encode), escaping=ALLOWUTF8)
    return encode(registry), content_type


class HasRegistry(Protocol):
    """Metrics that can be served."""

    def registry(self) -> CollectorRegistry:
        """A registry with all of them."""
        ...


class MetricsApp:
    """The WSGI application."""

    def __init__(self, registry: CollectorRegistry, token: str = "", jobs: WSGIApplication | None = None) -> None:
        """Expose *registry*, with *token* to its holder only; *jobs* answers below /jobs/ by its own rules."""
        self._registry = registry
        self._token = token
        self._jobs = jobs

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._jobs is not None and environ.get("PATH_INFO", "").startswith("/jobs/"):
            return self._jobs(environ, start_response)
        status, headers, body = self._answer(environ)
        headers = {**headers, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        start_response(status, list(headers.items()))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", {"Content-Type": _PLAIN, "Allow": "GET, HEAD"}, b"GET or HEAD only\n"
        match environ.get("PATH_INFO", ""):
            case "/healthz":
                return "200 OK", {"Content-Type": _PLAIN}, b"ok\n"
            case "/metrics" if not self._is_allowed(environ):
                headers = {"Content-Type": _PLAIN, "WWW-Authenticate": "Bearer"}
                return "401 Unauthorized", headers, b"a bearer token is needed\n"
            case "/metrics":
                return self._metrics(environ)
            case _:
                return "404 Not Found", {"Content-Type": _PLAIN}, b"here are /metrics and /healthz\n"

    def _is_allowed(self, environ: WSGIEnvironment) -> bool:
        if not self._token:
            return True
        scheme, _, shown = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), self._token.encode())

    def _metrics(self, environ: WSGIEnvironment) -> Answer:
        try:
            body, content_type = render_metrics(self._registry, str(environ.get("HTTP_ACCEPT", "")))
        except Exception:  # noqa: BLE001 - boundary of a request: the scraper gets a 500, the process goes on
            _log.exception("cannot render the metrics")
            return "500 Internal Server Error", {"Content-Type": _PLAIN}, b"the log of this process says why\n"
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if "gzip" in str(environ.get("HTTP_ACCEPT_ENCODING", "")):
            return "200 OK", {**headers, "Content-Encoding": "gzip"}, gzip.compress(body, 5)
        return "200 OK", headers, body


class MetricsServer:
    """Serves the metrics on threads of its own."""

    def __init__(
        self,
        metrics: HasRegistry,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
        jobs: WSGIApplication | None = None,
    ) -> None:
        """Listen on *host* and *port* (0: any free one); *jobs* answers below /jobs/, on loopback only.

        Beyond loopback tokens of users would travel in the clear.

        Raises:
            ExposureRefused: *host* is not loopback and there is no *token*.
            OSError: the address cannot be had.
        """
        if not token and not is_loopback(host):
            raise ExposureRefused(f"metrics on {host} can be read by others; set MetricsTokenFile, or use 127.0.0.1")
        app = MetricsApp(metrics.registry(), token, jobs if is_loopback(host) else None)
        self._server = _Server(host, port, app)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )
        self.port = int(self._server.server_address[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and free the port; requests under way are cut off."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def is_loopback(host: str) -> bool:
    """Whether *host* can be reached from this machine only. Names other than localhost are not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_within_reach(host: str, url: str) -> bool:
    """Whether the service at *url* could tell others of metrics on *host*: of loopback only its own machine."""
    return not is_loopback(host) or is_loopback(urlsplit(url).hostname or "")


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not news."""

    def address_string(self) -> str:
        return str(self.client_address[0])  # without asking the DNS


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, app: Callable[..., Iterable[bytes]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._begun: dict[socket.socket, float] = {}
        super().__init__((host, port), _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of http.server, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's signature
        """Take the request unless all threads are busy."""
        if len(self._begun) >= MOST_THREADS:
            return False
        self._begun[request] = time.monotonic()
        return True

    def service_actions(self) -> None:
        """Cut off whoever has taken too long; a timeout of each read alone lets a client trickle for ever."""
        now = time.monotonic()
        for request, begun in list(self._begun.items()):
            if now - begun > REQUEST_TIMEOUT_SECONDS:
                self._begun.pop(request, None)
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:  # it has gone already
                    continue

    def shutdown_request(self, request: Any) -> None:
        self._begun.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """A client that breaks off is no error of ours."""
        _log.debug("a request for metrics broke off", exc_info=True)
