"""The payload's processes as their subreaper has them: looked at, reaped, counted, signalled."""

import errno
import os
import resource
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from runner.process.linux import WALL
from runner.process.noted import Notes
from telemetry.clock import NANOSECONDS, Clock
from telemetry.measure import procfs
from telemetry.measure.meter import WALK, Meter
from telemetry.measure.snapshot import (
    NO_PRESSURE,
    Cpu,
    DeepLook,
    Pressure,
    ProcessEnded,
    ProcessId,
    ProcessLook,
    TreeSnapshot,
    UsageReading,
)
from telemetry.measure.stillness import NO_MARKS, Marks, Stillness
from telemetry.measure.tree import TreeState, advance, still_until, with_sums
from telemetry.measure.walker import TreeWalker

_BLOCK_BYTES = 512
#: So many ended processes are folded at once at the latest, however seldom anybody asks.
_UNFOLDED = 1000
#: While children are reaped by the kernel (SIGCHLD ignored), what nobody looks at for so long is uncertain. The looks
#: are so much rarer than they are dear that they take a hundredth of a processor at most.
_DENSE_SECONDS = 0.02
_LOOKS_SHARE = 0.01
#: Looks of our own after the start, each so much later than the one before: the first sign of such children comes soon.
_FIRST_LOOK_SECONDS = 0.02
_LATER_LOOKS = 2.0


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


@dataclass
class _Deep:
    """What the last deep look has seen, and the peaks of all."""

    look: DeepLook = field(default_factory=DeepLook)
    pressure: Pressure = NO_PRESSURE
    peak_pss_bytes: int | None = None
    peak_swap_bytes: int = 0
    peak_threads: int = 0
    voluntary_switches: int = 0
    involuntary_switches: int = 0

    def add(self, look: DeepLook, pressure: Pressure, state: TreeState) -> None:
        """Take a look at the living, at the moment of *state*, which knows the switches of the ended."""
        self.look = look
        self.pressure = pressure
        if look.pss_bytes is not None:
            self.peak_pss_bytes = max(self.peak_pss_bytes or 0, look.pss_bytes)
        self.voluntary_switches = max(self.voluntary_switches, state.voluntary_switches + look.voluntary_switches)
        self.involuntary_switches = max(
            self.involuntary_switches, state.involuntary_switches + look.involuntary_switches
        )

    def added_to(self, reading: UsageReading) -> UsageReading:
        """*reading* with all of it."""
        swap_bytes = self.look.swap_bytes if reading.methods.swap == WALK else reading.swap_bytes
        self.peak_swap_bytes = max(self.peak_swap_bytes, swap_bytes)
        self.peak_threads = max(self.peak_threads, reading.threads)
        return reading._replace(
            swap_bytes=swap_bytes,
            peak_swap_bytes=self.peak_swap_bytes,
            peak_threads=self.peak_threads,
            pss_bytes=self.look.pss_bytes,
            peak_pss_bytes=self.peak_pss_bytes,
            voluntary_switches=max(self.voluntary_switches, reading.voluntary_switches),
            involuntary_switches=max(self.involuntary_switches, reading.involuntary_switches),
            cpu_pressure_seconds=self.pressure.cpu_seconds,
            memory_pressure_seconds=self.pressure.memory_seconds,
            io_pressure_seconds=self.pressure.io_seconds,
        )


@dataclass
class _OwnLooks:
    """When the tree looks at itself, by the monotonic clock: often while it must, ever more seldom otherwise."""

    due: float | None = None
    _pause_seconds: float = _FIRST_LOOK_SECONDS

    def done(self, cpu_seconds: float, is_dense: bool) -> None:
        """A look has been taken, which has used so much CPU. (How long it was would tell of a busy machine.)"""
        now = time.monotonic()
        if is_dense:
            self.due = now + max(_DENSE_SECONDS, cpu_seconds / _LOOKS_SHARE)
        elif self.due is None or now >= self.due:
            self.due = now + self._pause_seconds
            self._pause_seconds *= _LATER_LOOKS


class ProcessTree:
    """All descendants of this process, which must be their subreaper and the only one to wait for them."""

    def __init__(self, clock: Clock, meter: Meter, notes: Notes | None = None) -> None:
        """Nobody was looked at yet; this process is the root."""
        self.meter = meter
        #: For recovery, where no control group tells.
        self.notes = notes
        #: Whether no descendant is left, living or zombie.
        self.is_empty = True
        self._clock = clock
        self._root = os.getpid()
        self._state = TreeState(processors=os.cpu_count() or 1, looks_only=meter.looks_only)
        self._walker = TreeWalker(self._root)
        self._deep = _Deep()
        self._looks = _OwnLooks()
        self._stillness = Stillness()
        self._ended: list[ProcessEnded] = []
        # wait4 tells the highest memory of a process from before its exec too, when it was a copy of us.
        self._own_rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def look(self) -> tuple[ProcessLook, ...]:
        """The living processes, as they are now; they are counted on this occasion."""
        begin_ns, cpu_before = self._clock.boottime_ns(), time.process_time()
        is_counted = self.meter.group is None
        last_pid = procfs.last_pid() if is_counted else None
        living = self._walker.walk()
        end_ns, cpu_seconds = self._clock.boottime_ns(), time.process_time() - cpu_before
        snapshot = TreeSnapshot(
            root_pid=self._root,
            boottime_seconds=begin_ns / NANOSECONDS,
            until_seconds=end_ns / NANOSECONDS,
            living=living,
            ended=tuple(self._ended),
            last_pid=last_pid,
            until_last_pid=procfs.last_pid() if is_counted else None,
        )
        self._ended.clear()
        self._state = advance(self._state, snapshot)
        if is_counted:
            if self.notes is not None:
                self.notes.keep(each.identity for each in living)
            self._looks.done(cpu_seconds, self._state.auto_reaping and not self._state.looks_only)
        return tuple(each for each in living if each.is_alive)

    def note_ourselves(self) -> None:
        """In the payload's first process, which nobody has looked at yet: leave a note for recovery."""
        if self.notes is not None:
            self.notes.note_ourselves()

    @property
    def look_at(self) -> float | None:
        """When the living are to be looked at again, whoever asks, by the monotonic clock; None: when somebody asks."""
        return None if self.meter.group or self.is_empty else self._looks.due

    def look_if_due(self) -> None:
        """Look when `look_at` has passed."""
        if self.look_at is not None and time.monotonic() >= self.look_at:
            self.look()

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

    def reading(self, *, is_deep: bool = False, with_pss: bool = False) -> UsageReading:
        """What the tree has used up to now.

        *is_deep* looks at swap, context switches of the living and pressure too; *with_pss* at proportional memory,
        which holds up the payload's memory for as long as the kernel walks over it.
        """
        if is_deep:
            living = (each.identity.pid for each in self.look())
            pressure = self.meter.group.pressure() if self.meter.group else NO_PRESSURE
            self._deep.add(procfs.deep_look(living, with_pss=with_pss), pressure, self._state)
        sums = self.meter.sums(self._walker)
        if sums is None:
            self._stillness.during(self.look)
        else:
            self._state = with_sums(self._state, sums, self._ended)
            self._ended.clear()
        return self._deep.added_to(self.meter.read(self._state, is_lean=not is_deep))

    @property
    def marks(self) -> Marks:
        """As long as they are what they were, the last reading holds; none where the processes are not counted one by
        one, and none where some are reaped unseen, whose look must not be long ago."""
        return NO_MARKS if self._state.auto_reaping else self._stillness.marks

    def was_still(self, until_boottime_ns: int) -> None:
        """Somebody has held the marks against the processes, up to then: it counts as a look that found the same."""
        self._state = still_until(self._state, until_boottime_ns / NANOSECONDS)

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
            minor_faults=usage.ru_minflt,
            major_faults=usage.ru_majflt,
            voluntary_switches=usage.ru_nvcsw,
            involuntary_switches=usage.ru_nivcsw,
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
