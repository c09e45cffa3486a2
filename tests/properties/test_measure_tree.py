"""The fold of a process tree against a simulated machine, whose truth is known."""

import math
from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st

from telemetry.measure.snapshot import NO_CPU, Cpu, ProcessEnded, ProcessId, ProcessLook, TreeSnapshot
from telemetry.measure.tree import TreeState, advance

ROOT = 1
#: After the last pid the low ones are given out again, while the clock of the start times stands still.
MOST_PIDS = 99
BIRTHS_A_TICK = 5


@dataclass
class Process:
    """A simulated process, CPU in whole milliseconds."""

    identity: ProcessId
    parent: int
    own: int = 0
    waited: int = 0


@dataclass
class Machine:
    """Processes that fork, compute, daemonise and end; the subreaper inherits and reaps as Linux has it."""

    last_pid: int = 2
    births: int = 0
    living: dict[int, Process] = field(default_factory=dict)
    reaped: list[ProcessEnded] = field(default_factory=list)
    truth: int = 0
    state: TreeState = field(default_factory=lambda: TreeState(processors=4))
    looks: int = 0

    def __post_init__(self) -> None:
        """The top process is there."""
        self._born(ROOT)

    def fork(self, which: int) -> None:
        """One of the living forks."""
        if self.living:
            self._born(self._pick(which).identity.pid)

    def compute(self, which: int, milliseconds: int) -> None:
        """One of the living computes."""
        if self.living:
            self._pick(which).own += milliseconds
            self.truth += milliseconds

    def end(self, which: int, auto_reaped: bool) -> None:
        """One of the living ends: waited for by its parent or the subreaper, or reaped by the kernel."""
        if not self.living:
            return
        process = self._pick(which)
        del self.living[process.identity.pid]
        for child in self.living.values():
            if child.parent == process.identity.pid:
                child.parent = ROOT
        used = process.own + process.waited
        if process.parent == ROOT:
            ended = ProcessEnded(identity=process.identity, used=_cpu(used), waited=_cpu(process.waited))
            self.reaped.append(ended)
        elif not auto_reaped:
            self.living[process.parent].waited += used

    def look(self, missing: frozenset[int] = frozenset()) -> None:
        """Fold a look at all but *missing*."""
        seen = tuple(
            ProcessLook(
                identity=each.identity,
                parent_pid=each.parent,
                own=_cpu(each.own),
                waited=_cpu(each.waited),
            )
            for each in self.living.values()
            if each.identity.pid not in missing
        )
        self.looks += 1
        snapshot = TreeSnapshot(
            root_pid=ROOT, boottime_seconds=float(self.looks), living=seen, ended=tuple(self.reaped)
        )
        self.state = advance(self.state, snapshot)
        self.reaped.clear()

    @property
    def counted(self) -> int:
        """What the fold has counted, milliseconds."""
        return round(self.state.cpu.total_seconds * 1000)

    def _born(self, parent_pid: int) -> None:
        self.last_pid = next(
            pid for pid in (*range(self.last_pid + 1, MOST_PIDS + 1), *range(2, MOST_PIDS)) if pid not in self.living
        )
        self.living[self.last_pid] = Process(ProcessId(self.last_pid, self.births // BIRTHS_A_TICK), parent_pid)
        self.births += 1

    def _pick(self, which: int) -> Process:
        pids = sorted(self.living)
        return self.living[pids[which % len(pids)]]


def _cpu(milliseconds: int) -> Cpu:
    return Cpu(milliseconds / 1000, 0.0)


WHICH = st.integers(0, 9)
FORK = st.tuples(st.just("fork"), WHICH)
COMPUTE = st.tuples(st.just("compute"), WHICH, st.integers(0, 5000))
WAITED_END = st.tuples(st.just("end"), WHICH, st.just(False))
ANY_END = st.tuples(st.just("end"), WHICH, st.booleans())
LOOK = st.tuples(st.just("look"))
#: Far from the last of the pids, or just before it.
LAST_PID = st.sampled_from([1, MOST_PIDS - 5, MOST_PIDS - 1])
RACY_LOOK = st.tuples(st.just("look"), st.frozensets(st.integers(2, 9), max_size=2))


#: Of a parent with the last pid, and so with a lower one than its own.
CHILD = [("fork", 0), ("compute", 0, 50), ("look",), ("end", 0, False), ("look",), ("look",)]


@example(CHILD, MOST_PIDS - 1)
@given(st.lists(st.one_of(FORK, COMPUTE, WAITED_END, LOOK), max_size=60), LAST_PID)
def test_total_is_the_truth(acts: list[tuple[object, ...]], last_pid: int) -> None:
    """Where every process is waited for by somebody, each look's total is what was really used."""
    machine = Machine(last_pid)
    for name, *arguments in acts:
        getattr(machine, str(name))(*arguments)
        if name == "look":
            assert machine.counted == machine.truth
    machine.look()
    assert machine.counted == machine.truth


@given(st.lists(st.one_of(FORK, COMPUTE, ANY_END, LOOK), max_size=60), LAST_PID)
def test_total_is_never_above_the_truth(acts: list[tuple[object, ...]], last_pid: int) -> None:
    """Auto-reaping makes the total too small at most, never too large, and never makes it fall."""
    machine = Machine(last_pid)
    before = 0
    for name, *arguments in acts:
        getattr(machine, str(name))(*arguments)
        assert before <= machine.counted <= machine.truth
        before = machine.counted


@given(st.lists(st.one_of(FORK, COMPUTE, ANY_END, RACY_LOOK), max_size=60))
def test_totals_never_fall(acts: list[tuple[object, ...]]) -> None:
    """Whatever a look misses, and whoever vanishes, no total falls."""
    machine = Machine()
    state = machine.state
    for name, *arguments in acts:
        getattr(machine, str(name))(*arguments)
        new = machine.state
        assert new.cpu.user_seconds >= state.cpu.user_seconds
        assert new.uncertainty_seconds >= state.uncertainty_seconds
        assert new.max_processes >= state.max_processes
        state = new


@given(st.lists(st.one_of(FORK, COMPUTE, WAITED_END, LOOK), max_size=40))
def test_the_fold_forgets_the_dead(acts: list[tuple[object, ...]]) -> None:
    """What the fold remembers is as large as the tree, not as its history."""
    machine = Machine()
    for name, *arguments in acts:
        getattr(machine, str(name))(*arguments)
    for _ in range(3):
        machine.look()
    assert {identity.pid for identity in machine.state.members} == set(machine.living)


SECONDS = st.floats(0, 100, allow_nan=False)
CPU = st.builds(Cpu, SECONDS, SECONDS)
IDENTITY = st.builds(ProcessId, st.integers(2, 6), st.integers(1, 3))
ANY_LOOK = st.builds(
    ProcessLook,
    identity=IDENTITY,
    parent_pid=st.integers(1, 6),
    state=st.sampled_from("RSTZ"),
    own=CPU,
    waited=CPU,
    rss_bytes=st.integers(0, 1000),
    read_bytes=st.integers(0, 1000),
    ignores_children=st.booleans(),
)
ANY_END = st.builds(ProcessEnded, identity=IDENTITY, used=CPU, waited=CPU, read_bytes=st.integers(0, 1000))


@given(
    st.lists(
        st.tuples(
            st.lists(ANY_LOOK, max_size=4, unique_by=lambda each: each.identity.pid),
            st.lists(ANY_END, max_size=2, unique_by=lambda each: each.identity.pid),
        ),
        max_size=12,
    )
)
def test_no_nonsense_makes_a_total_fall(moments: list[tuple[list[ProcessLook], list[ProcessEnded]]]) -> None:
    """Looks that contradict each other (a kernel's counter that steps back, pids given out again) do no harm."""
    state = TreeState(processors=4)
    for second, (living, ended) in enumerate(moments):
        snapshot = TreeSnapshot(root_pid=ROOT, boottime_seconds=float(second), living=tuple(living), ended=tuple(ended))
        new = advance(state, snapshot)
        for name in ("read_bytes", "written_bytes", "minor_faults", "major_faults"):
            assert getattr(new.totals, name) >= getattr(state.totals, name)
        for name in ("peak_rss_bytes", "max_processes", "uncertainty_seconds"):
            assert getattr(new, name) >= getattr(state, name)
        assert new.cpu.user_seconds >= state.cpu.user_seconds
        assert new.cpu.system_seconds >= state.cpu.system_seconds
        assert len(new.members) <= 15
        state = new


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 10.0), st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)).map(lambda pair: Cpu(*pair))
        ),
        min_size=1,
    )
)
def test_an_exact_total_is_split_without_a_fall(steps: list[tuple[float, Cpu]]) -> None:
    """However the proposed shares jump, user and system never fall, and their sum is the exact total."""
    total, seen = 0.0, NO_CPU
    for more, share in steps:
        total += more
        grown = seen.grown_to(total, share)
        assert grown.user_seconds >= seen.user_seconds
        assert grown.system_seconds >= seen.system_seconds
        assert math.isclose(grown.total_seconds, total, abs_tol=1e-9)
        seen = grown
