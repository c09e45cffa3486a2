"""Services whose calls are made again when the database has ended their transaction for a reason that passes."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

from runner.server.routes.dependencies import Services
from runner.server.services.context import ServiceContext


def repeating(services: Services) -> Services:
    """The same services; a call of theirs that has changed nothing yet survives a deadlock or a lost connection."""
    wrapped: dict[str, Any] = {
        each.name: _Repeating(getattr(services, each.name), services.context)
        for each in fields(services)
        if each.name != "context"
    }
    return replace(services, **wrapped)


class _Repeating:
    """Looks like the service behind it."""

    def __init__(self, service: object, context: ServiceContext) -> None:
        self._service = service
        self._context = context

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._service, name)
        return self._made(found) if callable(found) else found

    def _made(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            return self._context.repeated(partial(method, *arguments, **named))

        return call
