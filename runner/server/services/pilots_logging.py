"""PilotsLogging: what pilots say about themselves, and whether they are to stop."""

from collections.abc import Sequence

from runner.server.db.engine import Transaction
from runner.server.errors import UnknownObjectError
from runner.server.models import PilotMessage
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, require
from runner.server.services.unicode import sendable
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS


class PilotsLogging:
    """Takes the logs of pilots, and says who is to stop."""

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
            known_pilot(transaction, identity, stamp)
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

    def is_stopped(self, stamp: str) -> bool:
        """Whether the pilot that calls is to stop; from then on it is known to have heard of it."""
        with self._context.databases.read() as transaction:
            stopped = transaction.pilot_logs.is_stopped(stamp)
        if stopped:
            with self._context.databases.write() as transaction:
                transaction.pilot_logs.take_stop(stamp, self._context.now_ns())
        return stopped


def known_pilot(transaction: Transaction, identity: Identity, stamp: str) -> None:
    """Go on only for a registered pilot of the caller's VO.

    Raises:
        UnknownObjectError: there is no such pilot.
    """
    pilot = transaction.pilots.get(stamp)
    if pilot is None or pilot["VO"] != identity.vo:
        raise UnknownObjectError(f"Pilot {stamp} not found")
