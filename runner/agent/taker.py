"""Taking jobs: one thread that asks the matcher whenever a slot is free."""

import logging
import threading
from collections.abc import Callable

from runner.agent.folders import Pilot
from runner.agent.jobs import Jobs
from runner.agent.ports import AgentParts
from runner.backoff import Backoff
from runner.config import Config
from runner.errors import JobspanError, UnavailableError
from runner.options import Check
from runner.wms.answers import MatchedJob
from telemetry.clock import Clock

LOW_ROOM_SECONDS = 5.0
#: With --drain and jobs still running: how often to ask, unless one ends before.
DRAIN_SECONDS = 1.0
log = logging.getLogger("jobspan.agent")


class Taker:
    """The thread. It ends by `stop`, or by itself as the options say; then no job is on its way any more."""

    def __init__(
        self,
        config: Config,
        parts: AgentParts,
        pilot: Pilot,
        jobs: Jobs,
        *,
        busy: Callable[[], bool] | None,
        clock: Clock,
    ) -> None:
        """*busy* is given to drain: false, and no job comes: it was all."""
        self._config = config
        self._parts = parts
        self._pilot = pilot
        self._jobs = jobs
        self._busy = busy
        self._clock = clock
        self._backoff = Backoff(first_seconds=0.5)
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taker", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """A slot may be free."""
        self._changed.set()

    def stop(self) -> None:
        """Take no more jobs; a call that is under way is awaited by `finished`."""
        self._stopped.set()
        self._changed.set()

    @property
    def finished(self) -> bool:
        """Whether no job is on its way, and none will be."""
        return self._finished.is_set()

    def _run(self) -> None:
        try:
            self._take()
        finally:
            self._finished.set()
            self._parts.computing_element.wake()

    def _take(self) -> None:
        failed = 0
        while not self._stopped.is_set() and not self._time_is_up():
            if self._parts.computing_element.free_slots <= 0 or self._jobs.room.is_short():
                self._pause(LOW_ROOM_SECONDS)
                continue
            busy = self._busy is None or self._busy()
            try:
                matched = self._match(busy)
            except JobspanError as error:
                self._refused(error)
                continue
            except Exception as error:  # noqa: BLE001 - this thread is the agent's purpose: no accident may end it
                log.error("matching stumbled: %r", error)
                self._stopped.wait(self._backoff.failed())
                continue
            failed = 0 if matched else failed + 1
            if self._was_last(matched, failed, busy):
                return

    def _match(self, busy: bool) -> MatchedJob | None:
        config = self._config
        site = config.site
        free = self._parts.computing_element.free_slots
        offer = {
            "PilotStamp": self._pilot.stamp,
            "Site": site.name,
            "GridCE": site.computing_element,
            "CEQueue": site.queue,
            "Platform": site.platform,
            "Tags": list(site.tags),
            "Processors": free,
            "CPUNormalizationFactor": site.cpu_normalization_factor,
            "EarlierStamps": list(self._pilot.earlier_stamps),
            "Holding": [{"JobID": each.job_id, "Attempt": each.attempt} for each in self._jobs.held],
            **self._demands(whole_node=free == config.job_agent.slots),
        }
        # Nobody hangs up on this call, not even to stop: a job may be on its way in it.
        wait = 0.0 if self._busy else config.job_agent.polling_time_seconds
        matched = self._parts.client.match(offer, wait)
        if self._backoff.failures:
            log.info("the WMS answers again")
        self._backoff.succeeded()
        if matched is not None:
            self._jobs.start(matched)
        elif self._busy and busy:
            self._pause(DRAIN_SECONDS)
        return matched

    def _demands(self, *, whole_node: bool) -> dict[str, object]:
        """What this agent says of itself beyond the least, and whom it serves."""
        site, options = self._config.site, self._config.job_agent
        left = self._pilot.seconds_left(self._clock)
        said = {
            "RequiredTags": list(site.required_tags),
            "WholeNode": whole_node,
            "MemoryMB": site.max_ram_mb,
            "CPUWorkLeft": None if left is None else max(0.0, left * site.cpu_normalization_factor),
            "JobTypes": list(options.job_types),
            "Owners": list(options.owners),
            "OwnerGroups": list(options.owner_groups),
        }
        return {name: value for name, value in said.items() if value or (name == "CPUWorkLeft" and value is not None)}

    def _was_last(self, matched: MatchedJob | None, failed: int, busy: bool) -> bool:
        options = self._config.job_agent
        if matched:
            return not options.filling_mode
        if self._busy and not busy:
            log.info("no job is left")
            return True
        return 0 < options.stop_after_failed_matches <= failed

    def _refused(self, error: JobspanError) -> None:
        retry_after = error.retry_after_seconds if isinstance(error, UnavailableError) else None
        pause = self._backoff.failed(retry_after)
        if self._backoff.failures == 1:
            log.warning("no jobs can be taken now: %s", error)
        self._stopped.wait(pause)

    def _time_is_up(self) -> bool:
        """Whether a job that came now would be ended at once, since our batch job ends."""
        left = self._pilot.seconds_left(self._clock)
        options = self._config.job_wrapper
        if left is None or options.check_time_left == Check.OFF or left > options.stop_margin_seconds:
            return False
        log.info("the batch job ends in %.0f s: no more jobs are taken", left)
        return True

    def _pause(self, seconds: float) -> None:
        """Until a slot may be free, or *seconds* have passed."""
        self._changed.wait(seconds)
        self._changed.clear()
