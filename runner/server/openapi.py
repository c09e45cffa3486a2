"""What the OpenAPI document says beside the routes: short names of operations, and who must show a token."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

#: Operations that take no bearer token: who is there, and addresses that are signed themselves.
WITHOUT_TOKEN = frozenset({"about_info", "health_live", "health_ready", "sandboxes_upload", "sandboxes_download"})
SCHEME = "bearer"


def operation_name(route: APIRoute) -> str:
    """`jobs_submit`: module and function of the route. Generated clients call their methods by it."""
    return f"{route.endpoint.__module__.rpartition('.')[2]}_{route.name}"


def explain(app: FastAPI) -> None:
    """Let the document of *app* name the bearer token. It is made once, when somebody first asks."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemes = made.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes[SCHEME] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    for methods in made["paths"].values():
        for operation in methods.values():
            operation["security"] = [] if operation["operationId"] in WITHOUT_TOKEN else [{SCHEME: []}]
    return made
