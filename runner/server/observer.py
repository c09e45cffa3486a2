"""Who is told of calls and transactions, and what of them. No HTTP in here, so that services may know it."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass
class Told:
    """What a route says about its call, beside the answer."""

    #: None: the call asked for no job; else the UID of the attempt that it got, empty if none.
    match: str | None = None
    heartbeats: int = 0
    #: Submissions that the call made, by their UID.
    submissions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ids:
    """Names of a call: its own, and those of its span. Without a parent the trace is new."""

    request_id: str
    trace_id: str
    span_id: str
    parent_span_id: str = ""
    is_sampled: bool = True


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call that has ended. `status_code` is 0 when the caller had gone before there was an answer."""

    ids: Ids
    method: str
    route: str
    status_code: int
    start_utc_ns: int
    duration_ns: int
    told: Told = field(default_factory=Told)


class Observer(Protocol):
    """Who is told. Called from the event loop and from any thread; must neither wait nor raise."""

    def begun(self, scope: Mapping[str, Any]) -> None:
        """A call has begun; its route stands in *scope* once it is known."""
        ...

    def ended(self, scope: Mapping[str, Any], call: Call) -> None:
        """The call of that *scope* has ended."""
        ...

    def transaction(self, kind: str, waited_seconds: float, held_seconds: float) -> None:
        """A transaction (read, write, durable) has ended, after waiting for its turn."""
        ...

    def copies(self, kind: str, count: int) -> None:
        """So many copies, perhaps none, of what was here already have come: of kind status, accounting or request."""
        ...

    def stopping(self) -> None:
        """The server was told to stop: it takes no new call, and lets those under way end."""
        ...


class Silent:
    """Nobody is told."""

    def begun(self, scope: Mapping[str, Any]) -> None:
        """Nothing."""

    def ended(self, scope: Mapping[str, Any], call: Call) -> None:
        """Nothing."""

    def transaction(self, kind: str, waited_seconds: float, held_seconds: float) -> None:
        """Nothing."""

    def copies(self, kind: str, count: int) -> None:
        """Nothing."""

    def stopping(self) -> None:
        """Nothing."""


SILENT: Observer = Silent()
PRESENT: ContextVar[Ids | None] = ContextVar("call", default=None)


def present_call() -> Ids | None:
    """The call that this thread or task works for; for log lines."""
    return PRESENT.get()
