"""Recovery with real processes: what dead wrappers leave running, whose pids these are by now, and who recovers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.agent.recovery import WRAPPER_DIED, Hooks, recover, wrapper_lives
from runner.agent.starters import HANGS_SECONDS, hurry
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import (
    AttemptEnded,
    KillFinished,
    PayloadPlanned,
    PayloadStarted,
    SignalSent,
    StageStarted,
    StatusChanged,
    UsageSampled,
    UsageSettled,
    WrapperStarted,
)
from telemetry.journal import Journal, read_journal
from telemetry.ledger.builder import build
from telemetry.ledger.record import Record
from telemetry.measure import procfs
from tests.support.attempts import job_matched
from tests.support.clock import JumpClock
from tests.support.journals import facts_of
from tests.support.node import ROOT, node
from tests.support.processes import is_alive
from tests.support.starting import METHODS, program
from tests.support.waiting import at_best, eventually

TICK_NS = NANOSECONDS // procfs.TICKS_PER_SECOND
#: Burns half a second of CPU, then says so and stays, deaf to TERM.
BURN_AND_STAY = (
    sys.executable, "-I", "-S", "-c",
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "while time.process_time() < 0.5: pass\n"
    "print(os.getpid(), flush=True)\n"
    "while True: signal.pause()",
)  # fmt: skip


def started(pid: int) -> PayloadStarted:
    """As of a payload that has just been started."""
    return PayloadStarted(pid=pid, start_boottime_ns=SystemClock().boottime_ns(), executable="payload")


def sample(seconds: float) -> UsageSampled:
    return UsageSampled(
        stage="execute",
        cpu_user_seconds=seconds,
        cpu_system_seconds=0.0,
        cpu_method="any",
        wall_seconds=1.0,
        rss_bytes=5 << 20,
        peak_rss_bytes=6 << 20,
        processes=1,
    )


def record(control: Path) -> Record:
    made = build(read_journal(control))
    assert made is not None
    return made


@pytest.mark.parametrize("method", METHODS)
def test_the_last_account(tmp_path: Path, method: str) -> None:
    """Wrapper and starter are killed: the payload goes, and its CPU is that of its group, exactly; without a group
    it is the last sample, and all that it could have used until it was killed is uncertain."""
    with node(tmp_path, method, *BURN_AND_STAY) as it:
        payload = it.payload()
        it.write(it.planned(), started(payload), sample(0.1))
        it.kill(it.starter)
    assert is_alive(payload)
    assert recover(it.control, SystemClock(), WRAPPER_DIED)
    assert not is_alive(payload)
    assert not any(Path(path).exists() for path in it.groups)
    entries = read_journal(it.control)
    (sent,), (finished,) = facts_of(entries, SignalSent), facts_of(entries, KillFinished)
    assert (sent.signal, payload in sent.pids, finished.survivors) == (signal.SIGKILL, True, ())
    found = record(it.control)
    if it.groups:
        (settled,) = facts_of(entries, UsageSettled)
        assert (settled.cpu_method, found.text("CPUMethod")) == (method, method)
        assert found.number("CPUTime") >= 0.49  # version 1 is entered some moments after the fork
        assert found.number("CPUUncertainty") == 0.0
        assert found.integer("PeakRSS") == 6 << 20
    else:
        assert (found.text("CPUMethod"), found.number("CPUTime")) == ("sampled", 0.1)
        looked = next(entry for entry in entries if isinstance(entry.fact, UsageSampled))
        ended = next(entry for entry in entries if isinstance(entry.fact, KillFinished))
        most = 2 * (ended.boottime_ns - looked.boottime_ns) / NANOSECONDS
        assert found.number("CPUUncertainty") == pytest.approx(most, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_crash_between_fork_and_journal_line(tmp_path: Path, method: str) -> None:
    """Of a payload whose start nobody wrote down nothing is left: the plan, written before the fork, is enough."""
    with node(tmp_path, method, "/bin/sh", "-c", f"{' '.join(program('stubborn'))} & wait") as it:
        pid = it.payload()
        it.write(it.planned())
        it.kill(it.starter)
    assert is_alive(pid)
    assert recover(it.control, SystemClock(), WRAPPER_DIED)
    assert not is_alive(pid)
    assert not any(Path(path).exists() for path in it.groups)


def test_a_crash_before_the_plan(tmp_path: Path) -> None:
    """A starter whose wrapper died before it planned a payload ends by itself, and with it its control group."""
    with node(tmp_path, "auto", *program("obedient")) as it:
        it.write()
        it.kill()
    eventually(lambda: not wrapper_lives(it.control), 20)
    eventually(lambda: not is_alive(it.starter), 20)
    assert recover(it.control, SystemClock(), WRAPPER_DIED)
    (end,) = facts_of(read_journal(it.control), AttemptEnded)
    assert (end.status, end.error_type) == ("Rescheduled", "wrapper_died")
    assert not any(Path(path).exists() for path in it.groups)


def test_a_starter_is_waited_for_by_whoever_recovers(tmp_path: Path) -> None:
    """The starter of a dead wrapper ends its payload within 5 s, whatever KillGracePeriod says; what it has settled
    is the record, also for an agent that is not its parent."""
    at_best(5.0, lambda number: closed_after_seconds(tmp_path / str(number)))


def closed_after_seconds(folder: Path) -> float:
    """From the death of a wrapper, whose starter ends the payload by itself, to the end of the attempt."""
    with node(folder, "auto", *BURN_AND_STAY) as it:
        payload = it.payload()
        it.write(it.planned(), started(payload), sample(0.1))
        stop(it.starter)  # it is not done before it was found alive, however long we are held up
        it.kill()
    assert not recover(it.control, SystemClock(), WRAPPER_DIED)
    begun = SystemClock().boottime_ns()
    os.kill(it.starter, signal.SIGCONT)
    eventually(lambda: recover(it.control, SystemClock(), WRAPPER_DIED), 20)
    assert not is_alive(payload)
    entries = read_journal(it.control)
    (settled,) = [entry for entry in entries if isinstance(entry.fact, UsageSettled)]
    (end,) = [entry for entry in entries if isinstance(entry.fact, AttemptEnded)]
    assert settled.writer == "starter"
    assert record(it.control).number("CPUUncertainty") <= settled.fact.cpu_uncertainty_seconds  # type: ignore[attr-defined]
    seconds = (end.boottime_ns - begun) / NANOSECONDS
    print(f"a payload that is deaf to TERM: closed {seconds:.2f} s after its wrapper was killed")
    return seconds


def stop(pid: int) -> None:
    """Have it stand still until it is told to go on."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: (seen := procfs.look(pid)) and seen.is_stopped)


@contextmanager
def decoy() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that leads a session of its own, and has nothing to do with us."""
    with subprocess.Popen(["/bin/sleep", "60"], start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("alone_seconds", "number"), [(0.0, signal.SIGCONT), (HANGS_SECONDS + 1, signal.SIGKILL)], ids=["woken", "killed"]
)
def test_a_stopped_starter_holds_up_no_recovery(tmp_path: Path, alone_seconds: float, number: signal.Signals) -> None:
    """The starter of a dead wrapper that was stopped is told to go on, and killed when that is of no use; then the
    payload goes, and a fact tells."""
    with node(tmp_path, "wait4", *BURN_AND_STAY) as it:
        payload = it.payload()
        it.write(it.planned(), started(payload))
        stop(it.starter)
        it.kill()
    assert not recover(it.control, SystemClock(), WRAPPER_DIED)
    hurry(it.control, SystemClock(), alone_seconds)
    eventually(lambda: not wrapper_lives(it.control), 20)
    assert recover(it.control, SystemClock(), WRAPPER_DIED)
    assert not is_alive(payload)
    sent = [each for each in facts_of(read_journal(it.control), SignalSent) if each.purpose == "wake"]
    assert [(each.signal, each.pids) for each in sent] == [(number, (it.starter,))]


def test_a_reused_pid_is_never_touched(tmp_path: Path) -> None:
    """A process that has the pid and the session of the payload, and neither its mark nor its group nor its start
    time, is somebody else's."""
    with decoy() as process:
        planned = PayloadPlanned(starter_pid=process.pid, environment_mark="JOBSPAN_PAYLOAD_MARK=0123")
        start = procfs.start_ticks(process.pid) or 0
        with Journal(tmp_path, "wrapper", SystemClock()) as journal:
            journal.append(planned)
            journal.append(
                PayloadStarted(pid=process.pid, start_boottime_ns=1, executable="payload", start_ticks=start - 1)
            )
        assert recover(tmp_path, SystemClock(), WRAPPER_DIED)
        assert process.poll() is None
    assert facts_of(read_journal(tmp_path), SignalSent) == []


def test_the_start_time_proves_a_session(tmp_path: Path) -> None:
    """A payload that has thrown its environment away, and has no group, is known by the start time of its leader."""
    with decoy() as process:
        planned = PayloadPlanned(starter_pid=process.pid, environment_mark="JOBSPAN_PAYLOAD_MARK=0123")
        start = procfs.start_ticks(process.pid) or 0
        with Journal(tmp_path, "wrapper", SystemClock()) as journal:
            journal.append(planned)
            journal.append(
                PayloadStarted(pid=process.pid, start_boottime_ns=1, executable="payload", start_ticks=start)
            )
        assert recover(tmp_path, SystemClock(), WRAPPER_DIED)
        assert process.wait(10) == -signal.SIGKILL


def test_no_signal_reaches_back_over_a_reboot(tmp_path: Path) -> None:
    """Whatever a journal of another boot says of pids and marks, nobody of this boot is meant; the cause is said."""
    mark = "JOBSPAN_PAYLOAD_MARK=4567"
    clock = JumpClock(SystemClock().utc_ns(), SystemClock().boottime_ns(), "an-earlier-boot")
    with subprocess.Popen(
        ["/bin/sleep", "60"], start_new_session=True, env={mark.split("=")[0]: mark.split("=")[1]}
    ) as process:
        try:
            eventually(lambda: procfs.environment_has(process.pid, mark.encode()))
            with Journal(tmp_path, "agent", clock) as journal:
                journal.append(job_matched())
            with Journal(tmp_path, "wrapper", clock) as journal:
                journal.append(
                    WrapperStarted(pid=9, start_boottime_ns=clock.boottime_ns(), started_by="zygote", version="1")
                )
                journal.append(StageStarted(stage="execute", at_boottime_ns=clock.boottime_ns()))
                journal.append(PayloadPlanned(starter_pid=process.pid, environment_mark=mark))
                journal.append(
                    PayloadStarted(pid=process.pid, start_boottime_ns=clock.boottime_ns(), executable="payload")
                )
                clock.advance(30)
                journal.append(sample(12.0))
                clock.advance(5)
                journal.append(StatusChanged(application_status="alive"))
            assert recover(tmp_path, SystemClock(), WRAPPER_DIED)
            assert process.poll() is None
        finally:
            process.kill()
    (end,) = facts_of(read_journal(tmp_path), AttemptEnded)
    assert (end.status, end.minor_status, end.error_type) == ("Failed", "JobWrapper execution", "reboot")
    found = record(tmp_path)
    assert (found.number("WallClockTime"), found.number("CPUTime")) == (35.0, 12.0)
    assert found.number("CPUUncertainty") == 5.0 * found.integer("Processors")


#: Waits for its fellows, then recovers, taking its time over the end.
_RECOVERER = """
import sys, time, threading
from dataclasses import replace
from pathlib import Path
from runner.agent.recovery import WRAPPER_DIED, Hooks, recover
from telemetry.clock import SystemClock
def ask(end):
    threading.Event().wait(0.05)
    return replace(end, minor_status=sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    recover(Path(sys.argv[1]), SystemClock(), WRAPPER_DIED, Hooks(ask=ask))
"""


def test_two_recoverers_never_meet(tmp_path: Path) -> None:
    """Eight processes recover the same attempt at once: it has one end, one status, one writer's sequence."""
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(StageStarted(stage="execute", at_boottime_ns=1))
        journal.append(PayloadPlanned(starter_pid=0))
    recoverers = [
        subprocess.Popen(
            [sys.executable, "-c", _RECOVERER, tmp_path, f"by {number}", "20"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        )
        for number in range(8)
    ]  # fmt: skip
    for each in recoverers:
        assert each.stdout
        assert each.stdout.readline() == "ready\n"
    for each in recoverers:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in recoverers:
        with each:
            each.communicate(timeout=30)
        assert each.returncode == 0
    assert recover(tmp_path, SystemClock(), WRAPPER_DIED)
    entries = [entry for entry in read_journal(tmp_path) if entry.writer == "recovery"]
    assert len(facts_of(entries, AttemptEnded)) == len(facts_of(entries, StatusChanged)) == 1
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))


def test_asking_whether_a_wrapper_lives_opens_no_door(tmp_path: Path) -> None:
    """A question about the wrapper's lock within our process, which drops ours, lets nobody else recover."""
    with Journal(tmp_path, "wrapper", SystemClock()) as journal:
        journal.append(StageStarted(stage="execute", at_boottime_ns=1))
    ends: list[int] = []

    def ask(end: AttemptEnded) -> AttemptEnded:
        assert not wrapper_lives(tmp_path)
        other = subprocess.run(
            [sys.executable, "-c", _RECOVERER, tmp_path, "intruder", "1"],
            input="go\n", capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
        ends.append(other.returncode)
        return end

    assert recover(tmp_path, SystemClock(), WRAPPER_DIED, Hooks(ask=ask))
    found = [each.minor_status for each in facts_of(read_journal(tmp_path), AttemptEnded)]
    assert (ends, found) == ([0], ["Job Wrapper Initialization"])
