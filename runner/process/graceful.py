"""The graceful stop (DIRAC's StopSig*): a signal for those processes of a payload that can end well.

The expression that chooses them comes from the job. It is held against a bounded part of a command
line, and one that takes too long is given up: the starter has one thread, and other work.
"""

import re
import signal
from collections.abc import Callable, Iterable, Iterator

from runner.process.signals import send_to
from runner.process.tree import process_name
from telemetry.clock import Clock
from telemetry.facts import SignalSent
from telemetry.measure.snapshot import ProcessLook

#: So much of a command line is looked at.
_LONGEST_COMMAND_LINE_BYTES = 4096
#: For all processes together, of CPU: a starter that is held up by a busy machine has not taken too long. Python's
#: matcher lets signals interrupt it.
_MATCHING_SECONDS = 0.5


class _TooLong(BaseException):
    """The time for matching is over. Not an `Exception`, so that no handler eats it."""


class GracefulStop:
    """Sends the signal once: at the first call for which a process is there that it is meant for."""

    def __init__(self, clock: Clock, tell: Callable[[SignalSent], None]) -> None:
        """Nothing was asked for yet."""
        self._clock = clock
        self._tell = tell
        self._is_over = False
        self._is_told = False

    def ask(self, living: Iterable[ProcessLook], regex: str, number: int, reason: str) -> None:
        """Send signal *number* to those of *living* that *regex* fits, unless that was done before."""
        if self._is_over:
            return
        chosen, trouble = _chosen(living, regex)
        sent = send_to(chosen, number)
        self._is_over = bool(sent.pids or trouble)
        if self._is_over or not self._is_told:  # that nobody was there is told once
            self._is_told = True
            self._tell(sent.fact(f"{reason}{trouble}", self._clock, "stop"))


def _chosen(living: Iterable[ProcessLook], regex: str) -> tuple[list[ProcessLook], str]:
    """The processes that *regex* fits, and what went wrong with it."""
    before = signal.signal(signal.SIGPROF, _give_up)
    try:
        signal.setitimer(signal.ITIMER_PROF, _MATCHING_SECONDS)
        try:
            return list(_matching(living, re.compile(regex))), ""
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except _TooLong:
        return [], "; nobody is told: StopSigRegex takes too long"
    except (re.error, RecursionError, OverflowError) as error:
        return [], f"; nobody is told: StopSigRegex is wrong ({error})"
    finally:
        signal.signal(signal.SIGPROF, before)


def _give_up(_number: int, _frame: object) -> None:
    raise _TooLong


def _matching(living: Iterable[ProcessLook], expression: re.Pattern[str]) -> Iterator[ProcessLook]:
    for each in living:
        pid = each.identity.pid
        if expression.search(_command_line(pid)) or expression.search(process_name(pid)):
            yield each


def _command_line(pid: int) -> str:
    """Its arguments with blanks between them; empty when it is gone or not ours to see."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            data = file.read(_LONGEST_COMMAND_LINE_BYTES)
    except OSError:
        return ""
    return data.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
