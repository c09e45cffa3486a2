"""The graceful stop with real processes: who is told, once, and how a job ends that answers."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.process.graceful import GracefulStop
from runner.process.limits import WatchdogJob
from runner.process.starter import StarterEvent
from telemetry.clock import SystemClock
from telemetry.facts import LimitHit, SignalSent
from telemetry.measure import procfs
from telemetry.measure.snapshot import ProcessLook
from tests.support.processes import is_alive
from tests.support.starting import METHODS, Stage, end, program, stage
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


def stops(events: list[StarterEvent]) -> list[SignalSent]:
    return [each for each in events if isinstance(each, SignalSent) and each.purpose == "stop"]


def until_stop(it: Stage) -> list[StarterEvent]:
    """What is told up to the graceful stop."""
    events: list[StarterEvent] = []
    eventually(lambda: events.extend(it.starter.poll(0.1)) or stops(events))
    return events


@pytest.mark.parametrize("method", METHODS)
def test_only_those_that_fit_are_told(tmp_path: Path, method: str) -> None:
    """Of all processes only the one whose command line fits gets the signal; fact and payload say so."""
    script = f"trap '' INT; {' '.join(program('answers', 5, 'other'))} & {' '.join(program('answers', 7, 'chosen'))}"
    with stage(tmp_path, method, grace_seconds=0.2) as it:
        it.starter.start(it.command("/bin/sh", "-c", f"{script}; exit $?"))
        pids = eventually(lambda: len(found := it.output().split()) == 2 and found)
        it.starter.stop_gracefully("answers.py 7 cho+sen$", signal.SIGINT, "graceful stop: the test")
        it.starter.stop_gracefully("answers.py", signal.SIGINT, "again")
        events = it.events()
    assert end(events).exit_code == 7
    assert len(stops(events)) == 1
    told = stops(events)[0]
    assert (told.signal, told.processes, told.reason) == (signal.SIGINT, 1, "graceful stop: the test")
    assert str(told.pids[0]) in pids
    assert told.names[0].startswith("python")


def test_the_name_of_a_process_fits_too(tmp_path: Path) -> None:
    """A process that has named itself is found by that name, which stands in no command line."""
    script = (
        "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); "
        "open('/proc/self/comm', 'w').write('by' + 'name'); print('ready', flush=True); "
        "signal.sigwait([signal.SIGINT]); sys.exit(7)"
    )
    with stage(tmp_path, "wait4", grace_seconds=0.2) as it:
        it.starter.start(it.command(sys.executable, "-I", "-S", "-c", script))
        it.first_line()
        it.starter.stop_gracefully("^byname$", signal.SIGINT, "graceful stop: the test")
        events = it.events()  # the end may be told together with the stop
        (told,) = stops(events)
        assert (told.names, told.processes) == (("byname",), 1)
        assert end(events).exit_code == 7


def test_a_process_that_comes_later_is_told_then(tmp_path: Path) -> None:
    """While nobody fits, every order looks again; that nobody was there is told once."""
    with stage(tmp_path, "wait4") as it:
        it.starter.start(it.command(*program("answers", 9)))
        it.first_line()
        for _ in range(3):
            it.starter.stop_gracefully("nobody is called that", signal.SIGINT, "first")
        it.starter.stop_gracefully("answers", signal.SIGINT, "second")
        events = it.events()
    assert [(each.reason, bool(each.pids)) for each in stops(events)] == [("first", False), ("second", True)]
    assert end(events).exit_code == 9


@pytest.mark.parametrize(
    ("regex", "words"),
    [("(a+)+$", "takes too long"), ("(", "is wrong"), ("(" * 900 + ")" * 900, "wrong")],
)
def test_a_hostile_expression_stops_nobody(tmp_path: Path, regex: str, words: str) -> None:
    """An expression without an end, or that is none, costs the starter half a second and nothing else."""
    with stage(tmp_path, "wait4", grace_seconds=0.2) as it:
        it.starter.start(it.command(*program("answers", 0, "a" * 3000 + "!")))
        it.first_line()
        it.starter.stop_gracefully(regex, signal.SIGINT, "graceful stop")
        (told,) = stops(until_stop(it))
        assert words in told.reason
        assert told.pids == ()
        begin = time.monotonic()
        it.reading()
        assert time.monotonic() - begin < 5.0
        assert is_alive(int(it.first_line()))


def test_a_long_command_line_is_looked_at_in_part(tmp_path: Path) -> None:
    """What stands behind the first 4 KiB of a command line does not count."""
    with stage(tmp_path, "wait4", grace_seconds=0.2) as it:
        it.starter.start(it.command(*program("answers", 0, "a" * 5000 + "end")))
        it.first_line()
        it.starter.stop_gracefully("end$", signal.SIGINT, "graceful stop")
        assert stops(until_stop(it))[0].pids == ()


STOP: dict[str, Any] = {
    "stop_signal_regex": r"answers\.py( \d+ ready)?$",
    "stop_signal_start_work": 0.2,
    "stop_signal_finish_work": 59.0,
    "max_wall_clock_seconds": 59.0,
}


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_payload_that_answers_is_not_killed(tmp_path: Path, made: list[Job], code: int) -> None:
    """Towards the end of its time it gets the signal once, and ends by itself; no limit is hit, nobody kills."""
    job = Job(tmp_path, replace(CONFIG, **STOP))
    made.append(job)
    result = job.run(*program("answers", code, "later"))
    assert (result.exit_code, result.killed, result.stop_signal) == (code, None, signal.SIGINT)
    assert job.journal.facts(LimitHit) == []
    (told,) = (each for each in job.journal.facts(SignalSent) if each.pids)  # at first nobody may be ready
    assert told.purpose == "stop"
    assert "are left" in told.reason


def test_a_payload_that_does_not_answer_meets_the_limit(tmp_path: Path, made: list[Job]) -> None:
    """The signal alone is no end: with the batch job's time up it is killed, and that is the cause."""
    watched = WatchdogJob(start_boottime_ns=SystemClock().boottime_ns(), time_left_seconds=200.0)
    options = {**STOP, "max_wall_clock_seconds": 300.0, "stop_margin_seconds": 50.0, "stop_signal_finish_work": 0.8}
    job = Job(tmp_path, replace(CONFIG, **options), watched, watch := LeapingClock())
    made.append(job)
    job.leap_when_started(watch, 149.3)
    result = job.run("/bin/sh", "-c", 'trap "" INT; exec "$@" answers.py', "sh", *program("deaf"))
    assert result.killed is not None
    assert result.killed.reason == "Job has reached the CPU limit of the queue"
    (hit,) = job.journal.facts(LimitHit)
    assert hit.limit == "time_left"


def test_who_is_held_up_while_it_looks_tells_the_payload_all_the_same() -> None:
    """Only an expression that takes its time is given up, not one whose matching a busy machine holds up."""
    told: list[SignalSent] = []
    payload = subprocess.Popen(["/bin/sleep", "600"])
    try:
        process = eventually(lambda: procfs.has_executed(payload.pid) and procfs.look(payload.pid))

        def held_up() -> Iterator[ProcessLook]:
            threading.Event().wait(1.0)
            yield process

        GracefulStop(SystemClock(), told.append).ask(held_up(), "sleep 600", signal.SIGTERM, "the test")
        assert [(each.pids, each.reason) for each in told] == [((payload.pid,), "the test")]
        assert payload.wait(60) == -signal.SIGTERM
    finally:
        payload.kill()
        payload.wait()
