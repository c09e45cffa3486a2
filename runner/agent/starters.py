"""Starters of dead wrappers: each ends its payload within seconds, and is waited for; one that cannot is helped."""

import contextlib
import os
import signal
from pathlib import Path

from runner.agent.recovery import WRITER
from runner.locks import lock_holder
from runner.process.keeper import LIFE_LOCK, STARTER_NAME
from telemetry.clock import Clock
from telemetry.facts import SignalSent
from telemetry.journal import Journal, JournalBusy, is_written
from telemetry.measure import procfs

#: A starter without a wrapper takes its grace of 2 s and 5 s for what KILL does not end; then it hangs.
HANGS_SECONDS = 15.0


def hurry(control: Path, clock: Clock, alone_seconds: float) -> None:
    """Have the starter go on if it was stopped; kill it when its wrapper has been dead for too long.

    Nothing is done while the wrapper lives, whose matter it is. What was done is written down.
    """
    lock = control / LIFE_LOCK
    if is_written(control, "wrapper") or (pid := lock_holder(lock)) is None:
        return
    seen = procfs.look(pid, with_bytes=False)
    if seen is None:
        return
    if alone_seconds > HANGS_SECONDS:
        _send(control, pid, signal.SIGKILL, "the starter of a dead wrapper does not end", clock)
    elif seen.is_stopped:
        _send(control, pid, signal.SIGCONT, "the starter of a dead wrapper was stopped", clock)


def _send(control: Path, pid: int, number: signal.Signals, reason: str, clock: Clock) -> None:
    """To the lock's holder, looked at twice: it cannot be anybody else then."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if lock_holder(control / LIFE_LOCK) != pid:
            return
        signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(handle)
    fact = SignalSent(
        signal=int(number), pids=(pid,), reason=reason, purpose="wake", names=(STARTER_NAME,), processes=1,
        at_boottime_ns=clock.boottime_ns(),
    )  # fmt: skip
    with contextlib.suppress(OSError, JournalBusy), Journal(control, WRITER, clock) as journal:
        journal.append(fact)
