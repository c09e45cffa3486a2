"""Delivery of accounting records to the WMS; used by the wrapper, and by the agent for one that died."""

import contextlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

from runner.errors import RefusedError, UnavailableError
from runner.job.requests import ACCOUNTING, FORWARD_DISET, CombinedRequest, Operation
from runner.wms.client import WmsClient
from telemetry.ledger.deliver import SINK, Backoff, SendOutcome, deliver, pending
from telemetry.ledger.record import InvalidRecord, Record
from telemetry.ledger.selection import Unidentified
from telemetry.outbox import LONGEST_REASON, Acknowledgements

#: The item of an attempt that has a name no more: its record cannot be made.
NO_RECORD = "record"
#: From a client of the WMS of a job to one of the WMS that keeps its accounting.
Keeper: TypeAlias = Callable[[WmsClient], WmsClient | None]


class Records:
    """Delivers the accounting record of an ended attempt to whoever keeps the accounting."""

    def __init__(self, deadline_seconds: float = 10.0, *, keeper: Keeper = lambda client: client) -> None:
        """*keeper* gives a client of that for the one of the WMS, which it may be; None: nobody keeps any."""
        self._keeper = keeper
        self._backoff = Backoff(deadline_seconds=deadline_seconds)
        self._retry_after_seconds: float | None = None

    @property
    def retry_after_seconds(self) -> float | None:
        """What the WMS asked for when it did not take the last one."""
        return self._retry_after_seconds

    def deliver(self, control: Path, client: WmsClient) -> bool:
        """Send what the journal in *control* makes due; True when nothing is left to send.

        A journal that is damaged so that it makes no record leaves a dead letter in its place. Only the holder of the
        job's deliver.lock may call it.
        """
        try:
            record = pending(control)
        except (Unidentified, InvalidRecord) as error:
            _bury(control, str(error))
            return True
        if record is None:
            return True
        keeper = self._keeper(client)
        if keeper is None:
            return True
        try:
            delivery = deliver(control, record, lambda each: _send(keeper, each), backoff=self._backoff)
        finally:
            if keeper is not client:
                keeper.close()
        self._retry_after_seconds = delivery.retry_after_seconds
        return delivery.outcome != "pending"

    def deliver_or_forward(self, control: Path, client: WmsClient, is_answered: Callable[[], bool]) -> None:
        """As `deliver`; a record that the WMS does not take now is left to a request, if it takes that (DIRAC).

        A WMS that does not answer at all (*is_answered*) is not asked once more. The journal keeps the record
        all the same: whoever delivers it too, it is counted once, by its name.
        """
        if self.deliver(control, client):
            return
        record = pending(control)
        if record is None or not is_answered():
            return
        job_id, attempt = record.integer("JobID"), record.integer("Attempt")
        operation = Operation(type=FORWARD_DISET, arguments={"Call": ACCOUNTING, "Records": [dict(record)]})
        name = f"accounting_{job_id}.{attempt}"
        request = CombinedRequest(name=name, job_id=job_id, operations=(operation,))
        with contextlib.suppress(UnavailableError, RefusedError):
            client.put_request(request.to_mapping())


def _bury(control: Path, reason: str) -> None:
    acknowledgements = Acknowledgements(control, SINK)
    if NO_RECORD not in acknowledgements.dead:
        acknowledgements.settle(NO_RECORD, "dead", reason[:LONGEST_REASON])


def _send(client: WmsClient, record: Record) -> SendOutcome:
    try:
        (result,) = client.send_accounting([record])
    except UnavailableError as error:
        return SendOutcome("retry", str(error), error.retry_after_seconds)
    except RefusedError as error:
        # A token that has expired is renewed; the record is still wanted.
        return SendOutcome("retry" if error.status_code == HTTPStatus.UNAUTHORIZED else "dead", str(error))
    if result.outcome == "conflict":
        return SendOutcome("dead", result.detail)
    return SendOutcome("duplicate" if result.outcome == "duplicate" else "accepted", result.detail)
