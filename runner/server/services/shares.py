"""Whose jobs come next: those of the group that has least of its share, then those of the owner who has least. Pure.

DIRAC draws a queue at random, weighted by shares; this takes the one that is furthest behind, which
gives the same in the long run and the same every time. Among the jobs of one owner the most urgent
come first, and among those the oldest.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from runner.job.matching import Requirements
from runner.server.db.task_queue_db import FilledQueue, InUse

#: The share of a group that has none of its own.
DEFAULT_SHARE = 1.0


def ordered(
    queues: Collection[FilledQueue],
    requirements: Mapping[int, Requirements],
    in_use: Iterable[InUse],
    shares: Mapping[str, float],
) -> list[FilledQueue]:
    """*queues* in the order in which they are to be served."""
    by_group: Counter[str] = Counter()
    by_owner: Counter[tuple[str, str]] = Counter()
    for each in in_use:
        by_group[each.owner_group] += each.count
        by_owner[each.owner_group, each.owner] += each.count

    def key(queue: FilledQueue) -> tuple[float, int, int, int]:
        wanted = requirements[queue.queue_id]
        group = wanted.owner_group
        used = by_group[group] / max(1e-9, shares.get(group, DEFAULT_SHARE))
        return used, by_owner[group, wanted.owner], -queue.urgency, queue.first_job

    return sorted(queues, key=key)


def needs_usage(requirements: Iterable[Requirements]) -> bool:
    """Whether there is more than one owner, so that it matters how much each has."""
    return len({(each.owner_group, each.owner) for each in requirements}) > 1
