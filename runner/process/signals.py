"""How a payload is ended: TERM to all of it, a grace, KILL to what is left; a timeline of facts.

Only the starter does this, because it alone reaps the payload's processes, so that no pid can change
its owner between a look and a signal.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from runner.process.tree import ProcessTree, process_name, send
from telemetry.clock import Clock
from telemetry.facts import KillFinished, SignalSent
from telemetry.measure.snapshot import ProcessId, ProcessLook

#: After KILL, a process that is still there cannot be killed now (another user's, or waiting for a disk).
PATIENCE_SECONDS = 5.0
#: While a kill is under way the tree is looked at again at least so often; ends of processes wake us anyway.
_LOOK_SECONDS = 0.2
#: A process forks while we kill: the tree is looked at again until nobody new is there, at most so often.
_ROUNDS = 50
#: Of a crowd (a fork bomb) so many pids and names stand in the fact.
_MOST_PIDS = 1000
_MOST_NAMES = 32


@dataclass(frozen=True)
class Sent:
    """A signal that has reached these processes. Of a crowd the first are named."""

    number: int
    pids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()

    def plus(self, other: "Sent") -> "Sent":
        """Both together, of one signal."""
        return Sent(self.number, self.pids + other.pids, (self.names + other.names)[:_MOST_NAMES])

    def fact(self, reason: str, clock: Clock, purpose: Literal["end", "stop"] = "end") -> SignalSent:
        """It was sent just now."""
        return SignalSent(
            signal=int(self.number),
            pids=self.pids[:_MOST_PIDS],
            reason=reason,
            purpose=purpose,
            names=self.names,
            processes=len(self.pids),
            at_boottime_ns=clock.boottime_ns(),
        )


def send_to(targets: Sequence[ProcessLook], number: int) -> Sent:
    """Send signal *number* to *targets*."""
    named = names_of(targets)
    pids = send(targets, number)
    return Sent(number, pids, tuple(named[pid] for pid in pids if pid in named))


def names_of(targets: Sequence[ProcessLook]) -> dict[int, str]:
    """What the first of *targets* call themselves, by pid; to be asked before a signal ends them."""
    return {each.identity.pid: process_name(each.identity.pid) for each in targets[:_MOST_NAMES]}


class Ending:
    """The end of a process tree, from the first TERM to the last process. Made, then moved on by `step`."""

    def __init__(
        self,
        tree: ProcessTree,
        reason: str,
        grace_seconds: float,
        tell: Callable[[SignalSent | KillFinished], None],
        clock: Clock,
    ) -> None:
        """Send TERM to everybody now, and CONT to who is stopped; KILL is due after *grace_seconds*."""
        self._tree = tree
        self._reason = reason
        self._tell = tell
        self._clock = clock
        #: These three by the monotonic clock.
        self._begun = time.monotonic()
        self._kill_at = self._begun + grace_seconds
        self._give_up_at: float | None = None
        self._killed: set[ProcessId] = set()
        self.is_over = False
        everybody = tree.look()
        self._tell_of(send_to(everybody, signal.SIGTERM))
        stopped = [each for each in everybody if each.is_stopped]
        self._tell_of(send_to(stopped, signal.SIGCONT))
        self.step()

    @property
    def wake_up_at(self) -> float:
        """When `step` must be called at the latest, by the monotonic clock."""
        if self._give_up_at is None:
            return self._kill_at
        return min(self._give_up_at, time.monotonic() + _LOOK_SECONDS)

    def shorten(self, grace_seconds: float) -> None:
        """The grace lasts *grace_seconds* from now at most."""
        self._kill_at = min(self._kill_at, time.monotonic() + grace_seconds)
        self.step()

    def step(self) -> None:
        """Do what is due: after every process that has ended, and at `wake_up_at`."""
        if self.is_over:
            return
        now = time.monotonic()
        if self._tree.is_empty:
            self._finish(())
        elif now >= self._kill_at:
            self._give_up_at = self._give_up_at or now + PATIENCE_SECONDS
            if now >= self._give_up_at:
                self._finish(tuple(each.identity.pid for each in self._tree.look()))
            else:
                self._kill()

    def _kill(self) -> None:
        sent = Sent(signal.SIGKILL)
        group = self._tree.meter.group
        if group is not None and not self._killed and group.can_kill:
            # cgroup.kill does not reach a process whose first thread has ended: that one gets its own below.
            targets = [each for each in self._tree.look() if each.state not in "ZX"]
            named = names_of(targets)
            with contextlib.suppress(OSError):
                group.kill()
                self._killed.update(each.identity for each in targets)
                sent = Sent(signal.SIGKILL, tuple(each.identity.pid for each in targets), tuple(named.values()))
        for _ in range(_ROUNDS):
            new = [each for each in self._tree.everybody() if each.identity not in self._killed]
            if not new:
                break
            sent = sent.plus(send_to(new, signal.SIGKILL))
            self._killed.update(each.identity for each in new)
        self._tell_of(sent)

    def _tell_of(self, sent: "Sent") -> None:
        if sent.pids:
            self._tell(sent.fact(self._reason, self._clock))

    def _finish(self, survivors: tuple[int, ...]) -> None:
        self.is_over = True
        self._tell(KillFinished(duration_seconds=time.monotonic() - self._begun, survivors=survivors))
