"""What the stages of one attempt share: what came from outside, and what has happened so far."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from runner.config import Config, JobWrapperConfig
from runner.errors import JobspanError
from runner.job.requests import Operation
from runner.process.cancel import Cancel
from runner.process.command import PayloadUser
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.interruptible import Interruptible
from runner.wrapper.job_execution_coordinator import Coordinator, JobExecutionCoordinator
from runner.wrapper.job_report import JobReport
from runner.wrapper.operations import Operations, Progress
from runner.wrapper.outcome import Outcome, Problem
from runner.wrapper.ports import (
    FileCatalog,
    Payload,
    SandboxStore,
    StorageElement,
    TelemetryDoor,
    WatchdogPort,
    WmsLink,
)
from runner.wrapper.workspace import JobFolders
from telemetry.bus import Emit
from telemetry.clock import Clock


@dataclass(frozen=True, kw_only=True)
class WrapperParts:
    """Everything from outside, chosen by `runner.compose`."""

    arguments: WrapperArguments
    folders: JobFolders
    config: Config
    sandbox_store: SandboxStore
    file_catalog: FileCatalog
    #: By name; the first is where output data goes when the job names none.
    storage_elements: Mapping[str, StorageElement]
    wms: WmsLink
    payload: Payload
    watchdog: WatchdogPort
    emit: Emit
    clock: Clock
    cancel: Cancel
    progress: Progress
    #: Build the accounting record from the journal and send it, within a bounded time.
    deliver_record: Callable[[], object]
    #: Bring the requests that the journal holds to the WMS. Raises UnavailableError (later), RefusedError (never).
    deliver_requests: Callable[[], object]
    #: Start of this process, and what started it.
    start_boottime_ns: int
    started_by: Literal["zygote", "interpreter"]
    #: Why no payload may start, known before the first stage; `initialize` raises it.
    obstacle: JobspanError | None = None
    #: Where output data waits that no storage element takes now; None: nowhere.
    failover_folder: StorageElement | None = None
    #: Opens the door for telemetry of the payload while that runs; None: there is none for it.
    payload_telemetry: Callable[[], AbstractContextManager[TelemetryDoor | None]] = nullcontext


@dataclass
class Pending:
    """What is left to be done for the job when it has ended."""

    #: In order.
    operations: list[Operation] = field(default_factory=list)
    #: Whether the request is in the journal, and not at the WMS.
    undelivered: bool = False


class Attempt:
    """The state of one attempt. Only the wrapper's main thread touches it."""

    def __init__(self, job_id: int, report: JobReport, parts: WrapperParts) -> None:
        self.job_id = job_id
        self.report = report
        self.parts = parts
        self.interruptible = Interruptible(parts.cancel)
        self.operations = Operations(parts.emit, parts.clock, parts.progress)
        self.coordinator: Coordinator = JobExecutionCoordinator({}, {})
        #: The account of the payload; None: ours.
        self.user: PayloadUser | None = None
        #: Whether the working directory exists.
        self.has_folder = False
        self.payload_started = False
        self.pending = Pending()
        #: The first thing that went wrong. Later ones are told of by their stages, and change nothing.
        self.problem: Problem | None = None
        #: How it ended; None before.
        self.end: Outcome | None = None

    @property
    def options(self) -> JobWrapperConfig:
        """The options of `[JobWrapper]`."""
        return self.parts.config.job_wrapper

    @property
    def std_names(self) -> tuple[str, str]:
        """Names of the payload's stdout and stderr: the job's, else DefaultOutputFile and DefaultErrorFile."""
        described, options = self.parts.arguments.description, self.options
        return (
            described.std_output or options.default_output_file,
            described.std_error or options.default_error_file,
        )

    @property
    def payload_uid(self) -> int | None:
        """The uid under which the payload runs, if it is not ours."""
        return self.user.uid if self.user else None

    def failed(self, problem: Problem) -> None:
        """Keep *problem* if it is the first."""
        if self.problem is None:
            self.problem = problem
