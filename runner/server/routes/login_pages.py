"""The pages of a login: what is asked is shown, and somebody proves who he is.

Nobody is logged in on these pages: each approval needs name and password, so there is no session
that another site's form could ride on. A form is good only in the browser that was given it (a
cookie of the same random number), for the login that it was made for, and from our own origin.
"""

import hashlib
import hmac
import secrets
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dashboards import login as pages
from runner.server.errors import (
    ForbiddenError,
    GrantError,
    ServiceError,
    TooManyAttemptsError,
    UnauthenticatedError,
)
from runner.server.routes.dependencies import Served, Services, address_of, is_from_here
from runner.server.routes.failures import HEADERS, STATUS_CODES
from runner.server.services.login_flows import FLOW_SECONDS, Redirection
from runner.server.services.registry import Proof

router = APIRouter(prefix="/api/auth", tags=["auth"])
COOKIE, PURPOSE = "jobspan_login", "login form"
Code = Annotated[str, Query(max_length=64)]


@router.get("/device", response_class=HTMLResponse)
def do_device_flow(request: Request, services: Served, user_code: Code = "") -> Response:
    """The page for the code that a program shows, and for whoever lets that program act for him."""
    if not user_code:
        return _html(pages.code_page())
    try:
        return _proof(request, services, user_code)
    except ServiceError as error:
        return _html(pages.code_page(str(error)), error)


@router.get("/authorize", response_class=HTMLResponse)
def initiate_authorization_flow(  # noqa: PLR0913 - the fields of RFC 6749 and RFC 7636
    request: Request,
    services: Served,
    response_type: Annotated[str, Query(max_length=16)],
    code_challenge: Annotated[str, Query(max_length=128)],
    code_challenge_method: Annotated[str, Query(max_length=16)],
    client_id: Annotated[str, Query(max_length=64)],
    redirect_uri: Annotated[str, Query(max_length=1000)],
    scope: Annotated[str, Query(max_length=1024)],
    state: Annotated[str, Query(max_length=1000)],
) -> Response:
    """The same for a program that waits on loopback for the browser to come back."""
    try:
        if response_type != "code" or code_challenge_method != "S256":
            raise GrantError("invalid_request", "response_type must be code, code_challenge_method S256")
        back = Redirection(redirect_uri, state, code_challenge)
        user_code = services.login_flows.initiate_redirection(client_id, scope, address_of(request), back)
        return _proof(request, services, user_code)
    except ServiceError as error:
        return _html(pages.failed_page(str(error)), error)


@router.post("/verify", response_class=HTMLResponse)
def verify(
    request: Request,
    services: Served,
    user_code: Annotated[str, Form(max_length=64)],
    token: Annotated[str, Form(max_length=4096)],
    name: Annotated[str, Form(max_length=64)],
    secret: Annotated[str, Form(max_length=256)],
) -> Response:
    """What somebody has typed on that page."""
    try:
        _check_form(request, services, user_code, token)
        back = services.login_flows.approve(user_code, Proof(name, secret, address_of(request)))
    except (UnauthenticatedError, ForbiddenError, TooManyAttemptsError) as error:
        return _again(request, services, user_code, error)
    except ServiceError as error:
        return _html(pages.failed_page(str(error)), error)
    answer = RedirectResponse(back or "/api/auth/device/complete/finished", 303, pages.headers())
    answer.delete_cookie(COOKIE, path=router.prefix)
    return answer


@router.get("/device/complete/finished", response_class=HTMLResponse)
async def finished() -> Response:
    """The end of a login."""
    return _html(pages.finished_page())


def _proof(request: Request, services: Services, user_code: str, error: ServiceError | None = None) -> Response:
    flow = services.login_flows.asked(user_code, address_of(request))
    nonce = secrets.token_urlsafe(24)
    values = {"nonce": _digest(nonce), "user_code": flow["UserCode"]}
    token = services.context.mint.presign(PURPOSE, values, FLOW_SECONDS)
    asked = pages.Asked(flow["UserCode"], flow["VO"], flow["GroupName"], flow["ClientID"], flow["Address"])
    answer = _html(pages.proof_page(asked, token, str(error or "")), error, _origin(flow["RedirectURI"]))
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, nonce, max_age=FLOW_SECONDS, path=router.prefix, secure=secure, httponly=True, samesite="strict"
    )
    return answer


def _again(request: Request, services: Services, user_code: str, error: ServiceError) -> Response:
    """The page once more, with what was wrong; unless the login is over meanwhile."""
    try:
        return _proof(request, services, user_code, error)
    except ServiceError as later:
        return _html(pages.failed_page(str(later)), later)


def _check_form(request: Request, services: Services, user_code: str, token: str) -> None:
    """Go on only if this form was given to this browser, for this login.

    Raises:
        ForbiddenError: it was not.
    """
    try:
        made = services.context.mint.read_presigned(PURPOSE, token)
    except UnauthenticatedError:
        made = {}
    nonce = _digest(request.cookies.get(COOKIE, ""))
    if (
        not is_from_here(request)
        or made.get("user_code") != user_code
        or not hmac.compare_digest(str(made.get("nonce", "")), nonce)
    ):
        raise ForbiddenError("this form is not, or no longer, good; here is a fresh one")


def _html(page: str, error: ServiceError | None = None, form_target: str = "") -> HTMLResponse:
    if error is None:
        return HTMLResponse(page, headers=pages.headers(form_target))
    kind = type(error)
    return HTMLResponse(page, STATUS_CODES[kind], {**HEADERS.get(kind, {}), **pages.headers(form_target)})


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if uri else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
