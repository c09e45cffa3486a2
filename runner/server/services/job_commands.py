"""JobCommands: orders on their way to the wrappers. They are repeated until somebody acknowledges them."""

from collections.abc import Sequence
from typing import Any

from runner.server.models import AttemptName
from runner.server.services import job_states
from runner.server.services.context import ServiceContext
from runner.server.services.job_policy import Relation, Right, authorize, require
from runner.server.tokens import Identity
from telemetry.clock import NANOSECONDS

#: An agent asks every second; that it has its match need not be written down so often.
SIGN_SPACING_NS = 10 * NANOSECONDS


class JobCommands:
    """Hands out orders, and takes their acknowledgement."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def pending(self, identity: Identity, attempts: Sequence[AttemptName]) -> list[dict[str, Any]]:
        """The orders that wait for these attempts.

        Raises:
            ForbiddenError: not a pilot.
        """
        require(identity, Right.TAKE_COMMANDS, Relation.GENERAL)
        wanted = {(each.JobID, each.Attempt) for each in attempts}
        with self._context.databases.read() as transaction:
            found = [
                command
                for command in transaction.commands.pending({job_id for job_id, _ in wanted})
                if (command["JobID"], command["Attempt"]) in wanted
            ]
            rows = transaction.jobs.get_many({command["JobID"] for command in found})
            unsigned = transaction.attempts.matched_and_silent(wanted, self._context.now_ns() - SIGN_SPACING_NS)
        self._sign(unsigned)
        names = ("CommandID", "JobID", "Attempt", "Command")
        return [
            {**{name: command[name] for name in names}, "Arguments": job_states.kill_reason(rows[command["JobID"]])}
            for command in found
        ]

    def _sign(self, attempts: Sequence[tuple[int, int]]) -> None:
        """An agent that asks for an attempt has its match: it is not taken back while the wrapper is being started."""
        if attempts:
            with self._context.databases.write() as transaction:
                for job_id, attempt in attempts:
                    transaction.attempts.sign(job_id, attempt, self._context.now_ns())

    def acknowledge(self, identity: Identity, command_ids: Sequence[int]) -> None:
        """The wrappers know: do not repeat, and a kill that was ordered is confirmed.

        Raises:
            ForbiddenError: one of the commands is not for the caller's job.
        """
        with self._context.databases.write() as transaction:
            now_ns = self._context.now_ns()
            commands = transaction.commands.get(command_ids)
            jobs = {command["JobID"] for command in commands} or set(_own_job(identity))
            rows = authorize(transaction, identity, Right.ACKNOWLEDGE_COMMAND, jobs)
            if not commands and not jobs:
                require(identity, Right.ACKNOWLEDGE_COMMAND, Relation.OTHER)
            for command in commands:
                transaction.commands.acknowledge(command["CommandID"], now_ns)
                row = rows[command["JobID"]]
                if command["Attempt"] == job_states.current_attempt(row):
                    job_states.confirm_kill(transaction, row, now_ns=now_ns, source="JobWrapper")


def _own_job(identity: Identity) -> list[int]:
    return [identity.job.job_id] if identity.job else []
