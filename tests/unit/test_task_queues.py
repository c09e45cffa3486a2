"""Which queue a job belongs to, whose queue is next, and the inbox between submission and optimizers."""

import math
import threading
from dataclasses import replace

import pytest

from runner.job.description import from_mapping
from runner.job.matching import CPU_SEGMENTS, Requirements, SlotOffer
from runner.server.db.task_queue_db import FilledQueue, InUse
from runner.server.inbox import Inbox
from runner.server.services.shares import needs_usage, ordered
from runner.server.services.task_queues import KnownQueues, Queues
from tests.support.waiting import eventually


def of(owner: str = "alice", group: str = "g", **demands: object) -> Requirements:
    return Requirements.of(from_mapping({"Executable": "a", **demands}), owner=owner, owner_group=group, vo="vo")


def test_equal_demands_are_one_queue() -> None:
    """Order and repetition of names make no difference; another demand, owner or group does."""
    one = of(Site=["B", "A", "B"], Tags=["y", "x"], CPUTime=400)
    assert one.digest == of(Site=["A", "B"], Tags=["x", "y"], CPUTime=1800).digest
    others = [
        of(Site=["A", "B"]),
        of(owner="bob"),
        of(group="h"),
        of(JobType="Merge"),
        of(WholeNode=True),
        of(Memory=1),
    ]
    assert len({each.digest for each in (one, *others)}) == 7


def test_requirements_survive_being_written_down() -> None:
    """What is read back is equal."""
    wanted = of(
        Site=["A"], BannedSites="C", Tags=["x"], GridCE=["ce"], MinNumberOfProcessors=2, MaxNumberOfProcessors=4
    )
    assert Requirements.from_text(wanted.text) == wanted


@pytest.mark.parametrize("seconds", [1, 360, 361, 86400, 1_080_000, 1_080_001.5])
def test_cpu_work_is_rounded_up(seconds: float) -> None:
    """To the next segment, and beyond the last one to whole seconds; never down."""
    found = of(CPUTime=seconds).cpu_work_seconds
    assert found >= seconds
    assert found in CPU_SEGMENTS or (seconds > CPU_SEGMENTS[-1] and found - seconds < 1)


def test_a_slot_grants_what_it_has_within_what_a_job_can_use() -> None:
    """From the least to the most that the job names; a whole node is granted whole."""
    offer = SlotOffer(site="A", processors=16, whole_node=True)
    assert of(MinNumberOfProcessors=2, MaxNumberOfProcessors=4).granted_processors(offer) == 4
    assert of(MinNumberOfProcessors=2, MaxNumberOfProcessors=64).granted_processors(offer) == 16
    assert of(NumberOfProcessors=3).granted_processors(offer) == 3
    assert of(WholeNode=True).granted_processors(offer) == 16


def test_the_group_that_has_least_of_its_share_is_next() -> None:
    """Then the owner who has least, then the most urgent job; those that are equal in all of it stay together."""
    wanted = {
        1: of("a", "big"),
        2: of("b", "big"),
        3: of("c", "small"),
        4: of("c", "small", Tags="x"),
        5: of("b", "big"),
    }
    queues = [FilledQueue(1, 1), FilledQueue(2, 1), FilledQueue(3, 1), FilledQueue(4, 5), FilledQueue(5, 1)]
    in_use = [InUse("a", "big", 4), InUse("b", "big", 1), InUse("c", "small", 3)]
    assert ordered(queues, wanted, in_use, {"big": 2.0}) == [[2, 5], [1], [4], [3]]
    assert needs_usage(wanted.values())
    assert not needs_usage([wanted[3], wanted[4]])


@pytest.mark.parametrize("left", [None, 0.0, 359.9, 360.0, 1000.0, 1799.0, 1800.0, 1e9])
def test_an_offer_is_rounded_without_a_difference(left: float | None) -> None:
    """What a batch job has left changes with every call; the queues that it serves are found once for many of them."""
    asked = (None, 360, 400, 1_080_000.5)
    wanted = {number: of(**({"CPUTime": each} if each else {})) for number, each in enumerate(asked)}
    wanted |= {number: replace(each, memory_mb=number * 300) for number, each in enumerate(wanted.values(), 10)}
    steps = sorted({each.cpu_work_seconds for each in wanted.values()})
    queues = Queues(1, wanted, steps, sorted({each.memory_mb for each in wanted.values()}), 0.0)
    for memory_mb in (None, 0.5, 3000.0, 3299.5, 1e6):
        offer = SlotOffer(site="A", cpu_work_seconds=left, memory_mb=memory_mb)
        fitting = {number for number, each in wanted.items() if not each.unmet(offer)}
        assert KnownQueues().fitting(offer, queues) == fitting
    if left is not None:
        near = replace(offer, cpu_work_seconds=left + 0.01)
        assert queues.rounded(near) == queues.rounded(offer) or math.floor(left + 0.01) in steps


def test_whoever_settles_waits_for_what_was_handed_over_before() -> None:
    """Until it is done, and not for what comes later; without a worker not at all."""
    inbox = Inbox()
    inbox.put([1, 2])
    assert not inbox.settle(10), "nobody attends to it"
    inbox.attend(True)
    first = inbox.take(1, 1)
    done = threading.Event()
    waiter = threading.Thread(target=lambda: inbox.settle(20) and done.set())
    waiter.start()
    eventually(lambda: inbox._changed._waiters, 10, "the waiter to have seen what there is")  # type: ignore[attr-defined]
    second = inbox.take(5, 1)
    inbox.put([1])
    inbox.done(first)
    assert not inbox.settle(0.01)
    inbox.done(second)
    assert done.wait(10)
    assert [each.number for each in (*first, *second)] == [1, 2]
    waiter.join(10)


def test_the_same_number_again_is_work_again() -> None:
    """A job that is handed over while it is being dealt with is dealt with once more."""
    inbox = Inbox()
    inbox.attend(True)
    inbox.put([7])
    taken = inbox.take(1, 1)
    inbox.put([7])
    inbox.done(taken)
    assert [each.number for each in inbox.take(1, 1)] == [7]


def test_a_worker_that_is_to_end_waits_no_longer() -> None:
    """Neither it, nor those who wait for it."""
    inbox = Inbox()
    inbox.attend(True)
    inbox.put([1])
    threading.Timer(0.01, inbox.attend, [False]).start()
    inbox.settle(10)
    inbox.take(1, 1)
    assert inbox.take(1, 10) == []
