"""The starter with real processes: what a payload inherits, what is counted, and how it ends."""

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import PayloadStartError, TransientJobError
from runner.process import linux
from runner.process.keeper import LIFE_LOCK, Keeper
from runner.process.start_failure import explain
from runner.process.starter import PayloadCommand, PayloadUser, Starter, StarterEvent, TreeEnded
from telemetry.clock import NANOSECONDS, SystemClock
from telemetry.facts import KillFinished, PayloadEnded, PayloadStarted, SignalSent, UsageSettled
from telemetry.journal import Journal, is_written, read_journal
from telemetry.measure import perf, procfs
from telemetry.measure.cgroup import ControlGroup
from telemetry.measure.snapshot import UsageReading
from telemetry.measure.tree import TICK_SECONDS
from tests.support.components import require
from tests.support.processes import is_alive
from tests.support.starting import METHODS, PAYLOADS, START_CPU_SECONDS, end, program, releasing, stage, usage
from tests.support.waiting import at_best, eventually

# pytest's fault handler has a thread of its own, which Python 3.12 notices at a fork.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

#: The starter looks by itself 2.5 and 5.1 seconds after the start: this is well between.
RESTING_SECONDS = 3.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("argv", "exit_code", "number"),
    [
        (("/bin/sh", "-c", "exit 0"), 0, None),
        (("/bin/sh", "-c", "exit 222"), 222, None),
        (("sh", "-c", "kill -SEGV $$"), None, signal.SIGSEGV),
        (("sh", "-c", "kill -KILL $$"), None, signal.SIGKILL),
    ],
)
def test_how_it_ended(
    tmp_path: Path, method: str, argv: tuple[str, ...], exit_code: int | None, number: int | None
) -> None:
    """Exit code or signal of the top process are told exactly, one of the two."""
    with stage(tmp_path, method) as it:
        events = it.run(*argv)
    assert (end(events).exit_code, end(events).signal) == (exit_code, number)
    assert not any(isinstance(each, SignalSent | KillFinished) for each in events)


@pytest.mark.parametrize("method", METHODS)
def test_the_end_is_told_at_once(tmp_path: Path, method: str) -> None:
    """Start and end of a trivial payload come by events, not at the next poll."""

    def seconds(number: int) -> float:
        (folder := tmp_path / str(number)).mkdir()
        with stage(folder, method) as it:
            it.starter.prepare()
            begin = time.monotonic()
            events = it.run("/bin/true")
            elapsed = time.monotonic() - begin
        assert end(events).exit_code == 0
        return elapsed

    at_best(1.0, seconds)  # some 5 ms on an idle machine


@pytest.mark.parametrize("method", METHODS)
def test_what_a_payload_inherits(tmp_path: Path, method: str) -> None:
    """No descriptor but its streams, no signal ignored or blocked, a session and umask of its own, our mark."""
    leaking, other = os.pipe()
    os.set_inheritable(leaking, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with stage(tmp_path, method) as it:
            mark = it.starter.prepare().environment_mark
            it.run(*program("inventory", "a b", "\udcff"))
            found = json.loads(it.output())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(leaking)
        os.close(other)
    assert found["descriptors"] == [0, 1, 2]
    assert found["stdin"] == "/dev/null"
    assert found["ignored"] == []
    assert found["blocked"] == []
    assert found["session"] == found["pid"]
    assert found["parent"] == it.starter.pid
    assert found["umask"] == 0o022
    assert found["folder"] == str(it.work)
    assert {"PATH", mark.split("=")[0]} == set(found["environment"]) - {"LC_CTYPE"}
    assert found["arguments"] == ["a b", "\udcff"]


def test_the_payload_dies_before_us_when_memory_runs_out(tmp_path: Path) -> None:
    """The kernel's score of a payload, and of what it forks at once, is higher than ours; the starter's is not."""
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    with stage(tmp_path) as it:
        script = f"cat /proc/self/oom_score_adj; {' '.join(program('stubborn'))} & wait"
        started = it.starter.start(it.command("/bin/sh", "-c", script))
        path = Path(f"/proc/{started.pid}/oom_score_adj")
        assert int(path.read_text()) == min(1000, ours + 500)
        if os.geteuid() == 0:  # else the starter raises what it finds a moment after the exec
            assert int(eventually(lambda: it.output().split()[:1])[0]) == min(1000, ours + 500)
        # Not whoever is a child at this moment: `cat` may be one still, and gone before it is looked at.
        child = Path("/proc", eventually(lambda: it.output().split()[1:])[0])
        assert int((child / "stat").read_text().rpartition(")")[2].split()[1]) == started.pid
        assert eventually(lambda: int((child / "oom_score_adj").read_text()) == min(1000, ours + 500))
        assert int(Path(f"/proc/{it.starter.pid}/oom_score_adj").read_text()) == ours


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="jobspan-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def ordinary_user(open_folder: Path) -> Iterator[None]:
    """Whoever may not go everywhere, and owns the open folder: who runs the tests, unless that is root."""
    if os.geteuid():
        yield
        return
    os.chown(open_folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.root
def test_payload_user(open_folder: Path) -> None:
    """Under another user nothing of ours is left: no group, no saved id, and its streams are its own."""
    user = PayloadUser(uid=65534, gid=65533, groups=(65532,), name="nobody")
    with stage(open_folder) as it:
        it.work.chmod(0o777)
        it.control.chmod(0o700)
        script = f"id -G; id -u; echo again >> /dev/stdout; cat {it.control}/x; ls {it.control}"
        it.run("/bin/sh", "-c", script, user=user)
        lines = it.output().split("\n")
        assert sorted(lines[0].split()) == ["65532", "65533"]
        assert lines[1] == "65534"
        assert "again" in lines
        assert "denied" in (it.work / "std.err").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_daemon_is_counted_and_ended(tmp_path: Path, method: str) -> None:
    """A double-forked daemon in its own session is counted, as orphan too, and does not outlive the job."""
    with stage(tmp_path, method) as it:
        events = it.run(*program("daemon", 0.4))
        daemon = int(it.output())
    settled = usage(events).usage
    used = settled.cpu_user_seconds + settled.cpu_system_seconds
    assert 0.4 <= used < 0.4 + START_CPU_SECONDS
    assert 0.39 <= settled.orphan_cpu_seconds <= used
    assert end(events).user_cpu_seconds < 0.4
    assert not is_alive(daemon)
    sent = [each for each in events if isinstance(each, SignalSent)]
    assert [(each.signal, each.pids) for each in sent] == [(signal.SIGTERM, (daemon,))]
    assert events.index(end(events)) < events.index(sent[0])


@pytest.mark.parametrize("method", METHODS)
def test_short_children_are_counted(tmp_path: Path, method: str) -> None:
    """Children and grandchildren that live between two looks are counted in full."""
    with stage(tmp_path, method) as it:
        settled = usage(it.run(*program("short_children", 10, 0.04))).usage
    assert 0.4 <= settled.cpu_user_seconds + settled.cpu_system_seconds < 0.4 + START_CPU_SECONDS
    assert settled.cpu_method == method
    assert settled.max_processes >= 1


@pytest.mark.parametrize("method", [each for each in METHODS if each != "wait4"])
def test_auto_reaped_are_counted_by_the_kernel(tmp_path: Path, method: str) -> None:
    """Control groups and the task clock count children that nobody waits for, and are certain of it: the clock but for
    a fork up to its exec, and for what a hypervisor took meanwhile."""
    before = procfs.stolen_seconds()
    with stage(tmp_path, method) as it:
        settled = usage(it.run(*program("auto_reap", 4, 0.1))).usage
    stolen = procfs.stolen_seconds() - before
    assert 0.4 <= settled.cpu_user_seconds + settled.cpu_system_seconds < 0.4 + START_CPU_SECONDS
    least, most = (0.02, max(0.02, stolen + TICK_SECONDS)) if method == "perf" else (0.0, 0.0)
    assert least <= settled.cpu_uncertainty_seconds <= most + 1e-6  # sums of seconds


@pytest.mark.perf
@pytest.mark.root
def test_a_program_that_raises_its_rights_is_counted_beside_the_clock(open_folder: Path) -> None:
    """The kernel takes the task clock from a set-user-ID program; what wait4 tells of it counts."""
    user = PayloadUser(uid=65534, gid=65533, name="nobody")
    with stage(open_folder, "perf") as it:
        it.work.chmod(0o777)
        raising = it.work / "raising"
        shutil.copy("/bin/sh", raising)
        raising.chmod(0o4755)
        loop = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
        events = it.run("/bin/sh", "-c", f"./raising -c '{loop}'; :", user=user)
        settled = usage(events).usage
    waited = end(events).user_cpu_seconds + end(events).system_cpu_seconds
    assert waited > 0.1
    assert settled.cpu_user_seconds + settled.cpu_system_seconds >= waited - 0.02


def test_auto_reaped_make_wait4_uncertain(tmp_path: Path) -> None:
    """Without a group their CPU is lost, and the uncertainty says how much it may be."""
    with stage(tmp_path, "wait4") as it:
        settled = usage(it.run(*program("auto_reap", 4, 0.1))).usage
    used = settled.cpu_user_seconds + settled.cpu_system_seconds
    assert used + settled.cpu_uncertainty_seconds >= 0.4
    assert settled.cpu_uncertainty_seconds > 0.2


def test_a_payload_that_was_seen_to_rest_has_lost_nothing_then(tmp_path: Path) -> None:
    """What auto-reaped children may have used counts from when all were last seen to rest, also where the watchdog saw
    that by itself and only tells the starter of it."""
    release = tmp_path / "release"
    os.mkfifo(release)
    deaf = f"""
import os, signal
release = open({str(release)!r})
release.readline()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.fork() or os._exit(0)
try:
    os.wait()  # until the kernel has reaped it: no look has seen it
except ChildProcessError:
    print("deaf", flush=True)
release.readline()
"""
    with release.open("r+b", buffering=0) as gate, stage(tmp_path, "wait4") as it:  # waits for no reader
        begin = seen = time.monotonic()
        it.starter.start(it.command(sys.executable, "-I", "-S", "-c", deaf))
        while time.monotonic() - begin < RESTING_SECONDS:
            it.starter.poll(0.1)
            now = time.monotonic()
            if it.starter.snapshot() is not None:  # a starter that was held up may not have answered
                seen = now
        gate.write(b"\n")
        assert it.first_line() == "deaf"
        it.reading()
        gate.write(b"\n")
        settled = usage(it.events()).usage
        elapsed = time.monotonic() - seen
    assert settled.cpu_uncertainty_seconds <= TICK_SECONDS + elapsed * (os.cpu_count() or 1)


@pytest.mark.parametrize("method", METHODS)
def test_readings_never_fall(tmp_path: Path, method: str) -> None:
    """While processes come and go, one reading's totals are never below those of the one before."""
    readings: list[UsageReading | None] = []
    script = f"exec(open({str(PAYLOADS / 'short_children.py')!r}).read()); open('release').readline()"

    def is_seen() -> bool:
        return any(each.rss_bytes > 1 << 20 for each in readings if each)

    with stage(tmp_path, method) as it, releasing(it.work, is_seen):
        it.starter.start(it.command(sys.executable, "-I", "-S", "-c", script, "20", "0.02"))
        events: list[StarterEvent] = []
        while not any(isinstance(each, TreeEnded) for each in events):
            events.extend(it.starter.poll(0.002))
            readings.append(it.starter.snapshot())
    cpu = [each.cpu.total_seconds for each in readings if each]
    assert cpu == sorted(cpu)
    assert max(each.rss_bytes for each in readings if each) > 1 << 20


_MOVE = """\
import os, signal
fd = os.open("file", os.O_RDWR | os.O_CREAT)
os.write(fd, bytes(1 << 20))
os.fsync(fd)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
assert len(os.pread(fd, 1 << 20, 0)) == 1 << 20
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("method", ["sampled", *METHODS])
def test_bytes_of_storage_are_counted(tmp_path: Path, method: str) -> None:
    """What a payload writes to storage and reads from it is in readings while it lives and in its account, named."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip("the temporary folder is in memory")
    with stage(tmp_path, method) as it:
        it.starter.start(it.command(sys.executable, "-I", "-S", "-c", _MOVE))
        it.first_line()
        reading = it.reading()
        it.starter.end_tree("the test", 0.0)
        settled = usage(it.events()).usage
    for each in (reading, settled):
        assert 1 << 20 <= each.written_bytes < 2 << 20
        assert 1 << 20 <= each.read_bytes < 64 << 20  # of its libraries what is not in memory yet, too
    expected = {"cgroup2": ("cgroup2", "members"), "cgroup1": ("members",)}.get(method, ("walk",))
    assert reading.methods.io in expected
    assert settled.io_method == settled.methods["io"] == reading.methods.io


def test_peak_memory_is_the_payloads(tmp_path: Path) -> None:
    """A short peak between two looks is remembered by the kernel."""
    script = "import sys; x = bytearray(200 << 20); x[::4096] = b'x' * len(x[::4096])"
    with stage(tmp_path) as it:
        settled = usage(it.run(sys.executable, "-I", "-S", "-c", script)).usage
    assert 200 << 20 < settled.peak_rss_bytes < 300 << 20


def test_memory_of_the_wrapper_is_not_the_payloads(tmp_path: Path) -> None:
    """What a payload had as a copy of its large wrapper, before its exec, does not count as its peak."""
    ballast = bytearray(b"x" * (150 << 20))
    with stage(tmp_path) as it:
        it.starter.start(it.command(*program("stubborn")))
        it.first_line()
        it.starter.end_tree("the test", 0.0)
        settled = usage(it.events()).usage
    assert len(ballast) > settled.peak_rss_bytes > 1 << 20
    assert len(ballast) > (settled.peak_cgroup_memory_bytes or 0)
    assert settled.methods["peak_rss"] == "sampled"


def _timeline(events: list[object]) -> list[int]:
    return [each.signal for each in events if isinstance(each, SignalSent)]


@pytest.mark.parametrize("method", METHODS)
def test_obedient_ends_within_the_grace(tmp_path: Path, method: str) -> None:
    """A payload that obeys TERM ends as soon as it likes, with its own exit code; nobody waits out the grace."""
    with stage(tmp_path, method, grace_seconds=30.0) as it:
        it.starter.start(it.command(*program("obedient", 3)))
        it.first_line()
        it.starter.end_tree("the test")
        events = it.events()
    assert end(events).exit_code == 3
    assert _timeline(events) == [signal.SIGTERM]
    finished = next(each for each in events if isinstance(each, KillFinished))
    assert finished.survivors == ()
    assert finished.duration_seconds < 10.0


@pytest.mark.parametrize("method", METHODS)
def test_grace_is_taken_and_not_more(tmp_path: Path, method: str) -> None:
    """A payload that ignores TERM is killed when the grace is over: not before, and not noticeably after."""

    def seconds(number: int) -> float:
        (folder := tmp_path / str(number)).mkdir()
        with stage(folder, method, grace_seconds=0.3) as it:
            it.starter.start(it.command(*program("stubborn")))
            pid = int(it.first_line())
            it.starter.end_tree("the test")
            events = it.events()
        assert _timeline(events) == [signal.SIGTERM, signal.SIGKILL]
        assert [each.pids for each in events if isinstance(each, SignalSent)] == [(pid,), (pid,)]
        assert end(events).signal == signal.SIGKILL
        finished = next(each for each in events if isinstance(each, KillFinished))
        assert finished.duration_seconds >= 0.3
        return finished.duration_seconds

    at_best(1.0, seconds)  # 0.31 on an idle machine


@pytest.mark.parametrize("method", METHODS)
def test_everything_ends(tmp_path: Path, method: str) -> None:
    """A stopped process, a session of its own, a stubborn one and one that forks away: nothing survives."""
    children = " & ".join(" ".join(program(name)) for name in ("stopped", "stubborn", "restless"))
    with stage(tmp_path, method, grace_seconds=60.0) as it:
        it.starter.start(it.command("/bin/sh", "-c", f"{children} & setsid {' '.join(program('obedient'))}"))
        eventually(lambda: it.output().count("\n") >= 4)
        # Who stops itself says its pid before it does.
        pids = [int(word) for word in it.output().split() if word.isdigit()]
        eventually(lambda: any((seen := procfs.look(pid)) and seen.is_stopped for pid in pids))
        it.starter.end_tree("the test")
        eventually(lambda: "told to end" in it.output())  # who obeys may be held up for longer than a short grace
        it.starter.end_tree("the test", 0.0)
        events = it.events()
        assert it.reading().processes == 0
    assert "told to end" in it.output()
    numbers = _timeline(events)
    assert numbers[:2] == [signal.SIGTERM, signal.SIGCONT]
    assert set(numbers[2:]) == {signal.SIGKILL}
    assert [each.survivors for each in events if isinstance(each, KillFinished)] == [()]


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("cgroup2", marks=[pytest.mark.cgroup, pytest.mark.root]),
        pytest.param("cgroup1", marks=[pytest.mark.cgroup1, pytest.mark.root]),
    ],
)
def test_who_sits_in_the_group_is_ended_with_it(tmp_path: Path, method: str) -> None:
    """A process that is no descendant of the payload, but in its group, does not survive the kill."""
    with subprocess.Popen(["/bin/sleep", "60"]) as outsider, stage(tmp_path, method, grace_seconds=0.1) as it:
        it.starter.start(it.command(*program("stubborn")))
        it.first_line()
        for group in it.starter.prepare().cgroup_paths:
            (Path(group) / "cgroup.procs").write_text(str(outsider.pid))
        it.starter.end_tree("the test")
        it.events()
        assert outsider.wait(10) == -signal.SIGKILL


def test_a_second_order_shortens_the_grace(tmp_path: Path) -> None:
    """Whoever cannot wait any longer cuts the grace short."""
    with stage(tmp_path, grace_seconds=60.0) as it:
        it.starter.start(it.command(*program("stubborn")))
        it.first_line()
        it.starter.end_tree("first")
        it.starter.end_tree("second", 0.0)
        events = it.events()
    assert _timeline(events) == [signal.SIGTERM, signal.SIGKILL]
    assert {each.reason for each in events if isinstance(each, SignalSent)} == {"first"}


@pytest.mark.parametrize("method", METHODS)
def test_a_hostile_payload_harms_nobody(tmp_path: Path, method: str) -> None:
    """A payload that closes its streams and signals its parent ends as it says, and its starter lives."""
    with stage(tmp_path, method) as it:
        events = it.run(*program("hostile"))
        assert end(events).exit_code == 7
        assert is_alive(it.starter.pid)


@pytest.mark.parametrize("method", METHODS)
def test_no_group_is_left(tmp_path: Path, method: str) -> None:
    """The payload's control groups are gone when the starter is, also those that it made below them."""
    with stage(tmp_path, method) as it:
        groups = [Path(path) for path in it.starter.prepare().cgroup_paths]
        below = "".join(f"mkdir {group}/below; echo $$ > {group}/below/cgroup.procs; " for group in groups)
        events = it.run("/bin/sh", "-c", f"{below} sleep 60 &")
        assert end(events).exit_code == 0
    assert not any(group.exists() for group in groups)


def no_group(*arguments: object, **options: object) -> ControlGroup:
    """In place of the making of a group."""
    raise OSError(errno.EACCES, "no group for tests")


@pytest.mark.parametrize("method", ["cgroup2", "cgroup1"])
def test_a_method_that_is_not_granted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A demanded method is never silently replaced."""
    monkeypatch.setattr(ControlGroup, "create_in", no_group)
    with stage(tmp_path, method) as it, pytest.raises(TransientJobError, match="no group for tests") as caught:
        it.starter.prepare()
    assert caught.value.error_type == "cpu_method"


def test_the_kernel_refuses_the_task_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel says is told, with the setting that most often is the reason."""
    monkeypatch.setattr(perf, "_PERF_COUNT_SW_TASK_CLOCK", 1 << 40)  # there is no such clock
    cause = r"perf_event_open: .+ \(kernel\.perf_event_paranoid is -?\d\)"
    with stage(tmp_path, "perf") as it, pytest.raises(TransientJobError, match=cause) as caught:
        it.starter.prepare()
    assert caught.value.error_type == "cpu_method"


@pytest.mark.parametrize("method", METHODS)
def test_a_payload_that_ends_between_two_looks_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Exec and end that both fall between the look at the pipe and the reaping are told in their order."""
    check = Keeper._check_launch

    def look_too_early(keeper: Keeper) -> None:
        payload = keeper._payload
        if payload is not None and payload.error_fd >= 0 and not is_over:
            os.waitid(os.P_PID, payload.pid, os.WEXITED | os.WNOWAIT)  # all of it happens after this look
            is_over.append(True)
        else:
            check(keeper)

    is_over: list[bool] = []
    monkeypatch.setattr(Keeper, "_check_launch", look_too_early)
    with stage(tmp_path, method) as it:
        assert end(it.run("/bin/true")).exit_code == 0


@pytest.mark.cgroup
def test_without_clone3_the_payload_enters_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel forbids clone3, the child moves itself; the count is the same."""

    def refuse(group_fd: int) -> int:
        raise OSError(errno.ENOSYS, "clone3")

    monkeypatch.setattr(linux, "fork_into", refuse)
    with stage(tmp_path, "cgroup2") as it:
        settled = usage(it.run(*program("burn", 0.2))).usage
    assert settled.cpu_user_seconds + settled.cpu_system_seconds >= 0.15


@pytest.mark.cgroup1
def test_version_1_stands_in_for_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no group of version 2 can be made, `auto` takes those of version 1, and the peak of memory with them."""
    monkeypatch.setattr(ControlGroup, "create", no_group)
    script = "x = b'x' * (60 << 20)"
    with stage(tmp_path, "auto") as it:
        assert it.starter.prepare().cpu_method == "cgroup1"
        has_memory = any("memory" in path for path in it.starter.prepare().cgroup_paths)
        settled = usage(it.run(sys.executable, "-I", "-S", "-c", script)).usage
    assert settled.cpu_method == "cgroup1"
    if has_memory:
        assert settled.memory_method == "cgroup1"
        assert settled.peak_cgroup_memory_bytes
        assert 60 << 20 < settled.peak_cgroup_memory_bytes < 120 << 20
        assert (settled.peak_memory_swap_bytes or 1 << 30) >= settled.peak_cgroup_memory_bytes
    assert settled.peak_threads
    assert settled.threads_method in ("cgroup1", "sampled")


@pytest.mark.cgroup
def test_version_1_stands_beside_version_2(tmp_path: Path) -> None:
    """Where version 2 lacks the memory controller because version 1 has it, the peak of memory is the kernel's own, of
    the payload from its first program on; CPU and the kill stay with version 2."""
    require("memory1")
    script = "import signal; x = b'x' * (60 << 20); print('there', flush=True); signal.pause()"
    with stage(tmp_path, "cgroup2") as it:
        paths = [Path(path) for path in it.starter.prepare().cgroup_paths]
        if (paths[0] / "memory.stat").exists():
            pytest.skip("version 2 has the memory controller")
        it.starter.start(it.command("/bin/sh", "-c", f'sleep 60 & exec {sys.executable} -I -S -c "{script}"'))
        it.first_line()
        reading = it.reading("deep")
        members = [{*(path / "cgroup.procs").read_text().split()} for path in paths]
        it.starter.end_tree("the test", 0.0)
        settled = usage(it.events()).usage
    assert members[0]
    assert members.count(members[0]) == len(members) >= 2
    assert (reading.methods.cpu, reading.methods.memory, reading.methods.faults) == ("cgroup2", "cgroup1", "cgroup1")
    assert reading.rss_bytes > 60 << 20
    assert (settled.cpu_method, settled.memory_method) == ("cgroup2", "cgroup1")
    assert settled.peak_cgroup_memory_bytes
    assert 60 << 20 < settled.peak_cgroup_memory_bytes < 120 << 20
    assert settled.methods["peak_memory"] == "cgroup1"
    assert settled.methods.get("peak_threads") in ("cgroup1", "sampled")
    assert settled.oom_kills == 0
    assert not any(path.exists() for path in paths)


def test_without_any_group_wait4_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no group of any version can be made, `auto` costs nothing but the method."""
    monkeypatch.setattr(ControlGroup, "create_in", no_group)
    with stage(tmp_path, "auto") as it:
        assert usage(it.run("/bin/true")).usage.cpu_method == "wait4"


@pytest.mark.cgroup
def test_a_group_that_cannot_be_entered_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `auto` a group that refuses its member costs nothing but the method."""

    def refuse(*arguments: object) -> int:
        raise OSError(errno.EACCES, "refused")

    monkeypatch.setattr(linux, "fork_into", refuse)
    monkeypatch.setattr(ControlGroup, "enter", refuse)
    with stage(tmp_path, "auto") as it:
        settled = usage(it.run(*program("burn", 0.1))).usage
    assert settled.cpu_method == "wait4"
    assert settled.cpu_user_seconds + settled.cpu_system_seconds >= 0.1


def test_fork_comes_before_threads(tmp_path: Path) -> None:
    """A second thread could hold a lock for ever in the starter: it is refused."""
    event = threading.Event()
    thread = threading.Thread(target=event.wait, args=(20,))
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="before any thread"):
            Starter.fork(
                tmp_path,
                method="auto",
                uid_label="test",
                orphan_grace_seconds=1.0,
                kill_grace_seconds=1.0,
                clock=SystemClock(),
            )
    finally:
        event.set()
        thread.join()


def test_a_dead_starter_is_noticed(tmp_path: Path) -> None:
    """When somebody kills the starter, every call says so, and none hangs."""
    with stage(tmp_path, "wait4") as it:
        started = it.starter.start(it.command(*program("stubborn")))
        os.kill(it.starter.pid, signal.SIGKILL)
        with pytest.raises(TransientJobError, match="starter"):
            it.starter.poll(10)
        assert it.starter.snapshot() is None
        it.starter.end_tree("nobody hears")
        os.kill(started.pid, signal.SIGKILL)


def test_cpu_of_the_starter_is_its_own(tmp_path: Path) -> None:
    """What the starter costs is told without what its payload used."""
    with stage(tmp_path) as it:
        it.run(*program("burn", 0.5))
        assert 0.0 < it.starter.cpu_seconds() < 0.4
    assert it.starter.cpu_seconds() > 0.0


def _elf(machine: int) -> bytes:
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, machine, 1)
    return head.ljust(120, b"\0")


@pytest.mark.parametrize(
    ("name", "content", "number", "words"),
    [
        ("no-such-program", None, errno.ENOENT, "no-such-program was not found in PATH (/usr/bin:/bin)"),
        ("./absent", None, errno.ENOENT, "./absent was not found"),
        ("./script", b"#!/no/such/interpreter -x\n", errno.ENOENT, "interpreter /no/such/interpreter does not exist"),
        ("./dos", b"#!/bin/sh\r\necho\r\n", errno.ENOENT, "Windows line ends"),
        ("./plain", b"#!/bin/sh\n", errno.EACCES, "not marked executable"),
        ("./", b"", errno.EACCES, "is a folder"),
        ("./folder", None, errno.EACCES, "folder is a folder"),
        ("./link-to-nothing", None, errno.ENOENT, "is a link to nothing"),
        ("./foreign", _elf(22), errno.ENOEXEC, "another architecture (s390x)"),
        ("./text", b"hello\n", errno.ENOEXEC, "first line such as #!/bin/sh"),
        ("./empty", b"", errno.ENOEXEC, "the file is empty"),
    ],
)
def test_why_it_did_not_start(tmp_path: Path, name: str, content: bytes | None, number: int, words: str) -> None:
    """An exec that fails is known at once, with its errno and its cause in words; then another may be tried."""
    with stage(tmp_path) as it:
        (it.work / "folder").mkdir()
        (it.work / "link-to-nothing").symlink_to("/no/such/program")
        if content is not None and name != "./":
            file = it.work / name
            file.write_bytes(content)
            file.chmod(0o644 if name == "./plain" else 0o755)

        def seconds(_: int) -> float:
            begin = time.monotonic()
            with pytest.raises(PayloadStartError) as caught:
                it.starter.start(it.command(name))
            elapsed = time.monotonic() - begin
            assert (caught.value.errno, words in str(caught.value)) == (number, True), str(caught.value)
            return elapsed

        at_best(2.0, seconds)
        assert end(it.run("/bin/true")).exit_code == 0


def _script(path: Path, interpreter: Path) -> None:
    path.write_text(f"#! {interpreter}\t-x\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("interpreter", "content", "number", "words"),
    [
        ("foreign", _elf(22), errno.ENOEXEC, "another architecture (s390x)"),
        ("text", b"hello\n", errno.ENOEXEC, "neither a program nor a script"),
        ("dangling", None, errno.ENOENT, "dangling does not exist"),
    ],
)
def test_why_the_interpreter_of_a_script_did_not_start(
    tmp_path: Path, interpreter: str, content: bytes | None, number: int, words: str
) -> None:
    """A script whose interpreter is there is told of by what is wrong with that one, also behind another script."""
    with stage(tmp_path) as it:
        (it.work / "dangling").symlink_to("/no/such/program")
        if content is not None:
            (it.work / interpreter).write_bytes(content)
            (it.work / interpreter).chmod(0o755)
        _script(it.work / "script", it.work / interpreter)
        _script(it.work / "outer", it.work / "script")
        for name in ("script", "outer"):
            with pytest.raises(PayloadStartError) as caught:
                it.starter.start(it.command(f"./{name}"))
            said = str(caught.value)
            assert (caught.value.errno, said.endswith(words) or words in said.rpartition(": ")[2]) == (number, True), (
                said
            )
            assert f"its interpreter {it.work / interpreter}" in said
            assert (f"its interpreter {it.work / 'script'}: " in said) == (name == "outer")


def test_an_interpreter_without_its_loader(tmp_path: Path) -> None:
    """An interpreter that is there, but not what it was linked for, is not told of as missing."""
    with stage(tmp_path) as it:
        loaded = Path("/bin/true").read_bytes()
        at = loaded.index(b"/ld-linux")
        (it.work / "noloader").write_bytes(loaded[:at] + b"/no-loader"[: len(b"/ld-linux")] + loaded[at + 9 :])
        (it.work / "noloader").chmod(0o755)
        _script(it.work / "script", it.work / "noloader")
        with pytest.raises(
            PayloadStartError, match=r"its interpreter \S*/noloader: the loader .* does not exist"
        ) as caught:
            it.starter.start(it.command("./script"))
        assert caught.value.errno == errno.ENOENT
        with pytest.raises(PayloadStartError, match=r"noloader cannot be executed: the loader .* does not exist"):
            it.starter.start(it.command("./noloader"))


def test_a_link_to_where_one_may_not_go(open_folder: Path, ordinary_user: None) -> None:
    """That, too, is an exec that failed for good, with its cause in words; not something that passes."""
    with stage(open_folder) as it:
        locked = it.work / "locked"
        locked.mkdir()
        _script(locked / "program", Path("/bin/sh"))
        (it.work / "link").symlink_to(locked / "program")
        locked.chmod(0)
        try:
            with pytest.raises(PayloadStartError) as caught:
                it.starter.start(it.command("link", PATH=str(it.work)))
        finally:
            locked.chmod(0o700)
    assert caught.value.errno == errno.EACCES
    assert str(caught.value).endswith(f"{it.work}/link leads to {locked}/program: Permission denied")


@pytest.mark.parametrize(("step", "number", "words"), [("exec", errno.ENOENT, "No such file"), ("fork", 0, "killed")])
def test_what_cannot_be_looked_at(open_folder: Path, ordinary_user: None, step: str, number: int, words: str) -> None:
    """Where even looking for the cause fails, the errno is told."""
    locked = open_folder / "locked"
    (locked / "work").mkdir(parents=True)
    command = PayloadCommand(
        argv=("./program",), environment={}, folder=locked / "work", stdout=locked / "o", stderr=locked / "e"
    )
    locked.chmod(0)
    try:
        said = explain(step, number, command)
    finally:
        locked.chmod(0o700)
    assert said.startswith("./program could not be started: ")
    assert words in said


def test_too_long_arguments(tmp_path: Path) -> None:
    """E2BIG says which limit was broken, and how far."""
    with stage(tmp_path) as it:
        with pytest.raises(PayloadStartError, match="200000 bytes is too long") as caught:
            it.starter.start(it.command("/bin/true", "x" * 200_000))
        assert caught.value.errno == errno.E2BIG
        with pytest.raises(PayloadStartError, match="too long together"):
            it.starter.start(it.command("/bin/true", *(["x" * 100_000] * 40)))


def test_other_failures_of_a_start(tmp_path: Path) -> None:
    """No working folder, output that leads elsewhere, impossible arguments: each has its words."""
    with stage(tmp_path) as it:
        with pytest.raises(PayloadStartError, match="impossible name"):
            it.starter.start(it.command("/bin/true", "a\0b"))
        (it.work / "std.out").unlink()
        (it.work / "std.out").symlink_to("/etc/passwd")
        with pytest.raises(PayloadStartError, match="output files"):
            it.starter.start(it.command("/bin/true"))
        (it.work / "std.out").unlink()
        (it.work / "std.err").unlink(missing_ok=True)
        it.work.rmdir()
        with pytest.raises(PayloadStartError, match=r"working directory .* does not exist"):
            it.starter.start(it.command("/bin/true"))


@pytest.mark.parametrize("method", METHODS)
def test_starter_outlives_its_wrapper(tmp_path: Path, method: str) -> None:
    """When the wrapper is killed, its starter ends the payload with the grace, and writes down what it saw."""
    at_best(2.0, lambda number: end_after_the_wrapper_seconds(tmp_path / str(number), method))


def end_after_the_wrapper_seconds(folder: Path, method: str) -> float:
    """From the death of the wrapper to that of its payload, by the starter's facts."""
    control, work = folder / "control", folder / "work"
    control.mkdir(parents=True)
    work.mkdir()
    wrapper = subprocess.Popen(
        [sys.executable, str(PAYLOADS / "wrapper.py"), control, work, method, "0.3", *program("stubborn")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PAYLOADS.parents[2],
        env={"PYTHONPATH": str(PAYLOADS.parents[2])},
    )
    with wrapper:
        assert wrapper.stdout
        _, starter, *groups = wrapper.stdout.readline().split()
        assert wrapper.stdout.readline() == "started\n"
        payload = int(eventually(lambda: (work / "std.out").read_text()))
        killed_at = SystemClock().boottime_ns()
        wrapper.kill()
        wrapper.wait(10)
    eventually(lambda: not is_alive(int(starter)))
    assert not is_alive(payload)
    assert not any(Path(group).exists() for group in groups)
    entries = [entry for entry in read_journal(control) if entry.writer == "starter"]
    facts = [entry.fact for entry in entries]
    assert [each.signal for each in facts if isinstance(each, SignalSent)] == [signal.SIGTERM, signal.SIGKILL]
    assert {each.reason for each in facts if isinstance(each, SignalSent)} == {"wrapper died"}
    ended = next(each for each in facts if isinstance(each, PayloadEnded))
    assert ended.signal == signal.SIGKILL
    assert sum(isinstance(each, UsageSettled) for each in facts) == 1
    assert next(each for each in facts if isinstance(each, KillFinished)).survivors == ()
    elapsed = (ended.end_boottime_ns - killed_at) / NANOSECONDS
    assert elapsed >= 0.3
    return elapsed


def test_closing_ends_what_is_left(tmp_path: Path) -> None:
    """A wrapper that only closes its starter leaves no process behind."""
    with stage(tmp_path, grace_seconds=0.1) as it:
        started = it.starter.start(it.command(*program("stubborn")))
        it.first_line()
        it.starter.close()
        assert not is_alive(started.pid)


def test_nothing_is_written_when_all_was_told(tmp_path: Path) -> None:
    """After an orderly end the starter adds nothing to the journal, and leaves nothing but its lock."""
    with stage(tmp_path) as it:
        it.run("/bin/true")
    assert [each.name for each in it.control.iterdir()] == [LIFE_LOCK]
    assert isinstance(it.starter, Starter)


def test_what_the_wrapper_wrote_is_not_written_again(tmp_path: Path) -> None:
    """After the wrapper's death the journal holds each fact once, whoever of the two has written it."""
    with stage(tmp_path) as it, Journal(it.control, "wrapper", SystemClock()) as journal:
        journal.append(it.starter.start(it.command("/bin/sh", "-c", "exit 4")))
        (ended,) = [each for each in it.events() if isinstance(each, PayloadEnded)]
        journal.append(ended)
        for line in (it.starter._commands, it.starter._questions.line):  # as the kernel does it for a dead wrapper
            line.close()
        eventually(lambda: (it.control / "starter.journal.jsonl").exists())
        eventually(lambda: not is_written(it.control, "starter"))
    kinds = [(entry.writer, type(entry.fact)) for entry in read_journal(it.control)]
    assert kinds == [("wrapper", PayloadStarted), ("wrapper", PayloadEnded), ("starter", UsageSettled)]
