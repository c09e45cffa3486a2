"""The fold of a process tree: where the CPU of a process goes when it ends."""

import pytest

from telemetry.measure.procfs import parse_io
from telemetry.measure.snapshot import NO_CPU, Cpu, ProcessEnded, ProcessId, ProcessLook, TreeSnapshot
from telemetry.measure.tree import TICK_SECONDS, TreeState, advance, still_until

ROOT = 1


def look(pid: int, parent: int, own: float = 0.0, waited: float = 0.0, **more: object) -> ProcessLook:
    """A process with *own* and *waited* seconds of user CPU; its start time follows from its pid."""
    values = {"start_ticks": pid, **more}
    identity = ProcessId(pid, int(str(values.pop("start_ticks"))))
    return ProcessLook(
        identity=identity,
        parent_pid=parent,
        own=Cpu(own, 0.0),
        waited=Cpu(waited, 0.0),
        **values,  # type: ignore[arg-type]
    )


def ended(pid: int, used: float, **more: object) -> ProcessEnded:
    """A process that the subreaper reaped with *used* seconds."""
    return ProcessEnded(identity=ProcessId(pid, pid), used=Cpu(used, 0.0), **more)  # type: ignore[arg-type]


def fold(*moments: tuple[list[ProcessLook], list[ProcessEnded]], processors: int = 2) -> TreeState:
    """The state after all *moments*, one second apart."""
    state = TreeState(processors=processors)
    for second, (living, gone) in enumerate(moments):
        snapshot = TreeSnapshot(root_pid=ROOT, boottime_seconds=float(second), living=tuple(living), ended=tuple(gone))
        state = advance(state, snapshot)
    return state


@pytest.mark.parametrize(
    ("moments", "seconds"),
    [
        pytest.param([([look(10, ROOT, 3.0)], [])], 3.0, id="a living process counts"),
        pytest.param([([look(10, ROOT, 3.0)], []), ([], [ended(10, 3.4)])], 3.4, id="wait4 has the last word"),
        pytest.param([([], [ended(10, 0.7)])], 0.7, id="never looked at, reaped by us"),
        pytest.param([([look(10, ROOT, 1.0, waited=5.0)], [])], 6.0, id="waited-for children count"),
        pytest.param(
            [([look(10, ROOT), look(11, 10, 2.0)], []), ([look(10, ROOT, 0.0, waited=2.3)], [])],
            2.3,
            id="a child's time moves to its parent and is not counted twice",
        ),
        pytest.param(
            [([look(10, ROOT), look(11, 10, 2.0)], []), ([look(10, ROOT)], []), ([look(10, ROOT)], [])],
            2.0,
            id="an auto-reaped child counts with what was seen",
        ),
        pytest.param(
            [([look(10, ROOT), look(11, 10, 2.0)], []), ([look(10, ROOT)], []), ([], [ended(10, 0.5)])],
            2.5,
            id="also when its parent ends",
        ),
        pytest.param(
            [
                ([look(10, ROOT), look(11, 10, 2.0)], []),
                ([look(10, ROOT)], []),
                ([look(10, ROOT), look(12, 10, 1.0)], []),
            ],
            3.0,
            id="and what comes after it counts in addition",
        ),
        pytest.param(
            [([look(10, ROOT), look(11, 10, 2.0)], []), ([], [ended(10, 2.5, waited=Cpu(2.1, 0.0))])],
            2.5,
            id="waited-for and parent reaped between two looks",
        ),
        pytest.param(
            [([look(10, ROOT), look(11, 10, 2.0)], []), ([look(11, ROOT, 3.0)], [ended(10, 0.5)])],
            3.5,
            id="a daemon that lost its parent counts for itself",
        ),
        pytest.param(
            [
                ([look(10, ROOT), look(11, 10, 2.0)], []),
                ([look(10, ROOT)], []),
                ([look(10, ROOT), look(11, 10, 2.0)], []),
            ],
            2.0,
            id="missed by one look, found by the next",
        ),
        pytest.param(
            [([look(10, ROOT, 4.0)], []), ([], []), ([], []), ([look(10, ROOT, 5.0)], [])],
            5.0,
            id="a child of ours that was missed is alive",
        ),
        pytest.param(
            [([look(10, ROOT, 4.0)], []), ([look(10, ROOT, 1.0, start_ticks=99)], [ended(10, 4.0)])],
            5.0,
            id="a pid that was given out again is another process",
        ),
        pytest.param(
            [
                ([look(10, ROOT), look(11, 10, 1.0), look(12, 11, 2.0)], []),
                ([look(10, ROOT, 0.0, waited=3.2)], []),
                ([look(10, ROOT, 0.0, waited=3.2)], []),
            ],
            3.2,
            id="two generations vanish at once",
        ),
        pytest.param(
            [
                ([look(900, ROOT), look(901, 900, start_ticks=901), look(20, 901, 2.0, start_ticks=901)], []),
                *[([look(900, ROOT), look(901, 900, waited=2.3, start_ticks=901)], [])] * 3,
            ],
            2.3,
            id="a child with a lower pid than its parent's, of the same tick",
        ),
        pytest.param(
            [
                ([look(10, ROOT), look(11, 10), look(12, 11, 2.0)], []),
                *[([look(10, ROOT, waited=2.3), look(11, 10, 1.0, start_ticks=50)], [])] * 3,
            ],
            3.3,
            id="a parent's pid that was given out again",
        ),
    ],
)  # fmt: skip
def test_where_cpu_goes(moments: list[tuple[list[ProcessLook], list[ProcessEnded]]], seconds: float) -> None:
    """Each second of CPU is counted once, wherever it stands."""
    assert fold(*moments).cpu.user_seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"rchar: 9\nwchar: 8\nsyscr: 7\nsyscw: 6\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 5\n",
            (4096, 8192),
        ),
        (b"rchar: 9\nwchar: 8\n", (0, 0)),  # a kernel that does not account storage
        (b"", (0, 0)),  # not ours to see, or gone
    ],
)
def test_bytes_of_storage(data: bytes, expected: tuple[int, int]) -> None:
    """What really went from and to storage counts, not what was asked of the cache, nor what was cancelled."""
    assert parse_io(data) == expected


def test_bytes_and_peaks() -> None:
    """Bytes add up over the ended and the living; peaks remember the highest moment, and zombies are nobody."""
    state = fold(
        ([look(10, ROOT, rss_bytes=100, read_bytes=7), look(11, 10, rss_bytes=50), look(12, 10, state="Z")], []),
        ([look(11, ROOT, rss_bytes=60)], [ended(10, 0.0, max_rss_bytes=140, read_bytes=9, written_bytes=4)]),
    )
    assert (state.peak_rss_bytes, state.max_processes) == (150, 2)
    assert (state.totals.read_bytes, state.totals.written_bytes) == (9, 4)
    assert [each.identity.pid for each in state.present] == [11]


def test_bytes_do_not_fall_when_a_process_is_lost() -> None:
    """An auto-reaped process takes its byte counts with it; the totals stay."""
    state = fold(([look(10, ROOT), look(11, 10, read_bytes=70)], []), ([look(10, ROOT)], []))
    assert state.totals.read_bytes == 70


def test_uncertainty_of_ordinary_trees_is_a_tick() -> None:
    """Without a sign of auto-reaping nothing can be missing but the rounding."""
    state = fold(([look(10, ROOT, 0.5)], []), ([look(10, ROOT, 1.5)], []), ([], [ended(10, 1.7)]))
    assert state.uncertainty_seconds == TICK_SECONDS


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(([look(10, ROOT, 1.0, ignores_children=True)], []), id="a living one ignores SIGCHLD"),
        pytest.param(([], [ended(10, 1.0, ignored_children=True)]), id="one that has just ended did"),
    ],
)
def test_auto_reaping_makes_the_total_uncertain(moment: tuple[list[ProcessLook], list[ProcessEnded]]) -> None:
    """With auto-reaping, all that the machine could have computed but for what was counted may be missing."""
    state = fold(([], []), moment, processors=2)
    assert state.uncertainty_seconds == pytest.approx(TICK_SECONDS + 2 * 1.0 - 1.0)


def test_what_was_still_has_hidden_nobody() -> None:
    """Where nobody had run since the last look, only what came after is uncertain; an older moment changes nothing."""
    state = TreeState(processors=2)
    for second in (0.0, 1.0):
        state = advance(state, TreeSnapshot(root_pid=ROOT, boottime_seconds=second, living=(look(10, ROOT),)))
    state = still_until(still_until(state, 14.0), 3.0)
    deaf = look(10, ROOT, ignores_children=True)
    state = advance(state, TreeSnapshot(root_pid=ROOT, boottime_seconds=15.0, living=(deaf,)))
    assert state.uncertainty_seconds == pytest.approx(TICK_SECONDS + 2 * 1.0)


def test_lost_children_are_a_sign_of_auto_reaping() -> None:
    """SA_NOCLDWAIT shows in no file; children that vanish into nothing give it away."""
    parent = look(10, ROOT)
    state = fold(([parent, look(11, 10, 1.0)], []), ([parent], []), ([parent], []))
    assert state.auto_reaping
    assert state.uncertainty_seconds > 1.0


def test_nothing_was_used_by_nobody() -> None:
    """An empty tree has used nothing, however often it is looked at."""
    state = fold(([], []), ([], []))
    assert state.cpu == NO_CPU
    assert state.members == {}
