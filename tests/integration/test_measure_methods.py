"""What each way of measuring sees of real processes, and what it says of what it does not see."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from runner.config import JobWrapperConfig
from runner.process.cancel import Cancel
from runner.process.limits import WatchdogJob
from runner.process.output import ExecutionThread, OutputFiles
from runner.process.payload import run
from runner.process.starter import PayloadCommand
from runner.process.watchdog import Watchdog
from telemetry.bus import Bus
from telemetry.clock import SystemClock
from telemetry.facts import LimitHit, SamplerLate, UsageSampled, UsageSettled
from telemetry.journal import Journal, read_journal
from telemetry.measure import procfs, walker
from telemetry.measure.meter import GroupMeter, choose
from telemetry.measure.naming import NODE_METHODS
from telemetry.measure.walker import TreeWalker
from tests.support.journals import ListJournal
from tests.support.starting import START_CPU_SECONDS, fork_starter, program, releasing, stage, usage
from tests.support.waiting import at_best, eventually

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

FAMILY = "for i in 1 2 3; do (read x) & done; read x; wait"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_walk_by_open_files_sees_what_a_fresh_one_sees() -> None:
    """The same processes with the same figures, again and again; who has gone is gone, and its files are closed."""
    tree = TreeWalker(os.getpid())
    before = open_files()
    with subprocess.Popen(["/bin/sh", "-c", f"exec 3<&0; {FAMILY.replace('read x)', 'read x <&3)')}"], stdin=-1) as it:
        assert it.stdin
        eventually(lambda: len(procfs.descendants(it.pid)) == 3)

        def same() -> bool:
            seen = {each.identity: each for each in tree.walk()}
            fresh = {each.identity: each for each in procfs.walk(os.getpid())}
            return len(seen) >= 4 and seen == fresh

        assert eventually(same)
        assert eventually(same)
        assert open_files() > before
        it.stdin.close()
        it.wait(10)
    assert it.pid not in {each.identity.pid for each in tree.walk()}
    tree.close()
    assert open_files() <= before + 1


def test_files_are_kept_open_of_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large tree does not take all descriptors: the rest are looked at afresh, and seen all the same."""
    monkeypatch.setattr(walker, "KEPT_PROCESSES", 1)
    tree = TreeWalker(os.getpid())
    before = open_files()
    with subprocess.Popen(["/bin/sh", "-c", f"exec 3<&0; {FAMILY.replace('read x)', 'read x <&3)')}"], stdin=-1) as it:
        assert it.stdin
        eventually(lambda: len(procfs.descendants(it.pid)) == 3)
        pids = {each.identity.pid for each in tree.walk()}
        assert {it.pid, *procfs.descendants(it.pid)} <= pids
        assert open_files() <= before + 5  # those of one process, and the pipe
        sums = tree.sums(sorted(pids), threads=4)
        assert sums.processes == len(pids)
        assert sums.rss_bytes > 1 << 18
        it.stdin.close()
    tree.close()


def test_the_uncertainty_of_looks_covers_what_they_lose(tmp_path: Path) -> None:
    """Looks alone miss the ends of processes: what they count and what they say may be missing cover the programmed
    burn. They count nothing that was not used, and say more of what may be missing than wait4, which misses nothing."""
    burn_seconds = 20 * 0.04
    seen = {}
    for method in ("sampled", "wait4"):
        folder = tmp_path / method
        folder.mkdir()
        with stage(folder, method) as it:
            assert it.starter.prepare().cpu_method == method
            seen[method] = usage(it.run(*program("short_children", 20, 0.04))).usage
    used = {method: each.cpu_user_seconds + each.cpu_system_seconds for method, each in seen.items()}
    assert burn_seconds <= used["wait4"] < burn_seconds + START_CPU_SECONDS
    assert 0 < used["sampled"] < burn_seconds + START_CPU_SECONDS
    assert used["sampled"] + seen["sampled"].cpu_uncertainty_seconds >= burn_seconds
    assert seen["sampled"].cpu_uncertainty_seconds > 2 * seen["wait4"].cpu_uncertainty_seconds
    assert seen["wait4"].cpu_uncertainty_seconds < 0.05
    assert seen["sampled"].cpu_method == "sampled"


def test_auto_reaped_children_are_looked_at_often(tmp_path: Path) -> None:
    """Nobody asks, and yet most of what auto-reaped children use is seen; the rest is within the uncertainty."""
    # Of each child all but the last look's interval is seen; a starter that was held up may see nothing of one.
    at_best(0.5, lambda number: lost_seconds(tmp_path / str(number)))


def lost_seconds(folder: Path) -> float:
    """How much was not seen of what two auto-reaped children have used, which is 1.0 s."""
    folder.mkdir()
    begin = time.monotonic()
    with stage(folder, "wait4") as it:
        settled = usage(it.run(*program("auto_reap", 2, 0.5))).usage
    elapsed = time.monotonic() - begin
    used = settled.cpu_user_seconds + settled.cpu_system_seconds
    assert used + settled.cpu_uncertainty_seconds >= 1.0
    assert settled.cpu_uncertainty_seconds <= elapsed * (os.cpu_count() or 1)
    return 1.0 - used


@pytest.mark.cgroup1
def test_a_fork_bomb_does_not_outrun_the_freezer() -> None:
    """Processes that fork as fast as they can are held still, and all of them die."""
    meter, reason = choose("cgroup1", f"bomb-{os.getpid()}")
    assert isinstance(meter, GroupMeter), reason
    group = meter.group
    try:
        if not group.can_kill:
            pytest.skip("there is no freezer")
        process = os.fork()
        if process == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                group.enter()
                _fork_for_ever()
            finally:
                os._exit(1)
        eventually(lambda: group.count() > 20)
        group.kill()
        os.waitpid(process, 0)  # it may have ended by itself, having forked the next
        eventually(lambda: not group.pids())
    finally:
        eventually(group.remove)


def _fork_for_ever() -> None:
    """Some thirty processes at a time; each forks the next and ends."""
    for _ in range(5):
        os.fork()
    while True:
        if os.fork():
            os._exit(0)


def test_a_deep_look() -> None:
    """Proportional memory, swap and context switches of a living process; nothing of one that is gone."""
    script = "x = bytearray(b'x' * (50 << 20)); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", script], stdin=-1, stdout=-1) as it:
        assert it.stdout
        it.stdout.readline()
        seen = procfs.deep_look([it.pid, 999_999_999], with_pss=True)
        shallow = procfs.deep_look([it.pid], with_pss=False)
        it.communicate(b"\n", 10)
    assert seen.pss_bytes is not None
    assert 50 << 20 < seen.pss_bytes < 80 << 20
    assert seen.voluntary_switches + seen.involuntary_switches > 0
    assert shallow.pss_bytes is None
    assert procfs.deep_look([999_999_999], with_pss=True).pss_bytes is None


#: Four threads, each of which gives its processor away 500 times and lives on; then the kernel's sum for the process.
RESTLESS = """
import resource, select, threading
done, end = threading.Barrier(5), threading.Event()
def rest():
    for _ in range(500): select.select([], [], [], 1e-5)
    done.wait()
    end.wait()
for _ in range(4): threading.Thread(target=rest).start()
done.wait()
print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, flush=True)
input()
end.set()
"""


def test_a_deep_look_at_threads() -> None:
    """Context switches of a living process are those of all its threads, and not of the first one only."""
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", RESTLESS], stdin=-1, stdout=-1) as it:
        assert it.stdout
        told = int(it.stdout.readline())
        seen = procfs.deep_look([it.pid], with_pss=False)
        it.communicate(b"\n", 10)
    assert seen.voluntary_switches >= told >= 4 * 500


#: Takes so much memory, and never more than that for a moment.
FILLED = "x = bytearray({mib} << 20)\nx[::4096] = b'x' * len(x[::4096])\n"
QUICK = JobWrapperConfig(
    polling_time_seconds=0.02, checking_time_seconds=0.1, min_checking_time_seconds=0.05, kill_grace_seconds=0.2
)


Condition = Callable[[ListJournal], object]


def run_watched(folder: Path, config: JobWrapperConfig, script: str, *conditions: Condition) -> ListJournal:
    """The facts of a Python *script* run as a payload under a watchdog.

    Each `release.readline()` in it waits until what was told so far fulfils the next of *conditions*.
    """
    argv = (sys.executable, "-I", "-S", "-c", f"release = open('release')\n{script}")
    clock = SystemClock()
    journal = ListJournal(clock)
    emit = Bus(journal).emit
    cancel = Cancel(emit)
    starter = fork_starter(folder, method=config.cpu_method, orphan_grace_seconds=0.2, kill_grace_seconds=0.2)
    files = OutputFiles(folder, "std.out", "std.err")
    output = ExecutionThread(files, config=config)
    job = WatchdogJob(start_boottime_ns=clock.boottime_ns())
    watchdog = Watchdog(config=config, job=job, emit=emit, cancel=cancel, clock=clock, work=folder)
    watchdog.start()
    try:
        watchdog.enter_stage("execute")
        command = PayloadCommand(argv=argv, environment={}, folder=folder, stdout=files.stdout, stderr=files.stderr)
        with releasing(folder, *(partial(condition, journal) for condition in conditions)):
            run(command, starter=starter, output=output, watchdog=watchdog, cancel=cancel, emit=emit)
    finally:
        watchdog.stop()
        output.finish()
        starter.close()
    return journal


@pytest.mark.parametrize("pss_time_seconds", [0.0, 0.05])
def test_proportional_memory_is_looked_at_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pss_time_seconds: float
) -> None:
    """With PSSTime it stands in the samples and its peak in the account; without, nobody looks."""
    sample = Watchdog._sample

    def sample_each_look(watchdog: Watchdog) -> None:
        sample(watchdog)
        watchdog._state.sample_at = 0.0

    monkeypatch.setattr(Watchdog, "_sample", sample_each_look)  # else there may be more such looks than samples
    config = JobWrapperConfig(
        polling_time_seconds=0.02, checking_time_seconds=60, pss_time_seconds=pss_time_seconds, cpu_method="wait4"
    )

    def is_seen(journal: ListJournal) -> bool:
        samples = journal.facts(UsageSampled)
        return any(((each.pss_bytes if pss_time_seconds else each.rss_bytes) or 0) > 30 << 20 for each in samples)

    journal = run_watched(tmp_path, config, f"{FILLED.format(mib=30)}release.readline()", is_seen)
    peak = journal.facts(UsageSettled)[-1].peak_pss_bytes
    if not pss_time_seconds:
        assert peak is None
        assert all(each.pss_bytes is None for each in journal.facts(UsageSampled))
        return
    assert peak is not None
    assert 30 << 20 < peak < 80 << 20
    assert max(each.pss_bytes or 0 for each in journal.facts(UsageSampled)) == peak


def test_samples_name_their_methods_and_the_wrapper_s_own_cost(tmp_path: Path) -> None:
    """Each quantity with its method; the wrapper's CPU beside the payload's; faults and switches with the account."""

    def is_said(journal: ListJournal) -> bool:
        samples = [each for each in journal.facts(UsageSampled) if each.rss_bytes]
        return {} in [each.methods for each in samples]

    burn = "import time\nwhile time.process_time() < 0.3: pass\nrelease.readline()"
    journal = run_watched(tmp_path, QUICK, burn, is_said)
    samples = [each for each in journal.facts(UsageSampled) if each.rss_bytes]
    assert samples
    assert all(each.rss_method and each.processes_method and each.io_method for each in samples)
    told = [each.methods for each in journal.facts(UsageSampled)]
    assert told[0] == NODE_METHODS  # no payload yet
    assert all(before != after for before, after in pairwise(filter(None, told)))
    assert {} in told  # what has not changed is not said again
    named = [each for each in told if each][-1]
    quantities = {"cpu", "memory", "swap", "processes", "threads", "io", "faults", "switches"}
    assert named.keys() >= quantities | NODE_METHODS.keys()
    assert all(named.values())
    costs = [each.wrapper_cpu_seconds for each in journal.facts(UsageSampled)]
    assert costs == sorted(costs)
    assert costs[0] > 0
    settled = journal.facts(UsageSettled)[-1]
    assert settled.minor_faults > 0
    assert settled.voluntary_switches + settled.involuntary_switches > 0
    assert settled.io_method
    assert settled.methods["cpu"] == settled.cpu_method
    assert settled.methods.keys() >= {"peak_rss", "processes", "io", "faults", "switches"}


def test_samples_tell_the_peaks_so_far(tmp_path: Path) -> None:
    """Memory that is given back is gone from the gauges, and stays in the peaks: those never fall, and the account
    that is settled is not below them."""

    def is_taken(journal: ListJournal) -> bool:
        return any(each.rss_bytes > 40 << 20 for each in journal.facts(UsageSampled))

    def is_given_back(journal: ListJournal) -> bool:
        return is_taken(journal) and 0 < journal.facts(UsageSampled)[-1].rss_bytes < 40 << 20

    script = f"{FILLED.format(mib=40)}release.readline()\ndel x\nrelease.readline()"
    journal = run_watched(tmp_path, QUICK, script, is_taken, is_given_back)
    samples = [each for each in journal.facts(UsageSampled) if each.cpu_method]
    for name in ("peak_rss_bytes", "max_processes", "peak_threads"):
        values = [getattr(each, name) for each in samples]
        assert values == sorted(values)
    last = next(each for each in reversed(samples) if each.rss_bytes)
    assert last.rss_bytes < 40 << 20 < last.peak_rss_bytes
    assert last.max_processes >= 1
    settled = journal.facts(UsageSettled)[-1]
    assert settled.peak_rss_bytes >= last.peak_rss_bytes
    own = [(each.peaks_method, each.peak_cgroup_memory_bytes or 0) for each in samples]
    assert all(bool(method) for method, memory in own if memory)
    assert (settled.peak_cgroup_memory_bytes or 0) >= max(memory for _, memory in own)


def test_a_watchdog_that_is_stopped_says_so(tmp_path: Path) -> None:
    """A fact tells for how long nobody looked; no limit is hit for it, and no time goes backwards."""

    def told() -> list[SamplerLate]:
        return [each.fact for each in read_journal(tmp_path) if isinstance(each.fact, SamplerLate)]

    pid = os.fork()
    if pid == 0:
        try:
            _watch_for_ever(tmp_path)
        finally:
            os._exit(1)
    try:
        eventually(lambda: any(isinstance(each.fact, UsageSampled) for each in read_journal(tmp_path)))
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED)
        before = len(told())  # by a busy machine
        threading.Event().wait(2.0)
        os.kill(pid, signal.SIGCONT)
        (late, *_) = eventually(lambda: told()[before:])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert 1.5 < late.late_seconds < 20
    assert late.suspended_seconds == 0.0
    facts = [each.fact for each in read_journal(tmp_path)]
    assert not any(isinstance(each, LimitHit) for each in facts)
    walls = [each.wall_seconds for each in facts if isinstance(each, UsageSampled)]
    assert walls == sorted(walls)


def _watch_for_ever(folder: Path) -> None:
    clock = SystemClock()
    config = JobWrapperConfig(polling_time_seconds=0.05)
    with Journal(folder, "wrapper", clock) as journal:
        emit = Bus(journal).emit
        watchdog = Watchdog(
            config=config,
            job=WatchdogJob(start_boottime_ns=clock.boottime_ns()),
            emit=emit,
            cancel=Cancel(emit),
            clock=clock,
            work=folder,
        )
        watchdog.start()
        watchdog.enter_stage("execute")
        watchdog.join()
