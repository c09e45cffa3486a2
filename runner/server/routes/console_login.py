"""Into the web console and out of it."""

import hmac
import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dashboards import console as pages
from dashboards.console import Frame
from runner.server.errors import (
    ForbiddenError,
    InvalidRequestError,
    ServiceError,
    TooManyAttemptsError,
    UnauthenticatedError,
)
from runner.server.routes.console import (
    COOKIE,
    LOGIN,
    ROOT,
    ConsoleRoute,
    Ordering,
    Visiting,
    check_origin,
    headers_for,
    set_cookie,
)
from runner.server.routes.dependencies import Served, Services, address_of
from runner.server.routes.failures import HEADERS, STATUS_CODES
from runner.server.services.passwords import digest_of
from runner.server.services.registry import Proof

router = APIRouter(prefix=ROOT, route_class=ConsoleRoute, include_in_schema=False)
#: The form is good in the browser that it was given to: a cookie holds the other half of its token.
FORM_COOKIE, PURPOSE, FORM_SECONDS = "jobspan_console_form", "console login", 3600
Text = Annotated[str, Form(max_length=256)]
#: Where a login leads, if it was asked for on the way elsewhere.
Next = Annotated[str, Query(max_length=1000)]


@router.get("")
def begin(visit: Visiting) -> Response:
    """The first page."""
    return visit.go(f"{ROOT}/jobs")


@router.get("/login")
def ask(request: Request, services: Served, next: Next = "") -> Response:
    """Who is there?"""
    return _form(request, services, next)


@router.post("/login")
def log_in(  # noqa: PLR0913 - the fields of the form
    request: Request,
    services: Served,
    form_token: Annotated[str, Form(max_length=4096)] = "",
    next: Annotated[str, Form(max_length=1000)] = "",
    name: Text = "",
    secret: Text = "",
    group: Text = "",
    token: Annotated[str, Form(max_length=8192)] = "",
) -> Response:
    """What somebody has typed there."""
    sessions, address = services.console_sessions, address_of(request)
    try:
        _check_form(request, services, form_token)
        if token:
            session = sessions.log_in_with_token(token.strip(), address)
        elif group in services.context.settings.groups:
            session = sessions.log_in(Proof(name, secret, address), group)
        else:
            raise InvalidRequestError("there is no such group")
    except (UnauthenticatedError, ForbiddenError, TooManyAttemptsError, InvalidRequestError) as error:
        return _form(request, services, next, error, {"name": name, "group": group, "by_token": bool(token)})
    answer = RedirectResponse(next if _is_ours(next) else f"{ROOT}/jobs", 303, headers_for(request))
    answer.delete_cookie(FORM_COOKIE, path=LOGIN)
    if earlier := request.cookies.get(COOKIE):
        sessions.log_out(earlier, address)
    set_cookie(request, answer, session.secret)
    return answer


@router.post("/logout")
def log_out(visit: Ordering, services: Served) -> Response:
    """End the session."""
    services.console_sessions.log_out(visit.request.cookies[COOKIE], address_of(visit.request))
    answer = RedirectResponse(LOGIN, 303, headers_for(visit.request))
    answer.delete_cookie(COOKIE, path=ROOT)
    return answer


def _form(
    request: Request,
    services: Services,
    following: str,
    error: ServiceError | None = None,
    typed: dict[str, object] | None = None,
) -> Response:
    nonce, groups = secrets.token_urlsafe(24), list(services.context.settings.groups)
    form_token = services.context.mint.presign(PURPOSE, {"nonce": digest_of(nonce)}, FORM_SECONDS)
    values = {"name": "", "group": groups[0], "by_token": False, **(typed or {})}
    frame = Frame(error=str(error or ""))
    shown = pages.page("login", frame, form_token=form_token, next=following, groups=groups, **values)
    status_code, more = (200, {}) if error is None else (STATUS_CODES[type(error)], HEADERS.get(type(error), {}))
    answer = HTMLResponse(shown, status_code, {**more, **headers_for(request)})
    secure = request.url.scheme == "https"
    answer.set_cookie(
        FORM_COOKIE, nonce, max_age=FORM_SECONDS, path=LOGIN, secure=secure, httponly=True, samesite="strict"
    )
    return answer


def _check_form(request: Request, services: Services, form_token: str) -> None:
    """Go on only if this form was given to this browser, by us.

    Raises:
        ForbiddenError: it was not.
    """
    check_origin(request)
    try:
        made = services.context.mint.read_presigned(PURPOSE, form_token)
    except UnauthenticatedError:
        made = {}
    mine = digest_of(request.cookies.get(FORM_COOKIE, ""))
    if not hmac.compare_digest(str(made.get("nonce", "")), mine):
        raise ForbiddenError("this form is not, or no longer, good; here is a fresh one")


def _is_ours(address: str) -> bool:
    """Whether a browser that is sent there stays in the console."""
    return address.startswith(f"{ROOT}/") and address.isprintable() and "\\" not in address and "//" not in address
