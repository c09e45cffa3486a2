"""What cannot be done now is tried again, with growing pauses, until its time is over or the job is told to stop."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from runner.backoff import Backoff
from runner.errors import UnavailableError
from runner.process.cancel import Cancel

T = TypeVar("T")
#: Who reads from the WMS goes on trying for as long as so many calls may wait for an answer: it may be starting anew.
READING_CALLS = 3


def persist(
    work: Callable[[], T], cancel: Cancel, *, tries: float = math.inf, seconds: float = math.inf, check: bool = False
) -> T:
    """The result of *work*, which is tried at most so many times, and not begun again after so many seconds.

    Raises:
        UnavailableError: at the last try. Cancelled: with *check*, if the job was told to stop meanwhile.
    """
    backoff, deadline = Backoff(), time.monotonic() + seconds
    while True:
        try:
            return work()
        except UnavailableError as error:
            pause = backoff.failed(error.retry_after_seconds)
            is_last = backoff.failures >= tries or time.monotonic() + pause >= deadline
            if is_last or cancel.wait(pause):
                if check:
                    cancel.check()
                raise
