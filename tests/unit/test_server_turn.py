"""Whoever asks first for the turn of the writers has it first."""

import threading
from concurrent.futures import ThreadPoolExecutor

from runner.server.db.turn import Turn
from tests.support.waiting import eventually

DEADLINE_SECONDS = 60.0


def test_turns_are_given_in_order() -> None:
    """Of callers that wait, the one that came first is next, however late the others ask."""
    turn, order = Turn(), []
    with ThreadPoolExecutor(8) as pool:
        with turn:
            waiting = []
            for number in range(8):
                waiting.append(pool.submit(_take, turn, order, number))
                eventually(lambda many=number + 1: len(turn._waiting) == many, DEADLINE_SECONDS)  # type: ignore[misc]
        for each in waiting:
            each.result(DEADLINE_SECONDS)
    assert order == list(range(8))


def test_one_at_a_time_has_the_turn() -> None:
    """Nobody else is inside, and an error inside gives the turn to the next."""
    turn, inside, most = Turn(), [], []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(DEADLINE_SECONDS)
        for number in range(200):
            try:
                with turn:
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    if number % 3 == 0:
                        raise KeyError
            except KeyError:
                continue

    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(work) for _ in range(8)]:
            each.result(DEADLINE_SECONDS)
    assert (len(most), max(most)) == (1600, 1)


def _take(turn: Turn, order: list[int], number: int) -> None:
    with turn:
        order.append(number)
