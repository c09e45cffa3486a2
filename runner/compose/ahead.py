"""What a wrapper's process does while it waits for its job: the zygote has forked it ahead (`computing.spare`).

It forks its starter, and goes once through what every job needs: most of the time of a forked process goes into the
first touch of each page that it shares with its parent, and none of that depends on the job. The zygote itself has gone
through it some times before: an interpreter adapts its code to what it does, and whoever is forked then has that.
"""

import contextlib
import json
import socket
import tempfile
import threading
from pathlib import Path

from runner.computing import birth
from runner.config import HttpConfig, load
from runner.errors import JobspanError
from runner.process.starter import WaitingStarter
from runner.redaction import Redactor
from runner.wms.client import WmsClient
from runner.wms.tokens import FixedToken
from runner.wrapper.node import node_parameters
from telemetry.clock import SystemClock
from telemetry.entries import Entry, from_json, to_json
from telemetry.facts import StatusChanged

#: Nothing of a rehearsal takes this long; were it to, the job would come later, and nothing else.
_PATIENCE_SECONDS = 1.0
#: In the zygote: the interpreter adapts a function when it has run some times. A tenth of a second in all.
_REHEARSALS = 20
_ANSWER = json.dumps({"Kept": None, "Commands": []}).encode()
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_ANSWER)
) + _ANSWER

_starter: WaitingStarter | None = None


def waiting_starter() -> WaitingStarter | None:
    """The starter that was forked ahead, once; None in a process that did not wait."""
    global _starter
    starter, _starter = _starter, None
    return starter


def _warm() -> None:
    with contextlib.suppress(OSError, JobspanError):  # whatever is in the way of a rehearsal, the job will tell
        for _ in range(_REHEARSALS):
            _rehearse()


def _prepare() -> None:
    global _starter
    _starter = WaitingStarter.fork(SystemClock())  # before any thread, and before there are pages of our own to share
    with contextlib.suppress(OSError, JobspanError):
        _rehearse()


def _leave() -> None:
    if starter := waiting_starter():
        starter.dismiss()


def _rehearse() -> None:
    """Read a configuration, write down a fact, make a call: with nothing of a job, and seen by nobody."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="jobspan-") as folder:
        config = load(None, Path(folder))
    mask = Redactor.of(config)
    fact = StatusChanged(status="Running", minor_status=mask("Job Initialization"), source="JobWrapper")
    entry = Entry("wrapper", 1, clock.utc_ns(), clock.boottime_ns(), clock.boot_id, fact)
    from_json(json.loads(json.dumps(to_json(entry))))
    parameters = node_parameters(config.environment)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_PATIENCE_SECONDS)
        answering = threading.Thread(target=_answer_one, args=(listener,))
        answering.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = WmsClient(url, FixedToken("rehearsal"), http=HttpConfig(), timeout_seconds=_PATIENCE_SECONDS)
        try:
            client.report(1, {}, parameters, None, "")
        finally:
            client.close()
            answering.join()


def _answer_one(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        caller, _ = listener.accept()
        with caller:
            caller.settimeout(_PATIENCE_SECONDS)
            caller.recv(1 << 16)
            caller.sendall(_RESPONSE)


birth.ready_by(birth.Readiness(_warm, _prepare, _leave))
