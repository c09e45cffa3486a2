"""Task queues: which queue a job belongs to, and what is known of the queues."""

import time
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from runner.job.description import from_mapping
from runner.job.matching import Requirements, SlotOffer
from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row

MOST_KNOWN = 10_000
MOST_OFFERS = 64
#: What was read once is believed for so long, if nobody says that it has changed.
KEPT_SECONDS = 60.0


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


@dataclass(frozen=True)
class Queues:
    """Queues by number, with what each asks for, as they were at one generation."""

    generation: int
    wanted: Mapping[int, Requirements]
    #: What any of them asks for, rising.
    cpu_steps: Sequence[int]
    memory_steps: Sequence[int]
    until_seconds: float

    def rounded(self, offer: SlotOffer) -> SlotOffer:
        """*offer* with no more than what some queue asks for, which makes no difference to any of them."""
        cpu_work_seconds = _rounded_down(offer.cpu_work_seconds, self.cpu_steps)
        memory_mb = _rounded_down(offer.memory_mb, self.memory_steps)
        return replace(offer, cpu_work_seconds=cpu_work_seconds, memory_mb=memory_mb)


class KnownQueues:
    """The queues of each virtual organisation and what they ask for, which never changes.

    They are read when there is another queue or one less, which the database tells by a number; and now and then, in
    case that somebody has added one without counting it (a jobspan of before, while servers are replaced).
    """

    def __init__(self) -> None:
        self._read: dict[str, Queues] = {}
        #: By offer, whether each queue fits: the same agents ask again and again.
        self._fits = lru_cache(MOST_OFFERS)(_no_answers)

    def of(self, transaction: Transaction, vo: str) -> Queues:
        """All queues of *vo*, as *transaction* sees them."""
        generation, now_seconds = transaction.task_queues.generation(), time.monotonic()
        read = self._read.get(vo)
        if read is None or read.generation != generation or now_seconds > read.until_seconds:
            known = read.wanted if read else {}
            numbers = transaction.task_queues.of_vo(vo)
            texts = transaction.task_queues.requirements([each for each in numbers if each not in known])
            wanted = {each: known[each] for each in numbers if each in known}
            wanted |= {queue_id: Requirements.from_text(text) for queue_id, text in texts.items()}
            cpu_steps = sorted({each.cpu_work_seconds for each in wanted.values()})
            memory_steps = sorted({each.memory_mb for each in wanted.values()})
            read = Queues(generation, wanted, cpu_steps, memory_steps, now_seconds + KEPT_SECONDS)
            self._read[vo] = read
        return read

    def fitting(self, offer: SlotOffer, queues: Queues) -> set[int]:
        """Those of *queues* whose jobs may go where *offer* is."""
        offer = queues.rounded(offer)  # what is left of a batch job is less with every call
        answers = self._fits(offer)
        if len(answers) > MOST_KNOWN:
            answers.clear()
        found = set()
        for queue_id, requirements in queues.wanted.items():
            fits = answers.get(queue_id)
            if fits is None:
                fits = answers[queue_id] = not requirements.unmet(offer)
            if fits:
                found.add(queue_id)
        return found


def _described(row: Row, description: Mapping[str, Any]) -> Requirements:
    names = {"owner": row["Owner"], "owner_group": row["OwnerGroup"], "vo": row["VO"]}
    return Requirements.of(from_mapping(description), **names)


def _rounded_down(value: float | None, steps: Sequence[int]) -> float | None:
    """The highest of *steps* that is not above *value*; below all of them -1."""
    if value is None:
        return None
    number = bisect_right(steps, value)
    return float(steps[number - 1]) if number else -1.0


def _no_answers(_offer: SlotOffer) -> dict[int, bool]:
    return {}
