"""What a client must know before it can ask: where to log in, which keys sign, who may be asked for help."""

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from runner.server.answers import Metadata, OpenIDConfiguration
from runner.server.keys import ALGORITHM
from runner.server.routes.dependencies import Caller, Served
from runner.server.services.job_policy import Relation, Right, require
from runner.server.settings import ServerSettings
from telemetry.clock import NANOSECONDS, utc_text

router = APIRouter()
GRANT_TYPES = ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]
SECURITY_TXT_SECONDS = 90 * 86400


@router.get("/.well-known/openid-configuration", response_model=OpenIDConfiguration, tags=[".well-known"])
async def get_openid_configuration(request: Request, services: Served) -> Response:
    """Where to log in, by the address under which the caller knows this WMS."""
    context, base = services.context, str(request.base_url).rstrip("/")
    groups = context.settings.groups
    properties = sorted({f"property:{role}" for roles in groups.values() for role in roles})
    return JSONResponse(
        {
            "issuer": context.mint.issuer,
            "token_endpoint": f"{base}/api/auth/token",
            "userinfo_endpoint": f"{base}/api/auth/userinfo",
            "authorization_endpoint": f"{base}/api/auth/authorize",
            "device_authorization_endpoint": f"{base}/api/auth/device",
            "revocation_endpoint": f"{base}/api/auth/revoke",
            "jwks_uri": f"{base}/.well-known/jwks.json",
            "grant_types_supported": GRANT_TYPES,
            "scopes_supported": [f"vo:{context.settings.vo}", *(f"group:{name}" for name in groups), *properties],
            "response_types_supported": ["code"],
            "token_endpoint_auth_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": ["none"],
            "code_challenge_methods_supported": ["S256"],
        }
    )


@router.get("/.well-known/jwks.json", response_model=dict[str, Any], tags=[".well-known"])
def get_jwks(services: Served) -> Response:
    """The public keys by which anybody can verify our tokens."""
    keys = services.context.mint.keys
    keys.refresh()
    return JSONResponse(keys.jwks())


@router.get("/.well-known/dirac-metadata", response_model=Metadata, tags=[".well-known"])
async def get_installation_metadata(services: Served) -> Response:
    """The VO and its groups."""
    settings = services.context.settings
    support = {"message": "Ask whoever runs this WMS.", "webpage": None, "email": None}
    info = {"groups": _groups(settings), "support": support, "default_group": next(iter(settings.groups))}
    return JSONResponse({"virtual_organizations": {settings.vo: info}})


@router.get("/.well-known/security.txt", response_class=PlainTextResponse, tags=[".well-known"])
async def get_security_txt(request: Request, services: Served) -> Response:
    """Whom to tell of a weakness (RFC 9116)."""
    expires = utc_text(services.context.now_ns() + SECURITY_TXT_SECONDS * NANOSECONDS)
    contact = services.context.settings.security_contact
    return PlainTextResponse(f"Contact: {contact}\nExpires: {expires}\nCanonical: {request.url}\n")


@router.get("/api/config/", response_model=dict[str, Any], tags=["config"])
def serve_config(caller: Caller, services: Served, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """What of the configuration concerns clients, in the sections of DIRAC's."""
    require(caller, Right.READ_CONFIGURATION, Relation.GENERAL)
    settings = services.context.settings
    elements: dict[str, Any] = {name: {} for name in settings.storage_elements}
    registry = {"DefaultGroup": next(iter(settings.groups)), "Groups": _groups(settings, "Properties")}
    document = {
        "DIRAC": {"VirtualOrganization": settings.vo},
        "Registry": {settings.vo: registry},
        "Resources": {"StorageElements": elements, "FileCatalogs": {name: {} for name in settings.catalogs}},
        "Systems": {"WorkloadManagement": {"MaxRescheduling": settings.max_rescheduling}},
    }
    tag = f'"{hashlib.sha256(json.dumps(document).encode()).hexdigest()[:32]}"'
    if if_none_match == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return JSONResponse(document, headers={"ETag": tag})


def _groups(settings: ServerSettings, name: str = "properties") -> dict[str, dict[str, list[str]]]:
    return {group: {name: sorted(roles)} for group, roles in settings.groups.items()}
