"""Witnesses: who besides the watchdog knows what a run has used. See README.md beside this.

Each counts the watchdog and all that it starts; what the watchdog says that it used itself is taken off. The best that
is granted is taken: a control group, else the kernel's task clock, else the kernel's sums over those waited for.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from telemetry.measure.cgroup import ControlGroup, own_group
from telemetry.measure.perf import TaskClock
from telemetry.measure.procfs import TICKS_PER_SECOND, look, stolen_seconds
from telemetry.measure.tree import TICK_SECONDS
from tests.support.waiting import eventually

#: What cannot be told apart from the watchdog by who counts both: its own last steps.
NOISE_SECONDS = 0.02
#: Longest wait for a group to be empty whose processes have been killed.
LEAVING_SECONDS = 10.0
#: User and system time of those waited for are told in ticks, rounded down at the begin and at the end.
_ROUNDING_SECONDS = 2 / TICKS_PER_SECOND


class Seen(Protocol):
    """What a witness has seen since a run began."""

    def seconds(self) -> float:
        """CPU of the watchdog and of all that it has started since."""
        ...

    def surplus_seconds(self) -> float:
        """How much of that may be no CPU."""
        ...

    def pids(self) -> list[int]:
        """Whom the witness knows to be there, the watchdog too; nobody, where it only counts."""
        ...


class WitnessNotGranted(OSError):
    """This machine or account does not have the witness that was asked for; the message says why."""


@dataclass(frozen=True)
class Witness:
    """One of them, and how well it knows."""

    name: str
    what: str
    #: Begins to look at the watchdog of that pid.
    around: Callable[[int], AbstractContextManager[Seen]]
    noise_seconds: float = NOISE_SECONDS
    #: Whether it also sees processes that nobody waits for.
    sees_auto_reaped: bool = True


@dataclass(frozen=True)
class Counted:
    """By the largest of the counts; the smallest is surely no more than was used."""

    counts: Sequence[Callable[[int], float]]
    pid: int
    begin_seconds: Sequence[float]
    #: By a clock that goes on while a hypervisor keeps the processor for itself, that had kept so much at the begin.
    begin_stolen_seconds: float

    def seconds(self) -> float:
        return max(self._since())

    def surplus_seconds(self) -> float:
        stolen = stolen_seconds() - self.begin_stolen_seconds
        return min(stolen + TICK_SECONDS, max(self._since()) - min(self._since())) if stolen > 0 else 0.0

    def _since(self) -> list[float]:
        return [count(self.pid) - begin for count, begin in zip(self.counts, self.begin_seconds, strict=True)]

    def pids(self) -> list[int]:
        return []


@dataclass(frozen=True)
class _Grouped:
    group: ControlGroup

    def seconds(self) -> float:
        return self.group.cpu().total_seconds

    def surplus_seconds(self) -> float:
        return 0.0

    def pids(self) -> list[int]:
        return self.group.pids()


@contextmanager
def _by_group(pid: int) -> Iterator[Seen]:
    """A control group around the process *pid* and all that it starts meanwhile."""
    home = own_group() / "cgroup.procs"
    group = ControlGroup.create(f"reference-{secrets.token_hex(4)}")
    try:
        (group.path / "cgroup.procs").write_text(str(pid))
        yield _Grouped(group)
    finally:
        with contextlib.suppress(OSError):
            home.write_text(str(pid))
        # Who was just killed leaves it a moment later.
        eventually(group.remove, LEAVING_SECONDS, "an empty group")


def _waited_seconds(pid: int) -> float:
    """CPU of *pid*, by its clock (clock_getcpuclockid(3)), and of all that were waited for below it."""
    seen = look(pid, with_bytes=False)
    if seen is None:
        raise ProcessLookupError(f"the watchdog {pid} is gone")
    return time.clock_gettime(~pid << 3 | 2) + seen.waited.total_seconds


def _counting(*counts: Callable[[int], float]) -> Callable[[int], AbstractContextManager[Seen]]:
    """Who takes the largest of *counts*."""
    return lambda pid: contextlib.nullcontext(Counted(counts, pid, [count(pid) for count in counts], stolen_seconds()))


@contextmanager
def _cgroup() -> Iterator[Witness]:
    # To move a process back may be forbidden where to make a group is not: only a try tells.
    group = ControlGroup.create(f"reference-{secrets.token_hex(4)}")
    try:
        with contextlib.ExitStack() as stack:
            home = own_group() / "cgroup.procs"
            stack.callback(home.write_text, "0")
            group.enter()
    finally:
        group.remove()
    yield Witness("cgroup", "a control group around watchdog and program", _by_group)


@contextmanager
def _perf() -> Iterator[Witness]:
    # Opened on this thread, which forks the watchdog afterwards; it is switched on by the watchdog's exec.
    clock = TaskClock.open()
    try:
        yield Witness(
            "perf",
            "the kernel's task clock of watchdog and program (perf_event_open), or what was waited for if that is more",
            # The clock misses the first and the last steps of a process, 0.5 ms of each where many live for a moment.
            # Neither of both counts anything twice, so the larger is nearer.
            _counting(lambda _: clock.seconds(), _waited_seconds),
            NOISE_SECONDS + _ROUNDING_SECONDS,
        )
    finally:
        clock.close()


@contextmanager
def _waited() -> Iterator[Witness]:
    yield Witness(
        "waited",
        "what was waited for below the watchdog, by the kernel; of auto-reaped children nobody knows",
        _counting(_waited_seconds),
        NOISE_SECONDS + _ROUNDING_SECONDS,
        sees_auto_reaped=False,
    )


#: The best first.
WITNESSES: Mapping[str, Callable[[], AbstractContextManager[Witness]]] = {
    "cgroup": _cgroup,
    "perf": _perf,
    "waited": _waited,
}


@contextmanager
def witness(name: str = "") -> Iterator[Witness]:
    """The best witness that is granted, or the one of that *name*; it must be there before the watchdog is started.

    Raises:
        WitnessNotGranted: the one asked for.
    """
    with contextlib.ExitStack() as stack:
        for each in [name] if name else WITNESSES:
            try:
                it = stack.enter_context(WITNESSES[each]())
                break
            except OSError as error:
                if name:
                    raise WitnessNotGranted(error.errno, error.strerror) from error
        yield it
