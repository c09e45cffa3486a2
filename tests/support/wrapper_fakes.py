"""A wrapper with nothing outside: its ports, played in memory and on the disk, and a harness around them."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.config import Config, JobWrapperConfig
from runner.data.archives import unpack
from runner.data.ports import Replica
from runner.data.storage import FolderStorageElement
from runner.errors import NotFoundError, RefusedError
from runner.process.cancel import Cancel
from runner.process.command import PayloadCommand
from runner.process.payload import PayloadResult
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.job_report import JobReport
from runner.wrapper.job_wrapper import JobWrapper, WrapperParts
from runner.wrapper.operations import Progress
from runner.wrapper.ports import Payload, WatchdogPort
from runner.wrapper.workspace import JobFolders
from telemetry.bus import Bus
from telemetry.clock import SystemClock
from telemetry.facts import (
    AttemptEnded,
    Fact,
    OperationFinished,
    ParametersSet,
    PayloadStarted,
    RequestMade,
    Scalar,
    StageFinished,
    StatusChanged,
    UsageSettled,
)
from tests.support.journals import ListJournal

UID = "5f0c5b5e-7e4b-5ea5-9d5e-111111111111"


class Gate:
    """A place where calls stop until they are let through; a test waits for `reached`."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        #: Set when a call has got through.
        self.passed = threading.Event()
        self._open = threading.Event()
        self._threads: list[threading.Thread] = []

    def pass_through(self) -> None:
        """Wait here."""
        self._threads.append(threading.current_thread())
        self.reached.set()
        self._open.wait(60)
        self.passed.set()

    def open(self) -> None:
        """Let everybody through, and wait until their threads have ended: the next test may fork."""
        self._open.set()
        for thread in self._threads:
            if thread is not threading.main_thread():
                thread.join(10)


@dataclass
class FakeSandboxStore:
    """Implements `SandboxStore` on a folder. Failures and gates are set by the test."""

    folder: Path
    error: Exception | None = None
    gate: Gate | None = None
    uploads: list[Path] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> str:
        """Put an input sandbox there; its pfn."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(data)
        return f"SB:SandboxSE|/{name}"

    def download(self, pfn: str, target: Path) -> int:
        """See `SandboxStore`."""
        self._trouble()
        source = self.folder / pfn.rpartition("/")[2]
        if not source.exists():
            raise NotFoundError(f"no sandbox {pfn}")
        shutil.copyfile(source, target)
        return target.stat().st_size

    def upload_output(self, archive: Path) -> str:
        """See `SandboxStore`."""
        self._trouble()
        self.folder.mkdir(exist_ok=True)
        kept = self.folder / f"output-{len(self.uploads)}"
        shutil.copyfile(archive, kept)
        self.uploads.append(kept)
        return f"SB:SandboxSE|/{kept.name}"

    def output(self, number: int = -1) -> dict[str, bytes]:
        """Files of an uploaded sandbox, by name."""
        target, staging = self.folder / "unpacked", self.folder / "staging"
        for each in (target, staging):
            shutil.rmtree(each, ignore_errors=True)
            each.mkdir()
        unpack(self.uploads[number], target, staging=staging)
        return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}

    def _trouble(self) -> None:
        if self.gate:
            self.gate.pass_through()
        if self.error:
            raise self.error


@dataclass
class FakeCatalog:
    """Implements `FileCatalog` in memory."""

    files: dict[str, Replica] = field(default_factory=dict)
    registered: list[tuple[str, Replica]] = field(default_factory=list)
    error: Exception | None = None

    def lookup(self, lfns: Sequence[str]) -> dict[str, Replica]:
        """See `FileCatalog`."""
        if self.error:
            raise self.error
        return {lfn: self.files[lfn] for lfn in lfns if lfn in self.files}

    def register(self, replica: Replica, catalog: str) -> None:
        """See `FileCatalog`."""
        known = self.files.get(replica.lfn)
        if known and known.adler32 != replica.adler32:
            raise RefusedError(f"{replica.lfn} has other content", status_code=409)
        self.files[replica.lfn] = replica
        self.registered.append((catalog, replica))


@dataclass
class FakeWms:
    """Implements `WmsLink`; `kept` is what it answers at the end, None: what it is told."""

    confirm_error: Exception | None = None
    close_error: Exception | None = None
    kept: tuple[str, str] | None = None
    closed: list[tuple[str, str, bool]] = field(default_factory=list)
    on_confirm: Callable[[], None] = lambda: None

    def confirm_running(self, timeout_seconds: float) -> None:
        """See `WmsLink`."""
        self.on_confirm()
        if self.confirm_error:
            raise self.confirm_error

    def close_attempt(
        self, status: str, minor_status: str, *, preempted: bool, timeout_seconds: float
    ) -> tuple[str, str]:
        """See `WmsLink`."""
        self.closed.append((status, minor_status, preempted))
        if self.close_error:
            raise self.close_error
        return self.kept or (status, minor_status)


@dataclass
class FakePayload:
    """Implements `Payload`: does what a test says, in the working directory, and ends as it says."""

    cancel: Cancel
    act: Callable[[Path], None] | None = None
    exit_code: int | None = 0
    signal: int | None = None
    error: BaseException | None = None
    #: Run until the job is told to stop.
    endless: bool = False
    started: threading.Event = field(default_factory=threading.Event)
    commands: list[PayloadCommand] = field(default_factory=list)
    settled: int = 0

    def run(self, command: PayloadCommand, on_started: Callable[[PayloadStarted], None]) -> PayloadResult:
        """See `Payload`."""
        self.commands.append(command)
        if self.error:
            raise self.error
        started = PayloadStarted(pid=4711, start_boottime_ns=1, executable=command.argv[0])
        on_started(started)
        if self.act:
            self.act(command.folder)
        self.started.set()
        if self.endless:
            assert self.cancel.wait(20), "nobody stopped the payload"
        killed = self.cancel.cause
        return PayloadResult(
            started=started,
            exit_code=None if killed else self.exit_code,
            signal=15 if killed else self.signal,
            usage=UsageSettled(
                cpu_user_seconds=2.0,
                cpu_system_seconds=0.6,
                cpu_method="wait4",
                cpu_uncertainty_seconds=0.0,
                orphan_cpu_seconds=0.0,
                peak_rss_bytes=1 << 20,
            ),
            output=(),
            killed=killed,
        )

    def settle(self) -> float:
        """See `Payload`."""
        self.settled += 1
        return 0.25


@dataclass
class FakeWatchdog:
    """Implements `WatchdogPort`: keeps what it was told."""

    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        """See `WatchdogPort`."""
        self.calls.append("start")

    def enter_stage(self, stage: str) -> None:
        """See `WatchdogPort`."""
        self.calls.append(stage)

    def stop(self) -> None:
        """See `WatchdogPort`."""
        self.calls.append("stop")


class Bench:
    """One attempt of job 12345 on fakes. Change its parts, then `run`."""

    def __init__(self, folder: Path, job: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> None:
        self.journal = ListJournal(SystemClock())
        self.bus = Bus(self.journal, lambda text: text.replace("hunter2hunter2", "***"))
        self.cancel = Cancel(self.bus.emit)
        self.folders = JobFolders(folder / "12345.1" / "control", folder / "12345.1" / "work")
        self.folders.control.mkdir(parents=True)
        self.store = FakeSandboxStore(folder / "sandboxes")
        self.catalog = FakeCatalog()
        self.element = FolderStorageElement("SE-USER", folder / "SE-USER")
        self.wms = FakeWms()
        self.payload = FakePayload(self.cancel)
        self.watchdog = FakeWatchdog()
        self.records = 0
        self.request_error: Exception | None = None
        self._start_ns = SystemClock().boottime_ns() - 50_000_000
        self._parts = self._made(folder, job, options or {})

    def replace(self, **changes: Any) -> None:
        """Replace parts of the wrapper."""
        self._parts = replace(self._parts, **changes)

    @property
    def config(self) -> Config:
        """The configuration of the wrapper."""
        return self._parts.config

    def run(self) -> int:
        """The wrapper's exit code."""
        report = JobReport(self._parts.emit, self.cancel)
        return JobWrapper(12345, report, self._parts).run()

    @contextmanager
    def running(self) -> Iterator[Callable[[], int]]:
        """Run in a thread; what is yielded waits for the end and gives the exit code."""
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(self.run()), daemon=True)
        thread.start()

        def join() -> int:
            thread.join(60)
            assert codes, "the wrapper has not ended"
            return codes[0]

        try:
            yield join
        finally:
            self.cancel.request("wrapper", "the test is over")
            thread.join(60)

    def facts(self, kind: type[Fact]) -> list[Any]:
        """Facts of one kind, in order."""
        return self.journal.facts(kind)

    @property
    def end(self) -> AttemptEnded:
        """The one end of the attempt."""
        (end,) = self.journal.facts(AttemptEnded)
        return end

    @property
    def statuses(self) -> list[tuple[str | None, str | None]]:
        """Status and minor status, as they were set."""
        return [(each.status, each.minor_status) for each in self.journal.facts(StatusChanged)]

    @property
    def parameters(self) -> dict[str, Scalar]:
        """All parameters that were set."""
        result: dict[str, Scalar] = {}
        for each in self.journal.facts(ParametersSet):
            result.update(each.parameters)
        return result

    @property
    def results(self) -> dict[str, str]:
        """Result of each stage."""
        return {each.stage: each.result for each in self.journal.facts(StageFinished)}

    def stage(self, name: str) -> StageFinished:
        """The end of one stage."""
        (found,) = (each for each in self.journal.facts(StageFinished) if each.stage == name)
        return found

    @property
    def operations(self) -> list[OperationFinished]:
        """All sub-spans."""
        return self.journal.facts(OperationFinished)

    def _made(self, folder: Path, job: Mapping[str, Any], options: Mapping[str, Any]) -> WrapperParts:
        arguments = WrapperArguments.from_mapping(
            {
                "Job": {"Executable": "run.sh", "JobID": 12345, "Owner": "alice", "VO": "lhcb", **job},
                "CE": {"Site": "LCG.Test.org", "Processors": 4, "CPUNormalizationFactor": 10.0},
                "Optimizer": {},
                "Jobspan": {"Attempt": 2, "UID": UID},
            }
        )
        wrapper = JobWrapperConfig(**{"kill_grace_seconds": 0.3, **options})
        payload: Payload = self.payload
        watchdog: WatchdogPort = self.watchdog
        return WrapperParts(
            arguments=arguments,
            folders=self.folders,
            config=Config(folder=folder, job_wrapper=wrapper, environment={"PATH": "/usr/bin:/bin", "OTEL_X": "1"}),
            sandbox_store=self.store,
            file_catalog=self.catalog,
            storage_elements={"SE-USER": self.element},
            wms=self.wms,
            payload=payload,
            watchdog=watchdog,
            emit=self.bus.emit,
            clock=SystemClock(),
            cancel=self.cancel,
            progress=Progress(),
            deliver_record=self._deliver,
            deliver_requests=self._deliver_requests,
            start_boottime_ns=self._start_ns,
            started_by="interpreter",
        )

    @property
    def request(self) -> dict[str, Any]:
        """The one combined request that was made."""
        (made,) = self.journal.facts(RequestMade)
        return dict(made.request)

    def _deliver_requests(self) -> None:
        if self.request_error:
            raise self.request_error

    def _deliver(self) -> None:
        assert self.journal.facts(AttemptEnded), "the record comes after the end"
        self.records += 1
