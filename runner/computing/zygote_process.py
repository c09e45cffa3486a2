"""The warm process from which wrappers are forked: `python -I -m runner.computing.zygote_process FD MODULE...`

It has the wrapper's imports loaded and frozen, no thread, and one socket to the agent, which a
wrapper does not inherit. Each request is a datagram of JSON, `{"script", "log"}`; the answer is
`{"pid"}` or `{"error"}`. The first message, without a request, says that it is ready. It ends when
the agent has closed its end.

A wrapper is forked twice, so that it is orphaned at once and becomes the child of the agent, which
is a subreaper: the agent sees its end, and a dying zygote takes nobody along.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from runner.computing import birth
from runner.process.linux import harden, set_name
from telemetry.clock import SystemClock

LARGEST_MESSAGE_BYTES = 1 << 16
_OUTPUT_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


def main(arguments: Sequence[str]) -> int:
    """Preload, then fork a wrapper for each request until the socket ends."""
    channel = socket.socket(fileno=int(arguments[0]))
    channel.set_inheritable(False)
    set_name("jobspan-zygote")
    harden()
    _answer(channel, _preload(arguments[1:]))
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        while message := channel.recv(LARGEST_MESSAGE_BYTES):
            _answer(channel, _serve(json.loads(message)))
    return 0


def _preload(modules: Sequence[str]) -> dict[str, Any]:
    try:
        for name in modules:
            importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever an import does: the agent hears it and goes on without us
        traceback.print_exc()
        return {"error": f"cannot import {name}: {error!r}"}
    if len(os.listdir("/proc/self/task")) > 1:
        return {"error": "the preloaded modules have started threads, which do not survive a fork"}
    gc.collect()
    gc.freeze()
    return {"ready": True}


def _serve(request: dict[str, str]) -> dict[str, Any]:
    start_boottime_ns = SystemClock().boottime_ns()
    reader, writer = os.pipe()
    try:
        middle = os.fork()
        if middle == 0:
            _fork_wrapper(request, start_boottime_ns, writer)
        os.close(writer)
        writer = -1
        pid = os.read(reader, 32)
        os.waitpid(middle, 0)
        return {"pid": int(pid)} if pid else {"error": "the fork failed"}
    except OSError as error:
        return {"error": f"cannot fork: {error.strerror}"}
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _fork_wrapper(request: dict[str, str], start_boottime_ns: int, writer: int) -> NoReturn:
    """In the middle process: leave the wrapper to the agent by ending at once."""
    try:
        pid = os.fork()
        if pid == 0:
            _be_wrapper(Path(request["script"]), Path(request["log"]), start_boottime_ns)
        os.write(writer, str(pid).encode())
    finally:
        os._exit(0)


def _be_wrapper(script: Path, log: Path, start_boottime_ns: int) -> NoReturn:
    """In the wrapper: shed everything of the zygote's, and run the script as a fresh interpreter would."""
    code = 1
    try:
        os.setsid()
        set_name("jobspan-wrapper")
        _shed_descriptors(log)
        _shed_signals()
        os.chdir(script.parent)
        birth.record(start_boottime_ns)
        code = _execute(script)
    except BaseException:  # noqa: BLE001 - the boundary of the process: what is left becomes its exit code
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _shed_descriptors(log: Path) -> None:
    """Output goes to *log*; every other descriptor (the zygote's socket) is closed."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, _OUTPUT_FLAGS, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)


def _shed_signals() -> None:
    """What the interpreter sets at its start, whatever the agent's parent had ignored."""
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
