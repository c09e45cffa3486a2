"""No body is read that is larger than what its route can use."""

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runner.server.routes.sandboxes import STORE_PATH
from runner.server.settings import MULTIPART_OVERHEAD_BYTES, ServerSettings

#: A longer number is too large, or has zeros before it.
MOST_DIGITS = 18


class BodyLimit:
    """Looks at the announced length before anything else does. Bodies without one are refused (411)."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 411 or 413, or pass on."""
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return JSONResponse({"detail": "a body must announce its length (Content-Length)"}, 411)
        length = headers.get(b"content-length", b"0")
        most = self._settings.max_body_bytes
        if scope["path"] == STORE_PATH:
            most = self._settings.max_sandbox_bytes + MULTIPART_OVERHEAD_BYTES
        if not length.isdigit() or len(length) > MOST_DIGITS or int(length) > most:
            return JSONResponse({"detail": f"the body is too large; at most {most} bytes are taken"}, 413)
        return None
