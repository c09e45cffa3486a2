"""PilotsLogging and WMSUtilities: what pilots say about themselves, and telling them to stop."""

from collections.abc import Sequence
from typing import Any

from runner.server.db.engine import Transaction
from runner.server.errors import UnknownObjectError
from runner.server.models import PilotMessage
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.unicode import sendable
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS, utc_text


class PilotsLogging:
    """Takes and shows the logs of pilots, and passes on the order to stop."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def add(self, identity: Identity, stamp: str, messages: Sequence[PilotMessage]) -> None:
        """Messages of a registered pilot, in their order.

        Raises:
            UnknownObjectError: there is no such pilot.
        """
        require(identity, Right.LOG_PILOT, Relation.GENERAL)
        now_ns = self._context.now_ns()
        with self._context.databases.write() as transaction:
            self._known(transaction, identity, stamp)
            transaction.pilot_logs.add(
                {
                    "PilotStamp": stamp,
                    "MessageTime": round(each.Time.timestamp() * NANOSECONDS) if each.Time else now_ns,
                    "ArrivalTime": now_ns,
                    "Severity": each.Severity,
                    "Source": each.Source,
                    "Message": sendable(each.Message),
                }
                for each in messages
            )

    def logs(self, identity: Identity, stamp: str, first: int, count: int) -> list[dict[str, Any]]:
        """What the pilot said.

        Raises:
            UnknownObjectError: there is no such pilot.
        """
        require(identity, Right.READ_PILOT_LOG, Relation.GENERAL)
        with self._context.databases.read() as transaction:
            self._known(transaction, identity, stamp)
            rows = transaction.pilot_logs.of_pilot(stamp, first, count)
        return [{**row, "MessageTime": utc_text(row["MessageTime"])} for row in rows]

    def kill(self, identity: Identity, stamp: str) -> None:
        """Tell the pilot to stop, as by SIGTERM: its jobs go back to the queue. It hears of it with its next call.

        Raises:
            UnknownObjectError: there is no such pilot.
        """
        require(identity, Right.KILL_PILOT, Relation.GENERAL)
        with self._context.databases.write(durable=True) as transaction:
            self._known(transaction, identity, stamp)
            transaction.pilot_logs.order_stop(stamp, identity.name, self._context.now_ns())
        self._context.commands_wait.ring()
        self._context.jobs_wait.ring()

    def is_stopped(self, stamp: str) -> bool:
        """Whether the pilot that calls is to stop; from then on it is known to have heard of it."""
        with self._context.databases.read() as transaction:
            stopped = transaction.pilot_logs.is_stopped(stamp)
        if stopped:
            with self._context.databases.write() as transaction:
                transaction.pilot_logs.take_stop(stamp, self._context.now_ns())
        return stopped

    def _known(self, transaction: Transaction, identity: Identity, stamp: str) -> None:
        pilot = transaction.pilots.get(stamp)
        if pilot is None or pilot["VO"] != identity.vo:
            raise UnknownObjectError(f"Pilot {stamp} not found")
