"""What the services refuse, one drawn tree; `runner.server.routes` maps it to HTTP.

::

    ServiceError                 a rule says no; the message is for the caller
    ├── InvalidRequestError      400  understood, but impossible
    │   └── GrantError           400  no token for this; `code` is OAuth's word for why
    ├── UnauthenticatedError     401  no token, or not a good one
    ├── ForbiddenError           403  the policy does not allow it
    ├── UnknownObjectError       404  no such job, pilot, sandbox
    ├── ConflictError            409  it exists, with other content
    │   └── FencedAttemptError   409  the token's attempt is not, or no longer, the one that runs
    ├── TooLargeError            413  more bytes than are taken
    ├── InvalidValueError        422  a value is too long or of the wrong form
    ├── DatabaseAwayError        503  a database beside the main one does not answer now
    ├── StoreAwayError           503  what keeps the sandboxes does not answer now
    └── TooManyAttemptsError     429  so often within so short a time
"""

from typing import Any

from runner.errors import JobspanError


class ServiceError(JobspanError):
    """Base of all refusals. `detail` is what the caller sees: words, or a document of the dialect."""

    def __init__(self, detail: Any) -> None:
        super().__init__(str(detail))
        self.detail = detail


class InvalidRequestError(ServiceError):
    """The request is understood and impossible."""


class GrantError(InvalidRequestError):
    """There is no token for this request. `code` is the word of RFC 6749 or RFC 8628 for the reason."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class UnauthenticatedError(ServiceError):
    """There is no token, or it is not one of ours, or its time is over."""


class ForbiddenError(ServiceError):
    """The policy table has no entry that allows this."""


class UnknownObjectError(ServiceError):
    """What the request names does not exist."""


class ConflictError(ServiceError):
    """What the request would make exists, with other content."""


class FencedAttemptError(ConflictError):
    """The attempt behind the job token has been replaced, or another execution of it runs."""


class TooLargeError(ServiceError):
    """More bytes than the server takes."""


class InvalidValueError(ServiceError):
    """A value is too long, or of the wrong form."""


class DatabaseAwayError(ServiceError):
    """A database beside the main one does not answer; later it may."""


class StoreAwayError(ServiceError):
    """What keeps the contents of sandboxes does not answer; later it may."""


class TooManyAttemptsError(ServiceError):
    """It was tried too often; later it may be tried again."""
