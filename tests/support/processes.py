"""Looking at processes from outside, by /proc alone."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seen:
    """A living process, as /proc shows it."""

    pid: int
    parent: int
    state: str
    start_ticks: int
    command: str


def look(pid: int) -> Seen | None:
    """The process *pid*; None when there is none. Names may contain anything, `)` and newlines too."""
    folder = Path("/proc") / str(pid)
    try:
        rest = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Seen(pid, int(rest[1]), rest[0].decode(), int(rest[19]), command)


def is_alive(pid: int) -> bool:
    """Whether *pid* runs; a zombie does not (PID 1 may take seconds to reap one)."""
    seen = look(pid)
    return seen is not None and seen.state not in "ZX"


def held_up_seconds(pid: int) -> float:
    """How long the first thread of *pid*, or of its zombie, could have run and got no CPU; 0 where nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def living() -> list[Seen]:
    """All processes of the machine that we may see and that are no zombies."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [seen for pid in pids if (seen := look(pid)) is not None and seen.state not in "ZX"]


def marked_by(mark: bytes, folder: Path) -> list[Seen]:
    """Processes younger than we that carry *mark* in their environment, or work in, or were started with *folder*."""
    ours = look(os.getpid())
    born = ours.start_ticks if ours else 0
    younger = (seen for seen in living() if seen.start_ticks >= born and seen.pid != os.getpid())
    return [seen for seen in younger if _belongs(seen, mark, str(folder))]


def kill(seen: Seen) -> None:
    """KILL *seen*, unless its pid belongs to another process by now."""
    now = look(seen.pid)
    if now is not None and now.start_ticks == seen.start_ticks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(seen.pid, signal.SIGKILL)


def _belongs(seen: Seen, mark: bytes, folder: str) -> bool:
    if f"{folder}/" in f"{seen.command}/":
        return True
    with contextlib.suppress(OSError):
        if f"{os.readlink(f'/proc/{seen.pid}/cwd')}/".startswith(f"{folder}/"):
            return True
    with contextlib.suppress(OSError):
        return mark in Path(f"/proc/{seen.pid}/environ").read_bytes()
    return False
