"""Inventory: what there is in the databases, for the metrics.

A look may take long where there are many jobs, so that its answer is kept: at least for
`FRESH_SECONDS`, and so long that looking costs at most a twentieth of the time.
"""

import threading
import time

from runner.server.db.inventory_db import InventoryDB
from runner.server.services.context import ServiceContext
from telemetry.clock import NANOSECONDS
from telemetry.live.wms_state import OTHER_KIND, WmsState

FRESH_SECONDS = 5.0
COST_FACTOR = 20
#: Kinds of waiting jobs that have a series of their own; the jobs of all others are one.
MOST_KINDS = 50


class Inventory:
    """Looks into the databases, not too often."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._mutex = threading.Lock()
        self._seen: WmsState | None = None
        self._fresh_until = float("-inf")

    @property
    def wms_id(self) -> str:
        """Whose databases they are."""
        return self._context.wms_id

    def look(self) -> WmsState:
        """What there is, or was a moment ago.

        Raises:
            SQLAlchemyError: the database does not say.
        """
        with self._mutex:
            start = time.monotonic()
            if self._seen is None or start >= self._fresh_until:
                self._seen = self._look()
                end = time.monotonic()
                self._fresh_until = end + max(FRESH_SECONDS, COST_FACTOR * (end - start))
            return self._seen

    def _look(self) -> WmsState:
        with self._context.databases.read() as transaction:
            found = InventoryDB(transaction.connection)
            jobs, kinds, since_ns = found.jobs(), dict(found.waiting(MOST_KINDS)), found.waiting_since_ns()
            requests, commands, sandboxes = found.requests(), found.commands(), found.sandboxes()
            queues = found.task_queues()
        rest = jobs.get("Waiting", 0) - sum(kinds.values())
        if rest > 0:
            kinds[OTHER_KIND] = kinds.get(OTHER_KIND, 0) + rest
        waited_ns = 0 if since_ns is None else max(0, self._context.now_ns() - since_ns)
        return WmsState(
            jobs=jobs,
            waiting=kinds,
            task_queues=queues,
            longest_wait_seconds=waited_ns / NANOSECONDS,
            requests=requests,
            commands=commands,
            sandboxes=sandboxes[0],
            sandbox_bytes=sandboxes[1],
        )
