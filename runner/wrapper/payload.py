"""The payload of this machine: starter, execution thread and watchdog, put together for one run."""

from collections.abc import Callable
from dataclasses import dataclass

from runner.config import JobWrapperConfig
from runner.process.cancel import Cancel
from runner.process.command import PayloadCommand
from runner.process.output import ExecutionThread, OutputFiles
from runner.process.payload import PayloadResult, run
from runner.process.starter import Starter
from runner.process.watchdog import Watchdog
from runner.wrapper.peeking import OutputDoor
from telemetry.bus import Emit
from telemetry.facts import Fact, PayloadStarted


@dataclass(frozen=True, kw_only=True)
class LocalPayload:
    """Implements `ports.Payload`."""

    starter: Starter
    watchdog: Watchdog
    cancel: Cancel
    emit: Emit
    config: JobWrapperConfig
    #: Where others see the output; None: nowhere but in the heartbeats.
    door: OutputDoor | None = None

    def run(self, command: PayloadCommand, on_started: Callable[[PayloadStarted], None]) -> PayloadResult:
        """See `ports.Payload`."""

        def emit(fact: Fact) -> None:
            self.emit(fact)
            if isinstance(fact, PayloadStarted):
                on_started(fact)

        names = [str(path.relative_to(command.folder)) for path in (command.stdout, command.stderr)]
        files = OutputFiles(command.folder, *names)
        output = ExecutionThread(files, config=self.config)
        if self.door is None:
            return self._run(command, output, emit)
        self.door.attach(output)
        try:
            return self._run(command, output, emit)
        finally:
            self.door.keep()

    def _run(self, command: PayloadCommand, output: ExecutionThread, emit: Emit) -> PayloadResult:
        result = run(
            command, starter=self.starter, output=output, watchdog=self.watchdog, cancel=self.cancel, emit=emit
        )
        self.starter.dismiss()  # it takes some milliseconds to end, in which we go on
        return result

    def settle(self) -> float:
        """See `ports.Payload`."""
        self.starter.close()
        return self.starter.cpu_seconds()
