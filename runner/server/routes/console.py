"""What the pages of the web console share: who looks, what he may, how an answer leaves.

Everybody is authorised by the same services as over the API. Only the way in differs: a cookie instead of a token,
and therefore a token in each form, and a look at the name by which the browser asks (a name of somebody else's that
points here would make his pages ours).
"""

import hmac
import ipaddress
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Depends, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.datastructures import URL

from dashboards import console as pages
from dashboards.console import Frame, Link
from runner.server.errors import ForbiddenError, ServiceError, UnauthenticatedError, UnknownObjectError
from runner.server.routes.dependencies import Served, Services, address_of, is_from_here
from runner.server.routes.failures import HEADERS, STATUS_CODES
from runner.server.services.console_sessions import SESSION_SECONDS, ConsoleSession
from runner.server.services.job_policy import Relation, Right, is_allowed
from runner.server.tokens import Identity

ROOT = "/console"
LOGIN = f"{ROOT}/login"
COOKIE = "jobspan_console"
#: The request was sent to a name that is not ours (RFC 9110).
MISDIRECTED = 421
#: Pages by what one must be allowed to do for them.
PAGES = (
    ("Jobs", f"{ROOT}/jobs", Right.SEARCH, Relation.GENERAL),
    ("Nodes", f"{ROOT}/pilots", Right.SEARCH_PILOTS, Relation.GENERAL),
    ("Accounting", f"{ROOT}/accounting", Right.READ_RECORDS, Relation.OWN),
    ("Reconciliation", f"{ROOT}/reconciliation", Right.READ_RECORDS, Relation.OTHER),
)
#: What a page says after something was done; addresses carry the key only, so that nobody else can put words there.
SAID = {
    "killed": "The order to kill the job was given.",
    "rescheduled": "The job was rescheduled.",
}
log = logging.getLogger("jobspan.wms")


@dataclass(frozen=True)
class Visit:
    """One call of somebody who is logged in."""

    request: Request
    session: ConsoleSession

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self.session.identity

    def frame(self, *, is_live: bool = False) -> Frame:
        """What is around his page; *is_live*: it is renewed by itself."""
        request, roles = self.request, self.identity.roles
        links = [
            Link(title, address, request.url.path.startswith(address))
            for title, address, right, relation in PAGES
            if is_allowed(roles, right, relation)
            or (relation is Relation.OWN and is_allowed(roles, right, Relation.OTHER))
        ]
        again = request.url.remove_query_params("said").include_query_params(live=1) if is_live else URL("")
        return Frame(
            visitor=self.identity.name,
            group=self.identity.group,
            form_token=self.session.form_token,
            links=tuple(links),
            again=f"{again.path}?{again.query}" if is_live else "",
            is_part=request.query_params.get("live") == pages.PART,
            said=SAID.get(request.query_params.get("said", ""), ""),
        )

    def page(self, name: str, /, *, is_live: bool = False, **values: Any) -> Response:
        """The page *name* for him."""
        return self.answer(HTMLResponse(pages.page(name, self.frame(is_live=is_live), **values)))

    def answer(self, response: Response) -> Response:
        """*response*, with what every answer of the console says, and his next secret if there is one."""
        response.headers.update(headers_for(self.request))
        if self.session.secret:
            set_cookie(self.request, response, self.session.secret)
        return response

    def go(self, address: str, **query: str) -> Response:
        """Let the browser go on elsewhere in the console."""
        return self.answer(RedirectResponse(f"{address}?{urlencode(query)}" if query else address, 303))


def headers_for(request: Request) -> Mapping[str, str]:
    """What the console says with each answer; what the browser says of where the call is from decides of openers."""
    return pages.headers(may_have_opener=request.headers.get("sec-fetch-site") not in ("none", "same-origin"))


def set_cookie(request: Request, response: Response, secret: str) -> None:
    """Give the browser what it is to show: to us only, never to scripts, and never from a page of somebody else's."""
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, secret, max_age=SESSION_SECONDS, path=ROOT, secure=secure, httponly=True, samesite="strict"
    )


def _visit(request: Request, services: Served) -> Visit:
    secret = request.cookies.get(COOKIE, "")
    if not secret:
        raise UnauthenticatedError("log in")
    by_hand = "live" not in request.query_params
    session = services.console_sessions.resume(secret, address_of(request), by_hand=by_hand)
    visit = request.state.visit = Visit(request, session)
    return visit


Visiting: TypeAlias = Annotated[Visit, Depends(_visit)]


async def _ordering(request: Request, visit: Visiting, form_token: Annotated[str, Form(max_length=128)] = "") -> Visit:
    """Somebody who has sent one of our forms, and not one that another site has made for him."""
    check_origin(request)
    if not hmac.compare_digest(form_token.encode(), visit.session.form_token.encode()):
        raise ForbiddenError("this form is not, or no longer, good; load the page again")
    return visit


Ordering: TypeAlias = Annotated[Visit, Depends(_ordering)]


def check_origin(request: Request) -> None:
    """Go on only with a form of our own pages, as far as the browser says where it is from.

    Raises:
        ForbiddenError: it is from elsewhere.
    """
    if not is_from_here(request):
        raise ForbiddenError("this form is from another site")


def part(read: Callable[[], Any]) -> Any:
    """What *read* finds; None if there is nothing, or nothing that the visitor may see: the page then lacks it."""
    try:
        return read()
    except (ForbiddenError, UnknownObjectError):
        return None


class ConsoleRoute(APIRoute):
    """A route that takes our own names only, and answers refusals as pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI asks for it."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            services = cast(Services, request.app.state.services)
            if not is_our_name(request, services.context.settings.console_hosts):
                log.warning("console: asked for under the name %r, which is not in [WMS] ConsoleHosts", _host(request))
                return _refusal(request, MISDIRECTED, "This name does not lead to the console")
            try:
                return await handle(request)
            except UnauthenticatedError as error:
                return _logged_out(request, str(error))
            except ServiceError as error:
                kind = type(error)
                return _refusal(request, STATUS_CODES[kind], str(error), HEADERS.get(kind))
            except RequestValidationError as error:
                where = ", ".join(str(each["loc"][-1])[:40] for each in error.errors()[:5])
                return _refusal(request, 400, f"What was asked for cannot be: {where}")

        return handled


def is_our_name(request: Request, names: frozenset[str]) -> bool:
    """Whether the browser has asked for one of *names*, or for the very address that it has reached."""
    host = _host(request)
    if host in names:
        return True
    try:
        reached = ipaddress.ip_address(str((request.scope.get("server") or ("",))[0]).partition("%")[0])
        return ipaddress.ip_address(host) == reached
    except ValueError:
        return False


def _host(request: Request) -> str:
    try:
        return (urlsplit(f"//{request.headers.get('host', '')}").hostname or "").lower()
    except ValueError:
        return ""


def _logged_out(request: Request, reason: str) -> Response:
    """To the login; but a click on a link elsewhere brings no cookie, and is made once more from here."""
    if request.method != "GET":
        return _refusal(request, 401, f"{reason[:1].upper()}{reason[1:]}")
    here = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    if request.headers.get("sec-fetch-site") == "cross-site" and COOKIE not in request.cookies:
        return _refusal(request, 200, "One moment", reload_address=here)
    return RedirectResponse(f"{LOGIN}?next={quote(here)}", 303, headers_for(request))


def _refusal(
    request: Request, status_code: int, title: str, more: dict[str, str] | None = None, *, reload_address: str = ""
) -> Response:
    visit: Visit | None = getattr(request.state, "visit", None)
    values = {"title": title, "back": ROOT, "back_title": "To the console", "reload_address": reload_address}
    frame = visit.frame() if visit else Frame()
    answer = HTMLResponse(pages.page("refused", frame, **values), status_code, {**(more or {}), **headers_for(request)})
    return visit.answer(answer) if visit else answer
