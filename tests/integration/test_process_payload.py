"""A payload's run and its watchdog, with real processes: every step a fact, every cause the first one."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.errors import PayloadStartError, TransientJobError
from runner.options import Check
from runner.process import payload
from runner.process.cancel import Cancelled
from runner.process.limits import WatchdogJob
from runner.process.remnants import end_remnants
from runner.process.watchdog import Watchdog
from telemetry.clock import NANOSECONDS, SystemClock, parse_utc
from telemetry.entries import Entry
from telemetry.facts import (
    Fact,
    HeartbeatMade,
    KillFinished,
    KillRequested,
    LimitHit,
    OutputSeen,
    ParametersSet,
    PayloadEnded,
    PayloadPlanned,
    PayloadRefused,
    PayloadStarted,
    Scalar,
    SignalSent,
    UsageSampled,
    UsageSettled,
)
from telemetry.journal import JournalFull
from telemetry.measure import procfs
from telemetry.measure.cgroup import ControlGroup
from telemetry.measure.snapshot import ProcessId
from tests.support.processes import is_alive
from tests.support.starting import METHODS, PAYLOADS, program, releasing
from tests.support.waiting import eventually
from tests.support.watched import CONFIG, Job, LeapingClock

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def made() -> Iterator[list[Job]]:
    """Jobs that are closed at the end."""
    jobs: list[Job] = []
    yield jobs
    for job in jobs:
        job.close()


@pytest.fixture
def job(tmp_path: Path, made: list[Job]) -> Job:
    """A job with quick polls."""
    made.append(Job(tmp_path, CONFIG))
    return made[0]


def test_facts_of_a_run(job: Job) -> None:
    """Planned before the exec, started after it, ended, counted, settled: each once, in this order."""
    result = job.run("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.signal, result.killed, result.survivors) == (3, None, None, ())
    kinds = [kind for kind in job.kinds() if kind is not OutputSeen]
    assert kinds == [PayloadPlanned, PayloadStarted, PayloadEnded, UsageSettled]
    assert job.journal.facts(OutputSeen)[-2:] == list(result.output)
    assert [(seen.stream, seen.lines, seen.bytes) for seen in result.output] == [("stdout", 1, 4), ("stderr", 1, 4)]
    assert job.journal.facts(UsageSettled) == [result.usage]


def test_a_refused_exec(job: Job) -> None:
    """The failed exec is a fact with errno and cause, and nothing has started."""
    with pytest.raises(PayloadStartError, match="not found"):
        job.run("./absent")
    (refused,) = job.journal.facts(PayloadRefused)
    assert refused.errno == 2
    assert "absent was not found" in refused.cause
    assert PayloadStarted not in job.kinds()


def test_cancelled_before_the_start(job: Job) -> None:
    """Nothing is planned or started once the end was asked for."""
    job.cancel.request("user", "Received Kill signal")
    with pytest.raises(Cancelled):
        job.run("/bin/true")
    assert job.kinds() == [KillRequested]


def test_a_signal_to_all_of_us_reaches_the_payload_first(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch system signals every process of its job: a payload that it has ended so was preempted and has not failed,
    though its wrapper hears of the signal only after its end."""
    monkeypatch.setattr(payload, "_SIGNAL_SECONDS", 20.0)  # on a busy machine we may hear of it later than in a second
    heard = threading.Timer(0.1, lambda: job.cancel.request("signal", "preempted by SIGTERM"))
    tell = job.emit

    def emit(fact: Fact) -> None:
        tell(fact)
        if isinstance(fact, UsageSettled):
            heard.start()

    job.emit = emit
    result = job.run("/bin/sh", "-c", "kill -TERM $$; sleep 60")
    heard.join()
    assert result.signal == signal.SIGTERM
    assert result.killed == KillRequested(origin="signal", reason="preempted by SIGTERM")


def test_cancelled_while_it_runs(job: Job) -> None:
    """A kill ends the payload with the grace; the run returns as usual and says who wanted it."""

    def kill_when_started() -> None:
        eventually(lambda: job.journal.facts(PayloadStarted))
        eventually(lambda: (job.work / "std.out").read_text())
        job.cancel.request("user", "Received Kill signal")

    killer = threading.Thread(target=kill_when_started)
    killer.start()
    result = job.run(*program("stubborn"))
    killer.join()
    assert result.killed == KillRequested(origin="user", reason="Received Kill signal")
    assert result.signal == signal.SIGKILL
    assert [each.signal for each in job.journal.facts(SignalSent)] == [signal.SIGTERM, signal.SIGKILL]
    assert len(job.journal.facts(KillFinished)) == 1
    kinds = job.kinds()
    assert kinds.index(KillRequested) < kinds.index(SignalSent) < kinds.index(PayloadEnded) < kinds.index(UsageSettled)


def test_output_is_exact(job: Job) -> None:
    """A million lines and a last one without an end: counts are exact at the end, the peek shows the last."""
    result = job.run(*program("lines", 1_000_000, "the end"))
    assert result.output[0].lines == 1_000_001
    assert result.output[0].bytes == (job.work / "std.out").stat().st_size
    assert result.output[0].peek_lines_dropped == 1_000_001 - 20
    assert job.output.peek().endswith("line 999999\nthe end")


@pytest.mark.parametrize(
    ("change", "argv", "limit", "minor_status"),
    [
        (
            {},
            program("burn", 60),
            "cpu",
            "Job has exceeded maximum CPU time limit",
        ),
        (
            {"max_wall_clock_seconds": 100.0},
            program("obedient"),
            "wall_clock",
            "Job has exceeded maximum wall clock time",
        ),
        (
            {"output_file_limit_bytes": 100_000, "output_file_action": "kill"},
            ("/bin/sh", "-c", "head -c 200000 /dev/zero; exec sleep 600"),
            "output_size",
            "Job has exceeded its output limit",
        ),
        (
            {"cpu_sample_time_seconds": 1.0, "polling_time_seconds": 0.05},
            program("obedient"),
            "stall",
            "Watchdog identified this job as stalled",
        ),
        (
            {"min_disk_space_mb": 1e12},
            program("obedient"),
            "disk_space",
            "Job has insufficient disk space to continue",
        ),
        (
            {"check_memory_limit": Check.KILL},
            (sys.executable, "-I", "-S", "-c", "import signal; x = bytearray(b'x' * (60 << 20)); signal.pause()"),
            "memory",
            "Job has exceeded its memory limit",
        ),
        (
            {"max_processes": 100},
            program("bomb", 3, 5),
            "processes",
            "Job has exceeded its limit of processes",
        ),
        (
            {"stalled_output_seconds": 1.0, "check_stalled_output": Check.KILL},
            program("stubborn"),
            "stalled_output",
            "Job has stopped writing output",
        ),
        (
            {"stop_margin_seconds": 99.0},
            program("obedient"),
            "time_left",
            "Job has reached the CPU limit of the queue",
        ),
        (
            {"load_average_limit": -1.0, "check_load_average": Check.KILL},
            program("obedient"),
            "load_average",
            "Job has met a load average above the limit",
        ),
    ],
)
def test_limits_end_the_payload(
    tmp_path: Path, made: list[Job], change: dict[str, Any], argv: tuple[str, ...], limit: str, minor_status: str
) -> None:
    """Beyond a limit the watchdog says which and has the payload ended; the limit is the cause."""
    watched = WatchdogJob(start_boottime_ns=SystemClock().boottime_ns(), memory_mb=50)
    if limit == "cpu":  # which would be hit together with others if nobody looked for a moment
        watched = replace(watched, cpu_time_seconds=0.3)
    if limit == "time_left":
        watched = replace(watched, time_left_seconds=200.0)
    job = Job(tmp_path, replace(CONFIG, **change), watched, watch := LeapingClock())
    made.append(job)
    if limit in ("wall_clock", "time_left"):
        job.leap_when_started(watch, 150.0)
    if limit in ("disk_space", "load_average"):  # the limit is hit at once: the payload may not even start
        eventually(lambda: job.cancel.cause)
        with pytest.raises(Cancelled):
            job.run(*argv)
    else:
        assert job.run(*argv).killed == KillRequested(origin="watchdog", reason=minor_status)
    (hit,) = job.journal.facts(LimitHit)
    assert (hit.limit, hit.minor_status) == (limit, minor_status)
    assert job.cancel.cause == KillRequested(origin="watchdog", reason=minor_status)


def test_a_warning_ends_nothing(tmp_path: Path, made: list[Job]) -> None:
    """What is beyond a limit that only warns is told once, as a fact and a job parameter, and runs to its end."""
    watched = WatchdogJob(start_boottime_ns=SystemClock().boottime_ns(), cpu_time_seconds=0.1, memory_mb=1)
    # A look to which the starter had no answer ends a warning, and the next may tell it again, but not so soon.
    change = {"check_cpu_limit": Check.WARN, "check_memory_limit": Check.WARN, "checking_time_seconds": 600.0}
    job = Job(tmp_path, replace(CONFIG, **change), watched)
    made.append(job)
    watched_from = SystemClock().utc_ns() - 1000
    burn = "import time\nwhile time.process_time() < 0.2: pass\nopen('release').readline()"
    with releasing(tmp_path, lambda: {hit.limit for hit in job.journal.facts(LimitHit)} == {"memory", "cpu"}):
        result = job.run(sys.executable, "-I", "-S", "-c", burn)
    assert (result.exit_code, result.killed) == (0, None)
    found = {hit.limit: hit for hit in job.journal.facts(LimitHit)}
    assert set(found) == {"memory", "cpu"}
    assert len(job.journal.facts(LimitHit)) == 2
    assert {hit.action for hit in found.values()} == {"warn"}
    assert found["cpu"].measured > found["cpu"].allowed
    said = job.journal.facts(ParametersSet)[-1].parameters["WatchdogWarnings"]
    assert "Job has exceeded maximum CPU time limit" in str(said)
    assert "Job has exceeded its memory limit" in str(said)
    # What would have been killed, and when: at the moment of the fact.
    when = [e.utc_ns for e in job.journal.entries if isinstance(e.fact, LimitHit)]
    told = [parse_utc(each) for each in re.findall(r"would have been killed at (\S+Z)\)", str(said))]
    assert told == sorted(told)
    assert len(told) == 2
    assert all(before <= each for before, each in zip((watched_from, *told), told, strict=False))
    assert all(each <= at for each, at in zip(told, when, strict=True))
    assert job.cancel.cause is None


#: Says that it may idle when it is being watched already, and idles for longer than CPUSampleTime.
IDLE = """
import select
open("release").readline()
open("DISABLE_WATCHDOG_CPU_WALLCLOCK_CHECK", "w").close()
select.select([], [], [], 1.6)
"""


def test_a_payload_that_computes_elsewhere_may_idle(tmp_path: Path, made: list[Job]) -> None:
    """DIRAC's file in the job's folder switches the CPU/wall ratio off, also when the payload itself makes it: it
    counts in the moment in which the payload would be taken for stalled."""
    job = Job(tmp_path, replace(CONFIG, cpu_sample_time_seconds=1.0, polling_time_seconds=0.05))
    made.append(job)
    with releasing(tmp_path, lambda: any(each.processes for each in job.journal.facts(UsageSampled))):
        result = job.run(sys.executable, "-I", "-S", "-c", IDLE)
    assert (result.exit_code, result.killed) == (0, None)
    assert job.journal.facts(LimitHit) == []


def test_heartbeats_without_the_peek(tmp_path: Path, made: list[Job]) -> None:
    """JobPeekFlag off: no line of output leaves the node with a heartbeat."""
    job = Job(tmp_path, replace(CONFIG, job_peek=False))
    made.append(job)
    job.run("/bin/echo", "something")
    assert all("StandardOutput" not in each.values for each in job.journal.facts(HeartbeatMade))
    assert job.journal.facts(HeartbeatMade)


def test_heartbeats(tmp_path: Path, made: list[Job]) -> None:
    """Heartbeats carry DIRAC's keys in every stage; the last one of the payload has its final figures."""
    watched = WatchdogJob(start_boottime_ns=SystemClock().boottime_ns(), processors=4)
    job = Job(tmp_path, CONFIG, watched)
    made.append(job)
    job.watchdog.enter_stage("initialize")
    first = eventually(lambda: job.journal.facts(HeartbeatMade))[0]
    numbers = {"LoadAverage", "MemoryUsed", "Vsize", "AvailableDiskSpace", "CPUConsumed", "WallClockTime"}
    assert set(first.values) == numbers
    result = job.run(*program("burn", 0.3))
    last = job.journal.facts(HeartbeatMade)[-1].values
    assert set(last) == numbers | {"StandardOutput"}
    used = result.usage.cpu_user_seconds + result.usage.cpu_system_seconds
    assert last["CPUConsumed"] == pytest.approx(used, abs=0.01)  # the kernel books the last moments of a task late
    told = len(job.journal.entries)
    job.watchdog.enter_stage("process_job_outputs")
    before, later, after = eventually(lambda: between_samples(job.journal.entries[told:]))
    assert later["CPUConsumed"] == last["CPUConsumed"]
    assert 4 * before <= float(later["WallClockTime"]) <= 4 * after


def between_samples(entries: list[Entry]) -> tuple[float, Mapping[str, Scalar], float] | None:
    """A heartbeat among *entries* and the wall clock of the samples before and after it."""
    walls = {
        number: each.fact.wall_seconds for number, each in enumerate(entries) if isinstance(each.fact, UsageSampled)
    }
    for number, each in enumerate(entries):
        if isinstance(each.fact, HeartbeatMade) and min(walls, default=number) < number < max(walls):
            before = max(wall for place, wall in walls.items() if place < number)
            after = min(wall for place, wall in walls.items() if place > number)
            return before, each.fact.values, after
    return None


def test_the_last_heartbeat_has_the_last_word(job: Job) -> None:
    """While a payload writes its last word is kept back; when it has ended it is shown, without a newline too."""
    job.run("/bin/sh", "-c", "printf 'the last word'")
    assert job.journal.facts(HeartbeatMade)[-1].values["StandardOutput"] == "the last word"


def test_output_with_a_hole(tmp_path: Path, made: list[Job]) -> None:
    """A payload whose output becomes long without being written ends when it ends: exact totals, and its last word in
    the last heartbeat."""
    job = Job(tmp_path, replace(CONFIG, output_file_limit_bytes=1 << 20, polling_time_seconds=60.0))
    made.append(job)
    result = job.run(
        "/bin/sh", "-c", "for n in 1 2 3 4 5 6 7 8; do truncate -s ${n}00G std.out; printf ' the last word'; done"
    )
    assert [(each.lines, each.bytes) for each in result.output] == [(1, (800 << 30) + 14), (0, 0)]
    assert str(job.journal.facts(HeartbeatMade)[-1].values["StandardOutput"]).endswith("the last word")


def test_output_with_a_hole_has_its_limit(tmp_path: Path, made: list[Job]) -> None:
    """The watchdog is not held up by it: what it would do to a long file it does."""
    job = Job(tmp_path, replace(CONFIG, output_file_action="kill"))
    made.append(job)
    os.mkfifo(tmp_path / "never")
    result = job.run("/bin/sh", "-c", "truncate -s 400G std.out; read line <>never")
    assert result.killed is not None
    assert [each.limit for each in job.journal.facts(LimitHit)] == ["output_size"]


def test_nothing_is_told_before_a_stage(tmp_path: Path, made: list[Job]) -> None:
    """Limits hold from the first look on; samples and heartbeats begin with the first stage, whichever comes first, the
    look or the stage: so a job has the same facts each time."""
    old = WatchdogJob(start_boottime_ns=SystemClock().boottime_ns() - 10 * NANOSECONDS)
    at_once = {"checking_time_seconds": 0.0, "min_checking_time_seconds": 0.0}
    job = Job(tmp_path, replace(CONFIG, max_wall_clock_seconds=1.0, **at_once), old)
    made.append(job)
    eventually(lambda: job.journal.facts(LimitHit))
    job.watchdog.stop()  # when its look is over
    assert job.journal.facts(UsageSampled) == job.journal.facts(HeartbeatMade) == []
    job.watchdog.enter_stage("initialize")
    assert [each.stage for each in job.journal.facts(UsageSampled)] == ["initialize"]


def test_samples_never_fall(job: Job) -> None:
    """CPU and wall clock in the samples only grow, over the payload's end and into the later stages."""
    short_children = PAYLOADS / "short_children.py"
    script = f"exec(open({str(short_children)!r}).read()); open('release').readline()"
    with releasing(job.work, lambda: any(each.rss_bytes > 1 << 20 for each in job.journal.facts(UsageSampled))):
        job.run(sys.executable, "-I", "-S", "-c", script, "10", "0.02")
    job.watchdog.enter_stage("process_job_outputs")
    samples = job.journal.facts(UsageSampled)
    for totals in (
        [each.cpu_user_seconds + each.cpu_system_seconds for each in samples],
        [each.wall_seconds for each in samples],
    ):
        assert totals == sorted(totals)
    assert samples[0].stage == "execute"
    assert samples[-1].stage == "process_job_outputs"
    assert samples[-1].rss_bytes == 0
    assert any(each.rss_bytes > 1 << 20 for each in samples)


def test_a_full_disk_after_the_start_ends_the_payload(job: Job) -> None:
    """If the start cannot be written down, the payload is ended before the error is told."""
    pids: list[int] = []
    emit = job.emit

    def full(fact: Fact) -> object:
        if isinstance(fact, PayloadStarted):
            pids.append(fact.pid)
            raise JournalFull(28, "no room")
        return emit(fact)

    job.emit = full  # type: ignore[assignment]
    with pytest.raises(JournalFull):
        job.run(*program("stubborn"))
    assert not is_alive(pids[0])


def test_a_dead_starter_leaves_nothing(job: Job) -> None:
    """When the starter is killed under the payload, its processes and groups are ended all the same."""

    def kill_starter() -> None:
        eventually(lambda: (job.work / "std.out").read_text())
        os.kill(job.starter.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_starter)
    killer.start()
    with pytest.raises(TransientJobError) as caught:
        job.run(*program("stubborn"))
    killer.join()
    assert caught.value.error_type == "starter_died"
    assert not is_alive(int((job.work / "std.out").read_text()))
    (planned,) = job.journal.facts(PayloadPlanned)
    assert not any(Path(path).exists() for path in planned.cgroup_paths)


@pytest.mark.parametrize("method", METHODS)
def test_remnants_of_a_killed_node(tmp_path: Path, method: str) -> None:
    """When wrapper and starter were both killed, recovery finds the payload by group or mark and ends it."""
    control, work = tmp_path / "control", tmp_path / "work"
    control.mkdir()
    work.mkdir()
    wrapper = subprocess.Popen(
        [sys.executable, str(PAYLOADS / "wrapper.py"), control, work, method, "60", "/bin/sh", "-c",
         f"env -i {' '.join(program('stubborn'))} & exec {' '.join(program('stubborn'))}"],
        stdout=subprocess.PIPE, text=True, cwd=PAYLOADS.parents[2], env={"PYTHONPATH": str(PAYLOADS.parents[2])},
    )  # fmt: skip
    with wrapper:
        assert wrapper.stdout
        mark, starter, *groups = wrapper.stdout.readline().split()
        assert wrapper.stdout.readline() == "started\n"
        pids = eventually(lambda: len(found := (work / "std.out").read_text().split()) == 2 and [*map(int, found)])
        os.kill(int(starter), signal.SIGKILL)
        wrapper.kill()
        wrapper.wait(10)
    leader = next(ProcessId(pid, procfs.start_ticks(pid) or 0) for pid in pids if os.getsid(pid) == pid)
    remnants = end_remnants(groups, mark, leader)
    assert (remnants.survivors, remnants.killed.pids != ()) == ((), True)
    remnants.remove()
    assert [is_alive(pid) for pid in pids] == [False, False]
    assert not any(ControlGroup(Path(group)).path.exists() for group in groups)
    assert end_remnants(groups, mark, leader).killed.pids == ()


def test_stopping_is_idempotent(tmp_path: Path, job: Job) -> None:
    """A watchdog can be stopped twice, and one that never ran as well."""
    job.watchdog.stop()
    job.watchdog.stop()
    idle = Watchdog(
        config=CONFIG,
        job=WatchdogJob(start_boottime_ns=0),
        emit=job.emit,
        cancel=job.cancel,
        clock=SystemClock(),
        work=tmp_path / "not" / "yet" / "made",
    )
    idle.enter_stage("initialize")
    assert job.journal.facts(UsageSampled)[-1].available_disk_bytes > 0
    idle.detach()
    idle.stop()
