"""The jobs of this agent that have a wrapper: from the match to the reaping."""

import logging
import threading
from dataclasses import dataclass

from runner.agent.aftercare import Aftercare, Case
from runner.agent.folders import (
    JobFolder,
    Pilot,
    job_matched,
    processors_of,
    received,
    submitting,
    where_it_runs,
    wrapper_arguments,
)
from runner.agent.ports import AgentParts
from runner.agent.recovery import NOT_SUBMITTED, PREEMPTED, WRAPPER_DIED, Trouble
from runner.agent.room import Room
from runner.computing.inprocess import WrapperEnd
from runner.config import Config
from runner.errors import JobspanError, UnavailableError
from runner.wms.answers import MatchedJob
from telemetry.clock import Clock
from telemetry.facts import JobAccepted, JobMatched, WrapperReaped
from telemetry.journal import Journal
from telemetry.measure.oom import oom_kills, own_groups

WRITER = "agent"
WRAPPER_LOG = "wrapper.log"
log = logging.getLogger("jobspan.agent")


@dataclass(frozen=True)
class _Job:
    folder: JobFolder
    journal: Journal
    #: Of our control group, when the wrapper began.
    oom_kills: int | None


class Jobs:
    """Starts wrappers and notes how they end. Safe from several threads."""

    def __init__(self, config: Config, parts: AgentParts, clock: Clock, pilot: Pilot, aftercare: Aftercare) -> None:
        self._config = config
        self._parts = parts
        self._clock = clock
        self._pilot = pilot
        self._aftercare = aftercare
        #: Whether another one may be taken.
        self.room = Room(config, lambda: aftercare.waiting, parts.observer.on_room)
        self._groups = own_groups()
        self._mutex = threading.Lock()
        self._running: dict[str, _Job] = {}
        #: Set when the agent is told to stop: what dies from now on, dies by our hand.
        self.stopping = False

    @property
    def running(self) -> tuple[JobFolder, ...]:
        """Those whose wrappers we have started and not reaped."""
        with self._mutex:
            return tuple(job.folder for job in self._running.values())

    @property
    def held(self) -> tuple[JobFolder, ...]:
        """All that have arrived here and are not settled."""
        return self.running + self._aftercare.open

    def start(self, matched: MatchedJob) -> None:
        """Give *matched* a wrapper; if that cannot be, it goes back to the WMS with its own record.

        The WMS says a match again that it thinks was lost: one that has arrived is left alone.

        Raises:
            UnavailableError: nothing can be written down about it here; when the WMS says it again it may be possible.
        """
        if self._has_arrived(matched):
            return
        folder, journal = self._begin(matched)
        name = folder.root.name
        log.info("job %s: matched %s of %s", name, matched.job_name or "a job", matched.owner)
        trouble = PREEMPTED
        try:
            journal.append(received())
            self._parts.observer.on_attempt_started(folder.control)
            if not self.stopping:
                self._submit(matched, folder, journal)
                return
        except Exception as error:  # noqa: BLE001 - whatever it was: a job that was matched must not be lost
            log.error(
                "job %s: cannot be submitted: %s", name, error if isinstance(error, JobspanError) else repr(error)
            )
            trouble = NOT_SUBMITTED
        journal.close()
        self._aftercare.add(Case(folder, trouble))

    def reaped(self, end: WrapperEnd) -> None:
        """Note the end of a wrapper and leave the rest to the aftercare."""
        with self._mutex:
            job = self._running[end.task]
        how = f"code {end.exit_code}" if end.signal is None else f"signal {end.signal}"
        log.info("job %s: wrapper ended with %s", job.folder.root.name, how)
        try:
            job.journal.append(
                WrapperReaped(
                    pid=end.pid,
                    exit_code=end.exit_code,
                    signal=end.signal,
                    end_boottime_ns=end.end_boottime_ns,
                    user_cpu_seconds=end.user_cpu_seconds,
                    system_cpu_seconds=end.system_cpu_seconds,
                    oom_kills=self._oom_kills(job.oom_kills),
                )
            )
        except OSError as error:
            log.error("job %s: its end cannot be noted: %s", job.folder.root.name, error.strerror)
        finally:
            job.journal.close()
            self._aftercare.add(Case(job.folder, self._trouble()))
            with self._mutex:  # not before: in between an agent that drains would find nothing left to do
                del self._running[end.task]

    def _has_arrived(self, matched: MatchedJob) -> bool:
        name = (matched.job_id, matched.attempt)
        if not (self._config.jobs_folder / f"{matched.job_id}.{matched.attempt}").exists():
            return False
        folders = JobFolder.all(self._config.jobs_folder)
        return any((each.job_id, each.attempt) == name and each.uid == matched.uid for each in folders)

    def _begin(self, matched: MatchedJob) -> tuple[JobFolder, Journal]:
        """Its folder, with the first fact on disk; all or nothing, for without that fact it could not be accounted."""
        fact = job_matched(self._config, matched, self._pilot, self._parts.client.clock_offset_seconds)
        try:
            folder = JobFolder.make(self._config.jobs_folder, matched)
            try:
                return folder, self._begun_journal(folder, fact)
            except OSError:
                folder.remove()
                raise
        except OSError as error:
            raise UnavailableError(f"job {matched.job_id} cannot be taken here: {error.strerror}") from error

    def _begun_journal(self, folder: JobFolder, fact: JobMatched) -> Journal:
        journal = Journal(folder.control, WRITER, self._clock)
        try:
            journal.append(fact)
        except OSError:
            journal.close()
            raise
        return journal

    def _submit(self, matched: MatchedJob, folder: JobFolder, journal: Journal) -> None:
        config, element = self._config, self._parts.computing_element
        left = self._pilot.seconds_left(self._clock)
        arguments = wrapper_arguments(config, matched, self._pilot, self._parts.client.url, left)
        script = self._parts.write_wrapper(folder.control, matched.job_id, arguments)
        journal.append(submitting())
        journal.append(where_it_runs(config, self._pilot))  # before the wrapper begins: it goes with its first report
        killed_before = self._oom_kills(0)
        with self._mutex:  # an early end has to wait until the acceptance is noted
            submission = element.submit_job(script, folder.control / WRAPPER_LOG, processors_of(matched.description))
            self._running[submission.task] = _Job(folder, journal, killed_before)
            journal.append(JobAccepted(task=submission.task, computing_element=config.site.computing_element))
        log.info("job %s: submitted as %s", folder.root.name, submission.task)

    def _oom_kills(self, before: int | None) -> int | None:
        """How many of our control group the kernel has killed for want of memory since there were *before*."""
        now = oom_kills(self._groups)
        return None if now is None or before is None else now - before

    def _trouble(self) -> Trouble:
        return PREEMPTED if self.stopping else WRAPPER_DIED
