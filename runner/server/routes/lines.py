"""Lines: of the calls that come most, few are in threads at once, and the others wait for them in the event loop.

As many threads as callers would spend their time waking each other, and who comes first would not be served first: with
32 clients on two processors, so many threads instead of these had searches of 450 instead of 750 a second, and 99th
percentiles of 210 instead of 74 ms (SQLite); with 16 for reports on MariaDB, 170 to 190 instead of 72 to 108 ms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from anyio import CapacityLimiter, to_thread
from fastapi import Request

T = TypeVar("T")


@dataclass(frozen=True)
class Lines:
    """How many of each kind are served at once. One kind never waits for another: a search through everything does not
    hold up a heartbeat."""

    reports: CapacityLimiter
    submissions: CapacityLimiter
    searches: CapacityLimiter

    @classmethod
    def to_a_file(cls) -> "Lines":
        """On a file there is one writer, and one report that is ready to follow it. Submissions wait for the disk, and
        the more of them wait together the fewer times it is asked (with 32 clients 410 instead of 260 a second)."""
        return cls(reports=CapacityLimiter(2), submissions=CapacityLimiter(40), searches=CapacityLimiter(2))

    @classmethod
    def to_a_server(cls) -> "Lines":
        """While some wait for a database server's answer, others work."""
        return cls(reports=CapacityLimiter(4), submissions=CapacityLimiter(4), searches=CapacityLimiter(3))


def lines_of(request: Request) -> Lines:
    """Those of the application."""
    return cast(Lines, request.app.state.lines)


async def in_line(line: CapacityLimiter, call: Callable[[], T]) -> T:
    """The result of *call*, made in a thread when its turn in *line* comes."""
    return await to_thread.run_sync(call, limiter=line)
