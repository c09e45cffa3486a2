"""What agents offer: as the matcher compares it, and kept for a while, so that one can say why a job waits."""

import json
import threading
from collections.abc import Mapping
from typing import Any

from runner.job.matching import SlotOffer
from runner.server.models import MatchParams
from runner.server.services.context import ServiceContext
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS

#: An offer that has changed is written down again after so long, one that has not, after so much longer.
CHANGED_NS, UNCHANGED_NS = 10 * NANOSECONDS, 60 * NANOSECONDS
#: An agent that has not asked for so long is not waited for any more.
LIVE_SECONDS = 300.0
MOST_PILOTS = 10_000
_OFFERED = (
    "Site", "GridCE", "CEQueue", "Platform", "Tags", "RequiredTags", "Processors", "WholeNode", "MemoryMB",
    "CPUWorkLeft", "JobTypes", "Owners", "OwnerGroups",
)  # fmt: skip


def offer_of(slot: MatchParams) -> SlotOffer:
    """The offer of a match call."""
    return read_offer(slot.model_dump(include=set(_OFFERED)))


def read_offer(values: Mapping[str, Any]) -> SlotOffer:
    """The offer under its names on the wire."""
    return SlotOffer(
        site=values["Site"],
        computing_element=values["GridCE"],
        queue=values["CEQueue"],
        platform=values["Platform"],
        tags=frozenset(values["Tags"]),
        required_tags=frozenset(values["RequiredTags"]),
        processors=values["Processors"],
        whole_node=values["WholeNode"],
        memory_mb=values["MemoryMB"],
        cpu_work_seconds=values["CPUWorkLeft"],
        job_types=frozenset(values["JobTypes"]),
        owners=frozenset(values["Owners"]),
        owner_groups=frozenset(values["OwnerGroups"]),
    )


class Offers:
    """Writes down what agents offer, now and then: they ask every second."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._mutex = threading.Lock()
        self._written: dict[str, tuple[int, str]] = {}

    def remember(self, identity: Identity, slot: MatchParams) -> None:
        """Keep the offer of *slot*, unless the same was kept just now."""
        now_ns = self._context.now_ns()
        text = json.dumps(slot.model_dump(include=set(_OFFERED)))
        with self._mutex:
            last_ns, last = self._written.get(slot.PilotStamp, (0, ""))
            if last_ns <= now_ns < last_ns + (UNCHANGED_NS if text == last else CHANGED_NS):
                return
            if len(self._written) > MOST_PILOTS:
                self._written.clear()
            self._written[slot.PilotStamp] = now_ns, text
        with self._context.databases.write() as transaction:
            transaction.pilots.set_offer(slot.PilotStamp, identity.vo, text, now_ns)
