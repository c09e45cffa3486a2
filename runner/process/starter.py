"""The wrapper's handle on its starter, the process that starts, keeps and ends the payload."""

import contextlib
import gc
import os
import pwd
import select
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from runner.errors import ConfigError, PayloadStartError, TransientJobError
from runner.process.command import PayloadCommand, PayloadUser
from runner.process.keeper import STARTER_NAME, Terms, keep
from runner.process.questions import ANSWER_SECONDS, Questions
from runner.process.start_failure import explain
from runner.process.wire import Frames, pack, values_of
from telemetry.clock import NANOSECONDS, Clock
from telemetry.entries import KINDS
from telemetry.facts import Fact, KillFinished, PayloadEnded, PayloadStarted, SignalSent, UsageSettled
from telemetry.measure import procfs
from telemetry.measure.snapshot import UsageReading

__all__ = ["PayloadCommand", "PayloadUser", "Prepared", "Starter", "StarterEvent", "TreeEnded", "payload_user"]

#: A starter that is found stopped so often, though it was told to go on, or gives so many readings no answer, hangs.
#: (Looks are counted, not seconds: a batch system that stops all of us for an hour does no harm.)
_MOST_LOOKS = 15
#: What the end of the starter may take beyond the grace.
_CLOSING_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known before the exec: what a recovery needs to find every process of the payload."""

    starter_pid: int
    cgroup_paths: tuple[str, ...]
    #: NAME=value, which the starter puts into the payload's environment.
    environment_mark: str
    cpu_method: str
    #: No process of the payload is older.
    since_boottime_ns: int


@dataclass(frozen=True, kw_only=True)
class TreeEnded:
    """Nothing of the payload is left (but for survivors that `KillFinished` has named)."""

    usage: UsageSettled


StarterEvent: TypeAlias = PayloadEnded | SignalSent | KillFinished | TreeEnded


def payload_user(name: str) -> PayloadUser:
    """The account *name* with its groups.

    Raises:
        ConfigError: there is no such account, or we are not root and may not become it.
    """
    try:
        entry = pwd.getpwnam(name)
    except KeyError as error:
        raise ConfigError(f"[JobWrapper] PayloadUser: there is no account {name!r}; name one, or none") from error
    if os.geteuid() != 0 and entry.pw_uid != os.geteuid():
        raise ConfigError(f"[JobWrapper] PayloadUser {name!r} needs a wrapper that runs as root; leave it empty")
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return PayloadUser(uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, name=name)


class WaitingStarter:
    """A starter that was forked before anybody knew for which job."""

    def __init__(self, pid: int, commands: socket.socket, queries: socket.socket, clock: Clock) -> None:
        """Use `fork`."""
        self.pid = pid
        self._clock = clock
        self._commands = commands
        self._queries = queries

    @classmethod
    def fork(cls, clock: Clock) -> "WaitingStarter":
        """Make one; to be called before this process has a second thread."""
        if threading.active_count() > 1:
            raise RuntimeError("the starter must be forked before any thread exists")
        commands, commands_of_keeper = socket.socketpair()
        queries, queries_of_keeper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            _live(commands_of_keeper, queries_of_keeper, clock)
        commands_of_keeper.close()
        queries_of_keeper.close()
        return cls(pid, commands, queries, clock)

    def employ(self, terms: Terms) -> "Starter":
        """Give it its job, and our stderr for what it has to complain of. If it has died, `prepare` tells."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._commands, [pack("terms", {**values_of(terms), "control": str(terms.control)})], [2])
        return Starter(self.pid, self._commands, self._queries, terms, self._clock)

    def dismiss(self) -> None:
        """There will be no job: let it go, and wait for its end."""
        self._commands.close()
        self._queries.close()
        _wait_for(self.pid, _CLOSING_SECONDS)


class Starter:
    """Starts one payload and tells what becomes of it.

    `poll` belongs to one thread; `end_tree` and `snapshot` may be called by any.
    """

    def __init__(self, pid: int, commands: socket.socket, queries: socket.socket, terms: Terms, clock: Clock) -> None:
        """Use `fork`."""
        self._clock = clock
        self.pid = pid
        self._commands = commands
        self._questions = Questions(queries, clock)
        self._terms = terms
        self._frames = Frames()
        #: For what is said or done to the starter.
        self._mutex = threading.Lock()
        #: What was done to the starter, and not told yet.
        self._untold: list[SignalSent] = []
        self._prepared: Prepared | None = None
        self._facts_had = 0
        self._cpu_seconds = 0.0
        self._life: Literal["serving", "dismissed", "reaped"] = "serving"

    @classmethod
    def fork(
        cls,
        control: Path,
        *,
        method: str,
        uid_label: str,
        orphan_grace_seconds: float,
        kill_grace_seconds: float,
        clock: Clock,
    ) -> "Starter":
        """Make the starter; to be called before this process has a second thread.

        *control* is where the starter writes what it saw should this process die; *method* is that
        of CPUMethod; *uid_label* names the control groups.
        """
        waiting = WaitingStarter.fork(clock)
        return waiting.employ(
            Terms(
                control=control,
                method=method,
                label=uid_label,
                orphan_grace_seconds=orphan_grace_seconds,
                kill_grace_seconds=kill_grace_seconds,
            )
        )

    def prepare(self) -> Prepared:
        """What the starter has made ready.

        Raises:
            TransientJobError: the configured method of measuring is not granted, or the starter has died.
        """
        if self._prepared is None:
            data = self._next()[1]
            refusal = data.pop("refusal")
            if refusal:
                raise TransientJobError(
                    f"CPUMethod {self._terms.method} is not granted here ({refusal}); use auto", error_type="cpu_method"
                )
            self._prepared = Prepared(**{**data, "cgroup_paths": tuple(data["cgroup_paths"])})
            self._questions.know_groups(self._prepared.cpu_method, self._prepared.cgroup_paths)
        return self._prepared

    def start(self, command: PayloadCommand) -> PayloadStarted:
        """Start the payload, and wait until its exec has succeeded.

        Raises:
            PayloadStartError: it failed, and nothing runs; the message says why.
            TransientJobError: the starter has died.
        """
        self.prepare()
        self._send("start", command.to_json())
        kind, data = self._next()
        if kind == "Refused":
            number = data["errno"]
            raise PayloadStartError(explain(data["step"], number, command), errno=number)
        self._facts_had += 1
        return PayloadStarted(**data)

    def end_tree(self, reason: str, grace_seconds: float | None = None) -> None:
        """Have every process of the payload ended: TERM, the grace (None: KillGracePeriod), KILL.

        Returns at once; `poll` tells what happens. Repeated, it can only shorten the grace. Without a
        payload it does nothing.
        """
        grace = self._terms.kill_grace_seconds if grace_seconds is None else grace_seconds
        self._send("end", {"reason": reason, "grace_seconds": grace})

    def stop_gracefully(self, regex: str, number: int, reason: str) -> None:
        """Send signal *number* to the payload's processes that *regex* fits, once; `poll` tells which they were.

        Until one fits, every call looks again. The payload goes on; it decides what the signal means.
        """
        self._send("stop", {"regex": regex, "number": number, "reason": reason})

    def poll(self, timeout_seconds: float) -> list[StarterEvent]:
        """What has happened since the last call; waits for it, at most *timeout_seconds*.

        Raises:
            TransientJobError: the starter has died, and with it all that is known of the payload.
        """
        untold, self._untold = self._untold, []
        events = [_event(kind, data) for kind, data in self._frames]
        if not untold and not events and select.select([self._commands], [], [], timeout_seconds)[0]:
            self._receive()
            events = [_event(kind, data) for kind, data in self._frames]
        self._facts_had += len(events)
        return [*untold, *events]

    def snapshot(self, depth: Literal["", "deep", "pss"] = "") -> UsageReading | None:
        """What the payload's processes have used so far; None when the starter does not answer.

        A payload that has not run since the last answer is not looked at again.
        "deep" looks at swap, context switches and pressure too, "pss" also at proportional memory, which is dear.
        """
        return self._questions.ask(depth)

    def stir(self) -> SignalSent | None:
        """After an answer that did not come: have a starter that was stopped go on, and kill one that hangs.

        What was done. Its death is told by `poll`; what it leaves of the payload is then ended by whoever polls.
        """
        with self._mutex:
            if self._life != "serving":
                return None
            seen = procfs.look(self.pid, with_bytes=False)
            if seen is None or not seen.is_alive:
                return None
            if self._questions.unanswered >= _MOST_LOOKS:
                return self._signal(signal.SIGKILL, "the payload's starter does not answer")
            return self._signal(signal.SIGCONT, "the payload's starter was stopped") if seen.is_stopped else None

    def cpu_seconds(self) -> float:
        """What the starter itself has used. (Its resource usage as a child would contain the payload's.)"""
        with contextlib.suppress(OSError):
            # The CPU clock of another process, as clock_getcpuclockid(3) makes it.
            self._cpu_seconds = time.clock_gettime_ns(~self.pid << 3 | 2) / NANOSECONDS
        return self._cpu_seconds

    def dismiss(self) -> None:
        """Let the starter go, without waiting: it ends what is left of the payload and itself. Idempotent."""
        if self._life != "serving":
            return
        self._life = "dismissed"
        self.cpu_seconds()
        self._send("close", {"facts": self._facts_had})
        self._commands.close()
        self._questions.close()

    def close(self) -> None:
        """Let the starter go, and wait for its end. Idempotent."""
        self.dismiss()
        if self._life == "dismissed":
            with self._mutex:
                self._signal(signal.SIGCONT, "")
                self._life = "reaped"
            _wait_for(self.pid, self._terms.kill_grace_seconds + _CLOSING_SECONDS)

    def _send(self, kind: str, data: dict[str, Any]) -> None:
        with self._mutex, contextlib.suppress(OSError):  # `poll` tells that the starter has died
            self._commands.sendall(pack(kind, data))

    def _next(self) -> tuple[str, dict[str, Any]]:
        while True:
            for frame in self._frames:
                return frame
            self._await_answer()
            self._receive()

    def _await_answer(self) -> None:
        """Wait for as long as the starter works: the exec of a payload may take long where a file system hangs."""
        looks = 0
        while not select.select([self._commands], [], [], ANSWER_SECONDS)[0]:
            self._questions.unanswered = looks
            if (done := self.stir()) is not None:
                self._untold.append(done)
                looks += 1

    def _signal(self, number: signal.Signals, reason: str) -> SignalSent:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)  # our child, which we have not reaped
        return SignalSent(
            signal=int(number), pids=(self.pid,), reason=reason, purpose="wake", names=(STARTER_NAME,), processes=1,
            at_boottime_ns=self._clock.boottime_ns(),
        )  # fmt: skip

    def _receive(self) -> None:
        if not self._frames.receive(self._commands):
            raise TransientJobError("the payload's starter process has died", error_type="starter_died")


def _event(kind: str, data: dict[str, Any]) -> StarterEvent:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    fact: Fact = KINDS[kind](**values)
    if isinstance(fact, UsageSettled):
        return TreeEnded(usage=fact)
    if isinstance(fact, PayloadEnded | SignalSent | KillFinished):
        return fact
    raise RuntimeError(f"the starter tells of {kind} at the wrong moment")


def _live(commands: socket.socket, queries: socket.socket, clock: Clock) -> None:
    """All of the forked process: whatever happens in it, it never returns into the wrapper's code."""
    status = 70
    gc.freeze()  # what we inherit is never collected here: that would only copy its pages
    try:
        keep(commands, queries, clock)
        status = 0
    except BaseException:  # noqa: BLE001 - the end of a process: its wrapper sees the line close
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait_for(pid: int, timeout_seconds: float) -> None:
    """Reap the starter; one that hangs is killed."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        handle = os.pidfd_open(pid)
        try:
            if not select.select([handle], [], [], timeout_seconds)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            if select.select([handle], [], [], ANSWER_SECONDS)[0]:
                os.waitpid(pid, 0)
        finally:
            os.close(handle)
