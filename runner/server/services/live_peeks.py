"""LivePeeks: what a job writes at this moment, from its agent, where that is on the machine of this WMS.

Agents show output on loopback only, where no token travels in the clear, and only to whom the WMS lets read the job.
So an agent elsewhere is not asked; what its heartbeats bring has to do. The one here is found among the targets that
pilots have registered. Whatever answers there may not be what it says: it is shown a token that reads this one job
for some seconds and does nothing else, it is believed as far as it speaks the agent's form, and it has neither much
time nor much room.
"""

import contextlib
import http.client
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.server.db.engine import Transaction
from runner.server.db.job_db import Row
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Right, authorize
from runner.server.tokens import Identity, JobClaims

#: The token lives so long. The agent asks us about it at once.
TOKEN_SECONDS = 30.0
#: A look may take so long in all, bring so much, and is good for all who look at the job in so long.
LOOK_SECONDS, FRESH_SECONDS = 2.0, 2.0
MOST_BYTES = 1 << 20
#: Looks under way; a page that would need one more goes without.
MOST_LOOKS = 4
MOST_REMEMBERED = 1024
AGENT = "agent"
STREAMS = ("stdout", "stderr")


@dataclass(frozen=True)
class LivePeek:
    """The last lines of each stream, by its name."""

    streams: Mapping[str, str]


@dataclass(frozen=True)
class _Where:
    host: str
    port: int
    claims: JobClaims


class LivePeeks:
    """Asks agents."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._places = threading.BoundedSemaphore(MOST_LOOKS)
        self._mutex = threading.Lock()
        self._seen: dict[int, tuple[float, LivePeek | None]] = {}

    def look(self, identity: Identity, job_id: int) -> LivePeek | None:
        """What the job has written so far; None where no agent can be asked, or has an answer.

        Raises:
            ForbiddenError: the job is not the caller's to read.
        """
        with self._context.databases.read() as transaction:
            row = authorize(transaction, identity, Right.READ_JOB, [job_id]).get(job_id)
            where = self._where(transaction, row) if row is not None else None
        if where is None:
            return None
        with self._mutex:
            seen_at, seen = self._seen.get(job_id, (0.0, None))
        if time.monotonic() < seen_at + FRESH_SECONDS:
            return seen
        if not self._places.acquire(blocking=False):
            return None
        try:
            found = _ask(where, self._context.mint.reader(identity, where.claims, TOKEN_SECONDS))
        finally:
            self._places.release()
        with self._mutex:
            self._seen.pop(job_id, None)
            while len(self._seen) >= MOST_REMEMBERED:  # the one that was looked at longest ago
                del self._seen[next(iter(self._seen))]
            self._seen[job_id] = (time.monotonic(), found)
        return found

    def _where(self, transaction: Transaction, row: Row) -> _Where | None:
        """The agent that has the job now."""
        if row["Status"] not in job_states.WITH_WRAPPER:
            return None
        attempt = transaction.attempts.get(row["JobID"], job_states.current_attempt(row))
        if attempt is None:
            return None
        claims = JobClaims(row["JobID"], attempt["Attempt"], attempt["RunningClaim"] or attempt["Claim"])
        for target in transaction.targets.of_pilot(row["VO"], attempt["PilotStamp"], AGENT, self._context.now_ns()):
            if ipaddress.ip_address(target["Host"]).is_loopback:
                return _Where(target["Host"], target["Port"], claims)
        return None


def _ask(where: _Where, token: str) -> LivePeek | None:
    """The agent's answer, if there is one in time, and about this attempt."""
    content = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        content = _fetched(where, token)
    with contextlib.suppress(LookupError, AttributeError, TypeError, ValueError, RecursionError):  # not of its form
        body = json.loads(content)
        if (body["JobID"], body["Attempt"]) == (where.claims.job_id, where.claims.attempt):
            streams = {name: body["Streams"][name] for name in STREAMS if name in body["Streams"]}
            return LivePeek({name: _text(stream) for name, stream in streams.items()})
    return None


def _fetched(where: _Where, token: str) -> bytes:
    """What answers there; empty if it is no answer, or too long.

    Raises:
        OSError, http.client.HTTPException: nothing does, or not in time.
    """
    with contextlib.closing(http.client.HTTPConnection(where.host, where.port, timeout=LOOK_SECONDS)) as connection:
        connection.connect()
        # A timeout of each read alone would let whoever answers trickle for ever.
        end = threading.Timer(LOOK_SECONDS, _cut_off, (connection.sock,))
        end.start()
        try:
            path = f"/jobs/{where.claims.job_id}/peek"
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            content = answer.read(MOST_BYTES + 1) if answer.status == http.client.OK else b""
        finally:
            end.cancel()
    return content if len(content) <= MOST_BYTES else b""


def _cut_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is over already
        connection.shutdown(socket.SHUT_RDWR)


def _text(stream: Mapping[str, Any]) -> str:
    return "\n".join([*(str(text) for _, text in stream["lines"]), str(stream["open_line"])])
