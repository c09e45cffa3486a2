"""Every call seen from outside: how long it took, what came of it, whose trace it belongs to.

The outermost layer of the application. It never refuses and never waits; what the calls tell goes
to an `Observer`, which counts and renders elsewhere.
"""

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runner.server.observer import PRESENT, Call, Ids, Observer, Told
from telemetry.clock import Clock
from telemetry.identity import parse_traceparent

LOGGER = logging.getLogger("jobspan.wms")
REQUEST_ID_HEADER = "X-Request-ID"
#: What a caller may choose as the id of its call; anything else gets one of ours.
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TOLD = "jobspan.told"
OTHER = "other"


def told(connection: HTTPConnection) -> Told:
    """Where a route leaves what it has to say about its call."""
    found = connection.scope.get(_TOLD)
    return found if isinstance(found, Told) else Told()


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the route that serves *scope*; of few values whatever callers ask for."""
    return str(getattr(scope.get("route"), "path", OTHER))


class Observing:
    """Tells the observer of each call, names the call, and says the name to its caller."""

    def __init__(self, app: ASGIApp, observer: Observer, clock: Clock) -> None:
        self._app = app
        self._observer = observer
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and look at the time and the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ids = _ids(scope)
        PRESENT.set(ids)
        note = scope[_TOLD] = Told()
        status = _Status()
        start_utc_ns, start_ns = self._clock.utc_ns(), self._clock.boottime_ns()
        self._observer.begun(scope)
        try:
            await self._app(scope, receive, status.watching(send, ids.request_id))
        finally:
            call = Call(
                ids=ids,
                method=scope["method"] if scope["method"] in _METHODS else OTHER,
                route=route_of(scope),
                status_code=status.code,
                start_utc_ns=start_utc_ns,
                duration_ns=self._clock.boottime_ns() - start_ns,
                told=note,
            )
            self._observer.ended(scope, call)
            _log(call)


def _log(call: Call) -> None:
    """By its route, because paths and queries may hold what no log should."""
    LOGGER.debug("%s %s %s in %.1f ms", call.method, call.route, call.status_code or "none", call.duration_ns / 1e6)


class _Status:
    """The code of an answer, once there is one."""

    def __init__(self) -> None:
        self.code = 0

    def watching(self, send: Send, request_id: str) -> Send:
        """*send*, and beside it a look at the code; the answer carries the name of its call."""
        header = (REQUEST_ID_HEADER.lower().encode(), request_id.encode())

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.code = int(message["status"])
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return watched


def _ids(scope: Scope) -> Ids:
    headers = dict(scope["headers"])
    given = headers.get(REQUEST_ID_HEADER.lower().encode(), b"").decode("latin-1")
    request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    parent = parse_traceparent(headers.get(b"traceparent", b"").decode("latin-1"))
    if parent is None:
        return Ids(request_id=request_id, trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8))
    return Ids(
        request_id=request_id,
        trace_id=parent.trace_id,
        span_id=secrets.token_hex(8),
        parent_span_id=parent.span_id,
        is_sampled=parent.is_sampled,
    )
