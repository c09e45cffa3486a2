"""How a payload is ended: TERM to all of it, a grace, KILL to what is left; a timeline of facts.

Only the starter does this, because it alone reaps the payload's processes, so that no pid can change
its owner between a look and a signal.
"""

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Literal

from runner.process.tree import ProcessTree, process_name, send
from telemetry.clock import Clock
from telemetry.facts import KillFinished, SignalSent
from telemetry.measure.snapshot import ProcessId

#: After KILL, a process that is still there cannot be killed now (another user's, or waiting for a disk).
PATIENCE_SECONDS = 5.0
#: While a kill is under way the tree is looked at again at least so often; ends of processes wake us anyway.
_LOOK_SECONDS = 0.2
#: A process forks while we kill: the tree is looked at again until nobody new is there, at most so often.
_ROUNDS = 50
#: Of a crowd (a fork bomb) so many pids and names stand in the fact.
_MOST_PIDS = 1000
_MOST_NAMES = 32


def sent(
    number: int, pids: tuple[int, ...], reason: str, clock: Clock, purpose: Literal["end", "stop"] = "end"
) -> SignalSent:
    """The fact that a signal went to *pids* just now; of a crowd the first are named."""
    return SignalSent(
        signal=int(number),
        pids=pids[:_MOST_PIDS],
        reason=reason,
        purpose=purpose,
        names=tuple(process_name(pid) for pid in pids[:_MOST_NAMES]),
        processes=len(pids),
        at_boottime_ns=clock.boottime_ns(),
    )


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
        self._begun = time.monotonic()
        self._kill_at = self._begun + grace_seconds
        self._give_up_at: float | None = None
        self._killed: set[ProcessId] = set()
        self.is_over = False
        everybody = tree.look()
        self._told(signal.SIGTERM, send(everybody, signal.SIGTERM))
        stopped = [each for each in everybody if each.is_stopped]
        self._told(signal.SIGCONT, send(stopped, signal.SIGCONT))
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
        pids: list[int] = []
        group = self._tree.meter.group
        if group is not None and not self._killed and group.can_kill:
            targets = [each for each in self._tree.look()]
            with contextlib.suppress(OSError):
                group.kill()
                self._killed.update(each.identity for each in targets)
                pids.extend(each.identity.pid for each in targets)
        for _ in range(_ROUNDS):
            new = [each for each in self._tree.everybody() if each.identity not in self._killed]
            if not new:
                break
            pids.extend(send(new, signal.SIGKILL))
            self._killed.update(each.identity for each in new)
        self._told(signal.SIGKILL, tuple(pids))

    def _told(self, number: int, pids: tuple[int, ...]) -> None:
        if pids:
            self._tell(sent(number, pids, self._reason, self._clock))

    def _finish(self, survivors: tuple[int, ...]) -> None:
        self.is_over = True
        self._tell(KillFinished(duration_seconds=time.monotonic() - self._begun, survivors=survivors))
