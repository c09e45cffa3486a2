"""`/proc` and control groups of the real machine."""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from telemetry.measure import cgroup, cgroup1, perf, probe, procfs
from telemetry.measure.meter import GroupMeter, choose
from telemetry.measure.snapshot import ProcessId
from telemetry.measure.tree import TreeState
from tests.support.waiting import eventually

#: So much from here on, whatever was used before.
BURN = "import time\nbegin = time.process_time()\nwhile time.process_time() < begin + 0.3: pass\n"


@pytest.fixture
def family(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child of a thread of its and an oddly named grandchild; told to end by closing its stdin."""
    odd = tmp_path / "an) R 1 (odd"
    odd.symlink_to("/bin/cat")
    script = (
        "import subprocess, sys, threading\n"
        "def child(): subprocess.run(['/bin/sh', '-c', '\"$0\"; :', sys.argv[1]])\n"
        "thread = threading.Thread(target=child); thread.start(); thread.join()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", script, str(odd)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


def test_walk_finds_children_of_threads_and_grandchildren(family: subprocess.Popen[bytes]) -> None:
    """All descendants are found, also below a thread, and whatever a process is called."""
    below = eventually(lambda: len(found := procfs.descendants(family.pid)) == 2 and found)
    looks = [procfs.look(pid) for pid in below]
    assert {each.parent_pid for each in looks if each} == {family.pid, looks[0].identity.pid if looks[0] else 0}
    assert set(procfs._descendants_by_scan(family.pid)) == set(below)
    assert {each.identity.pid for each in procfs.walk(os.getpid())} >= {family.pid, *below}


def test_look_shows_what_a_process_is(family: subprocess.Popen[bytes]) -> None:
    """A look has identity, memory and threads of a living process."""
    seen = eventually(lambda: (found := procfs.look(family.pid)) and found.threads == 2 and found)
    assert seen.identity == ProcessId(family.pid, procfs.start_ticks(family.pid) or -1)
    assert seen.parent_pid == os.getpid()
    assert seen.vsize_bytes > seen.rss_bytes > 1 << 20
    assert not seen.ignores_children


def test_the_gone_are_none() -> None:
    """A process that has ended is no error."""
    process = subprocess.Popen(["/bin/true"])
    process.wait(10)
    assert procfs.look(process.pid) is None
    assert procfs.descendants(process.pid) == []
    assert not procfs.has_executed(process.pid)


def test_ignoring_children_shows() -> None:
    """A process that lets the kernel reap its children is recognised."""
    script = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-I", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        assert it.stdout
        it.stdout.readline()
        seen = procfs.look(it.pid)
        assert seen
        assert seen.ignores_children
        it.communicate(b"\n", 10)


def test_environment_has(family: subprocess.Popen[bytes]) -> None:
    """A mark in the environment is found in whole, not as a part of something."""
    name, value = next(iter(os.environ.items()))
    # The kernel tells that there is a new program a moment before it has its environment.
    assert eventually(lambda: procfs.environment_has(family.pid, f"{name}={value}".encode()))
    assert not procfs.environment_has(family.pid, f"{name}={value}"[:-1].encode())


@pytest.mark.cgroup
def test_a_group_counts_and_kills() -> None:
    """A control group counts CPU of those that were in it, lists and kills the living, and can be removed."""
    group = cgroup.ControlGroup.create(f"test-{os.getpid()}")
    try:
        with subprocess.Popen(
            [sys.executable, "-I", "-c", f"input()\n{BURN}print(flush=True)\ninput()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin
            assert process.stdout
            (group.path / "cgroup.procs").write_text(str(process.pid))
            assert group.pids() == [process.pid]
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
            assert 0.2 < group.account().cpu_seconds < 1.0
            assert not group.remove()
            (group.path / "below").mkdir()
            group.kill()
            assert process.wait(10) == -9
        assert eventually(group.remove)
        assert not group.path.exists()
        assert group.remove()
    finally:
        group.remove()


@contextmanager
def groups_of_its_own(method: str) -> Iterator[GroupMeter]:
    """A *method* with groups of its own, gone afterwards."""
    meter, reason = choose(method, f"test-{os.getpid()}")
    assert isinstance(meter, GroupMeter), reason
    yield meter
    meter.close()
    assert not any(path.exists() for path in meter.group.paths)
    meter.close()


@pytest.fixture
def version_1() -> Iterator[GroupMeter]:
    """The method cgroup1 with groups of its own, gone afterwards."""
    with groups_of_its_own("cgroup1") as meter:
        yield meter


def _waiting_in(meter: GroupMeter, script: str) -> tuple[int, int]:
    """A process that enters the groups, and runs *script* when a line is written to the descriptor given back."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.dup2(reader, 0)
            meter.group.enter()
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", f"input()\n{script}"])
        finally:
            os._exit(127)
    os.close(reader)
    return process, writer


@pytest.mark.cgroup1
def test_groups_of_version_1_count(version_1: GroupMeter) -> None:
    """cpuacct counts CPU exactly and memory its peak, of a process that has entered both."""
    begin = version_1.read(TreeState(processors=2))
    assert begin.cpu.total_seconds < 0.01
    process, word = _waiting_in(version_1, f"x = b'x' * (50 << 20)\n{BURN}")
    # One group after another is entered, and none may be removed before the process is in all of them.
    for path in version_1.group.paths:
        eventually(lambda path=path: (path / "cgroup.procs").read_text().split() == [str(process)])
    assert version_1.group.pids() == [process]
    assert not version_1.group.remove()
    with open(word, "wb") as file:
        file.write(b"\n")
    _, status, usage = os.wait4(process, 0)
    assert status == 0
    end = version_1.read(TreeState(processors=2))
    assert end.cpu.total_seconds == pytest.approx(usage.ru_utime + usage.ru_stime, abs=0.05)
    assert end.cpu.user_seconds == pytest.approx(usage.ru_utime, abs=0.1)
    assert (end.methods.cpu, end.cpu_uncertainty_seconds) == ("cgroup1", 0.0)
    if version_1.group.memory:
        assert end.methods.peak_memory == "cgroup1"
        assert end.peaks.memory_bytes
        assert 50 << 20 < end.peaks.memory_bytes < 100 << 20
        # Where swap is accounted, memory and swap together are never less than memory.
        assert end.peaks.memory_swap_bytes is None or end.peaks.memory_swap_bytes >= end.peaks.memory_bytes
    if version_1.group.tasks and (version_1.group.tasks.path / "pids.peak").exists():
        assert end.peaks.threads == 1


@pytest.mark.perf
def test_the_task_clock_counts_from_the_exec_on() -> None:
    """Nothing of the process that has opened the clock, all of what is executed below it, however it ends."""
    clock = perf.TaskClock.open()
    try:
        begin = time.process_time()
        while time.process_time() - begin < 0.05:
            pass
        assert clock.seconds() == 0.0
        script = "import os, signal\nsignal.signal(17, signal.SIG_IGN)\nif not os.fork(): os.setsid()\n" + BURN
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert subprocess.run([sys.executable, "-I", "-c", script], check=False, timeout=20).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        waited = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        eventually(lambda: clock.seconds() >= waited + 0.25)
        assert not os.get_inheritable(clock.fd)
    finally:
        clock.close()
    clock.close()


@pytest.mark.parametrize(
    "method",
    [pytest.param("cgroup2", marks=pytest.mark.cgroup), pytest.param("cgroup1", marks=pytest.mark.cgroup1)],
)
@pytest.mark.root
def test_groups_can_be_delegated(method: str) -> None:
    """An ordinary user measures by groups that an administrator has given to it."""
    with groups_of_its_own(method) as meter:
        for path in meter.group.paths:
            for each in (path, path / "cgroup.procs", path / "cgroup.subtree_control"):  # the last in version 2 only
                with contextlib.suppress(FileNotFoundError):
                    os.chown(each, 65534, 65534)
        used_method, seconds, is_gone = _as_ordinary_user_in(meter).split()
    assert (used_method, is_gone) == (method, "True")
    assert 0.1 <= float(seconds) < 1.0


def _as_ordinary_user_in(meter: GroupMeter) -> str:
    read_fd, write_fd = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            meter.group.enter()
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.write(write_fd, _measure_by(meter.method).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd) as file:
        answer = file.read()
    os.waitpid(process, 0)
    return answer


def _measure_by(method: str) -> str:
    meter, reason = choose(method, "delegated")
    if not isinstance(meter, GroupMeter):
        return f"{meter.method} 0 {reason}"
    child = os.fork()
    if child == 0:
        try:
            meter.group.enter()
            begin = time.process_time()
            while time.process_time() - begin < 0.1:
                pass
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    reading = meter.read(TreeState(processors=2))
    meter.close()
    return f"{reading.methods.cpu} {reading.cpu.total_seconds} {not any(path.exists() for path in meter.group.paths)}"


HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/4fa6 /sys/fs/cgroup/me\\040mory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
OWN = "4:memory:/docker/4fa6/below\n2:cpu,cpuacct:/user.slice\n1:name=systemd:/init\n0::/init\n"


@pytest.mark.parametrize(
    ("own", "controller", "expected"),
    [
        (OWN, "cpuacct", "/sys/fs/cgroup/cpu,cpuacct/user.slice"),
        (OWN, "memory", "/sys/fs/cgroup/me mory/below"),
        (OWN.replace("/below", ""), "memory", "/sys/fs/cgroup/me mory"),
        (OWN.replace("4fa6", "4fa67"), "memory", None),
        (OWN, "pids", None),
        ("0::/init\n", "cpuacct", None),
    ],
)
def test_groups_of_version_1_are_found(own: str, controller: str, expected: str | None) -> None:
    """A controller's group is found where controllers share a mount, and where a container sees a part only."""
    assert cgroup1.find_group(HYBRID, own, controller) == (Path(expected) if expected else None)


def test_a_share_in_ticks() -> None:
    """`cpuacct.stat` is in the kernel's ticks."""
    share = cgroup1.parse_cpuacct_stat(b"user 270743\nsystem 82877\n")
    assert share == (270743 / procfs.TICKS_PER_SECOND, 82877 / procfs.TICKS_PER_SECOND)


def test_probe_says_why(tmp_path: Path) -> None:
    """For each method the machine's answer comes with its reason, and nothing is left behind."""
    answers = {each.method: each for each in probe()}
    assert set(answers) == {"cgroup2", "cgroup1", "perf", "wait4", "sampled"}
    assert answers["wait4"].is_granted
    assert all(each.reason for each in answers.values())


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        ("30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup rw", "/sys/fs/cgroup"),
        ("30 23 0:26 / /a\\040b/unified rw - cgroup2 none rw", "/a b/unified"),
        ("30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", None),
    ],
)
def test_mount_point(mountinfo: str, expected: str | None) -> None:
    """The unified hierarchy is found where it is mounted, whatever its folder is called."""
    found = cgroup._mount_point(mountinfo)
    assert found == (Path(expected) if expected else None)
