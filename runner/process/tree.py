"""The payload's processes as their subreaper has them: looked at, reaped, counted, signalled."""

import errno
import os
import resource
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from runner.process.linux import WALL
from telemetry.clock import NANOSECONDS, Clock
from telemetry.measure import procfs
from telemetry.measure.meter import Meter
from telemetry.measure.snapshot import Cpu, ProcessEnded, ProcessId, ProcessLook, TreeSnapshot, UsageReading
from telemetry.measure.tree import TreeState, advance

_BLOCK_BYTES = 512
#: So many ended processes are folded at once at the latest, however seldom anybody asks.
_UNFOLDED = 1000


@dataclass(frozen=True)
class Reaped:
    """A process that has ended and was waited for."""

    pid: int
    exit_code: int | None
    signal: int | None
    end_boottime_ns: int
    #: As wait4 tells it: never below what the process had as a copy of us, before its exec.
    max_rss_bytes: int
    usage: ProcessEnded


class ProcessTree:
    """All descendants of this process, which must be their subreaper and the only one to wait for them."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self.meter = meter
        #: Whether no descendant is left, living or zombie.
        self.is_empty = True
        self._clock = clock
        self._root = os.getpid()
        self._state = TreeState(processors=os.cpu_count() or 1)
        self._ended: list[ProcessEnded] = []
        # wait4 tells the highest memory of a process from before its exec too, when it was a copy of us.
        self._own_rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def look(self) -> tuple[ProcessLook, ...]:
        """The living processes, as they are now; they are counted on this occasion."""
        snapshot = TreeSnapshot(
            root_pid=self._root,
            boottime_seconds=self._clock.boottime_ns() / NANOSECONDS,
            living=procfs.walk(self._root),
            ended=tuple(self._ended),
        )
        self._ended.clear()
        self._state = advance(self._state, snapshot)
        return tuple(each for each in snapshot.living if each.is_alive)

    def everybody(self) -> tuple[ProcessLook, ...]:
        """The living processes and, should the look have slipped past one, the rest of the control group."""
        seen = self.look()
        if self.meter.group is None:
            return seen
        known = {each.identity.pid for each in seen}
        looks = [procfs.look(pid, with_bytes=False) for pid in self.meter.group.pids() if pid not in known]
        # Still listed after the look: then it was no stranger that had got the pid meanwhile.
        listed = set(self.meter.group.pids()) if looks else set()
        rest = (each for each in looks if each is not None and each.is_alive and each.identity.pid in listed)
        return seen + tuple(rest)

    def reading(self) -> UsageReading:
        """What the tree has used up to now."""
        self.look()
        return self.meter.read(self._state)

    def reap(self) -> list[Reaped]:
        """Wait for every child that has ended; returns at once."""
        reaped: list[Reaped] = []
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
            except ChildProcessError:
                self.is_empty = True
                return reaped
            if info is None:
                self.is_empty = False
                return reaped
            reaped.append(self._wait(info.si_pid))
            if len(self._ended) >= _UNFOLDED:
                self.look()

    def _wait(self, pid: int) -> Reaped:
        zombie = procfs.look(pid, with_bytes=False)
        _, status, usage = os.wait4(pid, WALL)
        end_boottime_ns = self._clock.boottime_ns()
        ended = ProcessEnded(
            identity=zombie.identity if zombie else ProcessId(pid, 0),
            used=Cpu(usage.ru_utime, usage.ru_stime),
            waited=zombie.waited if zombie else Cpu(0.0, 0.0),
            max_rss_bytes=usage.ru_maxrss * 1024 if usage.ru_maxrss > self._own_rss_kib else 0,
            read_bytes=usage.ru_inblock * _BLOCK_BYTES,
            written_bytes=usage.ru_oublock * _BLOCK_BYTES,
            ignored_children=zombie.ignores_children if zombie else False,
        )
        self._ended.append(ended)
        code = os.waitstatus_to_exitcode(status)
        return Reaped(
            pid=pid,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            end_boottime_ns=end_boottime_ns,
            max_rss_bytes=usage.ru_maxrss * 1024,
            usage=ended,
        )


def process_name(pid: int) -> str:
    """What *pid* calls itself; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
            return file.read(64).decode(errors="replace").rstrip("\n")
    except OSError:
        return ""


def send(targets: Iterable[ProcessLook], number: int) -> tuple[int, ...]:
    """Send a signal to *targets*, never to another process that got a pid of theirs; the pids reached."""
    return tuple(each.identity.pid for each in targets if _send(each.identity, number))


def _send(target: ProcessId, number: int) -> bool:
    try:
        handle = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        handle = -1  # Linux before 5.3
    try:
        if procfs.start_ticks(target.pid) != target.start_ticks:
            return False
        if handle < 0:
            os.kill(target.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True
