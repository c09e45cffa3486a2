"""The warm process from which wrappers are forked: `python -I -m runner.computing.zygote_process FD MODULE...`

It has the wrapper's imports loaded and frozen, no thread, and one socket to the agent, which a
wrapper does not inherit. Each request is a datagram of JSON, `{"script", "log"}`; the answer is
`{"pid"}` or `{"error"}`. The first message, without a request, says that it is ready; `{"spare"}`
names a wrapper that waits (`spare`) and is no job's yet. It ends when the agent has closed its end.

A wrapper is forked twice, so that it is orphaned at once and becomes the child of the agent, which
is a subreaper: the agent sees its end, and a dying zygote takes nobody along.
"""

import atexit
import contextlib
import errno
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from runner.computing import birth
from runner.computing.spare import LARGEST_MESSAGE_BYTES, Assignment, Spare, wait_for_job
from runner.process.linux import harden, set_name
from telemetry.clock import SystemClock

#: A spare is made when so long nothing was asked for: it must not compete with a wrapper that begins.
QUIET_SECONDS = 0.02
#: The process between zygote and wrapper ends at once; this is for one that does not come to it.
ORPHANED_SECONDS = 5.0
#: What `runpy.run_path` imports when it is called, and no sooner.
_OF_RUNPY = ("pkgutil",)
_OUTPUT_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def main(arguments: Sequence[str]) -> int:
    """Preload, then make a wrapper for each request until the socket ends."""
    channel = socket.socket(fileno=int(arguments[0]))
    channel.set_inheritable(False)
    set_name("jobspan-zygote")
    harden()
    _shed_signals()
    _answer(channel, _preload((*arguments[1:], *_OF_RUNPY)))
    zygote = Zygote(channel)
    try:
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            zygote.serve()
    finally:
        zygote.close()
    return 0


class Zygote:
    """Makes wrappers, and keeps one spare when there is time."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._spare: Spare | None = None

    def serve(self) -> None:
        """Answer requests until the agent has gone."""
        while True:
            if self._spare is None and not select.select([self._channel], [], [], QUIET_SECONDS)[0]:
                self._make_spare()
            message = self._channel.recv(LARGEST_MESSAGE_BYTES)
            if not message:
                return
            _answer(self._channel, self._start(json.loads(message)))

    def close(self) -> None:
        """Leave no spare behind."""
        if self._spare is not None:
            self._spare.dismiss()

    def _start(self, request: dict[str, str]) -> dict[str, Any]:
        assignment = Assignment(request["script"], request["log"], SystemClock().boottime_ns())
        spare, self._spare = self._spare, None
        if spare is not None and spare.employ(assignment):
            return {"pid": spare.pid}
        try:
            return {"pid": _fork_orphan(lambda: _be_wrapper(assignment))}
        except OSError as error:
            return {"error": f"cannot fork: {error.strerror}"}

    def _make_spare(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                # The agent is told of it before it is the agent's child: else it would be taken for an orphan.
                self._spare = Spare(_fork_orphan(lambda: _be_spare(theirs), self._announce), ours)
            except OSError:  # tried again after the next job, which says so if it is still so
                ours.close()

    def _announce(self, spare: int) -> None:
        _answer(self._channel, {"spare": spare})


def _preload(modules: Sequence[str]) -> dict[str, Any]:
    try:
        for name in modules:
            importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever an import does: the agent hears it and goes on without us
        traceback.print_exc()
        return {"error": f"cannot import {name}: {error!r}"}
    if len(os.listdir("/proc/self/task")) > 1:
        return {"error": "the preloaded modules have started threads, which do not survive a fork"}
    birth.warm()
    gc.collect()
    gc.freeze()
    return {"ready": True}


def _fork_orphan(life: Callable[[], NoReturn], announce: Callable[[int], None] = lambda _pid: None) -> int:
    """Fork twice, so that *life* is lived by a child of the agent; its pid, which *announce* is told before.

    Raises:
        OSError: it cannot be.
    """
    reader, writer = os.pipe()
    gate, latch = os.pipe()
    try:
        middle = os.fork()
        if middle == 0:
            os.close(latch)
            _fork_and_end(life, writer, gate)
        os.close(writer)
        writer = -1
        pid = os.read(reader, 32)
        if pid:
            announce(int(pid))
        os.close(latch)
        latch = -1
        os.waitpid(middle, 0)
        if not pid:
            raise OSError(errno.EAGAIN, "the second fork failed")
        return int(pid)
    finally:
        for each in (reader, writer, gate, latch):
            if each >= 0:
                os.close(each)


def _fork_and_end(life: Callable[[], NoReturn], writer: int, gate: int) -> NoReturn:
    """In the middle process: leave the child to the agent by ending, once the zygote has shut the *gate*."""
    middle = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _await_end(middle)
            life()
        os.write(writer, str(pid).encode())
        os.read(gate, 1)
    finally:
        os._exit(0)


def _await_end(middle: int) -> None:
    """Begin as the agent's child: a wrapper that asks who its parent is must not be told of *middle*."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(middle)
        select.select([handle], [], [], ORPHANED_SECONDS)
        os.close(handle)


def _be_spare(line: socket.socket) -> NoReturn:
    """In a wrapper that is made ahead: shed what is the zygote's, and wait."""
    assignment = None
    try:
        _leave("jobspan-spare", line.fileno())
        birth.prepare()
        assignment = wait_for_job(line)
    finally:
        if assignment is None:
            birth.leave()
            os._exit(0)
    _work(assignment)


def _be_wrapper(assignment: Assignment) -> NoReturn:
    """In a wrapper that is made on demand: shed what is the zygote's, and begin."""
    try:
        _leave("jobspan-wrapper")
    except BaseException:  # noqa: BLE001 - the boundary of the process
        traceback.print_exc()
        os._exit(1)
    _work(assignment)


def _leave(name: str, line: int = -1) -> None:
    """Become a process of its own, with no descriptor of the zygote's but *line*."""
    os.setsid()
    set_name(name)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    end = max(map(int, os.listdir("/proc/self/fd"))) + 1
    os.closerange(3, line if line > 0 else end)
    if line > 0:
        os.closerange(line + 1, end)


def _work(assignment: Assignment) -> NoReturn:
    """Run the script as a fresh interpreter would; the end of this process."""
    code = 1
    try:
        script = Path(assignment.script)
        set_name("jobspan-wrapper")
        _speak_into(Path(assignment.log))
        os.chdir(script.parent)
        birth.record(assignment.start_boottime_ns)
        code = _execute(script)
    except BaseException:  # noqa: BLE001 - the boundary of the process: what is left becomes its exit code
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _speak_into(log: Path) -> None:
    """Output goes to *log*, input is empty."""
    output = os.open(log, _OUTPUT_FLAGS, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def _shed_signals() -> None:
    """What the interpreter sets at its start, whatever the agent's parent had ignored; forks inherit it."""
    as_python_does = {signal.SIGINT: signal.default_int_handler}
    ignored = {signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):  # some realtime signals belong to the C library
            default = signal.SIG_IGN if number in ignored else signal.SIG_DFL
            signal.signal(number, as_python_does.get(signal.Signals(number), default) if number < 32 else default)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(script: Path) -> int:
    """Run *script* as `__main__`; its exit code, after its threads and exit handlers have ended."""
    sys.argv = [str(script)]
    try:
        runpy.run_path(str(script), run_name="__main__")
        code = 0
    except SystemExit as request:
        code = _exit_code(request.code)
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    return code


def _exit_code(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does with sys.exit("words")
    return 1


def _answer(channel: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        channel.send(json.dumps(message).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
