"""The wrapper's process: what `Wrapper_<JobID>` calls, forked by the zygote or run by hand."""

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runner.compose import ahead
from runner.compose.kinds import Wms, open_wms
from runner.compose.logs import log_to_stderr
from runner.compose.lone import LoneJob, OwnMetrics, ship_without_agent
from runner.compose.payload_telemetry import PayloadTelemetry
from runner.compose.records import Records
from runner.computing.birth import Birth, current
from runner.config import Config, load, secrets_of
from runner.data.storage import open_elements, open_failover_folder
from runner.errors import JobspanError, TransientJobError
from runner.process.cancel import Cancel
from runner.process.keeper import Terms
from runner.process.linux import become_subreaper, harden
from runner.process.starter import Starter, WaitingStarter
from runner.process.watchdog import Watchdog
from runner.redaction import Redactor
from runner.wms.client import WmsClient
from runner.wms.reporter import Reporter
from runner.wms.request_delivery import deliver_requests
from runner.wms.stores import WmsFileCatalog, WmsSandboxStore
from runner.wms.tokens import FileToken
from runner.wms.transport import HttpCall
from runner.wrapper.arguments import WrapperArguments
from runner.wrapper.control import ControlServer
from runner.wrapper.job_report import JobReport
from runner.wrapper.job_wrapper import JobWrapper, WrapperParts
from runner.wrapper.operations import Progress
from runner.wrapper.payload import LocalPayload
from runner.wrapper.peeking import OutputDoor
from runner.wrapper.workspace import JobFolders
from telemetry.bus import Bus, Emit
from telemetry.catalogue import ROOT_PATH
from telemetry.clock import SystemClock
from telemetry.facts import AttemptEnded, OperationFinished
from telemetry.identity import span_id, trace_id, traceparent
from telemetry.journal import RESERVE_BYTES, Journal, JournalBusy, JournalFull, read_journal

_log = logging.getLogger("jobspan.wrapper")
EXIT_NOTHING_TO_DO = 0
#: How long the wrapper tries to deliver its record.
RECORD_SECONDS = 10.0
STOPPED_SECONDS = 1.0


@dataclass(frozen=True)
class _Given:
    """What the script's JSON says."""

    arguments: WrapperArguments
    config: Config
    wms_url: str
    folders: JobFolders


@dataclass(frozen=True)
class _Process:
    """What this process is and has, before any thread."""

    bus: Bus
    cancel: Cancel
    clock: SystemClock
    birth: Birth
    token: FileToken
    door: OutputDoor
    redact: Redactor
    obstacle: JobspanError | None


@dataclass(frozen=True)
class _Line:
    """The line to the WMS."""

    wms: Wms
    client: WmsClient
    reporter: Reporter
    progress: Progress


def wrapper_main(arguments_path: Path) -> int:
    """Run the attempt that *arguments_path* describes; the exit code of the wrapper."""
    birth = current()
    given = _read(arguments_path)
    control = given.folders.control
    token = FileToken(control / "job.token")
    redact = Redactor.of(given.config)
    for secret in (token.token(), *secrets_of(given.arguments.description.environment)):
        redact.add(secret)
    log_to_stderr(redact)
    harden()
    clock = SystemClock()
    try:
        journal, obstacle = _open_journal(control, clock)
    except JournalBusy:
        _log.warning("another wrapper runs this attempt; nothing to do")
        return EXIT_NOTHING_TO_DO
    with journal:
        if any(isinstance(entry.fact, AttemptEnded) for entry in read_journal(control)):
            _log.warning("this attempt has ended already; nothing to do")
            return EXIT_NOTHING_TO_DO
        bus = Bus(journal, redact)
        door = OutputDoor(control, redact)
        code = _run(given, _Process(bus, Cancel(bus.emit), clock, birth, token, door, redact, obstacle))
    ship_without_agent(given.config, control)
    return code


def _run(given: _Given, process: _Process) -> int:
    arguments, config, folders, bus, cancel = given.arguments, given.config, given.folders, process.bus, process.cancel
    options = arguments.options(config.job_wrapper)
    become_subreaper()  # should the starter be killed, what it has started comes to us
    terms = Terms(
        control=folders.control,
        method=options.cpu_method,
        label=arguments.uid,
        orphan_grace_seconds=options.orphan_grace_seconds,
        kill_grace_seconds=options.kill_grace_seconds,
    )
    # Before any thread: it is a fork, unless that was done when we were a spare.
    starter = (ahead.waiting_starter() or WaitingStarter.fork(process.clock)).employ(terms)
    progress = Progress()
    wms = open_wms(config, given.wms_url)
    client = wms.attempt(folders.control, arguments.attempt, _observer(bus.emit, progress, given.wms_url))
    client.transport.traceparent = traceparent(trace_id(arguments.uid), span_id(arguments.uid, ROOT_PATH))
    reporter = Reporter(
        folders.control,
        client,
        job_id=arguments.job_id,
        clock=process.clock,
        cancel=cancel,
        emit=bus.emit,
    )
    parts = _parts(given, process, starter, _Line(wms, client, reporter, progress))
    control = ControlServer(folders.control, cancel, process.door.answer)
    control.catch_signals()
    with control:
        bus.listen(reporter.wake)
        reporter.start(claim="" if process.obstacle else secrets.token_hex(16))
        metrics = OwnMetrics.begin(_lone(given, process))
        try:
            return JobWrapper(arguments.job_id, JobReport(bus.emit, cancel), parts).run()
        finally:
            reporter.stop(_patience(options.kill_grace_seconds, cancel))
            client.close()
            if metrics is not None:
                metrics.end()


def _parts(given: _Given, process: _Process, starter: Starter, line: _Line) -> WrapperParts:
    client, reporter = line.client, line.reporter
    arguments, config, emit, cancel = given.arguments, given.config, process.bus.emit, process.cancel
    options = arguments.options(config.job_wrapper)
    watchdog = Watchdog(
        config=options,
        job=arguments.watchdog_job(process.birth.start_boottime_ns),
        emit=emit,
        cancel=cancel,
        clock=process.clock,
        work=given.folders.work,
    )
    return WrapperParts(
        arguments=arguments,
        folders=given.folders,
        config=config,
        sandbox_store=WmsSandboxStore(client, job_id=arguments.job_id, cancel=cancel),
        file_catalog=WmsFileCatalog(client),
        storage_elements=open_elements(config.folder / "storage", config.wms.storage_elements),
        wms=reporter,
        payload=LocalPayload(
            starter=starter, watchdog=watchdog, cancel=cancel, emit=emit, config=options, door=process.door
        ),
        watchdog=watchdog,
        emit=emit,
        clock=process.clock,
        cancel=cancel,
        progress=line.progress,
        deliver_record=lambda: _deliver_record(line, given.folders.control, _patience(RECORD_SECONDS, cancel)),
        deliver_requests=lambda: deliver_requests(given.folders.control, client),
        start_boottime_ns=process.birth.start_boottime_ns,
        started_by=process.birth.started_by,
        obstacle=process.obstacle,
        failover_folder=open_failover_folder(options.failover_folder),
        payload_telemetry=PayloadTelemetry(
            config, arguments, given.folders.control, redact=process.redact, clock=process.clock
        ),
    )


def _lone(given: _Given, process: _Process) -> LoneJob:
    return LoneJob(
        config=given.config,
        control=given.folders.control,
        wms_url=given.wms_url,
        job_id=given.arguments.job_id,
        stamp=given.arguments.pilot_stamp or "unknown",
        clock=process.clock,
    )


def _deliver_record(line: _Line, control: Path, patience_seconds: float) -> None:
    """Under the name of this execution: without it the WMS would refuse the record for good. Else it is left to the
    agent, or to the next one."""
    if line.reporter.is_known():
        records = Records(patience_seconds, keeper=line.wms.accounting)
        records.deliver_or_forward(control, line.client, lambda: line.reporter.is_answered)


def _patience(seconds: float, cancel: Cancel) -> float:
    """For one more try to reach the WMS. A node that is being stopped leaves the rest to the agent, or to the next."""
    return min(seconds, STOPPED_SECONDS) if cancel.said("signal") else seconds


def _read(arguments_path: Path) -> _Given:
    link = json.loads(arguments_path.read_text())["Jobspan"]
    config = load(Path(link["Config"]) if link.get("Config") else None, Path(link["Folder"]))
    control = arguments_path.absolute().parent
    return _Given(
        WrapperArguments.read(arguments_path),
        config,
        str(link["WMSURL"]),
        JobFolders(control, control.parent / "work"),
    )


def _open_journal(control: Path, clock: SystemClock) -> tuple[Journal, JobspanError | None]:
    """The journal with room for its closing facts; without that room no payload is started."""
    try:
        return Journal(control, "wrapper", clock, reserve_bytes=RESERVE_BYTES), None
    except JournalFull as error:
        obstacle = TransientJobError(f"no room for the closing facts: {error}", error_type="disk_full")
        return Journal(control, "wrapper", clock), obstacle


def _observer(emit: Emit, progress: Progress, url: str) -> Callable[[HttpCall], None]:
    """Every HTTP call becomes a sub-span of the stage in which it was made."""
    server = urlsplit(url).hostname or ""

    def observe(call: HttpCall) -> None:
        if progress.over:
            return
        attributes: dict[str, str | int | float | bool] = {
            "http.request.method": call.method,
            "url.template": call.template,
            "server.address": server,
        }
        if call.status_code:
            attributes["http.response.status_code"] = call.status_code
        emit(
            OperationFinished(
                name=f"{call.method} {call.template}",
                stage=progress.stage,
                start_boottime_ns=call.start_boottime_ns,
                end_boottime_ns=call.end_boottime_ns,
                kind="client",
                attributes=attributes,
                error_type=call.error_type,
            )
        )

    return observe
