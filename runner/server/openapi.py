"""The OpenAPI document: DiracX's operations under DiracX's names, with their answers, and who must show a token."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from runner.server import answers
from runner.server.routes.dependencies import AUTHENTICATING

SCHEME = {"OpenIdConnect": {"type": "openIdConnect", "openIdConnectUrl": "/.well-known/openid-configuration"}}
_SCHEMAS = "#/components/schemas/{model}"
_ROWS = list[dict[str, Any]]
#: Operations that DiracX has: its name, the status of success, and what is answered. Ours are named after their routes.
DIALECT: dict[str, tuple[str, int, Any]] = {
    "POST /api/jobs/jdl": ("jobs_submit_jdl_jobs", 201, list[answers.InsertedJob]),
    "PATCH /api/jobs/status": ("jobs_set_job_statuses", 200, answers.SetJobStatusReturn),
    "PATCH /api/jobs/heartbeat": ("jobs_add_heartbeat", 200, list[answers.JobCommand]),
    "PATCH /api/jobs/metadata": ("jobs_patch_metadata", 204, None),
    "POST /api/jobs/reschedule": ("jobs_reschedule_jobs", 200, dict[str, Any]),
    "POST /api/jobs/search": ("jobs_search", 200, _ROWS),
    "POST /api/jobs/summary": ("jobs_summary", 200, _ROWS),
    "POST /api/jobs/sandbox": ("jobs_initiate_sandbox_upload", 200, answers.SandboxUploadResponse),
    "GET /api/jobs/sandbox": ("jobs_get_sandbox_file", 200, answers.SandboxDownloadResponse),
    "GET /api/jobs/{job_id}/sandbox": ("jobs_get_job_sandboxes", 200, dict[str, list[str]]),
    "DELETE /api/jobs/{job_id}/sandbox": ("jobs_unassign_job_sandboxes", 200, Any),
    "GET /api/jobs/{job_id}/sandbox/{sandbox_type}": ("jobs_get_job_sandbox", 200, list[str]),
    "PATCH /api/jobs/{job_id}/sandbox/output": ("jobs_assign_sandbox_to_job", 200, Any),
    "POST /api/jobs/sandbox/unassign": ("jobs_unassign_bulk_jobs_sandboxes", 204, None),
    "POST /api/pilots/": ("pilots_register_pilot", 201, Any),
    "PATCH /api/pilots/metadata": ("pilots_update_pilot_metadata", 204, None),
    "POST /api/pilots/search": ("pilots_search", 200, _ROWS),
    "POST /api/pilots/summary": ("pilots_summary", 200, _ROWS),
    "GET /api/auth/userinfo": ("auth_userinfo", 200, answers.UserInfoResponse),
}
#: What a page of rows may be besides all of them.
PAGED = ("jobs_search", "pilots_search")


def operation_id(route: APIRoute) -> str:
    """The name of an operation: DiracX's, or the route's subject and function."""
    for method in sorted(route.methods or ()):
        if f"{method} {route.path_format}" in DIALECT:
            return DIALECT[f"{method} {route.path_format}"][0]
    subject = str(route.tags[0]) if route.tags else route.endpoint.__module__.rpartition(".")[2]
    return f"{subject}_{route.name}"


def describe(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Let *app*, which includes *routers*, answer this document."""

    def document() -> dict[str, Any]:
        if not app.openapi_schema:
            made = get_openapi(title=app.title, version=app.version, description=__doc__, routes=app.routes)
            routes = _routes(routers)
            for path, methods in made["paths"].items():
                for method, operation in methods.items():
                    key = f"{method.upper()} {path}"
                    _complete(made, operation, key, routes[key])
            made["components"]["securitySchemes"] = SCHEME
            _schema(made, answers.Refusal)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's manual has it


def _routes(routers: Sequence[APIRouter]) -> dict[str, APIRoute]:
    found = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return {f"{method} {route.path_format}": route for route in found for method in route.methods or ()}


def _complete(document: dict[str, Any], operation: dict[str, Any], key: str, route: APIRoute) -> None:
    responses = operation["responses"]
    if key in DIALECT:
        name, status, model = DIALECT[key]
        del responses["200"]
        responses[str(status)] = _response(document, model)
        if name in PAGED:
            responses["206"] = {**_response(document, model), "description": "a part, see Content-Range"}
            responses["416"] = {**_response(document, model), "description": "beyond the end"}
    operation.setdefault("tags", [route.endpoint.__module__.rpartition(".")[2]])
    refusals = {"400": "understood, and impossible"}
    if _authenticates(route.dependant):
        operation["security"] = [{"OpenIdConnect": []}]
        refusals |= {"401": "no good token", "403": "the policy does not allow it"}
    for status_code, description in refusals.items():
        refused = _response(document, answers.Refusal)
        responses.setdefault(status_code, {**refused, "description": description})


def _authenticates(dependant: Dependant) -> bool:
    return dependant.call in AUTHENTICATING or any(_authenticates(each) for each in dependant.dependencies)


def _response(document: dict[str, Any], model: Any) -> dict[str, Any]:
    if model is None:
        return {"description": "done"}
    return {"description": "done", "content": {"application/json": {"schema": _schema(document, model)}}}


def _schema(document: dict[str, Any], model: Any) -> dict[str, Any]:
    """The schema of *model*; what it refers to goes to the document's components."""
    schema = TypeAdapter(model).json_schema(ref_template=_SCHEMAS, mode="serialization")
    parts = document.setdefault("components", {}).setdefault("schemas", {})
    parts.update(schema.pop("$defs", {}))
    if schema.get("type") == "object" and "title" in schema and "properties" in schema:
        parts[schema["title"]] = schema
        return {"$ref": _SCHEMAS.format(model=schema["title"])}
    return schema
