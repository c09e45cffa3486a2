"""What jobs ask of a slot and whether one has it. Pure; the rules are those of DIRAC's matcher and task queues.

Jobs that ask for the same wait in one task queue, so the matcher looks at queues and never at single jobs.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from runner.job.description import JobDescription

#: Values of `Site` that DIRAC's clients write for "anywhere".
ANYWHERE = frozenset({"", "ANY", "Any", "Multiple"})
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: CPU work in normalised seconds is rounded up to one of DIRAC's segments, so that there are few queues.
CPU_SEGMENTS = (
    6 * _MINUTE, 30 * _MINUTE, _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 3 * _DAY, 4 * _DAY, 6 * _DAY, 8 * _DAY,
    10 * _DAY, 12 * _DAY + 12 * _HOUR,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SlotOffer:
    """What an agent has to offer for one job, and whom it serves. None: it does not say."""

    site: str
    computing_element: str = ""
    queue: str = ""
    platform: str = ""
    tags: frozenset[str] = frozenset()
    #: Only jobs that ask for all of these come here.
    required_tags: frozenset[str] = frozenset()
    processors: int = 1
    #: All processors of the node are free.
    whole_node: bool = False
    memory_mb: float | None = None
    #: CPU work left to each processor, in normalised seconds.
    cpu_work_seconds: float | None = None
    #: Whom the slot serves; empty: everybody.
    job_types: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    owner_groups: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What all jobs of one task queue ask for."""

    owner: str = ""
    owner_group: str = ""
    vo: str = ""
    job_type: str = "User"
    sites: tuple[str, ...] = ()
    banned_sites: tuple[str, ...] = ()
    computing_elements: tuple[str, ...] = ()
    platform: str = ""
    tags: tuple[str, ...] = ()
    cpu_work_seconds: int = 0
    min_processors: int = 1
    max_processors: int = 1
    whole_node: bool = False
    memory_mb: int = 0

    @classmethod
    def of(cls, description: JobDescription, *, owner: str = "", owner_group: str = "", vo: str = "") -> "Requirements":
        """What a job with *description* asks for."""
        least, most = description.processors_range
        return cls(
            owner=owner,
            owner_group=owner_group,
            vo=vo,
            job_type=description.job_type,
            sites=_set(description.sites),
            banned_sites=_set(description.banned_sites),
            computing_elements=_set(description.computing_elements),
            platform="" if description.platform in ANYWHERE else description.platform,
            tags=tuple(sorted(set(description.tags))),
            cpu_work_seconds=_segment(description.cpu_time_seconds),
            min_processors=least,
            max_processors=most,
            whole_node=description.whole_node,
            memory_mb=math.ceil(description.memory_mb or 0),
        )

    @classmethod
    def from_text(cls, text: str) -> "Requirements":
        """What `text` of equal requirements says."""
        values: dict[str, Any] = json.loads(text)
        # Lists are of texts. Once others were taken in: as texts, too, they are what no slot has.
        listed: dict[str, Any] = {key: tuple(map(str, each)) for key, each in values.items() if isinstance(each, list)}
        return cls(**{**values, **listed})

    @property
    def text(self) -> str:
        """The same text for equal requirements."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def digest(self) -> str:
        """The name of the task queue."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def granted_processors(self, offer: SlotOffer) -> int:
        """How many processors a job gets in a slot that has enough for it."""
        return offer.processors if self.whole_node else min(self.max_processors, offer.processors)

    def unmet(self, offer: SlotOffer) -> list[str]:
        """The demands that *offer* does not meet, each as a sentence; empty when the job may run there."""
        return [*self._place(offer), *self._size(offer), *self._company(offer)]

    def _place(self, offer: SlotOffer) -> Iterator[str]:
        if self.sites and offer.site not in self.sites:
            yield f"the job asks for site {' or '.join(self.sites)}, this is {offer.site}"
        if offer.site in self.banned_sites:
            yield f"the job bans site {offer.site}"
        if self.computing_elements and offer.computing_element not in self.computing_elements:
            yield f"the job asks for {' or '.join(self.computing_elements)}, this is {offer.computing_element}"
        if self.platform not in ("", offer.platform):
            yield f"the job asks for platform {self.platform}, this is {offer.platform or 'unspecified'}"

    def _size(self, offer: SlotOffer) -> Iterator[str]:
        if self.whole_node and not offer.whole_node:
            yield "the job asks for a whole node, and not all of this one is free"
        if self.min_processors > offer.processors:
            yield f"the job asks for {self.min_processors} processors, {offer.processors} are free"
        if offer.memory_mb is not None and self.memory_mb > offer.memory_mb:
            yield f"the job asks for {self.memory_mb} MB of memory, {offer.memory_mb:g} are there"
        if offer.cpu_work_seconds is not None and self.cpu_work_seconds > offer.cpu_work_seconds:
            yield f"the job asks for {self.cpu_work_seconds} s of CPU work, {offer.cpu_work_seconds:.0f} are left"

    def _company(self, offer: SlotOffer) -> Iterator[str]:
        """Tags in both directions, and whom the slot serves."""
        if missing := set(self.tags) - offer.tags:
            yield f"the job asks for tags that are not offered: {', '.join(sorted(missing))}"
        if unasked := offer.required_tags - set(self.tags):
            yield f"the slot takes only jobs with the tags {', '.join(sorted(unasked))}"
        for served, mine, what in (
            (offer.job_types, self.job_type, "jobs of type"),
            (offer.owners, self.owner, "jobs of"),
            (offer.owner_groups, self.owner_group, "jobs of group"),
        ):
            if served and mine not in served:
                yield f"the slot takes only {what} {' or '.join(sorted(served))}, not {mine}"


def _set(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(names) - ANYWHERE))


def _segment(seconds: float | None) -> int:
    if not seconds:
        return 0
    return next((each for each in CPU_SEGMENTS if seconds <= each), math.ceil(seconds))
