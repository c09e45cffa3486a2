"""A payload with its watchdog, put together as a wrapper does it."""

from pathlib import Path

from runner.config import JobWrapperConfig
from runner.process.cancel import Cancel
from runner.process.limits import WatchdogJob
from runner.process.output import ExecutionThread, OutputFiles
from runner.process.payload import PayloadResult, run
from runner.process.starter import PayloadCommand
from runner.process.watchdog import Watchdog
from telemetry.bus import Bus
from telemetry.clock import NANOSECONDS, Clock, SystemClock
from telemetry.facts import ClockStepped, Fact, HeartbeatMade, PayloadStarted, SamplerLate, UsageSampled
from tests.support.journals import ListJournal
from tests.support.starting import fork_starter

CONFIG = JobWrapperConfig(
    polling_time_seconds=0.02, checking_time_seconds=0.2, min_checking_time_seconds=0.05, kill_grace_seconds=0.2
)


class LeapingClock(SystemClock):
    """The machine's, until a test has it leap: what is due then comes after what the test has waited for."""

    ahead_seconds = 0.0

    def boottime_ns(self) -> int:
        """CLOCK_BOOTTIME and the leap."""
        return super().boottime_ns() + round(self.ahead_seconds * NANOSECONDS)


class Job:
    """All that a wrapper has for its payload; the watchdog goes by *watch*."""

    def __init__(
        self, folder: Path, config: JobWrapperConfig, job: WatchdogJob | None = None, watch: Clock | None = None
    ) -> None:
        self.work = folder
        clock = SystemClock()
        self.journal = ListJournal(clock)
        self.emit = Bus(self.journal).emit
        self.cancel = Cancel(self.emit)
        self.starter = fork_starter(
            folder,
            method="auto",
            orphan_grace_seconds=config.orphan_grace_seconds,
            kill_grace_seconds=config.kill_grace_seconds,
        )
        self.files = OutputFiles(folder, "std.out", "std.err")
        self.output = ExecutionThread(self.files, config=config)
        self.watchdog = Watchdog(
            config=config,
            job=job or WatchdogJob(start_boottime_ns=clock.boottime_ns()),
            emit=self.emit,
            cancel=self.cancel,
            clock=watch or clock,
            work=folder,
        )
        self.watchdog.start()

    def run(self, *argv: str) -> PayloadResult:
        """Run *argv* as the execute stage does."""
        command = PayloadCommand(
            argv=argv, environment={}, folder=self.work, stdout=self.files.stdout, stderr=self.files.stderr
        )
        self.watchdog.enter_stage("execute")
        return run(
            command,
            starter=self.starter,
            output=self.output,
            watchdog=self.watchdog,
            cancel=self.cancel,
            emit=self.emit,
        )

    def leap_when_started(self, watch: LeapingClock, seconds: float) -> None:
        """Let *watch* leap as soon as the payload has started, however long that may take."""
        tell = self.emit

        def emit(fact: Fact) -> None:
            tell(fact)
            if isinstance(fact, PayloadStarted):
                watch.ahead_seconds = seconds

        self.emit = emit

    def kinds(self) -> list[type[Fact]]:
        """Kinds of the facts of the payload's run, in order; samples, heartbeats and what the machine did left out."""
        kinds = [type(entry.fact) for entry in self.journal.entries]
        return [kind for kind in kinds if kind not in (UsageSampled, HeartbeatMade, SamplerLate, ClockStepped)]

    def close(self) -> None:
        """End everything."""
        self.watchdog.stop()
        self.output.finish()
        self.starter.close()
