"""The stage loop with real files and fake neighbours: order, boundaries, statuses, results of every outcome."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import (
    FencedError,
    HostileArchiveError,
    PayloadStartError,
    RefusedError,
    TransientJobError,
    UnavailableError,
)
from telemetry.facts import (
    STAGES,
    AttemptEnded,
    DataMoved,
    Fact,
    KillRequested,
    StageFinished,
    StageStarted,
    StatusChanged,
    WrapperSettled,
    WrapperStarted,
)
from telemetry.identity import span_id, trace_id
from telemetry.journal import JournalFull
from tests.support.tars import COMPRESSORS, entry, tar
from tests.support.wrapper_fakes import UID, Bench, Gate

CPU = "Job has exceeded maximum CPU time limit"
OUTPUTS = {"OutputSandbox": ["std.out", "result*"]}


def write(name: str, content: bytes = b"content") -> Callable[[Path], None]:
    return lambda work: (work / name).write_bytes(content) and None


@pytest.fixture
def gate() -> Any:
    """Opened at the end, so that no thread is left."""
    gate = Gate()
    yield gate
    gate.open()


def check_shape(bench: Bench) -> None:
    """What holds for every attempt, however it ended."""
    started, finished = bench.facts(StageStarted), bench.facts(StageFinished)
    assert [each.stage for each in started] == [each.stage for each in finished] == list(STAGES)
    assert started[0].at_boottime_ns == bench.facts(WrapperStarted)[0].start_boottime_ns
    assert [each.at_boottime_ns for each in finished[:-1]] == [each.at_boottime_ns for each in started[1:]]
    order = [type(each.fact) for each in bench.journal.entries]
    assert order.count(AttemptEnded) == order.count(WrapperSettled) == 1
    assert order.index(AttemptEnded) < len(order) - 1
    assert isinstance(bench.journal.entries[-1].fact, StageFinished)
    assert bench.watchdog.calls[0] == "start"
    assert "stop" in bench.watchdog.calls
    assert bench.payload.settled >= 1
    assert bench.records == 1


def test_success(tmp_path: Path) -> None:
    """A job that goes well passes all stages with DIRAC's statuses and parameters, and ends Done."""
    archive = COMPRESSORS["tar.gz"](tar(entry("run.sh", b"#!/bin/sh\n")))
    bench = Bench(tmp_path, {"InputSandbox": ["SB:SandboxSE|/isb"], **OUTPUTS})
    bench.store.add("isb", archive)
    bench.payload.act = write("result.txt")
    assert bench.run() == 0
    check_shape(bench)
    assert bench.statuses == [
        ("Running", "Job Initialization"),
        (None, "Downloading InputSandbox"),
        (None, "Application"),
        ("Completing", "Application Finished Successfully"),
        ("Completing", "Uploading Output Sandbox"),
        ("Completing", "Output Sandbox Uploaded"),
        ("Done", "Execution Complete"),
    ]
    assert (bench.end.status, bench.end.minor_status, bench.end.error_type) == ("Done", "Execution Complete", "")
    assert bench.results == {**dict.fromkeys(STAGES, "success"), "resolve_input_data": "skip"}
    assert bench.payload.commands[0].argv == ("./run.sh",)
    assert bench.store.output() == {"result.txt": b"content"}
    parameters = bench.parameters
    assert parameters["JobWrapperPID"] == os.getpid()
    assert (parameters["PayloadPID"], parameters["TotalCPUTime(s)"], parameters["NormCPUTime(s)"]) == (4711, 3, 26)
    assert parameters["OutputSandboxMissingFiles"] == "std.out"
    assert {"HostName", "Memory(MB)", "LocalAccount", "CPUNormalizationFactor", "OutputSandbox"} <= set(parameters)
    assert [(each.kind, each.files) for each in bench.facts(DataMoved)] == [("input_sandbox", 1), ("output_sandbox", 1)]
    names = [each.name for each in bench.operations]
    assert names == ["download_input_sandbox", "unpack", "pack", "upload_output_sandbox"]
    assert bench.operations[0].attributes["jobspan.transfer.bytes"] == len(archive)
    assert not bench.folders.work.exists()
    assert list(bench.folders.control.iterdir()) == []


def test_the_payload_gets_its_environment(tmp_path: Path) -> None:
    """DIRAC's variables, ours, the trace of its own span and what the job sets; nothing of our telemetry."""
    bench = Bench(tmp_path, {"NumberOfProcessors": 2, "ExecutionEnvironment": ["A=b%20c"]})
    bench.run()
    environment = bench.payload.commands[0].environment
    expected = {
        "JOBID": "12345",
        "DIRACSITE": "LCG.Test.org",
        "DIRAC_PROCESSORS": "4",
        "DIRAC_JOB_PROCESSORS": "2",
        "JOBSPAN_JOB_ID": "12345",
        "JOBSPAN_JOB_ATTEMPT": "2",
        "TRACEPARENT": f"00-{trace_id(UID)}-{span_id(UID, 'job/execute/payload')}-01",
        "A": "b c",
        "PATH": "/usr/bin:/bin",
    }
    assert {name: environment[name] for name in expected} == expected
    assert "OTEL_X" not in environment


@pytest.mark.parametrize(("exit_code", "signal", "message"), [(3, None, "exit code 3"), (None, 11, "SIGSEGV")])
def test_a_payload_that_fails(tmp_path: Path, exit_code: int | None, signal: int | None, message: str) -> None:
    """Outputs are uploaded, silently; the job is Failed with DIRAC's minor status, the cause in ApplicationError."""
    bench = Bench(tmp_path, {**OUTPUTS, "OutputData": ["result.txt"]})
    bench.payload.act, bench.payload.exit_code, bench.payload.signal = write("result.txt"), exit_code, signal
    assert bench.run() == 2
    check_shape(bench)
    assert bench.statuses[2:] == [
        ("Completing", "Application Finished With Errors"),
        ("Failed", "Application Finished With Errors"),
    ]
    assert bench.end.error_type == "payload_failed"
    assert message in str(bench.parameters["ApplicationError"])
    assert (bench.stage("execute").result, bench.stage("execute").error_type) == ("failure", "payload_failed")
    assert bench.store.output() == {"result.txt": b"content"}
    assert bench.catalog.files == {}


def test_exit_222(tmp_path: Path) -> None:
    """The job stays Running while its outputs are uploaded, then it is rescheduled, counted."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act, bench.payload.exit_code = write("result.txt"), 222
    assert bench.run() == 4
    check_shape(bench)
    assert bench.statuses[2:] == [(None, "Going to reschedule job"), ("Rescheduled", "Going to reschedule job")]
    assert bench.wms.closed == [("Rescheduled", "Going to reschedule job", False)]
    assert len(bench.store.uploads) == 1


def test_a_limit(tmp_path: Path) -> None:
    """A payload stopped by the watchdog is Completing, then Failed, both with the limit's minor status."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act, bench.payload.endless = write("result.txt"), True
    with bench.running() as join:
        assert bench.payload.started.wait(10)
        bench.cancel.request("watchdog", CPU)
        assert join() == 2
    check_shape(bench)
    assert bench.statuses[2:] == [("Completing", CPU), ("Failed", CPU)]
    assert (bench.end.minor_status, bench.end.error_type) == (CPU, "cpu_limit")
    assert bench.stage("execute").result == "timeout"
    assert len(bench.store.uploads) == 1


def test_killed(tmp_path: Path) -> None:
    """After a Kill no status is set, but outputs, parameters and the record are delivered."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act, bench.payload.endless = write("result.txt"), True
    with bench.running() as join:
        assert bench.payload.started.wait(10)
        bench.cancel.request("user", "Received Kill signal")
        assert join() == 2
    check_shape(bench)
    assert bench.statuses == [("Running", "Job Initialization"), (None, "Application")]
    assert (bench.end.status, bench.end.minor_status) == ("Killed", "Received Kill signal")
    assert bench.parameters["TotalCPUTime(s)"] == 3
    assert len(bench.store.uploads) == 1
    assert bench.wms.closed == [("Killed", "Received Kill signal", False)]


def test_killed_behind_a_limit(tmp_path: Path) -> None:
    """A Kill that comes second is still the WMS's word: no status follows it, and the end is Killed."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.endless = True
    with bench.running() as join:
        assert bench.payload.started.wait(10)
        bench.cancel.request("watchdog", CPU)
        bench.cancel.request("user", "Received Kill signal")
        join()
    assert bench.end.status == "Killed"
    kill = next(i for i, each in enumerate(bench.journal.entries) if isinstance(each.fact, KillRequested))
    late = [each.fact for each in bench.journal.entries[kill:] if isinstance(each.fact, StatusChanged)]
    assert ("Failed", CPU) not in [(each.status, each.minor_status) for each in late]


def test_preempted(tmp_path: Path) -> None:
    """A signal sends the job back: Rescheduled, not counted, after its outputs were uploaded."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act, bench.payload.endless = write("result.txt"), True
    with bench.running() as join:
        assert bench.payload.started.wait(10)
        bench.cancel.request("signal", "preempted by SIGTERM")
        assert join() == 4
    check_shape(bench)
    assert bench.statuses[2:] == [(None, "Going to reschedule job"), ("Rescheduled", "Going to reschedule job")]
    assert bench.end.error_type == "preempted"
    assert bench.wms.closed == [("Rescheduled", "Going to reschedule job", True)]
    assert len(bench.store.uploads) == 1


@pytest.mark.parametrize("when", ["confirm", "payload", "close"])
def test_fenced(tmp_path: Path, when: str) -> None:
    """A fenced attempt sets no status and uploads nothing, but it ends, and its record is delivered."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act = write("result.txt")
    if when == "confirm":
        bench.wms.confirm_error = FencedError("attempt 2 runs")
    if when == "payload":
        bench.payload.endless = True
        bench.payload.act = lambda _: bench.cancel.request("fence", "attempt 2 runs") and None
    if when == "close":
        bench.wms.close_error = FencedError("attempt 2 runs")
    assert bench.run() == 4
    check_shape(bench)
    assert (bench.end.status, bench.end.error_type) == ("Rescheduled", "fenced")
    assert (bench.payload.commands == []) == (when == "confirm")
    if when != "close":
        assert bench.wms.closed == bench.store.uploads == []
        assert bench.results["process_job_outputs"] == "skip"


def test_wms_does_not_answer_at_the_start(tmp_path: Path) -> None:
    """Without the WMS's word no payload starts, and the job goes back."""
    bench = Bench(tmp_path, {**OUTPUTS, "InputSandbox": ["SB:x"], "InputData": ["LFN:/lhcb/data"]})
    bench.wms.confirm_error = UnavailableError("no answer")
    assert bench.run() == 4
    check_shape(bench)
    assert bench.payload.commands == []
    assert (bench.end.status, bench.end.minor_status) == ("Rescheduled", "Job Wrapper Initialization")
    assert bench.results == {
        "initialize": "error",
        "transfer_input_sandbox": "skip",
        "resolve_input_data": "skip",
        "execute": "skip",
        "process_job_outputs": "success",
        "finalize": "success",
    }


def test_wms_does_not_answer_when_outputs_go_back(tmp_path: Path) -> None:
    """From Completing only the reschedule call leads back, and the WMS has words of its own for it: so have we."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act, bench.store.error = write("result.txt"), UnavailableError("503")
    bench.wms.close_error = UnavailableError("no answer")
    bench.run()
    assert (bench.end.status, bench.end.minor_status) == ("Rescheduled", "Job Rescheduled")


def test_wms_does_not_answer_at_the_end(tmp_path: Path) -> None:
    """Our word stands in the journal, the stage says why, and the record is tried all the same."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.wms.close_error = UnavailableError("no answer")
    assert bench.run() == 0
    check_shape(bench)
    assert bench.end.status == "Done"
    assert (bench.stage("finalize").result, bench.stage("finalize").error_type) == ("error", "unavailable")


@pytest.mark.parametrize(
    ("kept", "code"),
    [
        (("Failed", "Maximum of reschedulings reached"), 2),
        (("Killed", "Received Kill signal"), 2),
        (("Completing", "x"), 4),
    ],
)
def test_what_the_wms_keeps_is_the_end(tmp_path: Path, kept: tuple[str, str], code: int) -> None:
    """A refused reschedule ends as Failed, a kill in the last moment as Killed; a status that is no end is no news."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.exit_code, bench.wms.kept = 222, kept
    assert bench.run() == code
    expected = kept if kept[0] != "Completing" else ("Rescheduled", "Going to reschedule job")
    assert (bench.end.status, bench.end.minor_status) == expected


def test_an_obstacle(tmp_path: Path) -> None:
    """What stood against the job before its first stage keeps the payload from starting."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.replace(obstacle=TransientJobError("no room for the closing facts", error_type="disk_full"))
    assert bench.run() == 4
    check_shape(bench)
    assert (bench.end.minor_status, bench.end.error_type) == ("Job Wrapper Initialization", "disk_full")
    assert bench.parameters["Error Message"] == "no room for the closing facts"
    assert bench.results["process_job_outputs"] == "skip"


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (UnavailableError("503"), ("Rescheduled", "Downloading InputSandbox", "unavailable")),
        (HostileArchiveError("../"), ("Failed", "Failed Downloading InputSandbox", "hostile_archive")),
        (RuntimeError("bug hunter2hunter2"), ("Rescheduled", "Downloading InputSandbox", "RuntimeError")),
    ],
)
def test_input_sandbox_fails(tmp_path: Path, error: Exception, end: tuple[str, str, str]) -> None:
    """A failed download ends the attempt by its kind; later stages are skipped; secrets of the message are masked."""
    bench = Bench(tmp_path, {**OUTPUTS, "InputSandbox": ["SB:SandboxSE|/x"]})
    bench.store.error = error
    bench.run()
    check_shape(bench)
    assert (bench.end.status, bench.end.minor_status, bench.end.error_type) == end
    assert bench.payload.commands == []
    assert "hunter2" not in bench.stage("transfer_input_sandbox").message
    assert bench.operations[0].error_type == end[2]


def test_hostile_sandbox(tmp_path: Path) -> None:
    """An archive that leads outside fails the job, once, and writes nothing anywhere."""
    bench = Bench(tmp_path, {"InputSandbox": ["SB:SandboxSE|/bad"]}, {"clean_up": False})
    bench.store.add("bad", COMPRESSORS["tar.bz2"](tar(entry("ok", b"1"), entry("../../evil", b"x"))))
    assert bench.run() == 1
    assert (bench.end.status, bench.end.minor_status) == ("Failed", "Failed Downloading InputSandbox")
    assert list(bench.folders.work.iterdir()) == []
    assert list(tmp_path.rglob("evil")) == []


@pytest.mark.parametrize(
    ("number", "minor"),
    [(2, "Application not found"), (8, "Exception During Execution"), (13, "Application not found")],
)
def test_exec_fails(tmp_path: Path, number: int, minor: str) -> None:
    """An exec that fails is Failed at once, with the cause in words in ApplicationError."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.error = PayloadStartError("run.sh was not found in PATH", errno=number)
    assert bench.run() == 1
    check_shape(bench)
    assert (bench.end.status, bench.end.minor_status) == ("Failed", minor)
    assert bench.parameters["ApplicationError"] == "run.sh was not found in PATH"


def test_outputs_fail(tmp_path: Path) -> None:
    """An upload that cannot be made now sends the job back; one that is refused fails it; the first cause stays."""
    for error, exit_code, end in (
        (UnavailableError("503"), 0, ("Rescheduled", "Uploading Outputs")),
        (RefusedError("too large", status_code=400), 0, ("Failed", "Uploading Outputs")),
        (UnavailableError("503"), 3, ("Failed", "Application Finished With Errors")),
    ):
        bench = Bench(tmp_path / f"{end[1]}{exit_code}{end[0]}", OUTPUTS)
        bench.payload.act, bench.payload.exit_code, bench.store.error = write("result.txt"), exit_code, error
        bench.run()
        check_shape(bench)
        assert (bench.end.status, bench.end.minor_status) == end


def test_kill_during_a_slow_download(tmp_path: Path, gate: Gate) -> None:
    """A Kill interrupts a download at once, not when the store gives up; no payload starts."""
    bench = Bench(tmp_path, {**OUTPUTS, "InputSandbox": ["SB:SandboxSE|/x"]})
    bench.store.gate = gate
    with bench.running() as join:
        assert gate.reached.wait(10)
        bench.cancel.request("user", "Received Kill signal")
        join()
        assert not gate.passed.is_set()
    check_shape(bench)
    assert bench.end.status == "Killed"
    assert bench.stage("transfer_input_sandbox").result == "cancellation"
    assert bench.payload.commands == []


@pytest.mark.parametrize(("origin", "status"), [("user", "Killed"), ("signal", "Rescheduled")])
def test_kill_during_a_slow_upload(tmp_path: Path, gate: Gate, origin: Any, status: str) -> None:
    """A Kill during an upload takes effect after KillGracePeriod, in which the upload may still succeed."""
    bench = Bench(tmp_path, OUTPUTS, {"kill_grace_seconds": 0.2})
    bench.payload.act, bench.store.gate = write("result.txt"), gate
    with bench.running() as join:
        assert gate.reached.wait(10)
        begin = time.monotonic()
        bench.cancel.request(origin, "Received Kill signal")
        join()
        assert time.monotonic() - begin > 0.15
        assert not gate.passed.is_set()
    check_shape(bench)
    assert bench.end.status == status
    assert bench.stage("process_job_outputs").result == "cancellation"


def test_preempted_while_the_upload_succeeds(tmp_path: Path, gate: Gate) -> None:
    """Work that is done is not thrown away: an upload that succeeds within the grace makes the job Done."""
    bench = Bench(tmp_path, OUTPUTS, {"kill_grace_seconds": 10.0})
    bench.payload.act, bench.store.gate = write("result.txt"), gate
    with bench.running() as join:
        assert gate.reached.wait(10)
        bench.cancel.request("signal", "preempted by SIGTERM")
        gate.open()
        assert join() == 0
    assert bench.end.status == "Done"


@pytest.mark.parametrize("stage", STAGES[:5])
def test_a_kill_before_any_stage(tmp_path: Path, stage: str) -> None:
    """A Kill between two stages keeps the next one from starting."""
    bench = Bench(tmp_path, {"InputSandbox": ["SB:x"], "InputData": ["LFN:/lhcb/x"], **OUTPUTS})
    kill = bench.cancel.request

    def enter(each: str) -> None:
        bench.watchdog.calls.append(each)
        if each == stage:
            kill("user", "Received Kill signal")

    bench.watchdog.enter_stage = enter  # type: ignore[method-assign]
    bench.run()
    check_shape(bench)
    assert bench.end.status == "Killed"


def test_a_full_journal_stops_everything(tmp_path: Path) -> None:
    """When no fact can be written any more, the starter is let go and the exit code says that it went wrong."""
    bench = Bench(tmp_path, OUTPUTS)

    def emit(fact: Fact) -> object:
        if isinstance(fact, StatusChanged) and fact.minor_status == "Application":
            raise JournalFull(28, "full")
        return bench.bus.emit(fact)

    bench.replace(emit=emit)
    assert bench.run() == 253
    assert bench.facts(AttemptEnded) == []
    assert bench.payload.settled == 1
    assert bench.watchdog.calls[-1] == "stop"


def test_the_watchdog_lives_through_all_uploads(tmp_path: Path) -> None:
    """It starts before initialize reports and stops only in finalize, and knows every stage."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.run()
    assert bench.watchdog.calls[:8] == ["start", *STAGES, "stop"]


def test_the_wrapper_accounts_for_itself(tmp_path: Path) -> None:
    """WrapperSettled has the wrapper's and the starter's CPU, and what the job's folder holds."""
    bench = Bench(tmp_path, OUTPUTS)
    bench.payload.act = write("result.txt", b"x" * 1000)
    bench.run()
    (settled,) = bench.facts(WrapperSettled)
    assert settled.wrapper_cpu_seconds > 0.25
    assert settled.work_bytes == 1000
