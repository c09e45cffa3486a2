"""What the fold of a process tree cannot see is within the uncertainty that it states."""

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from telemetry.measure.snapshot import Cpu, ProcessEnded, ProcessId, ProcessLook, TreeSnapshot
from telemetry.measure.tree import TICK_SECONDS, TreeState, advance

ROOT = 1
PROCESSORS = 2


@dataclass
class Process:
    """A simulated process of one thread, CPU in whole milliseconds."""

    pid: int
    parent: int
    ignores: bool
    own: int = 0
    waited: int = 0


@dataclass
class Machine:
    """Two processors; processes that ignore SIGCHLD or not; others fork beside us. `/proc` rounds down to ticks."""

    looks_only: bool = False
    #: What a look takes, while two processes go on computing.
    look_milliseconds: int = 0
    now: int = 0
    truth: int = 0
    #: The truth when the last look began.
    looked_at: int = 0
    last_pid: int = 2
    living: dict[int, Process] = field(default_factory=lambda: {2: Process(2, ROOT, ignores=True)})
    reaped: list[ProcessEnded] = field(default_factory=list)

    def __post_init__(self) -> None:
        """The first look comes at once, as it does after the exec."""
        self.state = TreeState(processors=PROCESSORS, looks_only=self.looks_only)
        self.look()

    def fork(self, which: int) -> None:
        """One of the living forks; whether SIGCHLD is ignored is inherited."""
        if self.living:
            parent = self._pick(which)
            self.last_pid += 1
            self.living[self.last_pid] = Process(self.last_pid, parent.pid, parent.ignores)

    def stranger(self) -> None:
        """Somebody else forks on the node."""
        self.last_pid += 1

    def heed(self, which: int) -> None:
        """One of the living waits for its children from now on."""
        if self.living:
            self._pick(which).ignores = False

    def compute(self, one: int, other: int, milliseconds: int) -> None:
        """One or two of the living compute at the same time."""
        self.now += milliseconds
        if self.living:
            for process in {each.pid: each for each in (self._pick(one), self._pick(other))}.values():
                process.own += milliseconds
                self.truth += milliseconds

    def end(self, which: int) -> None:
        """One of the living ends: waited for, or reaped by the kernel if its parent ignores SIGCHLD."""
        if not self.living:
            return
        process = self._pick(which)
        del self.living[process.pid]
        for child in self.living.values():
            if child.parent == process.pid:
                child.parent = ROOT
        used = process.own + process.waited
        if process.parent == ROOT:
            self.reaped.append(
                ProcessEnded(
                    identity=ProcessId(process.pid, process.pid),
                    used=Cpu(used / 1000, 0.0),
                    waited=_ticks(process.waited),
                    ignored_children=process.ignores,
                )
            )
        elif not self.living[process.parent].ignores:
            self.living[process.parent].waited += used

    def look(self) -> None:
        """Fold a look at all; the processes are found as they were when it began."""
        begin, last_pid, self.looked_at = self.now, self.last_pid, self.truth
        seen = tuple(
            ProcessLook(
                identity=ProcessId(each.pid, each.pid),
                parent_pid=each.parent,
                own=_ticks(each.own),
                waited=_ticks(each.waited),
                ignores_children=each.ignores,
            )
            for each in self.living.values()
        )
        self.compute(0, 1, self.look_milliseconds)
        snapshot = TreeSnapshot(
            root_pid=ROOT,
            boottime_seconds=begin / 1000,
            until_seconds=self.now / 1000,
            living=seen,
            ended=tuple(self.reaped),
            last_pid=last_pid,
            until_last_pid=self.last_pid,
        )
        self.reaped.clear()
        self.state = advance(self.state, snapshot)

    def check(self) -> None:
        """What was really used lies between what is told and that with its uncertainty."""
        told = self.state.cpu.total_seconds
        assert told <= self.truth / 1000 + 1e-6
        assert self.looked_at / 1000 <= told + self.state.uncertainty_seconds + self.state.rounding_seconds + 1e-6

    def _pick(self, which: int) -> Process:
        pids = sorted(self.living)
        return self.living[pids[which % len(pids)]]


def _ticks(milliseconds: int) -> Cpu:
    return Cpu(milliseconds // 10 * TICK_SECONDS, 0.0)


WHICH = st.integers(0, 9)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("fork"), WHICH),
        st.tuples(st.just("compute"), WHICH, WHICH, st.integers(0, 3000)),
        st.tuples(st.just("end"), WHICH),
        st.tuples(st.just("heed"), WHICH),
        st.tuples(st.just("stranger")),
        st.tuples(st.just("look")),
    ),
    max_size=60,
)


#: A child that is born, computes and is gone between two looks; and one that is seen, but not what it did last.
UNSEEN = [("fork", 0), ("compute", 1, 1, 3000), ("end", 1), ("look",)]
ROUNDED = [("fork", 0), ("look",), ("compute", 1, 1, 9), ("look",), ("end", 1), ("look",)]


@example(UNSEEN, False, 0)
@example(UNSEEN, True, 0)
@example(UNSEEN * 2, False, 50)
@example(ROUNDED * 6, False, 0)
@given(ACTS, st.booleans(), st.integers(0, 100))
def test_the_truth_is_within_the_uncertainty(acts: list[tuple[object, ...]], looks_only: bool, long_ms: int) -> None:
    """With auto-reaped children, and for looks alone, what is missing is at most what is stated."""
    machine = Machine(looks_only=looks_only, look_milliseconds=long_ms)
    for name, *arguments in acts:
        getattr(machine, str(name))(*arguments)
        if name == "look":
            machine.check()
    for _ in range(3):
        machine.look()
    machine.check()


@example(ROUNDED * 6, 0)
@example(UNSEEN * 2, 50)
@given(ACTS, st.integers(0, 100))
def test_the_uncertainty_is_what_the_machine_could_have_done(acts: list[tuple[object, ...]], long_ms: int) -> None:
    """It is never more than all processors for as long as the tree was there, but for the ticks of the first look.

    However long the looks take, how many there are, and how often their ticks were rounded down.
    """
    machine = Machine(look_milliseconds=long_ms)
    for name, *arguments in acts:
        getattr(machine, str(name))(*arguments)
    machine.look()
    assert machine.state.uncertainty_seconds <= PROCESSORS * machine.now / 1000 + 3 * TICK_SECONDS + 1e-6


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 500)), max_size=12),
    st.integers(1, 2000),
)
def test_only_the_interval_of_a_loss_is_uncertain(quiet: list[tuple[bool, int]], interval: int) -> None:
    """Where nobody else forks, a single auto-reaped child costs one interval, not the time since the first sign."""
    machine = Machine()
    machine.fork(0)
    machine.look()
    for both, milliseconds in quiet:
        machine.compute(0, 1 if both else 0, milliseconds)
        machine.look()
        assert machine.state.uncertainty_seconds <= TICK_SECONDS
    machine.compute(0, 1, interval)
    machine.end(1)
    for _ in range(4):
        machine.look()
        machine.compute(0, 0, 100)
    machine.check()
    ticks = 4 * TICK_SECONDS
    # (That it does not come back is only believed after two looks more.)
    assert machine.state.uncertainty_seconds <= TICK_SECONDS + interval / 1000 + 0.2 + 3 * ticks + 1e-6
