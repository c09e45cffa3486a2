"""A payload's run: planned, started, watched, ended; each step a fact."""

import os
import signal
from dataclasses import dataclass, replace
from typing import TypeGuard

from runner.errors import PayloadStartError, TransientJobError
from runner.process.cancel import Cancel
from runner.process.command import PayloadCommand
from runner.process.output import ExecutionThread
from runner.process.remnants import Traces, end_remnants
from runner.process.starter import Prepared, Starter, StarterEvent, TreeEnded
from runner.process.watchdog import Watchdog
from telemetry.bus import Emit
from telemetry.facts import (
    KillFinished,
    KillRequested,
    OutputSeen,
    PayloadEnded,
    PayloadPlanned,
    PayloadRefused,
    PayloadStarted,
    SignalSent,
    UsageSettled,
)
from telemetry.measure import procfs
from telemetry.measure.oom import oom_kills, own_groups

#: The starter tells of every event by itself; this only bounds a wait that nothing ends.
_PATIENCE_SECONDS = 3600.0
#: A batch system that ends its job signals all of it at the same time: what the payload has heard is on its way to us.
_SIGNAL_SECONDS = 1.0
_TOLD = frozenset({signal.SIGTERM, signal.SIGINT})
#: A shell whose program was ended by a signal exits with this and its number.
_SHELL_SIGNAL = 128


@dataclass(frozen=True, kw_only=True)
class PayloadResult:
    """How a payload has ended. It ended by an exit code, by a signal, or (a survivor of KILL) not at all."""

    started: PayloadStarted
    exit_code: int | None
    signal: int | None
    usage: UsageSettled
    output: tuple[OutputSeen, ...]
    #: Why it was killed; None when it ended by itself.
    killed: KillRequested | None
    survivors: tuple[int, ...] = ()
    #: The signal by which processes of the payload were told that the time is nearly up; None: none was.
    stop_signal: int | None = None
    #: Processes that the kernel has killed because memory ran out, as far as a control group tells.
    oom_kills: int = 0


def run(
    command: PayloadCommand,
    *,
    starter: Starter,
    output: ExecutionThread,
    watchdog: Watchdog,
    cancel: Cancel,
    emit: Emit,
) -> PayloadResult:
    """Run *command* to its end, and to that of everything it has started.

    A kill that is asked for while it runs ends it with the grace, and `killed` says why. Whatever goes
    wrong after the start, the payload is ended before the error leaves this function.

    Raises:
        Cancelled: the end was asked for before the start.
        PayloadStartError: the exec failed; nothing runs.
        TransientJobError: CPUMethod is not granted, or the starter has died.
    """
    cancel.check()
    prepared = starter.prepare()
    user = command.user.name if command.user else ""
    emit(
        PayloadPlanned(
            starter_pid=prepared.starter_pid,
            cgroup_paths=prepared.cgroup_paths,
            environment_mark=prepared.environment_mark,
            user=user,
            since_boottime_ns=prepared.since_boottime_ns,
        )
    )
    groups = own_groups()
    killed_before = oom_kills(groups) or 0
    try:
        started = _start(command, starter, emit)
        output.start()
        watchdog.attach(starter, output)
        cancel.on_request(lambda cause: starter.end_tree(cause.reason))
        events = _pump(starter, emit)
    except PayloadStartError:
        raise
    except BaseException as error:
        _give_up(starter, prepared, isinstance(error, TransientJobError))
        raise
    finally:
        output.catch_up()  # however long that takes: the job is watched until then
        watchdog.detach()
        seen = output.finish()
    for each in seen:
        emit(each)
    if _was_told(events):
        cancel.wait(_SIGNAL_SECONDS)
    result = _result(started, events, seen, cancel)
    # Its own group counts, if it has one; else that which we share with it, as a batch system gives it.
    killed = (oom_kills(groups) or 0) - killed_before
    return replace(result, oom_kills=max(result.usage.oom_kills or 0, killed))


def _start(command: PayloadCommand, starter: Starter, emit: Emit) -> PayloadStarted:
    try:
        started = starter.start(command)
    except PayloadStartError as error:
        emit(PayloadRefused(errno=error.errno, cause=str(error)))
        raise
    emit(started)
    return started


def _pump(starter: Starter, emit: Emit) -> list[StarterEvent]:
    """Write down what the starter tells, until nothing of the payload is left."""
    events: list[StarterEvent] = []
    while True:
        for event in starter.poll(_PATIENCE_SECONDS):
            events.append(event)
            if isinstance(event, TreeEnded):
                emit(event.usage)
                return events
            emit(event)


def _give_up(starter: Starter, prepared: Prepared, is_starter_dead: bool) -> None:
    if not is_starter_dead:
        starter.end_tree("the wrapper gives up")
    starter.close()
    # What a dead starter leaves comes to us, who must be a subreaper for that: without a group there is no other trace
    # of a process that has left its session and its environment.
    end_remnants(
        prepared.cgroup_paths,
        prepared.environment_mark,
        traces=Traces(lambda: procfs.children(os.getpid()), prepared.since_boottime_ns),
    ).remove()


def _was_told(events: list[StarterEvent]) -> bool:
    """Whether the payload has ended as one does that was told to, and not by our graceful stop."""
    ended = next((each for each in events if isinstance(each, PayloadEnded)), None)
    if ended is None or any(_is_stop(each) for each in events):
        return False
    return ended.signal in _TOLD or (ended.exit_code or 0) - _SHELL_SIGNAL in _TOLD


def _is_stop(event: StarterEvent) -> TypeGuard[SignalSent]:
    return isinstance(event, SignalSent) and event.purpose == "stop" and bool(event.pids)


def _result(
    started: PayloadStarted, events: list[StarterEvent], seen: tuple[OutputSeen, ...], cancel: Cancel
) -> PayloadResult:
    ended = next((each for each in events if isinstance(each, PayloadEnded)), None)
    usage = next(each.usage for each in events if isinstance(each, TreeEnded))
    survivors = tuple(pid for each in events if isinstance(each, KillFinished) for pid in each.survivors)
    return PayloadResult(
        started=started,
        exit_code=ended.exit_code if ended else None,
        signal=ended.signal if ended else None,
        usage=usage,
        output=seen,
        killed=cancel.cause,
        survivors=survivors,
        stop_signal=next((each.signal for each in events if _is_stop(each)), None),
    )
