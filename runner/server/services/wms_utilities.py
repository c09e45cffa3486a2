"""WMSUtilities: the pilot of a job and what it has said, the log of a pilot, and telling a pilot to stop."""

from typing import Any

from runner.server.db.job_db import Row
from runner.server.errors import UnknownObjectError
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, authorize, require
from runner.server.services.pilots_logging import known_pilot
from runner.server.tokens import Identity
from telemetry.clock import utc_text


class WMSUtilities:
    """Finds what pilots have said, and passes on the order to stop."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def pilot_output(self, identity: Identity, job_id: int) -> dict[str, Any]:
        """The pilot in which the job's newest attempt runs or ran, and what that has said.

        Raises:
            UnknownObjectError: there is no such job, or it was never matched.
        """
        with self._context.databases.read() as transaction:
            if not authorize(transaction, identity, Right.READ_JOB, [job_id]):
                raise UnknownObjectError(f"Job {job_id} not found")
            stamp = transaction.pilots.stamps_of([job_id]).get(job_id)
            if stamp is None:
                raise UnknownObjectError(f"job {job_id} was never in a pilot")
            messages = transaction.pilot_logs.of_pilot(stamp)
        return {"PilotStamp": stamp, "Output": [_shown(row) for row in messages]}

    def pilot_logging_info(self, identity: Identity, stamp: str, first: int, count: int) -> list[dict[str, Any]]:
        """What the pilot said.

        Raises:
            UnknownObjectError: there is no such pilot.
        """
        require(identity, Right.READ_PILOT_LOG, Relation.GENERAL)
        with self._context.databases.read() as transaction:
            known_pilot(transaction, identity, stamp)
            return [_shown(row) for row in transaction.pilot_logs.of_pilot(stamp, first, count)]

    def kill_pilot(self, identity: Identity, stamp: str) -> None:
        """Tell the pilot to stop, as by SIGTERM: its jobs go back to the queue. It hears of it with its next call.

        Raises:
            UnknownObjectError: there is no such pilot.
        """
        require(identity, Right.KILL_PILOT, Relation.GENERAL)
        with self._context.databases.write(durable=True) as transaction:
            known_pilot(transaction, identity, stamp)
            transaction.pilot_logs.order_stop(stamp, identity.name, self._context.now_ns())
        self._context.commands_wait.ring()
        self._context.jobs_wait.ring()


def _shown(row: Row) -> dict[str, Any]:
    return {**row, "MessageTime": utc_text(row["MessageTime"])}
