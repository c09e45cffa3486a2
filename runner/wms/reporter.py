"""The one thread of a wrapper that talks to the WMS about its job.

It reads the job's journal, so emitting a fact is all that the rest of the wrapper does. What the
WMS says backwards (the job is killed; the attempt is somebody else's) becomes a `Cancel`.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runner.backoff import Backoff
from runner.errors import FencedError, TokenRefusedError, UnavailableError
from runner.job.status import JobStatus, MinorStatus
from runner.locks import FileLock
from runner.process.cancel import Cancel
from runner.wms.answers import Refusal
from runner.wms.client import WmsClient
from runner.wms.delivery import Delivery, Reported
from runner.wms.standing import Naming
from runner.wms.tokens import TOKEN_FILE, JobTokenKeeper
from telemetry.bus import Emit
from telemetry.clock import Clock
from telemetry.entries import Entry
from telemetry.facts import Fenced, HeartbeatMade
from telemetry.outbox import WMS_DELIVERER, note_try

DELIVER_LOCK = "deliver.lock"
#: How often the journal is looked at when nobody calls `wake`: other writers (the agent) cannot. They write at the
#: start of a job, so the pauses double as long as nothing is found, to the longest.
IDLE_SECONDS = 0.5
LONGEST_IDLE_SECONDS = 8.0
#: How long a report waits for others to go along, unless somebody waits for it: that the payload of a short job has
#: begun is told with its end, and a call costs both sides some milliseconds.
GATHERING_SECONDS = 0.1
log = logging.getLogger("jobspan.reporter")


class Reporter:
    """Delivers statuses, parameters and heartbeats of one job; implements `runner.wrapper.ports.WmsLink`."""

    def __init__(
        self,
        control: Path,
        client: WmsClient,
        *,
        job_id: int,
        clock: Clock,
        cancel: Cancel | None = None,
        emit: Emit | None = None,
    ) -> None:
        """*emit* is told of a fence, *cancel* of that and of a kill."""
        self._control = control
        self._turns = _Turns()
        self._keeper = JobTokenKeeper(client, control / TOKEN_FILE, job_id, clock)
        self._delivery = Delivery(control, client, job_id=job_id, clock=clock, on_answer=self._turns.notify)
        self._cancel = cancel
        self._emit = emit
        self._lock: FileLock | None = None
        self._fence_told = False
        self._idle_seconds = IDLE_SECONDS
        self._backoff = Backoff()
        self._working = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self, *, claim: str = "") -> None:
        """Become the job's deliverer.

        *claim* is the name of this execution: should the attempt be executed twice, only the one whose Running
        comes first may start its payload. With it, reports go in single calls where the WMS knows them.

        Raises:
            LockHeld: another process is.
        """
        if claim:
            self._keeper.will_claim(claim)
            self._delivery.report_in_one(Naming(claim, self._keeper.adopt))
        self._lock = FileLock.take(self._control / DELIVER_LOCK)
        self._thread.start()

    def is_known(self) -> bool:
        """Whether what is sent from here is taken for this execution's, if need be after asking for its token: the WMS
        may have bound the attempt to our first report, and its answer may be lost."""
        with self._working:
            try:
                self._keeper.take_up_claim()
            except FencedError:
                return True
            except UnavailableError:
                return False
        return True

    def wake(self, entry: Entry | None = None) -> None:
        """There may be something new in the journal. A bus listener: cheap, and deaf to what is not reported."""
        if entry is None or isinstance(entry.fact, Reported | HeartbeatMade):
            self._turns.wake()

    def confirm_running(self, timeout_seconds: float) -> None:
        """Wait until the WMS has accepted Running under our claim, or has killed the job (see the `Cancel`).

        Raises:
            FencedError: the attempt is somebody else's, or the WMS keeps another status.
            UnavailableError: no answer in time.
        """
        standing = self._delivery.standing

        def answered() -> bool:
            return bool(standing.running or standing.killed or standing.fenced)

        if not self._turns.take(answered, timeout_seconds, whole=False):
            raise UnavailableError(f"the WMS has not accepted Running within {timeout_seconds:g} s{self._why()}")
        if standing.fenced:
            raise FencedError(standing.fenced)
        if standing.running == "refused" and not standing.killed:
            kept = standing.kept.status if standing.kept else "nothing"
            raise FencedError(f"the WMS does not accept Running, it keeps {kept}")

    def close_attempt(
        self, status: str, minor_status: str, *, preempted: bool, timeout_seconds: float
    ) -> tuple[str, str]:
        """Deliver all that was emitted; for Rescheduled ask for the next attempt. What the WMS keeps.

        Raises:
            UnavailableError: no answer in time; whoever takes the job's lock delivers later.
            FencedError: the attempt is over for the WMS.
        """
        deadline = time.monotonic() + timeout_seconds
        standing = self._delivery.standing
        if not self.drain(timeout_seconds):
            raise UnavailableError(f"not all could be reported within {timeout_seconds:g} s{self._why()}")
        if standing.fenced:
            raise FencedError(standing.fenced)
        if standing.killed:
            return standing.end
        if status == JobStatus.RESCHEDULED:
            return self._next_attempt(minor_status, preempted, deadline)
        if standing.kept is None or not standing.kept.status:
            return status, minor_status
        return standing.kept.status, standing.kept.minor_status

    @property
    def is_answered(self) -> bool:
        """Whether the WMS took what was last said to it."""
        return not self._turns.failure

    def drain(self, timeout_seconds: float) -> bool:
        """Deliver all that was emitted before this call; whether it was done in time."""
        return self._turns.take(lambda: self._delivery.is_empty, timeout_seconds)

    def stop(self, timeout_seconds: float) -> bool:
        """Drain, end the thread and let the job's lock go; whether all was delivered. Idempotent."""
        if self._lock is None:
            return self._delivery.is_empty
        drained = self.drain(timeout_seconds)
        self._turns.end()
        # A call in flight ends by its own timeout; the process does not wait for it.
        self._thread.join(0.0 if not drained else 5.0)
        if not self._thread.is_alive():
            self._lock.release()
            self._lock = None
        return drained

    def _next_attempt(self, minor_status: str, preempted: bool, deadline: float) -> tuple[str, str]:
        """Ask for it; how this attempt has ended for the WMS."""
        refusal = self._reschedule(preempted, deadline)
        if refusal is not None:  # DiracX refuses beyond the maximum only, and does not say what it keeps
            kept = (refusal.status, refusal.minor_status)
            return kept if all(kept) else (JobStatus.FAILED, MinorStatus.MAXIMUM_OF_RESCHEDULINGS)
        last = self._delivery.standing.kept
        if last is not None and last.status not in (None, "", JobStatus.RESCHEDULED):
            # Our Rescheduled was refused (from Completing it is): the WMS has ended the attempt in words of its own.
            return JobStatus.RESCHEDULED, MinorStatus.JOB_RESCHEDULED
        return JobStatus.RESCHEDULED, minor_status

    def _reschedule(self, preempted: bool, deadline: float) -> Refusal | None:
        """None when there will be a next attempt, else why not."""
        backoff, unanswered = Backoff(), False
        while True:
            try:
                with self._working:
                    return self._delivery.reschedule(preempted=preempted)
            except FencedError:
                if not unanswered:
                    raise
                with self._working:  # the first call was heard, so our attempt is over
                    self._delivery.reschedule_was_lost()
                return None
            except UnavailableError as error:
                unanswered = True
                pause = backoff.failed(error.retry_after_seconds)
                if time.monotonic() + pause >= deadline:
                    raise
                self._turns.rest(pause)

    def _run(self) -> None:
        pause = IDLE_SECONDS  # what the agent has written goes along with the wrapper's first report
        while (turn := self._turns.next(pause)) is not None:
            pause = self._turn(turn)
            self._turns.done(turn)

    def _turn(self, turn: "_Turn") -> float:
        """One look at the journal and what follows; the pause after it, in seconds."""
        try:
            with self._working:
                self._deliver(last=turn.urgent)
            self._pass_on()
        except UnavailableError as error:
            if isinstance(error, TokenRefusedError):
                self._keeper.distrust()
            return self._failed(error, error.retry_after_seconds)
        except Exception as error:  # noqa: BLE001 - the thread must live: a kill still has to get through
            return self._failed(error, None)
        self._backoff.succeeded()
        self._turns.failure = ""
        return self._idle_seconds

    def _deliver(self, *, last: bool) -> None:
        self._delivery.collect()
        doubled = min(2 * self._idle_seconds, LONGEST_IDLE_SECONDS)
        self._idle_seconds = doubled if self._delivery.is_empty else IDLE_SECONDS
        try:
            if not self._delivery.standing.fenced and (self._control / TOKEN_FILE).exists():
                self._keeper.keep()
            self._delivery.push(last=last)
        except FencedError as error:
            self._delivery.fence(str(error))

    def _pass_on(self) -> None:
        """Tell the wrapper what the WMS has said; each only once."""
        standing = self._delivery.standing
        if standing.killed and self._cancel:
            self._cancel.request("user", standing.end[1])
        if standing.fenced and not self._fence_told:
            self._fence_told = True
            if self._emit:
                self._emit(Fenced(reason=standing.fenced))
            if self._cancel:
                self._cancel.request("fence", standing.fenced)

    def _failed(self, error: Exception, retry_after_seconds: float | None) -> float:
        pause = self._backoff.failed(retry_after_seconds)
        self._turns.failure = str(error) or type(error).__name__
        self._turns.must_rest = True
        note_try(self._control, WMS_DELIVERER, self._turns.failure, self._backoff.failures, pause)
        if self._backoff.failures == 1:
            log.warning("cannot report now: %s", error)
        return pause

    def _why(self) -> str:
        return f": {self._turns.failure}" if self._turns.failure else ""


class _Turn:
    """One look at the journal and the calls that follow from it."""

    def __init__(self, number: int, urgent: bool) -> None:
        self.number = number
        self.urgent = urgent


class _Turns:
    """Who waits for what: the reporter for work, its callers for the turn after their call."""

    def __init__(self) -> None:
        self.failure = ""
        self.must_rest = False
        self._condition = threading.Condition()
        self._woken = False
        self._urgent = False
        self._ended = False
        self._begun = 0
        self._finished = 0

    def wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def next(self, pause_seconds: float) -> _Turn | None:
        """Wait for the next turn: some moments after a wake, or after a pause. After a failure only an urgent wish
        cuts the pause short."""
        deadline = time.monotonic() + pause_seconds
        gathering = False
        with self._condition:
            while not self._ended and not self._urgent:
                if self._woken and not self.must_rest and not gathering:
                    gathering = True
                    deadline = min(deadline, time.monotonic() + GATHERING_SECONDS)
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            if self._ended:
                return None
            turn = _Turn(self._begun + 1, self._urgent)
            self._begun += 1
            self._woken = self._urgent = self.must_rest = False
            return turn

    def done(self, turn: _Turn) -> None:
        with self._condition:
            self._finished = turn.number
            self._condition.notify_all()

    def notify(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def take(self, predicate: Callable[[], bool], timeout_seconds: float, *, whole: bool = True) -> bool:
        """Ask for a turn at once; wait until *predicate* is true after a *whole* turn that began after this call."""
        deadline = time.monotonic() + timeout_seconds
        with self._condition:
            wanted = self._begun + 1
            self._urgent = True
            self._condition.notify_all()
            while not ((self._finished >= wanted or not whole) and predicate()):
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    return False
                self._condition.wait(left)
            return True

    def rest(self, seconds: float) -> None:
        """Let *seconds* pass, unless the reporter is ended."""
        deadline = time.monotonic() + seconds
        with self._condition:
            while not self._ended and (left := deadline - time.monotonic()) > 0:
                self._condition.wait(left)
