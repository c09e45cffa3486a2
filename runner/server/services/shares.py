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
    ranks: dict[tuple[str, str], tuple[float, int]] = {}
    classes: defaultdict[tuple[float, int, int], list[int]] = defaultdict(list)
    for queue_id, urgency in queues:
        wanted = requirements[queue_id]
        owner = (wanted.owner_group, wanted.owner)
        rank = ranks.get(owner)
        if rank is None:
            used = by_group[wanted.owner_group] / max(1e-9, shares.get(wanted.owner_group, DEFAULT_SHARE))
            rank = ranks[owner] = (used, by_owner[owner])
        classes[*rank, -urgency].append(queue_id)
    return [classes[rank] for rank in sorted(classes)]


def needs_usage(requirements: Iterable[Requirements]) -> bool:
    """Whether there is more than one owner, so that it matters how much each has."""
    return len({(each.owner_group, each.owner) for each in requirements}) > 1
