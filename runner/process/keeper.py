"""The starter's own process: parent of the payload, subreaper of all that comes of it, and their end.

One thread, one loop, woken by descriptors only: the line to the wrapper, the ends of children, the
pipe that tells whether the exec succeeded. Everything that it needs is imported before it is forked.
"""

import contextlib
import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runner.locks import FileLock, LockHeld
from runner.process import linux, noted
from runner.process.candidate import Candidate
from runner.process.command import PayloadCommand
from runner.process.graceful import GracefulStop
from runner.process.launch import is_killable, make_killable
from runner.process.settling import settled_usage
from runner.process.signals import Ending
from runner.process.tree import ProcessTree, Reaped
from runner.process.wire import Line, pack_reading, unpack, unpack_question, values_of
from telemetry.clock import Clock
from telemetry.facts import Fact, PayloadEnded, PayloadStarted
from telemetry.journal import Journal, JournalBusy, read_journal
from telemetry.measure import procfs
from telemetry.measure.meter import Wait4Meter, choose
from telemetry.measure.oom import oom_kills

WRITER = "starter"
STARTER_NAME = "jobspan-starter"
MARK_VARIABLE = "JOBSPAN_PAYLOAD_MARK"
#: A lock in the control folder that the starter holds for its life: while it is held, whoever recovers waits.
LIFE_LOCK = "payload.lock"
#: Grace of a payload whose wrapper has died, at most: an attempt is to be closed within 5 s then.
_GRACE_ALONE_SECONDS = 2.0
#: Longest request for a reading; its content is only sent back.
QUESTION_BYTES = 64
#: More than the terms of a job take.
TERMS_BYTES = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the starter is told when it is forked."""

    control: Path
    method: str
    label: str
    orphan_grace_seconds: float
    kill_grace_seconds: float


@dataclass
class _Payload:
    """The top process, from the word to execute on."""

    pid: int
    command: PayloadCommand
    start_boottime_ns: int
    #: The pipe that exec closes; -1 when the answer is known.
    error_fd: int
    oom_score: bytes
    ended: PayloadEnded | None = None
    orphan_cpu_seconds: float = 0.0
    is_settled: bool = False


class Keeper:
    """Serves one wrapper, and starts one payload."""

    def __init__(self, line: Line, queries: socket.socket, terms: Terms, clock: Clock, tree: ProcessTree) -> None:
        """*line* takes the wrapper's commands and our facts, *queries* its questions about *tree*."""
        self._line = line
        self._queries = queries
        self._terms = terms
        self._clock = clock
        self._tree = tree
        self._mark = secrets.token_hex(16)
        #: Forked ahead, to become the payload.
        self._candidate: Candidate | None = None
        self._payload: _Payload | None = None
        self._ending: Ending | None = None
        #: What the wrapper has perhaps not written down.
        self._facts: list[Fact] = []
        self._is_alone = False
        self._stop = GracefulStop(clock, self._tell)

    def run(self, refusal: str) -> None:
        """Serve until the wrapper has gone and nothing of the payload is left. *refusal*: of the method."""
        group = self._tree.meter.group
        self._line.send(
            "Prepared",
            {
                "starter_pid": os.getpid(),
                "cgroup_paths": [str(path) for path in group.paths] if group else [],
                "environment_mark": f"{MARK_VARIABLE}={self._mark}",
                "cpu_method": self._tree.meter.method,
                "since_boottime_ns": self._clock.boottime_ns(),
                "refusal": refusal,
            },
        )
        wakeup_fd = _wake_up_on_children()
        if not refusal:
            with contextlib.suppress(OSError):  # told when it is needed, should it not be better by then
                self._candidate = self._fork()
        while not (self._is_alone and (self._payload is None or self._payload.is_settled)):
            self._serve(wakeup_fd)
        if self._candidate is not None:
            self._candidate.dismiss()
        self._write_down()
        if self._tree.is_empty and self._tree.notes:
            self._tree.notes.remove()

    def _serve(self, wakeup_fd: int) -> None:
        """Wait for the next event, and deal with all that have come."""
        handlers = self._handlers(wakeup_fd)
        poll = select.poll()
        for fd in handlers:
            poll.register(fd, select.POLLIN)
        if self._line.is_waiting and not self._is_alone:
            poll.modify(self._line.fileno(), select.POLLIN | select.POLLOUT)
        ready = poll.poll(self._patience_ms())
        query_only = [(self._queries.fileno(), select.POLLIN)]
        while ready == query_only and self._patience_ms() is None:
            # Most wake-ups, one a PollingTime, are for a reading, which changes nothing that is looked at below.
            self._on_query()
            ready = poll.poll()
        for fd, events in ready:
            if events & ~select.POLLOUT:
                handlers[fd]()
        self._line.flush()
        self._on_children()
        if self._ending is not None:
            self._ending.step()
        self._tree.look_if_due()
        self._settle()

    def _handlers(self, wakeup_fd: int) -> dict[int, Callable[[], object]]:
        """What to do with each descriptor that is waited on."""
        handlers: dict[int, Callable[[], object]] = {wakeup_fd: lambda: os.read(wakeup_fd, 4096)}
        if not self._is_alone:
            handlers[self._line.fileno()] = self._on_command
            handlers[self._queries.fileno()] = self._on_query
        if self._payload and self._payload.error_fd >= 0:
            handlers[self._payload.error_fd] = self._check_launch
        return handlers

    def _patience_ms(self) -> int | None:
        moments = [self._tree.look_at]
        if self._ending is not None and not self._ending.is_over:
            moments.append(self._ending.wake_up_at)
        wake_up_at = min((each for each in moments if each is not None), default=None)
        # Rounded up: to wake a moment too early would only mean to wait again.
        return None if wake_up_at is None else max(0, int((wake_up_at - time.monotonic()) * 1000) + 1)

    def _on_command(self) -> None:
        is_there, frames = self._line.receive()
        for kind, data in frames:
            if kind == "start":
                self._start(PayloadCommand.from_json(data))
            elif kind == "end":
                self._end(data["reason"], data["grace_seconds"])
            elif kind == "stop" and self._payload and not self._payload.is_settled and self._ending is None:
                self._stop.ask(self._tree.look(), **data)
            elif kind == "close":  # the wrapper has had so many facts of us
                del self._facts[: data["facts"]]
        if not is_there:
            self._is_alone = True
            self._end("wrapper died", min(self._terms.kill_grace_seconds, _GRACE_ALONE_SECONDS))

    def _on_query(self) -> None:
        try:
            question = self._queries.recv(QUESTION_BYTES)
            if question:
                depth, still_until_ns = unpack_question(question)
                self._tree.was_still(still_until_ns)
                reading = self._tree.reading(is_deep=bool(depth), with_pss=depth == "pss")
                self._queries.send(pack_reading(question, reading, self._tree.marks), socket.MSG_DONTWAIT)
        except OSError:  # nobody waits for the answer any more; the other line tells whether anybody is there
            return

    def _start(self, command: PayloadCommand) -> None:
        command = replace(command, environment={**command.environment, MARK_VARIABLE: self._mark})
        candidate, self._candidate = self._candidate, None
        if candidate is not None and candidate.was_killed():
            candidate.dismiss()
            candidate = None
        try:
            candidate = candidate or self._fork()
        except OSError as error:  # too many processes, or no memory for one more
            self._line.send("Refused", {"step": "fork", "errno": error.errno or 0})
            return
        self._tree.is_empty = False
        start_boottime_ns = self._clock.boottime_ns()
        self._payload = _Payload(candidate.pid, command, start_boottime_ns, candidate.error_fd, candidate.oom_score)
        candidate.execute(command)

    def _fork(self) -> Candidate:
        return Candidate.fork(self._tree.meter.group, self._tree.note_ourselves)

    def _check_launch(self) -> None:
        """Read the pipe: a failure is told in it, success is its end."""
        payload = self._payload
        if payload is None or payload.error_fd < 0:
            return
        try:
            answer = os.read(payload.error_fd, 64).decode()
        except BlockingIOError:
            return
        os.close(payload.error_fd)
        payload.error_fd = -1
        step, _, number = answer.partition(":")
        if step == "group" and self._terms.method == "auto":
            self._start_without_group(payload)
        elif answer or not procfs.has_executed(payload.pid):
            self._forget(payload)
            self._line.send("Refused", {"step": step or "ended", "errno": int(number or 0)})
        else:
            self._take_over(payload)
            self._tell(
                PayloadStarted(
                    pid=payload.pid,
                    start_boottime_ns=payload.start_boottime_ns,
                    start_ticks=procfs.start_ticks(payload.pid) or 0,
                    executable=payload.command.argv[0],
                )
            )

    def _take_over(self, payload: _Payload) -> None:
        """Of a payload that has executed: what its child could not do before, and the first look where looks count."""
        could_not = not is_killable(payload.pid, payload.oom_score)
        if could_not:
            make_killable(payload.pid, payload.oom_score)
        if could_not or self._tree.meter.group is None:
            for each in self._tree.look():  # with those that it has forked before
                make_killable(each.identity.pid, payload.oom_score)

    def _start_without_group(self, payload: _Payload) -> None:
        """The group can be made but not entered: measure by wait4."""
        self._forget(payload)
        self._tree.meter.close()
        self._tree = ProcessTree(self._clock, Wait4Meter(), self._tree.notes)
        self._start(payload.command)

    def _forget(self, payload: _Payload) -> None:
        """What was forked never became a payload; it only has to exit."""
        os.waitpid(payload.pid, 0)
        self._tree.is_empty = True
        self._payload = self._ending = None

    def _on_children(self) -> None:
        self._check_launch()
        payload = self._payload
        if self._candidate is not None or (payload is not None and payload.error_fd >= 0):
            # A candidate is our only child, and waited for by whoever lets it go. A payload may exec and exit between
            # that look and this line: the end of the pipe wakes us again, and whether it had executed can be told only
            # while it has not been reaped.
            return
        for each in self._tree.reap():
            if payload is None:
                continue
            if each.pid == payload.pid and payload.ended is None:
                payload.ended = _as_fact(each)
                self._tell(payload.ended)
            elif payload.ended is not None:
                payload.orphan_cpu_seconds += each.usage.used.total_seconds
        if payload and payload.ended and not payload.is_settled and not self._tree.is_empty and not self._ending:
            # The job ends with its top process; what that has left behind has its own grace.
            self._end("left behind by the payload", self._terms.orphan_grace_seconds)

    def _end(self, reason: str, grace_seconds: float) -> None:
        if self._payload is None or self._payload.is_settled:
            return
        if self._ending is None:
            self._ending = Ending(self._tree, reason, grace_seconds, self._tell, self._clock)
        else:
            self._ending.shorten(grace_seconds)

    def _settle(self) -> None:
        """When nothing is left of the payload, or what is left cannot be ended: what it has used."""
        payload = self._payload
        if payload is None or payload.is_settled:
            return
        if not (self._ending.is_over if self._ending else payload.ended and self._tree.is_empty):
            return
        payload.is_settled = True
        group = self._tree.meter.group
        self._tell(
            settled_usage(
                self._tree.reading(is_deep=True),
                ended=payload.ended,
                orphan_cpu_seconds=payload.orphan_cpu_seconds,
                oom_kills=oom_kills(group.paths) if group else None,
            )
        )

    def _tell(self, fact: Fact) -> None:
        self._facts.append(fact)
        self._line.send(type(fact).__name__, values_of(fact))

    def _write_down(self) -> None:
        """The wrapper has died: what it did not write down itself is kept by us."""
        if not self._facts:
            return
        try:
            known: list[Any] = [entry.fact for entry in read_journal(self._terms.control)]
            with Journal(self._terms.control, WRITER, self._clock) as journal:
                for fact in self._facts:
                    if fact not in known:
                        journal.append(fact)
        except (OSError, JournalBusy):  # the folder is gone or full: there is nobody left to tell
            return


def keep(commands: socket.socket, queries: socket.socket, clock: Clock) -> None:
    """The life of the starter's process, from its fork to its end."""
    _leave_the_wrapper(commands, queries)
    terms = _await_terms(commands)
    if terms is None:
        return
    notes: noted.Notes | None = None
    # A disk without room for an empty file: recovery takes us for dead then, and ends the payload itself.
    with contextlib.suppress(OSError, LockHeld):
        FileLock.take(terms.control / LIFE_LOCK)
        notes = noted.Notes.make(terms.control, clock.boot_id)
    meter, refusal = choose(terms.method, f"{terms.label}-{secrets.token_hex(4)}")
    try:
        Keeper(Line(commands), queries, terms, clock, ProcessTree(clock, meter, notes)).run(refusal)
    finally:
        meter.close()


def _await_terms(commands: socket.socket) -> Terms | None:
    """Wait for the job that this starter is for, and speak into the log of that; None: there will be none."""
    data = b""
    while not (frame := unpack(data)):
        part, streams, _, _ = socket.recv_fds(commands, TERMS_BYTES, 1)
        if not part:
            return None
        for each in streams:
            os.dup2(each, 2)
            os.close(each)
        data += part
    _, values = frame
    return Terms(**{**values, "control": Path(values["control"])})


def _leave_the_wrapper(commands: socket.socket, queries: socket.socket) -> None:
    """Own session, nothing open but our sockets and the log, deaf to signals meant for the wrapper."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    low, high = sorted((commands.fileno(), queries.fileno()))
    for first, behind in ((3, low), (low + 1, high), (high + 1, 1 << 31)):
        if first < behind:
            os.closerange(first, min(behind, (1 << 31) - 1))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    linux.set_name(STARTER_NAME)
    linux.harden()
    linux.become_subreaper()


def _wake_up_on_children() -> int:
    """A descriptor that becomes readable when a child ends."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    return read_fd


def _as_fact(top: Reaped) -> PayloadEnded:
    return PayloadEnded(
        exit_code=top.exit_code,
        signal=top.signal,
        end_boottime_ns=top.end_boottime_ns,
        user_cpu_seconds=top.usage.used.user_seconds,
        system_cpu_seconds=top.usage.used.system_seconds,
        max_rss_bytes=top.max_rss_bytes,
    )
