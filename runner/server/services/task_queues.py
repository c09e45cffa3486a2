"""Task queues: which queue a job belongs to, and what is known of the queues."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from runner.job.description import from_mapping
from runner.job.matching import Requirements, SlotOffer
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row

MOST_KNOWN = 10_000
MOST_OFFERS = 64


def requirements_of(transaction: Transaction, row: Row) -> Requirements:
    """What the job *row* asks for: what its queue does, as long as that is there."""
    queue_id = row["TaskQueueID"]
    if queue_id is not None and (text := transaction.task_queues.requirements([queue_id]).get(queue_id)):
        return Requirements.from_text(text)
    return _described(row, transaction.jobs.description(row["JobID"]))


def queue_of(transaction: Transaction, row: Row, description: Mapping[str, Any], sites: Collection[str] = ()) -> int:
    """The queue where the job is to wait; it is made if it is not there. *sites*: its data are near to these only."""
    wanted = _described(row, description)
    if sites:
        wanted = replace(wanted, sites=tuple(sorted(sites)))
    return transaction.task_queues.find_or_add(wanted.digest, wanted.vo, wanted.cpu_work_seconds, wanted.text)


class KnownQueues:
    """What queues ask for, read once: it never changes."""

    def __init__(self) -> None:
        self._known: dict[int, Requirements] = {}
        #: By offer, whether each queue fits: the same agents ask again and again.
        self._fits = lru_cache(MOST_OFFERS)(_no_answers)

    def requirements(self, transaction: Transaction, queue_ids: Sequence[int]) -> dict[int, Requirements]:
        """What each of *queue_ids* asks for."""
        known = self._known
        found = {each: known[each] for each in queue_ids if each in known}
        if missing := [each for each in queue_ids if each not in found]:
            texts = transaction.task_queues.requirements(missing)
            found |= {queue_id: Requirements.from_text(text) for queue_id, text in texts.items()}
            self._known = found if len(known) > MOST_KNOWN else {**known, **found}
        return found

    def fitting(self, offer: SlotOffer, wanted: Mapping[int, Requirements]) -> set[int]:
        """Those queues of *wanted* whose jobs may go where *offer* is."""
        answers = self._fits(offer)
        if len(answers) > MOST_KNOWN:
            answers.clear()
        found = set()
        for queue_id, requirements in wanted.items():
            fits = answers.get(queue_id)
            if fits is None:
                fits = answers[queue_id] = not requirements.unmet(offer)
            if fits:
                found.add(queue_id)
        return found


def _described(row: Row, description: Mapping[str, Any]) -> Requirements:
    names = {"owner": row["Owner"], "owner_group": row["OwnerGroup"], "vo": row["VO"]}
    return Requirements.of(from_mapping(description), **names)


def _no_answers(_offer: SlotOffer) -> dict[int, bool]:
    return {}
