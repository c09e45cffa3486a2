"""payload SHAPE SECONDS: use SECONDS of CPU in all, in processes of that SHAPE. See README.md beside this.

Each process measures itself by its own process clock: what it uses is known, however long it takes. Nothing but
the standard library, and no time passes for its own sake: who waits, waits for a process or at a pipe.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

#: Exit code: this shape cannot be made on this machine, or by this user.
NOT_GRANTED = 77
#: Where a program writes down how many seconds it has burnt, if it may be more than it was told.
BURNT = "burnt"
#: CPU of one of many short children; so many there are of them.
SHORT_SECONDS = 0.04
#: CPU of one of the many children of a worker.
WORKER_CHILD_SECONDS = 0.03
AUTO_REAPED_SECONDS = 0.1
CHAIN = 20
#: Children of about no CPU each.
CROWD = 200
#: Processes of the bounded fork bomb.
STORM = 31
#: prctl: whoever is orphaned below becomes a child of the caller.
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
#: Numbers of exit(2), which ends one thread only.
SYS_EXIT = {"x86_64": 60, "aarch64": 93}
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


def burn(seconds: float) -> None:
    """Use so much CPU in this process."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def burn_in_thread(seconds: float) -> None:
    """Use so much CPU in this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def fork(work: Callable[[], object]) -> int:
    """A child that does *work* and exits with 0, or with 1 when that raises."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def wait_for(*pids: int) -> None:
    """Wait for children, which must have succeeded."""
    for pid in pids:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != 0:
            sys.exit(code if code == NOT_GRANTED else 1)


def parts(seconds: float, size: float) -> tuple[int, float]:
    """How many parts of about *size* make *seconds*, and how long each is exactly."""
    count = max(2, round(seconds / size))
    return count, seconds / count


def until_told(start: Callable[[int], object]) -> None:
    """*start* processes with the write end of a pipe; go on when a byte comes, or when all who have it are gone."""
    read_end, write_end = os.pipe()
    start(write_end)
    os.close(write_end)
    os.read(read_end, 1)


def stay() -> None:
    """Until a signal ends us."""
    while True:
        signal.pause()


def nothing(seconds: float) -> None:
    """What an interpreter costs."""


def forks(seconds: float) -> None:
    """What 50 forks cost."""
    for _ in range(50):
        wait_for(fork(lambda: None))


def one(seconds: float) -> None:
    """One process."""
    burn(seconds)


def short_children(seconds: float) -> None:
    """Many short children, one after the other, waited for."""
    count, each = parts(seconds, SHORT_SECONDS)
    for _ in range(count):
        wait_for(fork(lambda: burn(each)))


def two_levels(seconds: float) -> None:
    """Short children that have a short child each."""
    count, each = parts(seconds, SHORT_SECONDS)

    def child() -> None:
        burn(each / 2)
        wait_for(fork(lambda: burn(each / 2)))

    for _ in range(count):
        wait_for(fork(child))


def parallel_children(seconds: float) -> None:
    """Three children at once."""
    wait_for(*[fork(lambda: burn(seconds / 3)) for _ in range(3)])


def forking_workers(seconds: float) -> None:
    """Two workers, each of which forks all the time."""
    count, each = parts(seconds / 2, WORKER_CHILD_SECONDS)

    def worker() -> None:
        for _ in range(count):
            wait_for(fork(lambda: burn(each)))

    wait_for(*[fork(worker) for _ in range(2)])


def _daemonise(work: Callable[[], object]) -> None:
    def middle() -> None:
        os.setsid()
        fork(work)

    wait_for(fork(middle))


def daemon(seconds: float) -> None:
    """A double-forked daemon; the top process waits at a pipe until it has burnt; then it stays."""

    def start(write_end: int) -> None:
        def work() -> None:
            burn(seconds)
            os.write(write_end, b".")
            stay()

        _daemonise(work)

    until_told(start)


def stubborn_daemon(seconds: float) -> None:
    """The same, but the daemon ignores TERM: only KILL after the orphan grace ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    daemon(seconds)


def left_daemon(seconds: float) -> None:
    """The top process ends at once; its daemon ignores TERM, burns within the orphan grace and ends by itself."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _daemonise(lambda: burn(seconds))


def auto_reaped(seconds: float) -> None:
    """SIGCHLD is ignored: the kernel reaps the children, and no parent gets their CPU."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    count, each = parts(seconds, AUTO_REAPED_SECONDS)
    for _ in range(count):
        until_told(lambda _end: fork(lambda: burn(each)))


def burst(seconds: float) -> None:
    """All of it, in two processes, after the last sample (the watchdog is asked not to sample before the end)."""
    child = fork(lambda: burn(seconds / 2))
    burn(seconds / 2)
    wait_for(child)


def deep_chain(seconds: float) -> None:
    """Each process forks the next, burns, and waits for it."""

    def link(depth: int) -> None:
        child = fork(lambda: link(depth - 1)) if depth > 1 else 0
        burn(seconds / CHAIN)
        if child:
            wait_for(child)

    link(CHAIN)


def spawned(seconds: float) -> None:
    """Programs started by posix_spawn and by vfork and exec; none is ever a copy of its parent."""
    argv = [sys.executable, "-I", "-S", __file__, "one", str(seconds / 4)]
    for _ in range(2):
        wait_for(os.posix_spawn(argv[0], argv, os.environ))
        subprocess.run(argv, check=True)


def executed(seconds: float) -> None:
    """A process that becomes another program half way, from a thread that is not its first."""
    burn(seconds / 2)
    argv = [sys.executable, "-I", "-S", __file__, "one", str(seconds / 2)]
    thread = threading.Thread(target=os.execv, args=(argv[0], argv))
    thread.start()
    thread.join()


def threads(seconds: float) -> None:
    """Four threads, one of which also has a child of its own."""

    def with_child() -> None:
        child = fork(lambda: burn(seconds / 5))
        burn_in_thread(seconds / 5)
        wait_for(child)

    each = [threading.Thread(target=burn_in_thread, args=(seconds / 5,)) for _ in range(3)]
    each.append(threading.Thread(target=with_child))
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()


def first_thread_gone(seconds: float) -> None:
    """The first thread ends, the process looks like a zombie, and goes on: a thread burns and has a child."""
    number = SYS_EXIT.get(os.uname().machine)
    if number is None:
        sys.exit(NOT_GRANTED)

    def work() -> None:
        child = fork(lambda: burn(seconds / 2))
        burn_in_thread(seconds / 2)
        wait_for(child)
        os._exit(0)

    threading.Thread(target=work).start()
    ctypes.CDLL(None).syscall(number, 0)


def odd_names(seconds: float) -> None:
    """Names with brackets, spaces and newlines, made to mislead readers of /proc."""

    def child(name: str) -> None:
        Path("/proc/self/comm").write_text(name)
        burn(seconds / 3)

    wait_for(*[fork(partial(child, name)) for name in ("a) R 1 (b", "x\ny) Z 1 1\n", ") S 2 2 2 2")])


def other_sessions(seconds: float) -> None:
    """Children that go into a session and groups of their own, one of them again below another."""

    def moved(move: Callable[[], object], then: Callable[[], object]) -> None:
        move()
        burn(seconds / 3)
        then()

    def below() -> None:
        wait_for(fork(lambda: moved(os.setsid, bool)))

    wait_for(fork(lambda: moved(os.setsid, below)), fork(lambda: moved(os.setpgrp, bool)))


def outlives_parent(seconds: float) -> None:
    """A process whose parent ends before it, and which goes on in the same session; the top process waits."""

    def start(write_end: int) -> None:
        def parent() -> None:
            fork(lambda: burn(seconds / 2))
            burn(seconds / 4)

        wait_for(fork(parent))
        burn(seconds / 4)

    until_told(start)


def killed_children(seconds: float) -> None:
    """Children that end by KILL, with no last word."""

    def work() -> None:
        burn(seconds / 3)
        os.kill(os.getpid(), signal.SIGKILL)

    for pid in [fork(work) for _ in range(3)]:
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
            sys.exit(1)


def pid_reuse(seconds: float) -> None:
    """Four children one after the other, all with the same pid."""
    number = fork(lambda: burn(seconds / 4))
    wait_for(number)

    def work() -> None:
        if os.getpid() == number:
            burn(seconds / 4)

    for _ in range(3):
        for _attempt in range(50):
            try:
                LAST_PID.write_text(str(number - 1))
            except OSError:
                sys.exit(NOT_GRANTED)
            pid = fork(work)
            wait_for(pid)
            if pid == number:
                break
        else:
            sys.exit(NOT_GRANTED)


def falling_pids(seconds: float) -> None:
    """A chain whose pids fall from parent to child, as some do where a machine has given out its last one."""

    def link(depth: int) -> None:
        child = 0
        if depth > 1:
            try:
                LAST_PID.write_text(str(os.getpid() - 3))
            except OSError:
                sys.exit(NOT_GRANTED)
            child = fork(lambda: link(depth - 1))
        burn(seconds / CHAIN)
        if child:
            wait_for(child)

    link(CHAIN)


def system_time(seconds: float) -> None:
    """All of it inside of the kernel, in two processes."""

    def work() -> None:
        end = time.process_time() + seconds / 2
        with open("/dev/zero", "rb", buffering=0) as file:
            buffer = bytearray(1 << 20)
            while time.process_time() < end:
                file.readinto(buffer)

    child = fork(work)
    work()
    wait_for(child)


def crowd(seconds: float) -> None:
    """A great many children that live for a moment each."""
    for _ in range(CROWD // 10):
        wait_for(*[fork(lambda: burn(seconds / CROWD)) for _ in range(10)])


def fork_storm(seconds: float) -> None:
    """A fork bomb with an end: every process forks two, ignores TERM, burns, and waits for them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def node(number: int) -> None:
        below = [fork(partial(node, each)) for each in (2 * number, 2 * number + 1) if each <= STORM]
        burn(seconds / STORM)
        wait_for(*below)

    node(1)


def stopped(seconds: float) -> None:
    """A child that stops itself half way, and is left behind so."""

    def work() -> None:
        burn(seconds / 2)
        os.kill(os.getpid(), signal.SIGSTOP)

    os.waitpid(fork(work), os.WUNTRACED)
    burn(seconds / 2)


def zombie_kept(seconds: float) -> None:
    """A child that ends and for which its parent never waits."""
    os.waitid(os.P_PID, fork(lambda: burn(seconds / 2)), os.WEXITED | os.WNOWAIT)
    burn(seconds / 2)


def subreaper_inside(seconds: float) -> None:
    """A child that is a subreaper itself: its daemons come to it, and only one of them is waited for."""

    def reaper() -> None:
        if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            os._exit(NOT_GRANTED)
        _daemonise(lambda: burn(seconds / 3))
        _daemonise(lambda: burn(seconds / 3))
        burn(seconds / 3)
        os.wait()

    until_told(lambda _end: wait_for(fork(reaper)))


def pid_namespace(seconds: float) -> None:
    """Children in a pid namespace of their own, in which the first of them is process 1."""
    unshare = ctypes.CDLL(None).unshare
    if unshare(CLONE_NEWPID) and unshare(CLONE_NEWPID | CLONE_NEWUSER):
        sys.exit(NOT_GRANTED)

    def first() -> None:
        child = fork(lambda: burn(seconds / 2))
        burn(seconds / 2)
        wait_for(child)

    wait_for(fork(first))


def set_user_id(seconds: float) -> None:
    """A program that takes another user's rights, from which the kernel takes perf's event; a shell's loop."""
    if os.geteuid() != 0 or os.statvfs(".").f_flag & os.ST_NOSUID:
        sys.exit(NOT_GRANTED)
    shutil.copyfile("/bin/sh", "other-user")
    os.chown("other-user", 1, 1)
    os.chmod("other-user", 0o4755)
    argv = ["./other-user", "-c", "while :; do :; done"]
    child = os.posix_spawn(argv[0], argv, os.environ)
    clock = ~child << 3 | 2  # the CPU clock of another process, as clock_getcpuclockid(3) makes it
    begin = time.process_time()
    while time.process_time() - begin + time.clock_gettime(clock) < seconds:
        pass
    os.kill(child, signal.SIGKILL)
    used = os.wait4(child, 0)[2]
    with open(BURNT, "w") as file:  # more than it was to be, if we were held up while it went on
        file.write(str(used.ru_utime + used.ru_stime + time.process_time() - begin))


if __name__ == "__main__":
    globals()[sys.argv[1]](float(sys.argv[2]))
