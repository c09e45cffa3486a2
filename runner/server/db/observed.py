"""Databases that tell how long each transaction waited for its turn, and how long it took then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runner.server.db.engine import Databases, Transaction


class ObservedDatabases(Databases):
    """The databases of one WMS, and beside them somebody who looks at the time."""

    #: Told of each transaction: read, write or durable; seconds that it waited, seconds from its begin to its end.
    observe: Callable[[str, float, float], None] | None = None

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """As `Databases.read`."""
        asked = begun = time.monotonic()
        try:
            with super().read() as transaction:
                begun = time.monotonic()
                yield transaction
        finally:
            self._tell("read", asked, begun)

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Transaction]:
        """As `Databases.write`; its end includes the commit."""
        asked = begun = time.monotonic()
        try:
            with super().write(durable=durable) as transaction:
                begun = time.monotonic()
                yield transaction
        finally:
            self._tell("durable" if durable else "write", asked, begun)

    def _tell(self, kind: str, asked: float, begun: float) -> None:
        if self.observe is not None:
            self.observe(kind, begun - asked, time.monotonic() - begun)
