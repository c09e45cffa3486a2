"""The watchdog: looks at the job, holds it against its limits, and tells the WMS how it is.

It lives from before `initialize` reports until after the last upload: wall clock, disk and heartbeat
are watched in every stage, the process tree while a payload exists. It measures, decides (`limits`)
and asks for the end (`cancel`); ending the payload is the starter's.
"""

import contextlib
import math
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from runner.config import IDLE_VARIABLE, JobWrapperConfig
from runner.process.cancel import Cancel
from runner.process.limits import (
    Limits,
    PayloadReading,
    RatioWindow,
    Reading,
    Stillness,
    Trends,
    Warnings,
    WatchdogJob,
    hits,
)
from runner.process.output import ExecutionThread
from runner.process.punctuality import Moment, Punctuality
from runner.process.starter import Starter
from telemetry.bus import Emit
from telemetry.clock import NANOSECONDS, Clock, utc_text
from telemetry.facts import (
    Fact,
    HeartbeatMade,
    LimitHit,
    OutputSeen,
    ParametersSet,
    Scalar,
    StageName,
    Stream,
    UsageSampled,
)
from telemetry.journal import JournalFull
from telemetry.measure import procfs
from telemetry.measure.naming import sample_methods
from telemetry.measure.peaks import peaks_so_far
from telemetry.measure.snapshot import NOTHING_USED, UsageReading

_MEGABYTE = 1 << 20
#: Samples that nobody looks at would fill the journal, and writing one costs as much as a look: the longer a job
#: runs, the rarer they get written, from one a poll to one in so many seconds, and before that to one in this part of
#: its wall clock. (Limits are looked at on every poll.)
_LONGEST_SAMPLING_SECONDS = 15.0
_SAMPLING_SHARE = 0.1
#: The first heartbeat with a payload's figures comes so soon after its start.
_FIRST_HEARTBEAT_SECONDS = 1.0
#: Job parameter with everything that was warned of.
WARNINGS_PARAMETER = "WatchdogWarnings"


@dataclass
class _Payload:
    """The payload that is being watched."""

    starter: Starter
    output: ExecutionThread
    window: RatioWindow
    stillness: Stillness


@dataclass
class _State:
    """What changes while the watchdog runs; times by the monotonic clock."""

    punctuality: Punctuality
    #: Between two looks at proportional memory; 0: none.
    pss_seconds: float = 0.0
    #: Nothing is told before a stage is entered: whether the first look came before it would be chance.
    heartbeat_at: float = math.inf
    sample_at: float = math.inf
    stage: StageName = "initialize"
    payload: _Payload | None = None
    usage: UsageReading = NOTHING_USED
    #: Free for the job's files, by the last look.
    disk_bytes: int = 0
    #: Of the node, by the last look.
    load_average: float = 0.0
    standard_output: str | None = None
    told: dict[Stream, OutputSeen] = field(default_factory=dict)
    #: What was warned of, by the limit's name.
    warned: dict[str, str] = field(default_factory=dict)
    #: Of the starter, as long as there is one to ask.
    starter_cpu_seconds: float = 0.0
    pss_at: float = 0.0
    #: Who measures what, as the last sample that said so has it.
    methods: dict[str, str] = field(default_factory=dict)


class Watchdog(threading.Thread):
    """One for each job. `start` it first, `stop` it last."""

    def __init__(
        self, *, config: JobWrapperConfig, job: WatchdogJob, emit: Emit, cancel: Cancel, clock: Clock, work: Path
    ) -> None:
        """Watch *job*, whose files lie on the file system of *work*."""
        super().__init__(name="watchdog", daemon=True)
        self._config = config
        self._checking_seconds = max(config.checking_time_seconds, config.min_checking_time_seconds)
        self._job = job
        self._limits = Limits.of(config, job)
        self._emit = emit
        self._cancel = cancel
        self._clock = clock
        self._work = work
        self._mutex = threading.RLock()
        self._end = threading.Event()
        self._warnings = Warnings(self._checking_seconds)
        self._state = _State(
            punctuality=Punctuality(config.polling_time_seconds),
            pss_seconds=config.pss_time_seconds,
        )

    def run(self) -> None:
        """Look at the job every PollingTime until `stop`."""
        next_poll = time.monotonic()
        while not self._end.wait(max(0.0, next_poll - time.monotonic())):
            # A late poll is not made up for by a hurried one.
            next_poll = max(next_poll + self._config.polling_time_seconds, time.monotonic())
            # What cannot be measured now (a full disk, a file system that does not answer) is tried at the next poll.
            with self._mutex, contextlib.suppress(OSError):
                self._poll()

    def stop(self) -> None:
        """End the thread. Idempotent, also when it never ran."""
        self._end.set()
        if self.ident is not None:
            self.join()

    def enter_stage(self, stage: StageName) -> None:
        """The job is in *stage* from now on; the change is sampled."""
        with self._mutex:
            state = self._state
            state.stage = stage
            state.heartbeat_at = min(state.heartbeat_at, time.monotonic() + self._checking_seconds)
            self._look()
            self._sample()

    def attach(self, starter: Starter, output: ExecutionThread) -> None:
        """A payload runs: watch it."""
        with self._mutex:
            state = self._state
            state.payload = _Payload(starter, output, RatioWindow(self._limits), Stillness(self._limits))
            state.sample_at = 0.0
            state.heartbeat_at = min(state.heartbeat_at, time.monotonic() + _FIRST_HEARTBEAT_SECONDS)

    def detach(self) -> None:
        """The payload has ended: its last figures go into a heartbeat. Without a payload nothing happens."""
        with self._mutex:
            if self._state.payload is None:
                return
            self._look()
            self._sample()
            self._heartbeat(ended=True)
            self._state.payload = None

    def _poll(self) -> None:
        """Measure, decide, act, report."""
        state = self._state
        moment = Moment(self._clock.utc_ns(), self._clock.boottime_ns(), time.monotonic())
        for fact in state.punctuality.notice(moment):
            self._tell(fact)
        reading = self._look()
        found = self._excused(list(hits(self._limits, reading, self._trends(reading))))
        if self._cancel.cause is None:
            self._act(found, reading.wall_seconds)
        now = time.monotonic()
        if now >= state.sample_at:
            self._sample()
        if now >= state.heartbeat_at:
            self._heartbeat()

    def _look(self) -> Reading:
        """Measure the job as it is now."""
        state = self._state
        payload = state.payload
        state.disk_bytes = self._disk_bytes()
        state.load_average = procfs.load_average()
        wall_seconds = self._wall_seconds()
        if payload is None:
            return Reading(wall_seconds, state.disk_bytes, state.load_average)
        usage = payload.starter.snapshot(self._depth())
        if usage is None:  # the starter is stopped, or gone: then whoever runs the payload ends the job
            if (done := payload.starter.stir()) is not None:
                self._tell(done)
            return Reading(wall_seconds, state.disk_bytes, state.load_average)
        state.usage = usage
        measured = PayloadReading(
            awake_seconds=time.monotonic(),
            cpu_seconds=usage.cpu.total_seconds,
            rss_bytes=usage.rss_bytes,
            output_bytes=payload.output.held_bytes,
            processes=usage.processes,
        )
        return Reading(wall_seconds, state.disk_bytes, state.load_average, measured)

    def _depth(self) -> Literal["", "deep", "pss"]:
        """How deep the next look goes: what is dear is looked at for a heartbeat, or when PSSTime has passed."""
        state, now = self._state, time.monotonic()
        if state.pss_seconds and now >= state.pss_at:
            state.pss_at = now + state.pss_seconds
            return "pss"
        return "deep" if now >= state.heartbeat_at else ""

    def _wrapper_cpu_seconds(self) -> float:
        state = self._state
        if state.payload is not None:
            state.starter_cpu_seconds = max(state.starter_cpu_seconds, state.payload.starter.cpu_seconds())
        return time.process_time() + state.starter_cpu_seconds

    def _trends(self, reading: Reading) -> Trends:
        payload = self._state.payload
        if payload is None or reading.payload is None:
            return Trends()
        written = sum(each.bytes for each in payload.output.seen()) if self._limits.still_seconds else 0
        return Trends(
            ratio_percent=payload.window.add(reading.payload),
            still_seconds=payload.stillness.add(reading.payload.awake_seconds, written),
        )

    def _excused(self, found: list[LimitHit]) -> list[LimitHit]:
        """*found*, but for the stall of a payload whose folder says by a file that it may idle: from then on it may.

        (Looked for when it matters, as DIRAC does: payloads make it before they wait for something.)
        """
        rest = [each for each in found if each.limit != "stall"]
        if len(rest) == len(found) or not os.path.exists(self._work / IDLE_VARIABLE):
            return found
        self._limits = replace(self._limits, ratio_percent=None)
        return rest

    def _act(self, found: list[LimitHit], wall_seconds: float) -> None:
        """Warn, tell the payload that its time is nearly up, or have the job ended: by the first limit that kills."""
        for warning in self._warnings.news([each for each in found if each.action == "warn"], time.monotonic()):
            self._warn(warning)
        fatal = next((each for each in found if each.action == "kill"), None)
        if fatal is not None:
            self._tell(fatal)
            self._cancel.request("watchdog", fatal.minor_status)
            return
        stop, payload = self._limits.stop, self._state.payload
        if stop is not None and payload is not None and self._limits.must_stop(wall_seconds):
            left = self._limits.wall_left_seconds(wall_seconds) or 0.0
            payload.starter.stop_gracefully(stop.regex, stop.number, f"graceful stop: {left:.0f} s are left")

    def _warn(self, hit: LimitHit) -> None:
        killed_at = utc_text(self._clock.utc_ns())
        self._tell(hit)
        warned = self._state.warned
        if hit.limit in warned:  # it would have ended the first time
            return
        figures = f"{hit.measured:g} of {hit.allowed:g} {hit.unit}"
        warned[hit.limit] = f"{hit.minor_status} ({figures}; would have been killed at {killed_at})"
        self._tell(ParametersSet(parameters={WARNINGS_PARAMETER: "; ".join(warned.values())}))

    def _sample(self) -> None:
        state = self._state
        usage = state.usage
        wall_seconds = self._wall_seconds()
        sparse = min(_LONGEST_SAMPLING_SECONDS, wall_seconds * _SAMPLING_SHARE)
        state.sample_at = time.monotonic() + max(self._config.polling_time_seconds / 2, sparse)
        self._tell(
            UsageSampled(
                stage=state.stage,
                cpu_user_seconds=usage.cpu.user_seconds,
                cpu_system_seconds=usage.cpu.system_seconds,
                cpu_method=usage.methods.cpu,
                wall_seconds=wall_seconds,
                rss_bytes=usage.rss_bytes if state.payload else 0,
                processes=usage.processes if state.payload else 0,
                threads=usage.threads if state.payload else 0,
                read_bytes=usage.read_bytes,
                written_bytes=usage.written_bytes,
                available_disk_bytes=state.disk_bytes,
                load_average=state.load_average,
                cpu_uncertainty_seconds=usage.cpu_uncertainty_seconds,
                rss_method=usage.methods.memory,
                processes_method=usage.methods.processes,
                io_method=usage.methods.io,
                swap_bytes=usage.swap_bytes if state.payload else 0,
                pss_bytes=usage.pss_bytes if state.payload else None,
                minor_faults=usage.minor_faults,
                major_faults=usage.major_faults,
                voluntary_switches=usage.voluntary_switches,
                involuntary_switches=usage.involuntary_switches,
                cpu_pressure_seconds=usage.cpu_pressure_seconds,
                memory_pressure_seconds=usage.memory_pressure_seconds,
                io_pressure_seconds=usage.io_pressure_seconds,
                wrapper_cpu_seconds=self._wrapper_cpu_seconds(),
                methods=self._new_methods(),
                **vars(peaks_so_far(usage)),
            )
        )
        for seen in state.payload.output.seen() if state.payload else ():
            if state.told.get(seen.stream) != seen:
                state.told[seen.stream] = seen
                self._tell(seen)

    def _new_methods(self) -> dict[str, str]:
        """Who has measured what, unless all is as in the sample before."""
        found = sample_methods(self._state.usage)
        if found == self._state.methods:
            return {}
        self._state.methods = found
        return found

    def _heartbeat(self, *, ended: bool = False) -> None:
        state = self._state
        usage = state.usage
        state.heartbeat_at = time.monotonic() + self._checking_seconds
        values: dict[str, Scalar] = {
            "LoadAverage": state.load_average,
            "MemoryUsed": usage.rss_bytes / _MEGABYTE if state.payload else 0.0,
            # DIRAC sends KB and calls them MB; here both memory figures are MB.
            "Vsize": usage.vsize_bytes / _MEGABYTE if state.payload else 0.0,
            "AvailableDiskSpace": state.disk_bytes / _MEGABYTE,
            "CPUConsumed": usage.cpu.total_seconds,
            # On this wire, and nowhere else, wall clock means that of all processors together (DIRAC's Watchdog).
            "WallClockTime": self._wall_seconds() * self._job.processors,
        }
        if state.payload is not None and self._config.job_peek:
            state.standard_output = state.payload.output.peek(ended=ended)
        if state.standard_output is not None:
            values["StandardOutput"] = state.standard_output
        self._tell(HeartbeatMade(values=values))

    def _wall_seconds(self) -> float:
        return (self._clock.boottime_ns() - self._job.start_boottime_ns) / NANOSECONDS

    def _disk_bytes(self) -> int:
        """Free for an ordinary user on the file system of the job's folder, or of where it will be made."""
        folder = self._work
        while True:
            try:
                found = os.statvfs(folder)
            except FileNotFoundError:
                if folder == folder.parent:
                    return 0
                folder = folder.parent
            else:
                return found.f_bavail * found.f_frsize

    def _tell(self, fact: Fact) -> None:
        # A full disk must not end the watch; the wrapper notices it when its own facts find no room.
        with contextlib.suppress(JournalFull):
            self._emit(fact)
