"""The wrapper with real payloads: starter, execution thread and watchdog as they are, the WMS played."""

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.process.watchdog import Watchdog
from runner.wrapper.payload import LocalPayload
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import (
    HeartbeatMade,
    KillFinished,
    OutputSeen,
    PayloadEnded,
    PayloadRefused,
    PayloadStarted,
    SignalSent,
    UsageSettled,
)
from tests.support.processes import is_alive
from tests.support.starting import fork_starter
from tests.support.tars import COMPRESSORS, entry, tar
from tests.support.waiting import at_best, eventually
from tests.support.wrapper_fakes import Bench

# pytest's fault handler has a thread of its own, which Python 3.12 notices at a fork.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

OUTPUTS = {"OutputSandbox": ["std.out", "std.err", "result*"]}


#: No test takes so long, on whatever machine.
LONG_SECONDS = 3600.0


class LateClock(SystemClock):
    """The machine's, to which time can be added: for limits that must not be met before the test says so."""

    late_ns = 0

    def boottime_ns(self) -> int:
        """That of the machine, and later."""
        return super().boottime_ns() + self.late_ns


class RealBench(Bench):
    """A bench whose payload is a process."""

    def __init__(self, folder: Path, job: dict[str, Any], options: dict[str, Any] | None = None) -> None:
        super().__init__(folder, job, {"polling_time_seconds": 0.05, "cpu_method": "wait4", **(options or {})})
        parts = self._parts
        self._clock = LateClock()
        config = parts.config.job_wrapper
        starter = fork_starter(
            self.folders.control,
            method=config.cpu_method,
            orphan_grace_seconds=0.3,
            kill_grace_seconds=config.kill_grace_seconds,
        )
        watchdog = Watchdog(
            config=config,
            job=parts.arguments.watchdog_job(parts.start_boottime_ns),
            emit=self.bus.emit,
            cancel=self.cancel,
            clock=self._clock,
            work=self.folders.work,
        )
        self.replace(
            watchdog=watchdog,
            payload=LocalPayload(
                starter=starter, watchdog=watchdog, cancel=self.cancel, emit=self.bus.emit, config=config
            ),
        )

    def pass_by(self, seconds: float) -> None:
        """Let the watchdog believe that so much time has gone by."""
        self._clock.late_ns += round(seconds * NANOSECONDS)

    def script(self, text: str) -> None:
        """Let the input sandbox hold run.sh, without its x bit."""
        self.store.add("isb", COMPRESSORS["tar.zst"](tar(entry("run.sh", text.encode()))))


SANDBOX = {"InputSandbox": ["SB:SandboxSE|/isb"], **OUTPUTS}


def test_a_real_job(tmp_path: Path) -> None:
    """A script of the sandbox gets its arguments and environment; its output comes back with exact totals."""
    bench = RealBench(tmp_path, {**SANDBOX, "Arguments": "'a b' $JOBID"})
    bench.script('#!/bin/sh\necho "$1|$2|$TRACEPARENT"; echo oops >&2; echo r > result.txt\n')
    assert bench.run() == 0, bench.results
    files = bench.store.output()
    assert files["std.out"].startswith(b"a b|12345|00-")
    assert (files["std.err"], files["result.txt"]) == (b"oops\n", b"r\n")
    totals = {each.stream: (each.lines, each.bytes) for each in bench.facts(OutputSeen)}
    assert totals == {"stdout": (1, len(files["std.out"])), "stderr": (1, 5)}
    (started,) = bench.facts(PayloadStarted)
    assert bench.parameters["PayloadPID"] == started.pid
    assert len(bench.facts(PayloadEnded)) == len(bench.facts(UsageSettled)) == 1
    assert bench.end.status == "Done"


def test_a_shell_line(tmp_path: Path) -> None:
    """With Shell = true the line is the shell's: pipes and redirections work."""
    bench = RealBench(
        tmp_path, {"Executable": "echo", "Arguments": "hello | tr a-z A-Z > result.txt", "Shell": True, **OUTPUTS}
    )
    assert bench.run() == 0
    assert bench.store.output()["result.txt"] == b"HELLO\n"


@pytest.mark.parametrize(
    ("executable", "minor", "words"),
    [
        ("no-such-program", "Application not found", "not found"),
        ("./missing.sh", "Application not found", "not found"),
        ("run.sh", "Application not found", "interpreter"),
    ],
)
def test_what_cannot_be_executed(tmp_path: Path, executable: str, minor: str, words: str) -> None:
    """An exec that fails is known at once, with its cause in words; no payload runs."""

    def seconds(number: int) -> float:
        (folder := tmp_path / str(number)).mkdir()
        bench = RealBench(folder, {**SANDBOX, "Executable": executable})
        bench.script("#!/no/such/interpreter\n")
        begin = time.monotonic()
        assert bench.run() == 1
        elapsed = time.monotonic() - begin
        refused(bench, minor, words)
        return elapsed

    at_best(5.0, seconds)


def refused(bench: RealBench, minor: str, words: str) -> None:
    """The end of a job whose payload could not be executed."""
    assert (bench.end.status, bench.end.minor_status) == ("Failed", minor)
    assert words in str(bench.parameters["ApplicationError"])
    assert len(bench.facts(PayloadRefused)) == 1
    assert bench.facts(PayloadStarted) == []


@pytest.mark.parametrize("stdout", ["dir", "planted", "planted/x"])
def test_impossible_output_files(tmp_path: Path, stdout: str) -> None:
    """Output files that lead outside, or that are folders or links, are refused before anything runs."""
    bench = RealBench(tmp_path, {**SANDBOX, "StdOutput": stdout})
    bench.script("#!/bin/sh\n")
    confirm = bench.wms.confirm_running

    def plant(timeout_seconds: float) -> None:
        (bench.folders.work / "dir").mkdir()
        (bench.folders.work / "planted").symlink_to(tmp_path / "outside")
        confirm(timeout_seconds)

    bench.wms.confirm_running = plant  # type: ignore[method-assign]
    assert bench.run() == 1
    assert bench.end.error_type == "output_file"
    assert not (tmp_path / "outside").exists()


@contextmanager
def stubborn(tmp_path: Path, options: dict[str, Any]) -> Iterator[tuple[RealBench, Callable[[], int], int]]:
    """A payload that ignores TERM; bench, what waits for the end, and the payload's pid."""
    bench = RealBench(tmp_path, {**SANDBOX}, options)
    bench.script('#!/bin/sh\ntrap "" TERM\necho here\nwhile :; do :; done\n')
    with bench.running() as join:
        output = bench.folders.work / "std.out"
        eventually(lambda: output.exists() and output.read_text() == "here\n", 30)
        yield bench, join, eventually(lambda: bench.facts(PayloadStarted), 30)[0].pid


@pytest.mark.parametrize(("origin", "status"), [("user", "Killed"), ("signal", "Rescheduled")])
def test_kill_during_the_payload(tmp_path: Path, origin: Any, status: str) -> None:
    """A payload that ignores TERM is gone after the grace, and not much later; its output is uploaded."""
    at_best(2.5, lambda number: killed_after_seconds(tmp_path / str(number), origin, status))


def killed_after_seconds(folder: Path, origin: Any, status: str) -> float:
    """How long a payload that ignores TERM lives on, with a grace of 0.3 s."""
    folder.mkdir()
    with stubborn(folder, {"kill_grace_seconds": 0.3}) as (bench, join, pid):
        begin = time.monotonic()
        bench.cancel.request(origin, "Received Kill signal")
        join()
        took = time.monotonic() - begin
        assert not is_alive(pid)
    assert took >= 0.3
    assert bench.end.status == status
    assert {each.signal for each in bench.facts(SignalSent)} >= {signal.SIGTERM, signal.SIGKILL}
    assert bench.facts(KillFinished)[-1].survivors == ()
    assert "std.out" in bench.store.output()
    return took


def test_a_limit_of_the_watchdog(tmp_path: Path) -> None:
    """A payload beyond MaxWallClockTime ends as Failed with DIRAC's minor status."""
    options = {"kill_grace_seconds": 0.2, "max_wall_clock_seconds": LONG_SECONDS}
    with stubborn(tmp_path, options) as (bench, join, _):
        bench.pass_by(LONG_SECONDS)
        assert join() == 2
    assert (bench.end.minor_status, bench.end.error_type) == (
        "Job has exceeded maximum wall clock time",
        "wall_clock_limit",
    )


def test_peek_lines_and_buffer_limit(tmp_path: Path) -> None:
    """The heartbeat shows the last MaxJobPeekLines lines; BufferLimit bounds the memory and never kills."""
    bench = RealBench(tmp_path, {**SANDBOX}, {"max_job_peek_lines": 3, "buffer_limit_bytes": 1024})
    bench.script("#!/bin/sh\nseq 100000\n")
    assert bench.run() == 0
    shown = [str(each.values.get("StandardOutput", "")) for each in bench.facts(HeartbeatMade)]
    assert [line for line in shown[-1].splitlines() if line.isdigit()] == ["99998", "99999", "100000"]
    assert bench.facts(OutputSeen)[-1].lines in (100_000, 0)


def test_default_cpu_time(tmp_path: Path) -> None:
    """DefaultCPUTime is the limit of a job that names no CPUTime."""
    options = {"default_cpu_time_seconds": 1.0, "job_cpu_limit_margin_percent": 0.0, "kill_grace_seconds": 0.2}
    bench = RealBench(tmp_path, {**SANDBOX}, options)  # CPUNormalizationFactor is 10: 0.1 s of CPU
    bench.script("#!/bin/sh\nwhile :; do :; done\n")
    assert bench.run() == 2
    assert bench.end.minor_status == "Job has exceeded maximum CPU time limit"


@pytest.mark.root
def test_payload_user_reaches_nothing(tmp_path: Path) -> None:
    """Under PayloadUser a payload cannot read the control folder, nor make us upload a file that it cannot read."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)
    bench = RealBench(tmp_path, {**SANDBOX}, {"payload_user": "nobody"})
    bench.folders.control.chmod(0o700)
    secret = bench.folders.control / "job.token"
    secret.write_text("secret")
    shadow = tmp_path / "shadow"
    shadow.write_text("root's own")
    shadow.chmod(0o600)
    bench.script(
        f"#!/bin/sh\nid -u\ncat {secret} && echo leaked\n"
        f"ln -s {shadow} result.link\nln {shadow} result.hard\necho mine > result.txt\n"
    )
    assert bench.run() == 0
    files = bench.store.output()
    assert set(files) == {"std.out", "std.err", "result.txt"}
    assert files["std.out"].split() == [b"%d" % 65534]
    assert b"Permission denied" in files["std.err"]
    assert os.listdir(bench.folders.control.parent) == ["control"]
