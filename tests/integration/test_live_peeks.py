"""Whatever answers where an agent should be: it gets a token that is good for little, and neither time nor belief."""

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from runner.server.services import live_peeks
from runner.server.services.live_peeks import LOOK_SECONDS, MOST_BYTES, LivePeek, LivePeeks
from runner.server.tokens import Identity, Role
from tests.support.wms import RunningWms, running_wms

ALICE = Identity("alice", "local_user", "local", frozenset({Role.USER}))
#: Longer than any look may take; an end, for the case that nobody cuts it off.
TRICKLE_SECONDS = LOOK_SECONDS + 12
STREAM = {"lines": [[0, "line 1"]], "next": 7, "open_line": "li", "ended": False}


@dataclass
class Listener:
    """Answers each call with the same bytes; again and again the last one, if it is to *trickle*."""

    answer: bytes = b""
    trickle: bool = False
    heard: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@pytest.fixture(scope="module")
def wms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWms]:
    """One WMS for the module."""
    with running_wms(tmp_path_factory.mktemp("wms")) as running:
        yield running


@pytest.fixture
def listener(wms: RunningWms) -> Iterator[Listener]:
    """Something on this machine that a pilot has registered as the metrics of its agent."""
    told = Listener()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                head += line
            told.heard.append(head.decode())
            with contextlib.suppress(OSError):  # we have been cut off
                self.wfile.write(told.answer)
                until = time.monotonic() + TRICKLE_SECONDS
                while told.trickle and time.monotonic() < until and not told.ended.wait(0.05):
                    self.wfile.write(b" ")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        target = {"Port": server.server_address[1], "Role": "agent", "PilotStamp": "stamp-1"}
        assert wms.call("POST", "/api/jobspan/targets", target, token=wms.pilot_token).status_code == 200
        yield told
        told.ended.set()
        server.shutdown()
        thread.join()
        assert wms.call("POST", "/api/jobspan/targets/remove", target, token=wms.pilot_token).status_code < 500


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, an answer is in time, and as good for the next look."""
    monkeypatch.setattr(live_peeks, "LOOK_SECONDS", 60.0)
    monkeypatch.setattr(live_peeks, "FRESH_SECONDS", 600.0)


@pytest.fixture
def job_id(wms: RunningWms) -> int:
    """A job that the pilot of that agent has."""
    submitted = wms.submit()
    taken = wms.match()
    assert taken is not None
    assert taken["JobID"] == submitted
    return submitted


def answer(body: Any, status: str = "200 OK", *more: str) -> bytes:
    """An answer of HTTP/1.0: the end of the connection is its end."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return "\r\n".join([f"HTTP/1.0 {status}", *more, "", ""]).encode() + content


def peek(job_id: int, **changes: Any) -> dict[str, Any]:
    """What an agent says."""
    return {"JobID": job_id, "Attempt": 1, "Streams": {"stdout": STREAM}, **changes}


def test_an_agents_answer_is_taken_for_a_token_that_reads_one_job(
    wms: RunningWms, listener: Listener, job_id: int, unhurried: None
) -> None:
    """The lines by stream; asked for once by all who look at that moment, with a token for this job alone."""
    listener.answer = answer(peek(job_id))
    looks = LivePeeks(wms.context)
    assert [looks.look(ALICE, job_id) for _ in range(3)] == [LivePeek({"stdout": "line 1\nli"})] * 3
    (heard,) = listener.heard
    assert heard.startswith(f"GET /jobs/{job_id}/peek HTTP/1.1\r\n")
    token = heard.partition("Authorization: Bearer ")[2].split("\r\n")[0]
    bearer = wms.context.mint.identify(token)
    assert (bearer.roles, bearer.job and bearer.job.job_id) == ({Role.READER}, job_id)
    wms.report(job_id, {"Status": "Killed"})
    assert looks.look(ALICE, job_id) is None  # nobody has it any more


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        answer([]),
        answer(b"{"),
        answer(b"[" * 100_000),
        answer({}, "401 Unauthorized"),
        answer({}, "302 Found", "Location: /jobs/1/peek"),
        answer(b" " * (MOST_BYTES + 1)),
        answer({"JobID": 1, "Attempt": 7, "Streams": {}}),
        answer({"JobID": "JOB", "Attempt": 1, "Streams": {"stdout": []}}),
        answer({"JobID": "JOB", "Attempt": 1, "Streams": 3}),
        answer({"JobID": "JOB", "Attempt": 1}),
    ],
    ids=range(12),
)
def test_what_is_not_an_agents_answer_is_none(
    wms: RunningWms, listener: Listener, job_id: int, unhurried: None, said: bytes
) -> None:
    """Silence, other forms, refusals, redirections, too much, another attempt: the page does without, and asks once."""
    listener.answer = said.replace(b'"JOB"', str(job_id).encode())
    assert LivePeeks(wms.context).look(ALICE, job_id) is None
    assert len(listener.heard) == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.0 200 OK\r\nX: ", answer(b"{")])
def test_whoever_trickles_is_cut_off(wms: RunningWms, listener: Listener, job_id: int, said: bytes) -> None:
    """A byte now and then keeps nobody waiting for longer than a look may take."""
    listener.answer, listener.trickle = said, True
    begun = time.monotonic()
    assert LivePeeks(wms.context).look(ALICE, job_id) is None
    assert LOOK_SECONDS * 0.9 < time.monotonic() - begun < LOOK_SECONDS + 10
