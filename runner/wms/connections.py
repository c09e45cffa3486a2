"""Connections over HTTP: nothing but our configuration says how, nothing is followed or repeated, no answer is endless.

By urllib3 itself, on which `requests` stands: each wrapper loads this, `requests` would double what that costs, and all
that it adds (cookies, netrc, redirects, guesses at encodings) is unwanted here.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from runner import __version__
from runner.config import HttpConfig
from runner.errors import UnavailableError

__all__ = ["Connections", "HTTPError", "NoAnswerError", "Response", "may_have_arrived", "unreachable", "was_reset"]

Response: TypeAlias = urllib3.BaseHTTPResponse
#: So many are kept open for the next call; more may be in use at the same time.
_MOST_KEPT = 16
_CHUNK_BYTES = 1 << 16
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"jobspan/{__version__}"}


class NoAnswerError(UnavailableError):
    """The time for an answer is over."""


class Connections:
    """Those to one server. Safe from several threads, of which each call has one for itself; not across a fork."""

    def __init__(self, http: HttpConfig, url: str) -> None:
        """To the server of *url*, by the proxies and certificate authorities of *http*. Nothing is opened yet."""
        self._pool = _pool(http, url)

    def __enter__(self) -> "Connections":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def call(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        connect_seconds: float,
        answer_seconds: float,
    ) -> Iterator[Response]:
        """The answer to one call, whatever its status; its content is still to be read.

        *body* is bytes, or anything with `read` whose length is among *headers*.

        Raises:
            HTTPError: there is none (see `unreachable`).
        """
        response = self._pool.request(
            method,
            url,
            body=body,
            headers={**_HEADERS, **(headers or {})},
            timeout=urllib3.Timeout(connect=connect_seconds, read=answer_seconds),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        try:
            yield response
        finally:
            response.close()

    def close(self) -> None:
        """Close all that are not in use."""
        self._pool.clear()


def chunks(response: Response) -> Iterator[bytes]:
    """The content of *response* in pieces.

    Raises:
        HTTPError: it broke off.
    """
    return response.stream(_CHUNK_BYTES)


def read_bounded(response: Response, largest_bytes: int, patience_seconds: float) -> bytes:
    """The content, unless it is larger than *largest_bytes* or drips in for longer than *patience_seconds*.

    Raises:
        UnavailableError: it was.
        HTTPError: it broke off.
    """
    deadline = time.monotonic() + patience_seconds
    parts, size = [], 0
    for part in chunks(response):
        parts.append(part)
        size += len(part)
        if size > largest_bytes:
            raise UnavailableError(f"an answer of more than {largest_bytes} bytes; is that the WMS?")
        if time.monotonic() > deadline:
            raise NoAnswerError(f"the answer did not end within {patience_seconds:g} s")
    return b"".join(parts)


def was_reset(error: HTTPError) -> bool:
    """Whether the connection ended before any answer, as a kept one does that the server has closed meanwhile."""
    return isinstance(error, ProtocolError) and error.args[:1] == ("Connection aborted.",)


def may_have_arrived(error: HTTPError) -> bool:
    """Whether a call that failed with *error* may have had its effect: there was a connection to carry it."""
    return isinstance(error, ProtocolError | ReadTimeoutError | DecodeError)


def unreachable(error: HTTPError, url: str) -> UnavailableError:
    """*error* of a call to *url* in our words."""
    # A connection that was refused counts as one that was not made in time there, too.
    is_late = isinstance(error, PoolTimeoutError) and not isinstance(error, NewConnectionError)
    if is_late or "timed out" in str(error):
        return NoAnswerError(f"the WMS at {url} did not answer in time")
    return UnavailableError(f"cannot reach the WMS at {url}: {_reason(error)}")


def _pool(http: HttpConfig, url: str) -> urllib3.PoolManager:
    parts = urlsplit(url)
    options: dict[str, Any] = {"num_pools": 1, "maxsize": _MOST_KEPT, "blocksize": _CHUNK_BYTES}
    if parts.scheme == "https":
        options |= _authorities(http.ca_bundle)
    proxy = http.proxies.get(parts.scheme, "")
    if not proxy or _bypasses_proxy(parts.hostname or "", http.proxies.get("no_proxy", "")):
        return urllib3.PoolManager(**options)
    return _through(proxy if "://" in proxy else f"http://{proxy}", options)


def _through(proxy: str, options: Mapping[str, Any]) -> urllib3.PoolManager:
    parts = urlsplit(proxy)
    headers = {}
    if parts.username:
        known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = dict(urllib3.make_headers(proxy_basic_auth=known))
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _authorities(bundle: str) -> dict[str, str]:
    if not bundle:
        import certifi  # loaded only where it is needed: few sites leave the choice to us

        bundle = certifi.where()
    return {"ca_cert_dir" if os.path.isdir(bundle) else "ca_certs": bundle}


def _bypasses_proxy(host: str, no_proxy: str) -> bool:
    """Whether *host* is reached directly: a name or ending in *no_proxy* (comma separated), or loopback."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return True
    entries = [entry.strip().lstrip(".").lower() for entry in no_proxy.split(",") if entry.strip()]
    return any(entry == "*" or host == entry or host.endswith(f".{entry}") for entry in entries)


def _reason(error: BaseException) -> str:
    """The operating system's own words for *error*; they carry no address and no secret."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(seen) < 20:
        each = queue.pop(0)
        if not isinstance(each, BaseException) or each in seen:
            continue
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        seen.append(each)
        queue += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return type(error).__name__
