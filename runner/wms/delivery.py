"""What the WMS must be told of one job, read from its journal and told in order.

Statuses and parameters are acknowledged in the sink "wms-status"; a heartbeat is worth nothing
when a newer one is there, so only the newest is sent, once. An answer that can never become a
success makes the entry dead and does not block those behind it.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

from runner.errors import FencedError, NotFoundError, RefusedError, TokenRefusedError, UnavailableError
from runner.job.status import GIVEN_UP, JobStatus
from runner.wms.answers import JobCommand, KeptStatus, Refusal, ReportAnswer
from runner.wms.client import WmsClient
from runner.wms.reports import Stamps, key, merged, status_of, update
from runner.wms.standing import HEARTBEAT_SPACING_NS, Ending, Heartbeat, Naming, Standing
from telemetry.clock import NANOSECONDS, Clock
from telemetry.entries import Entry
from telemetry.facts import (
    AttemptEnded,
    HeartbeatMade,
    JobAccepted,
    JobMatched,
    KillRequested,
    OutputSeen,
    ParametersSet,
    Scalar,
    StatusChanged,
)
from telemetry.journal import JournalTail
from telemetry.outbox import LONGEST_REASON, Acknowledgements, Outcome, entry_name

SINK = "wms-status"
#: Acknowledged when the next attempt was asked for.
RESCHEDULE_ITEM = "reschedule"
LARGEST_BATCH = 100
GONE = frozenset({JobStatus.KILLED, JobStatus.DELETED})
#: Kept when a later status of ours stood in the same call as Running.
_AFTER_RUNNING = frozenset(
    {JobStatus.COMPLETING, JobStatus.COMPLETED, JobStatus.DONE, JobStatus.FAILED, JobStatus.RESCHEDULED}
)

Reported: TypeAlias = StatusChanged | ParametersSet | JobAccepted
_Send: TypeAlias = Callable[[list[Entry]], None]


#: In these a job may be given back.
_REPEATED_FROM = frozenset({JobStatus.MATCHED, JobStatus.RUNNING})


class Delivery:
    """The reports of one job. Not for several threads; its caller holds the job's `deliver.lock`."""

    def __init__(
        self,
        control: Path,
        client: WmsClient,
        *,
        job_id: int,
        clock: Clock,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """*on_answer* is told when `standing` may say more than before, in the middle of a `push`."""
        self.standing = Standing()
        self._on_answer = on_answer
        self._client = client
        self._job_id = job_id
        self._clock = clock
        self._tail = JournalTail(control)
        self._acks = Acknowledgements(control, SINK)
        self._queue: list[Entry] = []
        self._outcomes: dict[tuple[str, int], tuple[Outcome, str]] = {}
        self._heartbeat = Heartbeat()
        self._stamps = Stamps()
        self._ending = Ending()

    def report_in_one(self, naming: Naming | None) -> None:
        """From now on report in single calls where the WMS knows them; *naming*: the first one names this execution."""
        self.standing.naming, self.standing.in_one = naming, True

    @property
    def is_empty(self) -> bool:
        """Whether all that was collected is delivered (or dead)."""
        unconfirmed = self.standing.killed and not self.standing.kill_confirmed and not self.standing.fenced
        return not self._queue and self._heartbeat.entry is None and not unconfirmed

    @property
    def is_reported(self) -> bool:
        """Whether no status or parameter waits; a heartbeat may."""
        return not self._queue

    @property
    def owes_reschedule(self) -> bool:
        """Whether the attempt has ended as Rescheduled and nobody has asked for the next one."""
        open_ = self._ending.wants_next and self._acks.outcome(RESCHEDULE_ITEM) is None
        return open_ and not self.standing.fenced and not self.standing.killed

    @property
    def has_next_attempt(self) -> bool:
        """Whether the next attempt was asked for from here, and granted: then it is no stranger that fences us off."""
        return self._acks.outcome(RESCHEDULE_ITEM) == "accepted"

    @property
    def may_have_been_heard(self) -> bool:
        """Whether the WMS has our Rescheduled, and nothing is left but to ask for the next attempt: to be fenced off
        now means no other end than ours, and most likely that we were heard and did not hear the answer."""
        return self.is_reported and self.owes_reschedule and self._ending.is_said

    def collect(self) -> None:
        """Read what is new in the journal."""
        for entry in self._tail.poll():
            fact = entry.fact
            if isinstance(fact, StatusChanged):
                self._stamps.give(entry, round(self._client.clock_offset_seconds * NANOSECONDS))
            self._note(entry)
            if not self._acks.pending([entry]):
                continue
            if isinstance(fact, Reported):
                self._queue.append(entry)
            elif isinstance(fact, HeartbeatMade):
                self._heartbeat.entry = entry

    def push(self, *, last: bool = False) -> None:
        """Deliver what was collected; *last* says that no heartbeat will come after this one.

        Raises:
            UnavailableError: something is left for later.
            FencedError: nothing can be delivered any more; call `fence`.
        """
        if self.standing.fenced:
            self.fence(self.standing.fenced)
        if self.standing.in_one:
            self._report_all(last=last)
        if self.standing.naming:  # not named by a report; before Running is said, which binds the attempt to a claim
            self._name_execution(self.standing.naming)
        self._each_batch(self._each_kind)
        self._send_heartbeat(last=last)
        if self.standing.killed and not self.standing.kill_confirmed:
            self._confirm_kill()

    def fence(self, reason: str) -> None:
        """The attempt is not ours: nothing is sent any more, and what waits is put down as refused."""
        self.standing.fenced = self.standing.fenced or reason
        self._refuse(self._queue, self.standing.fenced)
        self._acknowledge(self._queue)
        self._queue.clear()
        self._heartbeat.entry = None

    def reschedule(self, *, preempted: bool) -> Refusal | None:
        """Ask for the next attempt, once. None, or why there will be none.

        Raises:
            UnavailableError: not now. FencedError: the attempt is over for the WMS.
        """
        if self._acks.outcome(RESCHEDULE_ITEM) is not None:
            return None
        refusal = ask_for_next_attempt(self._client, self._job_id, preempted=preempted)
        self._acks.settle(RESCHEDULE_ITEM, "refused" if refusal else "accepted", refusal.reason if refusal else "")
        return refusal

    def settle_reschedule(self) -> Refusal | None:
        """Ask for the next attempt if the journal says that one is due. Returns and raises as `reschedule`."""
        return self.reschedule(preempted=self._ending.preempted) if self.owes_reschedule else None

    def reschedule_was_lost(self) -> None:
        """The answer to a `reschedule` was lost, and the WMS has gone on since: it was heard."""
        self._acks.settle(RESCHEDULE_ITEM, "accepted", "the answer was lost")

    def _note(self, entry: Entry) -> None:
        fact = entry.fact
        if isinstance(fact, JobMatched):
            self._ending.uid = fact.uid
            self._client.transport.offset.assume(fact.clock_offset_seconds)
            self._stamps.not_before(fact.match_end_utc_ns)
        elif isinstance(fact, OutputSeen):
            self._heartbeat.output_bytes[fact.stream] = fact.bytes
        elif isinstance(fact, KillRequested) and fact.origin == "user":
            self._killed(fact.reason)
        elif isinstance(fact, AttemptEnded):
            self._ending.wants_next = fact.status == JobStatus.RESCHEDULED
            self._ending.preempted = fact.error_type == "preempted"
        elif isinstance(fact, StatusChanged) and fact.status:
            # from Completing it is refused
            self._ending.is_said = fact.status == JobStatus.RESCHEDULED and self._ending.before in _REPEATED_FROM
            self._ending.before = fact.status

    def _each_batch(self, send: Callable[[list[Entry]], bool]) -> None:
        """Take what *send* delivers from the queue, until it does not."""
        while self._queue:
            batch = self._queue[:LARGEST_BATCH]
            lost = self._client.transport.lost_answers
            try:
                sent = send(batch)
            finally:
                if self._client.transport.lost_answers > lost:
                    self._acks.unanswered(entry_name(entry) for entry in batch)
            if not sent:
                return
            self._acknowledge(batch)
            del self._queue[: len(batch)]

    def _report_all(self, *, last: bool) -> None:
        try:
            self._each_batch(partial(self._report, last=last))
        except FencedError:
            # Another execution runs. If ours was given a copy of its token, nothing of ours may go under its name.
            if self.standing.naming:
                with contextlib.suppress(FencedError):
                    self._name_execution(self.standing.naming)
            raise

    def _report(self, batch: list[Entry], *, last: bool) -> bool:
        """All of *batch* and the heartbeat in one call; False when that is left to the calls of the dialect."""
        if self.standing.killed:
            self._refuse([entry for entry in batch if isinstance(entry.fact, StatusChanged)], "the job was killed")
        entries = [entry for entry in batch if key(entry) not in self._outcomes]
        statuses = [entry for entry in entries if isinstance(entry.fact, StatusChanged)]
        answer = self._send_report(entries, statuses, self._beat(last=last))
        if answer is None:
            return False
        self._named(answer.job_token)
        if answer.kept is not None:
            self._note_kept(statuses, answer.kept)
        for entry in entries:
            self._outcomes.setdefault(key(entry), ("accepted", ""))
        self._on_answer()
        self._obey(answer.commands)
        return True

    def _send_report(
        self, entries: list[Entry], statuses: list[Entry], beat: Mapping[str, Scalar] | None
    ) -> ReportAnswer | None:
        updates = {self._stamps.of(entry): update(entry) for entry in statuses}
        claim = self.standing.naming.claim if self.standing.naming else ""
        try:
            answer = self._client.report(self._job_id, updates, merged(entries), beat, claim)
        except FencedError:
            raise
        except NotFoundError:  # DiracX has no such call
            self.standing.in_one = False
            return None
        except RefusedError as error:
            if error.status_code == 401:
                raise _token_refused(error) from error
            return None  # something in it is refused: which, is found out call by call
        if beat is not None:
            self._heartbeat.entry = None
        return answer

    def _name_execution(self, naming: Naming) -> None:
        """Get the token with our claim by a call of its own."""
        token = ""
        try:
            token, _ = self._client.renew_job_token(self._job_id, naming.claim)
        except FencedError:
            raise
        except RefusedError as error:  # a WMS that knows no claims leaves us the one of the match
            if error.status_code == 401:
                raise _token_refused(error) from error
        self._named(token)

    def _named(self, token: str) -> None:
        if self.standing.naming and token:
            self.standing.naming.adopt(token)
        self.standing.naming = None

    def _each_kind(self, batch: list[Entry]) -> bool:
        statuses = [entry for entry in batch if isinstance(entry.fact, StatusChanged)]
        self._send(statuses, self._send_statuses)
        self._on_answer()
        self._send([entry for entry in batch if not isinstance(entry.fact, StatusChanged)], self._send_parameters)
        return True

    def _refuse(self, entries: list[Entry], reason: str) -> None:
        for entry in entries:
            self._outcomes.setdefault(key(entry), ("refused", reason))

    def _send(self, entries: list[Entry], send: _Send) -> None:
        """Send those without an outcome in one call; one by one when the call as a whole is refused."""
        entries = [entry for entry in entries if key(entry) not in self._outcomes]
        if not entries:
            return
        try:
            send(entries)
        except FencedError:
            raise
        except RefusedError as error:
            self._after_refusal(error, entries, send)
        else:
            for entry in entries:
                self._outcomes.setdefault(key(entry), ("accepted", ""))

    def _after_refusal(self, error: RefusedError, entries: list[Entry], send: _Send) -> None:
        if error.status_code == 401:
            raise _token_refused(error) from error
        if len(entries) > 1:
            for entry in entries:
                self._send([entry], send)
            return
        self._outcomes[key(entries[0])] = ("dead", str(error))
        if status_of(entries[0]) == JobStatus.RUNNING:
            self.standing.running = "refused"

    def _send_statuses(self, entries: list[Entry]) -> None:
        if self.standing.killed:
            self._refuse(entries, "the job was killed")
            return
        kept = self._client.set_statuses(self._job_id, {self._stamps.of(entry): update(entry) for entry in entries})
        self._note_kept(entries, kept)

    def _note_kept(self, entries: list[Entry], kept: KeptStatus) -> None:
        """What the answer to the statuses of *entries* means.

        Raises:
            UnavailableError: they were only logged, for the WMS has newer ones; what it keeps it does not say.
        """
        wanted = [entry for entry in entries if status_of(entry)]
        if kept.status:
            self.standing.kept = kept
        elif wanted:
            raise UnavailableError(f"the WMS has only logged {status_of(wanted[-1])}, as if it were late")
        if kept.status in GONE:
            self.standing.killed = True
        if wanted and kept.status != status_of(wanted[-1]):
            self._outcomes[key(wanted[-1])] = ("refused", f"the WMS keeps {kept.status}: {kept.reason}")
        if any(status_of(entry) == JobStatus.RUNNING for entry in entries):
            later = status_of(wanted[-1]) != JobStatus.RUNNING and kept.status in _AFTER_RUNNING
            accepted = kept.status == JobStatus.RUNNING or later
            self.standing.running = "accepted" if accepted else "refused"

    def _send_parameters(self, entries: list[Entry]) -> None:
        values = merged(entries)
        if values:
            self._client.set_parameters(self._job_id, values)

    def _beat(self, *, last: bool) -> dict[str, Scalar] | None:
        """What may be sent now of the heartbeat that waits; None: nothing, or not yet."""
        entry = self._heartbeat.entry
        if entry is None or not isinstance(entry.fact, HeartbeatMade):
            return None
        values = dict(entry.fact.values)
        now = self._clock.boottime_ns()
        numbers = any(name != "StandardOutput" for name in values)
        if numbers and now - self._heartbeat.sent_boottime_ns < HEARTBEAT_SPACING_NS:
            return {name: value for name, value in values.items() if name == "StandardOutput"} if last else None
        if numbers:
            self._heartbeat.sent_boottime_ns = now
            if self.standing.in_one and self._heartbeat.output_bytes:  # DiracX takes no other values than its own
                values["OutputBytes"] = sum(self._heartbeat.output_bytes.values())
        return values

    def _send_heartbeat(self, *, last: bool) -> None:
        entry, values = self._heartbeat.entry, self._beat(last=last)
        if values is None:
            return
        self._heartbeat.entry = None
        try:
            commands = self._client.heartbeat(self._job_id, values)
        except FencedError:
            raise
        except UnavailableError:
            self._heartbeat.entry = entry
            raise
        except RefusedError as error:
            if error.status_code == 401:
                self._heartbeat.entry = entry
                raise _token_refused(error) from error
            return  # one that is refused is worth nothing later
        self._obey(commands)

    def _confirm_kill(self) -> None:
        """The WMS may have told us by a status that it keeps; its command still waits to be fetched."""
        try:
            self._obey(self._client.heartbeat(self._job_id, {}))
        except RefusedError as error:  # the job is gone, or not ours: then nobody waits for a confirmation
            if error.status_code == 401:
                raise _token_refused(error) from error
        self.standing.kill_confirmed = True

    def _obey(self, commands: list[JobCommand]) -> None:
        kills = [each for each in commands if each.command == "Kill" and each.job_id == self._job_id]
        if kills:
            self._killed(next((each.reason for each in kills if each.reason), ""))
        acknowledged = [each.command_id for each in kills if each.command_id]
        if not acknowledged:
            return
        try:
            self._client.acknowledge_commands(acknowledged)
        except FencedError:
            raise
        except RefusedError as error:
            if error.status_code == 401:
                raise _token_refused(error) from error
        self.standing.kill_confirmed = True

    def _killed(self, reason: str) -> None:
        """The WMS wants an end. It may have ended the job itself before: then it says so as the reason."""
        self.standing.killed = True
        if reason in GIVEN_UP:
            self.standing.end = (JobStatus.FAILED, reason)

    def _acknowledge(self, batch: list[Entry]) -> None:
        """Write the outcomes down: each that is not a plain success, and the last of each writer."""
        last = {entry.writer: entry for entry in batch}
        answers = [(entry, *self._outcomes.pop(key(entry))) for entry in batch]
        self._acks.advance_all(
            (entry, outcome, detail[:LONGEST_REASON])
            for entry, outcome, detail in answers
            if outcome != "accepted" or last[entry.writer] is entry or self._acks.is_of_its_own(entry)
        )


def _token_refused(error: RefusedError) -> TokenRefusedError:
    return TokenRefusedError(f"the job's token is not accepted: {error}")


def ask_for_next_attempt(client: WmsClient, job_id: int, *, preempted: bool) -> Refusal | None:
    """Ask the WMS to reschedule *job_id*. None when it does.

    Raises:
        UnavailableError: not now. FencedError: the attempt is over for the WMS.
    """
    try:
        answer = client.reschedule([job_id], preempted=preempted)
    except FencedError:
        raise
    except RefusedError as error:
        if error.status_code == 401:
            raise _token_refused(error) from error
        return Refusal(str(error))
    if job_id in answer.succeeded:
        return None
    return answer.failed.get(job_id) or Refusal("the WMS did not say why")
