"""JobAgent: the process that takes jobs for the slots of this machine and sees them to their end."""

import logging
import signal
import time
from dataclasses import dataclass, field

from runner.agent.aftercare import Aftercare
from runner.agent.commands import Commands
from runner.agent.folders import JobFolder, Pilot
from runner.agent.jobs import Jobs
from runner.agent.pilot_log import PilotLog
from runner.agent.ports import AgentParts
from runner.agent.signals import StopSignals
from runner.agent.taker import Taker
from runner.computing.batch_time_left import read_file, time_left
from runner.computing.inprocess import Submission
from runner.config import Config
from runner.errors import JobspanError, UnauthorizedError
from runner.locks import FileLock, LockHeld
from runner.redaction import Redactor
from runner.wms.discovery import Announcement, MetricsTarget
from telemetry.clock import NANOSECONDS, Clock

__all__ = ["AgentParts", "JobAgent"]

#: What a wrapper may need beyond its graces to upload and report, before it is killed.
STOP_SECONDS = 60.0
#: How long an agent that is told to stop delivers what wrappers have left; the next agent does the rest.
LEFTOVER_SECONDS = 5.0
#: The same for one that ends by itself (--drain); what was tried for longer is no reason to stay.
DRAIN_LEFTOVER_SECONDS = 60.0
LOOP_SECONDS = 1.0
log = logging.getLogger("jobspan.agent")


@dataclass
class _Stop:
    """How far a stop has come; times by the monotonic clock."""

    #: How long an agent that was not told to stop stays for what the WMS does not take.
    patience_seconds: float
    heeded: int = 0
    kill_at: float | None = None
    leave_at: float | None = None
    told: set[Submission] = field(default_factory=set)


class JobAgent:
    """Slots -> match -> submit -> reap -> recover. Its `run` is the main thread's."""

    def __init__(
        self,
        config: Config,
        parts: AgentParts,
        clock: Clock,
        *,
        drain: bool = False,
        patience_seconds: float = DRAIN_LEFTOVER_SECONDS,
    ) -> None:
        """With *drain* it ends when no job is left, and for what the WMS does not take stays *patience_seconds*.

        From now on SIGINT and SIGTERM mean a stop in order.
        """
        self._signals = StopSignals()
        self._config = config
        self._parts = parts
        self._pilot = Pilot.new(config.folder / "agent", _end_boottime_ns(config, clock))
        self._aftercare = Aftercare(config, parts, clock)
        self._jobs = Jobs(config, parts, clock, self._pilot, self._aftercare)
        self._commands = Commands(parts.client, self._pilot.stamp, self._commanded)
        busy = self._is_busy if drain else None
        self._taker = Taker(config, parts, self._pilot, self._jobs, busy=busy, clock=clock)
        self._log = PilotLog(parts.client, self._pilot.stamp, clock, Redactor.of(config))
        self._metrics = self._announcement()
        self._stop = _Stop(patience_seconds)
        self._registered = False

    def run(self) -> int:
        """Work until told to stop (or drained); the exit code.

        Raises:
            LockHeld: another agent works on this folder.
            UnauthorizedError: the WMS does not take our token for a pilot's.
        """
        folder = self._config.folder / "agent"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock.take(folder / "agent.lock")
        except LockHeld as error:
            self._close()
            raise LockHeld(f"another agent works on {self._config.folder}; stop it, or use another folder") from error
        with lock:
            try:
                self._pilot.leave_stamp(folder)
                self._register()
                self._start()
                self._supervise()
            finally:
                self._close()
        return 0

    def _register(self) -> None:
        try:
            self._parts.client.register_pilot(
                self._pilot.stamp,
                vo=self._config.wms.vo,
                reference=self._pilot.reference,
                site=self._config.site.name,
            )
            self._registered = True
            self._log.start()
        except UnauthorizedError:
            raise
        except JobspanError as error:  # matching needs no registration; the WMS may be away for the moment
            log.warning("the pilot is not registered: %s", error)

    def _announcement(self) -> Announcement | None:
        port = self._parts.metrics_port
        if port is None:
            return None
        target = MetricsTarget(port=port, role="agent", stamp=self._pilot.stamp, site=self._config.site.name)
        return Announcement(self._parts.client, target)

    def _start(self) -> None:
        if self._metrics is not None:
            self._metrics.start()
        self._aftercare.start()
        self._commands.start()
        self._taker.start()

    def _supervise(self) -> None:
        element = self._parts.computing_element
        while True:
            for end in element.wait(LOOP_SECONDS, self._signals.fd):
                self._jobs.reaped(end)
                self._taker.wake()
            self._signals.clear()
            strays = element.reap_strays()
            self._heed(self._signals.count or int(self._parts.client.is_told_to_stop))
            self._commands.jobs_changed()
            self._aftercare.notice()
            if self._is_over(strays):
                return

    def _heed(self, count: int) -> None:
        """The first signal stops in order, the second at once."""
        stop = self._stop
        if count and not stop.heeded:
            self._begin_stop()
        elif count > stop.heeded:
            log.warning("told again: the wrappers are killed, their starters end the payloads")
            self._signal_all(signal.SIGKILL)
        stop.heeded = count
        if stop.kill_at is not None and time.monotonic() >= stop.kill_at:
            log.error("the wrappers did not end in time: they are killed")
            self._signal_all(signal.SIGKILL)
            stop.kill_at = None
        elif stop.heeded:  # one that was on its way when the others were told
            self._tell_to_end()

    def _begin_stop(self) -> None:
        running = len(self._jobs.running) + len(self._aftercare.living)
        log.info("told to stop: %d running jobs are ended and go back", running)
        options = self._config.job_wrapper
        graces = options.kill_grace_seconds + options.orphan_grace_seconds
        self._stop.kill_at = time.monotonic() + graces + STOP_SECONDS
        self._jobs.stopping = True
        self._taker.stop()
        self._aftercare.signal_wrappers(signal.SIGTERM)

    def _tell_to_end(self) -> None:
        element = self._parts.computing_element
        new = [each for each in element.running if each not in self._stop.told]
        element.signal(signal.SIGTERM, new)
        self._stop.told.update(new)

    def _signal_all(self, number: signal.Signals) -> None:
        self._parts.computing_element.signal(number)
        self._aftercare.signal_wrappers(number)

    def _is_over(self, strays: int) -> bool:
        """Whether nothing is left to wait for; what the WMS does not take in time is left to the next agent."""
        if not self._taker.finished or self._jobs.running or self._aftercare.living or strays:
            return False
        if not self._aftercare.open:
            return True
        stop = self._stop
        patience = LEFTOVER_SECONDS if stop.heeded else stop.patience_seconds
        stop.leave_at = stop.leave_at or time.monotonic() + patience
        return time.monotonic() >= stop.leave_at

    def _is_busy(self) -> bool:
        return bool(self._jobs.running or self._aftercare.hopeful(self._stop.patience_seconds))

    def _commanded(self) -> tuple[JobFolder, ...]:
        return self._jobs.running + self._aftercare.living

    def _deregister(self) -> bool:
        """Whether the WMS can be reached."""
        reachable = True
        try:
            self._parts.client.update_pilot(self._pilot.stamp, {"Status": "Done"})
        except JobspanError as error:
            reachable = False
            log.info("the WMS does not hear that the agent ends: %s", error)
        self._log.stop(reachable=reachable)
        return reachable

    def _close(self) -> None:
        self._taker.stop()
        self._commands.stop()
        self._aftercare.stop()
        reachable = self._deregister() if self._registered else False
        if self._metrics is not None:
            self._metrics.stop(reachable=reachable)
        self._parts.observer.close()
        self._parts.computing_element.close()
        self._parts.client.close()
        self._signals.close()
        for folder in self._aftercare.open:
            log.warning("job %s: not finished; the next agent goes on with it", folder.root.name)


def _end_boottime_ns(config: Config, clock: Clock) -> int | None:
    """When the batch job in which we run ends, if anybody tells."""
    now_utc_ns = clock.utc_ns()
    end = time_left(config, read_file, now_utc_ns / NANOSECONDS)
    if end is None:
        return None
    left_ns = round(end.end_utc_seconds * NANOSECONDS) - now_utc_ns
    log.info("the batch job ends in %.0f s (%s, %s)", left_ns / NANOSECONDS, end.system, end.source)
    return clock.boottime_ns() + left_ns
