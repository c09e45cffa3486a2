"""A whole site on one machine and in one folder: the WMS and an agent, as child processes."""

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from runner.compose.kinds import open_client
from runner.config import CONFIG_VARIABLE, Config
from runner.errors import UnavailableError
from runner.wms.client import WmsClient

#: For one that hangs; one that ends is noticed at once. A busy machine may take a minute for the imports.
START_DEADLINE_SECONDS = 120.0
STOP_DEADLINE_SECONDS = 60.0


class Service:
    """One of our commands as a child: its first line says that it is ready, the rest goes to *log*.

    Should we be killed, it ends by itself. To be made in the main thread.
    """

    def __init__(self, config: Config, arguments: Sequence[str], log: Path) -> None:
        """Start it and wait until it is ready.

        Raises:
            UnavailableError: it ended, or said nothing in time; the log says why.
        """
        command = [sys.executable, "-m", "runner.cli", "--folder", str(config.folder)]
        if config.source is not None:
            command += ["--config", str(config.source)]
        self.log = log
        self.name = arguments[0]
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in config.environment.items() if name != CONFIG_VARIABLE}
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, *arguments, "--end-with", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                process_group=0,  # a terminal's Ctrl-C is ours to pass on, in order
            )
        try:
            self.first_line = self._await_first_line()
        except BaseException:  # Ctrl-C while we wait must not leave it running
            self.stop(deadline_seconds=5.0)
            raise

    def stop(self, deadline_seconds: float = STOP_DEADLINE_SECONDS) -> int:
        """Ask it to end, and wait; killed when it does not. The exit code. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(deadline_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def _await_first_line(self) -> str:
        output: IO[bytes] | None = self.process.stdout
        assert output is not None  # noqa: S101 - PIPE above
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            ready = selector.select(START_DEADLINE_SECONDS)
        line = output.readline().decode(errors="replace").strip() if ready else ""
        if not line:
            raise UnavailableError(
                f"jobspan {self.name} did not start: {_last_line(self.log)} (all of it in {self.log})"
            )
        return line


class LocalSite:
    """WMS and agent on `config.folder`, from `with` to its end; the agent's jobs end before the WMS does."""

    def __init__(self, config: Config, slots: int = 1) -> None:
        self.config = config
        self._slots = slots
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        logs = self.config.folder / "logs"
        with ExitStack() as started:
            self.wms = Service(self.config, ["wms"], logs / "wms.log")
            started.callback(self.wms.stop)
            self.client: WmsClient = open_client(self.config)
            started.callback(self.client.close)
            self.agent = Service(self.config, ["agent", "--slots", str(self._slots)], logs / "agent.log")
            started.callback(self.agent.stop)
            self._stack = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the agent, then the WMS. Idempotent."""
        self._stack.close()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"
