"""Why there is no wrapper that could end its attempt: what wait4, the kernel and the boot tell of its death. Pure."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.entries import Entry
from telemetry.facts import WrapperReaped


@dataclass(frozen=True)
class Trouble:
    """Why there is no wrapper that could end the attempt. `error_type` is of low cardinality."""

    error_type: str
    message: str


WRAPPER_DIED = Trouble("wrapper_died", "the wrapper process died")
PREEMPTED = Trouble("preempted", "the agent was told to stop")
NOT_SUBMITTED = Trouble("submission_failed", "the computing element did not take the wrapper")
REBOOTED = Trouble("reboot", "the machine was restarted while the job ran")
OUT_OF_MEMORY = "out_of_memory"


def diagnosed(trouble: Trouble, entries: Sequence[Entry], boot_id: str) -> Trouble:
    """*trouble* with the true cause, as far as anybody has seen it, if it is that the wrapper died.

    A fact of a recovery before, which came from the present boot, says nothing about the boot of the wrapper.
    """
    if trouble is not WRAPPER_DIED:
        return trouble
    reaped = [entry.fact for entry in entries if isinstance(entry.fact, WrapperReaped)]
    if reaped:
        return _seen(reaped[-1])
    if entries and not any(entry.boot_id == boot_id for entry in entries if entry.writer != "recovery"):
        return REBOOTED
    return Trouble(trouble.error_type, f"{trouble.message}; nobody saw how")


def _seen(end: WrapperReaped) -> Trouble:
    if end.signal is None:
        return Trouble(WRAPPER_DIED.error_type, f"the wrapper ended with exit code {end.exit_code} before its time")
    if end.signal == signal.SIGKILL and end.oom_kills:
        return Trouble(OUT_OF_MEMORY, f"the wrapper was killed by the kernel ({end.oom_kills} killed): no memory left")
    name = _name(end.signal)
    hint = ", perhaps because memory ran out" if end.signal == signal.SIGKILL and end.oom_kills is None else ""
    return Trouble(WRAPPER_DIED.error_type, f"the wrapper was killed by {name}{hint}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"
