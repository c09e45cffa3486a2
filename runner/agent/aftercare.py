"""What is left to do when a wrapper has ended, or when it runs on without the agent that started it.

In order: wait until no process of the attempt lives; write its end if the wrapper could not;
tell the observer; deliver what the wrapper could not; remove the folder when its time is over.
"""

import contextlib
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from runner.agent.folders import JobFolder
from runner.agent.last_word import last_word
from runner.agent.outbox import AGENT_FOLDER, FILES, SETTLED, note_expired, outbox_of, reopened, taken_up
from runner.agent.outputs import AT_ONCE_SECONDS, LATER_SECONDS, Outputs
from runner.agent.ports import AgentParts
from runner.agent.recovery import WRAPPER_DIED, Hooks, Trouble, has_ended, keep_words_of_wms, recover, wrapper_lives
from runner.agent.recovery import WRITER as RECOVERY
from runner.agent.starters import hurry
from runner.backoff import Backoff
from runner.config import Config
from runner.errors import FencedError, JobspanError, RefusedError, TokenRefusedError, UnavailableError
from runner.locks import FileLock, LockHeld, lock_holder
from runner.process.keeper import LIFE_LOCK
from runner.wms.answers import Refusal
from runner.wms.client import WmsClient
from runner.wms.delivery import Delivery
from runner.wms.reporter import DELIVER_LOCK
from runner.wms.request_delivery import deliver_requests, pending_requests
from runner.wms.tokens import TOKEN_FILE, JobTokenKeeper
from runner.wrapper import workspace
from telemetry.bus import Emit
from telemetry.clock import NANOSECONDS, Clock
from telemetry.entries import Entry
from telemetry.facts import AttemptEnded, Fact, JobMatched
from telemetry.journal import Journal, is_written, read_journal
from telemetry.outbox import WMS_DELIVERER, Acknowledgements, note_try

#: How often a wrapper that is not our child is looked at.
LOOK_SECONDS = 0.25
CLEANING_SECONDS = 600.0
#: A WMS that has not answered is not asked for its word on an end for so long.
SILENCE_SECONDS = 10.0
log = logging.getLogger("jobspan.agent")


@dataclass
class Case:
    """An attempt and what has been done for it. *trouble* says why it may have no end."""

    folder: JobFolder
    trouble: Trouble = WRAPPER_DIED
    announced: bool = False
    lives: bool = False
    signalled: signal.Signals | None = None
    token_refused: bool = False
    #: Since when its wrapper is dead and its starter is not, by the monotonic clock.
    alone_since: float | None = None
    #: Since when what is left of it is tried in vain, by the same clock.
    failing_since: float | None = None
    due: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(first_seconds=0.5))


class Aftercare:
    """A thread that sees attempts through, one step at a time, so that none waits for another."""

    def __init__(self, config: Config, parts: AgentParts, clock: Clock) -> None:
        self._config = config
        self._parts = parts
        self._clock = clock
        self._jobs = config.jobs_folder
        self._outputs = Outputs(config.job_wrapper, parts.job_client, clock)
        self._cases: list[Case] = []
        self._condition = threading.Condition()
        self._ended = False
        self._clean_at = 0.0
        self._ask_again_at = 0.0
        self._signal: signal.Signals | None = None
        self._thread = threading.Thread(target=self._run, name="aftercare", daemon=True)

    def start(self) -> None:
        """Begin, with what earlier agents have left."""
        for folder in JobFolder.all(self._jobs):
            if (folder.control / SETTLED).exists():
                continue
            if folder.has_begun:
                self.add(Case(folder))
            else:  # its agent died before the first fact; the WMS gives the attempt again
                log.warning("job %s: nothing has begun there: folder removed", folder.root.name)
                folder.remove()
        self._thread.start()

    def add(self, case: Case) -> None:
        """See *case* through."""
        with self._condition:
            self._cases.append(case)
            self._condition.notify_all()

    def notice(self) -> None:
        """Take up again what `jobspan outbox retry` has re-opened; what we are busy with, when we no longer are."""
        names = reopened(self._config.folder / AGENT_FOLDER)
        if not names:
            return
        busy = {folder.root for folder in self.open}
        for folder in JobFolder.all(self._jobs):
            if folder.root.name in names and folder.root not in busy:
                log.info("job %s: dead letters are tried again", folder.root.name)
                taken_up(self._config.folder / AGENT_FOLDER, folder.root.name)
                self.add(Case(folder))

    def see_through(self, folders: Iterable[JobFolder], timeout_seconds: float) -> bool:
        """Do what is left for *folders*, where no agent does it; whether all was done in time. Ends the thread."""
        for folder in folders:
            taken_up(self._config.folder / AGENT_FOLDER, folder.root.name)
            self.add(Case(folder))
        self._thread.start()
        done = self.wait(timeout_seconds)
        self.stop()
        return done

    def signal_wrappers(self, number: signal.Signals) -> None:
        """Send *number* to the wrappers that earlier agents have left running."""
        self._signal = number

    @property
    def living(self) -> tuple[JobFolder, ...]:
        """Attempts whose wrappers run on without the agent that started them."""
        with self._condition:
            return tuple(case.folder for case in self._cases if case.lives)

    @property
    def open(self) -> tuple[JobFolder, ...]:
        """Attempts that are not settled."""
        with self._condition:
            return tuple(case.folder for case in self._cases)

    @property
    def waiting(self) -> tuple[JobFolder, ...]:
        """Ended attempts of which the WMS has not taken everything, though it was tried."""
        with self._condition:
            return tuple(case.folder for case in self._cases if case.backoff.failures and not case.lives)

    def hopeful(self, patience_seconds: float) -> bool:
        """Whether anything is open that was not tried in vain for *patience_seconds* or longer."""
        oldest = time.monotonic() - patience_seconds
        with self._condition:
            return any(case.failing_since is None or case.failing_since > oldest for case in self._cases)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until nothing is open, at most *timeout_seconds*; whether it is so."""
        deadline = time.monotonic() + timeout_seconds
        with self._condition:
            while self._cases and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(left)
            return not self._cases

    def stop(self) -> None:
        """End after the present step; a call in flight is left to its timeout."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ended:
            if time.monotonic() >= self._clean_at:
                self._clean_at = time.monotonic() + CLEANING_SECONDS
                self._remove_old()
            case = self._next()
            if case is None:
                continue
            try:
                settled = self._step(case)
            except UnavailableError as error:
                settled = self._later(case, error, error.retry_after_seconds)
            except Exception as error:  # noqa: BLE001 - one damaged folder must not keep the others from delivery
                settled = self._later(case, error, None)
            with self._condition:
                if settled:
                    self._cases.remove(case)
                self._condition.notify_all()
            self._parts.computing_element.wake()

    def _next(self) -> Case | None:
        """The case that is due first, if one is due now; else wait for a while."""
        with self._condition:
            now = time.monotonic()
            case = min(self._cases, key=lambda each: each.due, default=None)
            if case is not None and case.due <= now:
                return case
            until = min(case.due, self._clean_at) if case else self._clean_at
            if not self._ended:
                self._condition.wait(max(0.0, until - now))
            return None

    def _later(self, case: Case, error: Exception, retry_after_seconds: float | None) -> bool:
        pause = case.backoff.failed(retry_after_seconds)
        now = time.monotonic()
        case.failing_since = case.failing_since or now
        case.due = now + pause
        reason = str(error) or type(error).__name__
        note_try(case.folder.control, WMS_DELIVERER, reason, case.backoff.failures, pause)
        if case.backoff.failures == 1 or not isinstance(error, JobspanError):
            log.warning("job %s: not finished yet: %s", case.folder.root.name, error or type(error).__name__)
        return False

    def _step(self, case: Case) -> bool:
        """Do what can be done now; whether all is done."""
        control = case.folder.control
        case.lives = wrapper_lives(control)
        if case.lives:
            self._pass_signal_on(case)
            self._hurry_starter(case)
            case.due = time.monotonic() + LOOK_SECONDS
            return False
        if not case.announced:
            if not self._has_end(case):
                case.due = time.monotonic() + LOOK_SECONDS
                return False
            self._parts.observer.on_attempt_ended(control)
            case.announced = True
        try:
            with FileLock.take(control / DELIVER_LOCK):
                self._deliver(case)
        except LockHeld:
            case.due = time.monotonic() + LOOK_SECONDS
            return False
        if self._outputs.options.clean_up:
            workspace.remove(case.folder.work)
        (control / SETTLED).touch()
        log.info("job %s: all delivered", case.folder.root.name)
        return True

    def _pass_signal_on(self, case: Case) -> None:
        """To the wrapper of an earlier agent: its pid is that of the lock's holder, looked at twice."""
        lock, number = case.folder.control / "wrapper.lock", self._signal
        if number is None or number == case.signalled or (pid := lock_holder(lock)) is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                if lock_holder(lock) == pid:
                    signal.pidfd_send_signal(process, number)
                    case.signalled = number
            finally:
                os.close(process)

    def _hurry_starter(self, case: Case) -> None:
        control = case.folder.control
        if is_written(control, "wrapper"):
            case.alone_since = None
            return
        case.alone_since = case.alone_since or time.monotonic()
        hurry(control, self._clock, time.monotonic() - case.alone_since)

    def _has_end(self, case: Case) -> bool:
        if has_ended(read_journal(case.folder.control)):
            return True
        hooks = Hooks(partial(self._save, case.folder), partial(self._ask, case.folder), self._orphans)
        if not recover(case.folder.control, self._clock, case.trouble, hooks):
            return False
        log.warning("job %s: ended by the agent: %s", case.folder.root.name, case.trouble.message)
        return True

    def _orphans(self) -> frozenset[int]:
        """What came to us when its parents died. A starter among them ends its payload by itself."""
        found = self._parts.computing_element.strays()
        locks = (folder.control / LIFE_LOCK for folder in JobFolder.all(self._jobs))
        return found - {pid for pid in map(lock_holder, locks) if pid is not None}

    def _save(self, folder: JobFolder, entries: Sequence[Entry], emit: Emit) -> None:
        """Upload outputs before the end, if that is quick. A WMS that is silent is not waited for twice."""
        within_seconds = 0.0 if time.monotonic() < self._ask_again_at else AT_ONCE_SECONDS
        if not self._outputs.save(folder, entries, emit, within_seconds):
            self._ask_again_at = time.monotonic() + SILENCE_SECONDS

    def _saved_late(self, folder: JobFolder) -> bool:
        """Whether nothing is owed of the outputs, if need be after one more try."""
        entries = read_journal(folder.control)
        if not self._outputs.is_owed(entries):
            return True
        told: list[Fact] = []  # tries in vain are not kept: an outage may be long
        if not self._outputs.save(folder, entries, told.append, LATER_SECONDS):
            return False
        with Journal(folder.control, RECOVERY, self._clock) as journal:
            for fact in told:
                journal.append(fact)
        return True

    def _ask(self, folder: JobFolder, end: AttemptEnded) -> AttemptEnded:
        """The end as the WMS keeps it. One that does not answer has no say, and is not waited for again and again."""
        if time.monotonic() < self._ask_again_at:
            return end
        client = self._parts.job_client(folder)
        try:
            return last_word(folder.control, client, folder.job_id, self._clock, end)
        except JobspanError as error:
            log.warning("job %s: ends by our word, the WMS has none: %s", folder.root.name, error)
            self._ask_again_at = time.monotonic() + SILENCE_SECONDS
            return end
        finally:
            client.close()

    def _deliver(self, case: Case) -> None:
        """Statuses under the job's own token; the record under the pilot's, which does not end with the job's.

        The record goes second, since it carries the final status that the WMS keeps; but it waits for nobody.

        Raises:
            UnavailableError: something is left.
        """
        control = case.folder.control
        saved = self._saved_late(case.folder)
        try:
            self._deliver_reports(case)
        finally:
            record_sent = self._parts.records.deliver(control, self._parts.client)
        if not record_sent:
            asked = self._parts.records.retry_after_seconds
            raise UnavailableError("the accounting record is not delivered", retry_after_seconds=asked)
        if not saved:
            raise UnavailableError("the output sandbox is not uploaded")

    def _deliver_reports(self, case: Case) -> None:
        control, job_id = case.folder.control, case.folder.job_id
        client = self._parts.job_client(case.folder)
        try:
            delivery = Delivery(control, client, job_id=job_id, clock=self._clock)
            delivery.collect()
            keeper = JobTokenKeeper(client, control / TOKEN_FILE, job_id, self._clock)
            if case.token_refused:
                keeper.distrust()
            went_on = delivery.has_next_attempt
            _deliver_requests(control, client, keeper)
            refusal = _deliver_statuses(delivery, keeper)
            case.token_refused = False
            fenced_by_ours = went_on and bool(delivery.standing.fenced)
            if not fenced_by_ours and keep_words_of_wms(control, self._clock, delivery.standing, refusal):
                self._parts.observer.on_attempt_ended(control)  # a truer record: it is shipped again
        except TokenRefusedError:
            case.token_refused = True
            raise
        finally:
            client.close()

    def _remove_old(self) -> None:
        """Folders of attempts that have been settled for longer than they are kept."""
        oldest_ns = self._clock.utc_ns() - round(self._config.job_agent.job_retention_seconds * NANOSECONDS)
        for folder in JobFolder.all(self._jobs):
            try:
                if (folder.control / SETTLED).stat().st_mtime_ns < oldest_ns and _is_shipped(folder.control):
                    self._remove(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("job %s: its folder cannot be removed: %s", folder.root.name, error.strerror)

    def _remove(self, folder: JobFolder) -> None:
        """With the journal goes what was never delivered: that is counted first."""
        lost = outbox_of(folder, collector=self._config.telemetry.sends)
        note_expired(self._config.folder / AGENT_FOLDER, lost)
        shutil.rmtree(folder.root)
        log.info("job %s: folder removed", folder.root.name)
        for item in lost:
            log.warning("job %s: %s was never taken by %s: %s", folder.root.name, item.kind, item.sink, item.reason)


def _deliver_requests(control: Path, client: WmsClient, keeper: JobTokenKeeper) -> None:
    """What the wrapper wanted done later, and could not hand in."""
    if not pending_requests(control):
        return
    try:
        keeper.keep()
        deliver_requests(control, client)
    except RefusedError as error:
        log.warning("%s: its request is refused: %s", control.parent.name, error)


def _deliver_statuses(delivery: Delivery, keeper: JobTokenKeeper) -> Refusal | None:
    """Tell the rest, and ask for the next attempt if one is due; why there will be none."""
    heard = delivery.may_have_been_heard
    try:
        if not delivery.is_empty or delivery.owes_reschedule:
            keeper.keep()
        delivery.push(last=True)
        return delivery.settle_reschedule()
    except FencedError as error:
        if heard:
            delivery.reschedule_was_lost()
        else:  # the WMS has gone on without this attempt
            delivery.fence(str(error))
    return None


def _is_shipped(control: Path) -> bool:
    """Whether the spans of this attempt stand in the node's files."""
    uids = [entry.fact.uid for entry in read_journal(control) if isinstance(entry.fact, JobMatched)]
    shipped = Acknowledgements(control, FILES)
    return all(any(item.startswith(uid) for item in shipped.settled) for uid in uids)
