"""The end of every error that nobody expected: logged here, and a plain 500 for the caller."""

import logging

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGGER = logging.getLogger("jobspan.wms")


class LastResort:
    """Left to itself, the framework would also cut the connection, and the caller's next call with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; answer 500 if that fails before an answer has begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:  # noqa: BLE001 - the boundary of the process: a caller must get an answer
            _log(scope)
            if not begun:
                await JSONResponse({"detail": "Internal Server Error"}, 500)(scope, receive, send)


def _log(scope: Scope) -> None:
    """Say what failed, without the query, which may hold a presigned permission."""
    LOGGER.exception("%s %s failed", scope["method"], scope["path"])
