"""The shapes: what each is, what it costs beside its burn, and how it is run."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.conformance import payload

#: More than any shape needs to end by itself.
LONG_GRACE_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One program, and what is known of it."""

    name: str
    #: Interpreters that it starts.
    interpreters: int = 1
    #: Children that it forks, as a function of its burn in seconds.
    forks: Callable[[float], int] = lambda _seconds: 0
    #: Whether processes of it are reaped by the kernel, so that nobody can wait for them.
    is_auto_reaped: bool = False
    #: The same when it is killed: the kernel reaps what was in a process namespace itself when that one's init dies.
    is_auto_reaped_when_killed: bool = False
    #: What the watchdog gives to those whom the top process leaves behind.
    orphan_grace_seconds: float = LONG_GRACE_SECONDS
    #: Whether the watchdog may look before the end.
    is_sampled: bool = True

    @property
    def what(self) -> str:
        """Its description."""
        return (getattr(payload, self.name).__doc__ or "").strip()


def _count(size: float, times: int = 1) -> Callable[[float], int]:
    return lambda seconds: times * payload.parts(seconds, size)[0]


def _exactly(count: int) -> Callable[[float], int]:
    return lambda _seconds: count


_SHORT = payload.SHORT_SECONDS
SHAPES = (
    Shape(name="one"),
    Shape(name="short_children", forks=_count(_SHORT)),
    Shape(name="two_levels", forks=_count(_SHORT, 2)),
    Shape(name="parallel_children", forks=_exactly(3)),
    Shape(name="forking_workers", forks=lambda s: 2 + 2 * payload.parts(s / 2, payload.WORKER_CHILD_SECONDS)[0]),
    Shape(name="daemon", forks=_exactly(2)),
    Shape(name="stubborn_daemon", forks=_exactly(2), orphan_grace_seconds=0.3),
    Shape(name="left_daemon", forks=_exactly(2)),
    Shape(name="auto_reaped", forks=_count(payload.AUTO_REAPED_SECONDS), is_auto_reaped=True),
    Shape(name="burst", forks=_exactly(1), is_sampled=False),
    Shape(name="deep_chain", forks=_exactly(payload.CHAIN)),
    Shape(name="spawned", interpreters=5, forks=_exactly(4)),
    Shape(name="executed", interpreters=2),
    Shape(name="threads", forks=_exactly(1)),
    Shape(name="first_thread_gone", forks=_exactly(1)),
    Shape(name="odd_names", forks=_exactly(3)),
    Shape(name="other_sessions", forks=_exactly(3)),
    Shape(name="outlives_parent", forks=_exactly(2)),
    Shape(name="killed_children", forks=_exactly(3)),
    # Its forks that miss the pid cost something too; 100 of them is far more than is ever needed.
    Shape(name="pid_reuse", forks=_exactly(104)),
    Shape(name="falling_pids", forks=_exactly(payload.CHAIN)),
    Shape(name="system_time", forks=_exactly(1)),
    Shape(name="crowd", forks=_exactly(payload.CROWD)),
    Shape(name="fork_storm", forks=_exactly(payload.STORM)),
    Shape(name="stopped", forks=_exactly(1), orphan_grace_seconds=0.3),
    Shape(name="zombie_kept", forks=_exactly(1)),
    Shape(name="subreaper_inside", forks=_exactly(5)),
    Shape(name="pid_namespace", forks=_exactly(2), is_auto_reaped_when_killed=True),
    # Copying the shell, and starting it.
    Shape(name="set_user_id", interpreters=2, forks=_exactly(1)),
)
