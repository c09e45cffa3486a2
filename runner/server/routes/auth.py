"""/api/auth: logins of programs, their tokens, and their sessions."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from runner.server.answers import InitiateDeviceFlowResponse, TokenResponse
from runner.server.errors import GrantError
from runner.server.routes.dependencies import Caller, Served, address_of
from runner.server.services.login_flows import FLOW_SECONDS

router = APIRouter(prefix="/api/auth", tags=["auth"])
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
#: Seconds that a program waits between two questions whether somebody has logged in.
INTERVAL_SECONDS = 2
NO_STORE = {"Cache-Control": "no-store"}
Text = Annotated[str | None, Form(max_length=4096)]


@router.post("/device", response_model=InitiateDeviceFlowResponse)
def initiate_device_flow(
    request: Request,
    services: Served,
    client_id: Annotated[str, Query(max_length=64)],
    scope: Annotated[str, Query(max_length=1024)],
) -> Response:
    """Ask for a login: the answer has a code for the user, and the address where he enters it."""
    user_code, device_code = services.login_flows.initiate_device(client_id, scope, address_of(request))
    address = f"{str(request.base_url).rstrip('/')}/api/auth/device"
    answer = {
        "user_code": user_code,
        "device_code": device_code,
        "verification_uri": address,
        "verification_uri_complete": f"{address}?user_code={user_code}",
        "expires_in": FLOW_SECONDS,
        "interval": INTERVAL_SECONDS,
    }
    return JSONResponse(answer, headers=NO_STORE)


@router.post("/token", response_model=TokenResponse)
def get_oidc_token(  # noqa: PLR0913 - the fields of three grants, as the dialect has them
    request: Request,
    services: Served,
    grant_type: Annotated[str, Form(max_length=128)],
    client_id: Annotated[str, Form(max_length=64)],
    device_code: Text = None,
    code: Text = None,
    redirect_uri: Text = None,
    code_verifier: Text = None,
    refresh_token: Text = None,
) -> Response:
    """Exchange what one has for tokens: an approved login, a code of a browser, or a refresh token."""
    flows, sessions, address = services.login_flows, services.sessions, address_of(request)
    found: dict[str, Any]
    if grant_type == DEVICE_GRANT and device_code:
        found = flows.redeem_device(device_code, client_id, address)
    elif grant_type == "authorization_code" and code and redirect_uri and code_verifier:
        found = flows.redeem_redirection(code, client_id, redirect_uri, code_verifier, address)
    elif grant_type == "refresh_token" and refresh_token:
        found = sessions.refresh(refresh_token, client_id, address)
    elif grant_type in (DEVICE_GRANT, "authorization_code", "refresh_token"):
        raise GrantError("invalid_request", f"something is missing for grant_type {grant_type}")
    else:
        raise GrantError("unsupported_grant_type", "grant_type is not known here")
    return JSONResponse(found, headers=NO_STORE)


@router.post("/revoke", response_model=str)
def revoke_refresh_token_by_refresh_token(
    request: Request,
    services: Served,
    token: Annotated[str, Form(max_length=4096)],
    token_type_hint: Text = None,  # noqa: ARG001 - of the dialect; a token says itself what it is
    client_id: Annotated[str, Form(max_length=64)] = "myDIRACClientID",
) -> Response:
    """End the session of a refresh token, or revoke an access token, whose bearer one is."""
    services.sessions.revoke(token, client_id, address_of(request))
    return JSONResponse("Refresh token revoked", headers=NO_STORE)


@router.get("/refresh-tokens", response_model=list[dict[str, Any]])
def get_refresh_tokens(caller: Caller, services: Served) -> Response:
    """The caller's sessions; an administrator sees everybody's."""
    return JSONResponse(services.sessions.listing(caller), headers=NO_STORE)


@router.delete("/refresh-tokens/{jti}", response_model=str)
def revoke_refresh_token_by_jti(
    request: Request, caller: Caller, services: Served, jti: Annotated[str, Path(max_length=64)]
) -> Response:
    """End one of the caller's sessions; an administrator ends anybody's."""
    services.sessions.revoke_by_id(caller, jti, address_of(request))
    return JSONResponse(f"Refresh token {jti} revoked")


@router.delete("/access-tokens/{jti}", response_model=str)
def revoke_access_token_by_jti(
    request: Request, caller: Caller, services: Served, jti: Annotated[str, Path(max_length=64)]
) -> Response:
    """Revoke one token of a person, a pilot or a job by its id; for administrators."""
    services.revocations.revoke_by_id(caller, jti, address_of(request))
    return JSONResponse(f"Access token {jti} revoked")
