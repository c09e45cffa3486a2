"""Whose jobs come next: those of the group that has least of its share, then those of the owner who has least. Pure.

DIRAC draws a queue at random, weighted by shares; this takes the one that is furthest behind, which
gives the same in the long run and the same every time. Among the jobs of one owner the most urgent
come first, and among those the oldest.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from runner.job.matching import Requirements
from runner.server.db.task_queue_db import FilledQueue, InUse

#: The share of a group that has none of its own.
DEFAULT_SHARE = 1.0


def ordered(
    queues: Iterable[FilledQueue],
    requirements: Mapping[int, Requirements],
    in_use: Iterable[InUse],
    shares: Mapping[str, float],
) -> list[list[int]]:
    """The numbers of *queues* in the order in which they are to be served; those in one list are equals."""
    by_group: Counter[str] = Counter()
    by_owner: Counter[tuple[str, str]] = Counter()
    for each in in_use:
        by_group[each.owner_group] += each.count
        by_owner[each.owner_group, each.owner] += each.count
    alike: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
    for queue_id, urgency in queues:
        wanted = requirements[queue_id]
        alike[wanted.owner_group, wanted.owner, urgency].append(queue_id)
    classes: defaultdict[tuple[float, int, int], list[int]] = defaultdict(list)
    for (group, owner, urgency), queue_ids in alike.items():
        used = by_group[group] / max(1e-9, shares.get(group, DEFAULT_SHARE))
        classes[used, by_owner[group, owner], -urgency] += queue_ids
    return [classes[rank] for rank in sorted(classes)]


def needs_usage(requirements: Iterable[Requirements]) -> bool:
    """Whether there is more than one owner, so that it matters how much each has."""
    owners = ((each.owner_group, each.owner) for each in requirements)
    first = next(owners, None)
    return any(each != first for each in owners)
