"""From refusals to HTTP: one table, and bodies in DiracX's form."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from runner.server.errors import (
    ConflictError,
    DatabaseAwayError,
    FencedAttemptError,
    ForbiddenError,
    GrantError,
    InvalidRequestError,
    InvalidValueError,
    ServiceError,
    StoreAwayError,
    TooLargeError,
    TooManyAttemptsError,
    UnauthenticatedError,
    UnknownObjectError,
)

RETRY_AFTER_SECONDS = 1
STATUS_CODES: dict[type[ServiceError], int] = {
    InvalidRequestError: 400,
    GrantError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    UnknownObjectError: 404,
    ConflictError: 409,
    FencedAttemptError: 409,
    TooLargeError: 413,
    InvalidValueError: 422,
    DatabaseAwayError: 503,
    StoreAwayError: 503,
    TooManyAttemptsError: 429,
}
HEADERS: dict[type[ServiceError], dict[str, str]] = {
    UnauthenticatedError: {"WWW-Authenticate": "Bearer"},
    FencedAttemptError: {"Jobspan-Fenced": "1"},
    DatabaseAwayError: {"Retry-After": str(RETRY_AFTER_SECONDS)},
    StoreAwayError: {"Retry-After": str(RETRY_AFTER_SECONDS)},
    GrantError: {"Cache-Control": "no-store"},
    TooManyAttemptsError: {"Retry-After": "60"},
}
#: MariaDB and MySQL count a regular expression that they cannot read among the errors that pass.
MYSQL_BAD_EXPRESSION = 1139
_SHOWN_CHARACTERS = 200


def install(app: FastAPI) -> None:
    """Let *app* answer refusals."""
    app.add_exception_handler(ServiceError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    for kind in (OperationalError, InterfaceError, InternalError, NoConnectionError):
        app.add_exception_handler(kind, _unavailable)
    app.add_exception_handler(DataError, _does_not_fit)
    app.add_exception_handler(UnicodeEncodeError, _not_text)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for nothing else
    kind = type(error)
    detail = error.detail
    if kind is InvalidValueError:
        detail = [{"type": "value_error", "loc": ["body"], "msg": detail, "input": None}]
    body = {"detail": detail}
    if isinstance(error, GrantError):
        body |= {"error": error.code, "error_description": detail}
    return JSONResponse(body, STATUS_CODES[kind], HEADERS.get(kind))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    errors: Sequence[Any] = error.errors()
    detail = [
        # The input is shown as text: it may be endless, or a number that JSON cannot hold.
        {
            "type": each["type"],
            "loc": [str(part)[:_SHOWN_CHARACTERS] if isinstance(part, str) else part for part in each["loc"]],
            "msg": each["msg"],
            "input": ascii(each.get("input"))[:_SHOWN_CHARACTERS],
        }
        for each in errors[:100]
    ]
    return JSONResponse({"detail": detail}, 422)


async def _not_text(request: Request, _error: Exception) -> Response:
    """No database can store half a surrogate pair."""
    return await _refused(request, InvalidValueError("the body has text that is not valid Unicode"))


async def _does_not_fit(request: Request, _error: Exception) -> Response:
    """Too long for its column, too large a number, or a character that this database cannot hold."""
    return await _refused(
        request, InvalidValueError("a value is too long, too large or has characters that do not fit")
    )


async def _unavailable(request: Request, error: Exception) -> Response:
    """The database is locked for too long, away, or its disk is full: later it may work."""
    arguments = getattr(getattr(error, "orig", None), "args", ())
    if arguments and arguments[0] == MYSQL_BAD_EXPRESSION:
        return await _does_not_fit(request, error)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    return JSONResponse({"detail": "the database cannot be written now; try again later"}, 503, headers)
