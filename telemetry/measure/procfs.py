"""Reading processes from `/proc`: I/O only, every reader copes with a process that vanishes under it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from telemetry.measure.snapshot import Cpu, ProcessId, ProcessLook

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
#: Bit of SIGCHLD in a signal mask.
_SIGCHLD_BIT = 1 << (17 - 1)
#: PF_FORKNOEXEC: forked, and has not executed a program of its own yet.
_FORKED_ONLY = 0x40
#: A walk that finds new processes is repeated; a fork bomb must not hold it for ever.
_WALKS = 10


def look(pid: int, *, with_bytes: bool = True) -> ProcessLook | None:
    """The process *pid* as it is now, zombie or not; None when there is none.

    *with_bytes* asks for bytes read and written too, which only its owner and root may see.
    """
    fields = _stat(pid)
    if fields is None:
        return None
    read_bytes, written_bytes = _io(pid) if with_bytes else (0, 0)
    return ProcessLook(
        identity=ProcessId(pid, int(fields[19])),
        parent_pid=int(fields[1]),
        state=fields[0].decode(),
        own=Cpu(int(fields[11]) / TICKS_PER_SECOND, int(fields[12]) / TICKS_PER_SECOND),
        waited=Cpu(int(fields[13]) / TICKS_PER_SECOND, int(fields[14]) / TICKS_PER_SECOND),
        threads=int(fields[17]),
        vsize_bytes=int(fields[20]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
        read_bytes=read_bytes,
        written_bytes=written_bytes,
        ignores_children=bool(int(fields[30]) & _SIGCHLD_BIT),
    )


def start_ticks(pid: int) -> int | None:
    """Start time of *pid* in ticks since boot, which with the pid is its identity; None when there is none."""
    fields = _stat(pid)
    return None if fields is None else int(fields[19])


def session(pid: int) -> int | None:
    """The session that *pid* belongs to; None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[3])


def has_executed(pid: int) -> bool:
    """Whether *pid* (a zombie too) has executed a program since it was forked."""
    fields = _stat(pid)
    return fields is not None and not int(fields[6]) & _FORKED_ONLY


def environment_has(pid: int, mark: bytes) -> bool:
    """Whether *pid* was started with *mark* (``NAME=value``) in its environment, as far as we may see it."""
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return False


def descendants(root: int) -> list[int]:
    """All processes below *root*, without it, as pids; zombies included.

    Costs by the size of the tree, not of the machine, where the kernel lists children. A process
    whose parent dies under the walk moves to the subreaper: the root's children are looked at again
    until nothing new is there.
    """
    if not os.path.exists(f"/proc/{root}/task/{root}/children"):
        return _descendants_by_scan(root)
    found: dict[int, None] = {}
    for _ in range(_WALKS):
        news = [pid for pid in _children(root) if pid not in found]
        if not news:
            break
        while news:
            pid = news.pop()
            if pid not in found:
                found[pid] = None
                news.extend(_children(pid))
    return list(found)


def walk(root: int) -> tuple[ProcessLook, ...]:
    """A look at every process below *root*."""
    looks = (look(pid) for pid in descendants(root))
    return tuple(each for each in looks if each is not None)


def load_average() -> float:
    """The machine's, of the last minute."""
    return os.getloadavg()[0]


def _stat(pid: int) -> list[bytes] | None:
    """Fields of `/proc/<pid>/stat` from the state on (field 3); the name before may contain anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            data = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return data[data.rindex(b")") + 2 :].split()


def _io(pid: int) -> tuple[int, int]:
    """Bytes that really went to and from storage; 0 where we may not look."""
    try:
        with open(f"/proc/{pid}/io", "rb", buffering=0) as file:
            lines = dict(line.split(b": ") for line in file.read(1024).splitlines())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0, 0
    return int(lines[b"read_bytes"]), int(lines[b"write_bytes"])


def _children(pid: int) -> list[int]:
    """Children of all threads of *pid*; a thread can fork as well."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
                found.extend(int(child) for child in _whole(file.fileno()).split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _whole(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 65536):
        parts.append(part)
    return b"".join(parts)


def _descendants_by_scan(root: int) -> list[int]:
    """The same from a scan of the whole machine, for kernels without CONFIG_PROC_CHILDREN."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents(int(name) for name in os.listdir("/proc") if name.isdigit()):
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    news = list(children.get(root, ()))
    while news:
        pid = news.pop()
        found.append(pid)
        news.extend(children.get(pid, ()))
    return found


def _parents(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            yield pid, int(fields[1])
