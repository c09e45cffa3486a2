"""Bringing a job's combined requests from its journal to the WMS: at least once, and taken there once.

How far delivery has come stands in the acknowledgements of the sink `wms-requests`, by the
request's name. Only the holder of the job's `deliver.lock` may deliver.
"""

import contextlib
from pathlib import Path

from runner.errors import RefusedError, UnavailableError
from runner.wms.client import WmsClient
from telemetry.facts import RequestMade
from telemetry.journal import read_journal
from telemetry.outbox import Acknowledgements

SINK = "wms-requests"


def pending_requests(control: Path) -> list[RequestMade]:
    """The requests that the journal in *control* holds and nobody has answered for."""
    acknowledgements = Acknowledgements(control, SINK)
    made = {entry.fact.name: entry.fact for entry in read_journal(control) if isinstance(entry.fact, RequestMade)}
    return [fact for name, fact in made.items() if acknowledgements.outcome(name) is None]


def deliver_requests(control: Path, client: WmsClient) -> None:
    """Put what the journal in *control* holds and the WMS has not.

    Raises:
        UnavailableError: not now; it stays pending.
        RefusedError: the WMS will never take one of them (and the others are delivered).
    """
    acknowledgements = Acknowledgements(control, SINK)
    refusal: RefusedError | None = None
    for fact in pending_requests(control):
        answer, lost = "", client.transport.lost_answers
        try:
            client.put_request(fact.request)
        except RefusedError as error:
            if error.status_code == 401:  # a token may be renewed, so this is no answer for ever
                raise UnavailableError(f"the job's token is not accepted: {error}") from error
            refusal, answer = error, str(error)
        # On a full disk it cannot be noted: it is put once more, and is the same.
        with contextlib.suppress(OSError):
            copies = client.transport.lost_answers - lost
            acknowledgements.settle(fact.name, "dead" if answer else "accepted", answer[:500], copies=copies)
    if refusal is not None:
        raise refusal
