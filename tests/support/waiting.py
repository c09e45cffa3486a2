"""Waiting for other processes, with a deadline, and promptness on a busy machine. Tests use this and never a sleep."""

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: Nobody waits longer than that where something was broken on purpose (`tests/mutants`): there most waits are in vain.
MOST_SECONDS_VARIABLE = "PYTEST_MOST_SECONDS"
_MOST_SECONDS = float(os.environ.get(MOST_SECONDS_VARIABLE, "inf"))


def eventually(predicate: Callable[[], T], within_seconds: float = 30.0, what: str = "") -> T:
    """The first true value of *predicate*, looked at again and again until the deadline, and once when it has passed:
    who was held up before the last look has not looked in vain.

    For what can only be observed from outside (files, /proc, HTTP); whatever offers an event, a
    future or a pipe is waited for directly.

    Raises:
        AssertionError: it was not true in time; says *what* was waited for and its last value.
    """
    pause = threading.Event()
    within_seconds = min(within_seconds, _MOST_SECONDS)
    deadline = time.monotonic() + within_seconds
    delay = 0.002
    while True:
        is_over = time.monotonic() >= deadline
        if value := predicate():
            return value
        if is_over:
            name = what or getattr(predicate, "__name__", "it")
            raise AssertionError(f"waited {within_seconds:g} s for {name} in vain; last seen: {value!r}")
        pause.wait(delay)
        delay = min(delay * 1.5, 0.05)


def at_best(most_seconds: float, attempt: Callable[[int], float], tries: int = 5) -> int:
    """How many of *tries* it took until *attempt* (given the number of the try) lasted at most *most_seconds*.

    For promises that something happens at once: what waits for a poll or a timeout is late every time, what a busy
    machine has only held up is not.

    Raises:
        AssertionError: it was late every time; says by how much.
    """
    took: list[float] = []
    while len(took) < tries:
        took.append(attempt(len(took)))
        if took[-1] <= most_seconds:
            return len(took)
    raise AssertionError(f"at most {most_seconds:g} s are promised; {tries} tries took {took}")
